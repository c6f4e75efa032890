//! What is written to `action`.

use nfio_host::vnf::Verb;
use nfio_host::vnf::verb::{run_lines, says_nothing};

use crate::plain;

/// The verbs that a write runs, and how it ends.
fn run(data: &[u8]) -> (Vec<Verb>, nfio_host::error::Result<usize>) {
    let mut ran = Vec::new();
    let outcome = run_lines(data, |word| {
        ran.push(Verb::parse(word)?);
        Ok(())
    });
    (ran, outcome)
}

pub(crate) fn check(data: &[u8]) {
    let (ran, outcome) = run(data);
    match outcome {
        Err(error) => {
            plain::refused(&error, 721);
            assert!(ran.is_empty(), "{ran:?} ran, and the write says that nothing did");
        }
        Ok(done) => {
            assert!(done <= data.len(), "{done} of {} bytes", data.len());
            if done < data.len() {
                // Whoever writes the rest, as write(2) tells to, meets the line that failed, and runs nothing twice.
                assert!(data[..done].ends_with(b"\n"), "a line is done in part");
                let (again, all) = run(&data[..done]);
                assert_eq!((again, all.ok()), (ran.clone(), Some(done)));
                let (more, rest) = run(&data[done..]);
                assert!(more.is_empty() && rest.is_err(), "{more:?} ran behind a line that failed");
            }
        }
    }
    if says_nothing(data) {
        assert_eq!((run(data).0, run(data).1.ok()), (Vec::new(), Some(data.len())));
    }
    // What `action` shows may be written back, as a restored archive does: nothing runs.
    let shown: Vec<u8> = ran.iter().flat_map(|verb| format!("# last: {verb}\n").into_bytes()).collect();
    assert!(says_nothing(&shown));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = Verb::ALL.iter().map(|verb| format!("{verb}\n").into_bytes()).collect();
    seeds.push(format!("# last: activate\n# verbs: {}\n", Verb::words()).into_bytes());
    seeds.extend([b"stop\n\nstart\nreload".to_vec(), b"# x\n\0\0\0".to_vec(), b" pause\r\nbad\n".to_vec()]);
    seeds
}
