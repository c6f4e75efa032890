//! The targets over their seeds, over what is near to them, and over what once broke them (`kept/<target>/`).

use nfio_parsers::{TARGETS, Target};
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Bytes that parsers stumble over.
const ODD: [u8; 8] = [0, b'\n', b'"', b'#', b'{', b'9', 0x1b, 0xff];
/// How many places of a seed are tried.
const PLACES: usize = 160;

/// Fails with the input, which a panic alone would not tell.
fn check(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.check)(input)).is_err() {
        panic!("{}: {:?}", target.name, String::from_utf8_lossy(input));
    }
}

fn over_seeds(name: &str) {
    let target = nfio_parsers::target(name);
    let seeds = (target.seeds)();
    assert!(seeds.len() > 1, "{name} has seeds");
    for seed in seeds {
        check(target, &seed);
        for at in (0..seed.len()).step_by(seed.len().div_ceil(PLACES).max(1)) {
            check(target, &seed[..at]);
            let mut changed = seed.clone();
            changed[at] = ODD[at % ODD.len()];
            check(target, &changed);
        }
    }
}

/// One test a target, so that they run side by side and a failure names it.
macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            over_seeds(stringify!($name));
        })+

        #[test]
        fn every_target_has_a_test_and_a_program_of_the_fuzzers() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
            let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
            for name in names {
                let text = fs::read_to_string(programs.join(format!("{name}.rs"))).expect(name);
                assert!(text.contains(&format!("target({name:?})")), "{text}");
            }
        }
    };
}

targets!(verbs sizes boot_conf nfio_toml describe nat nft);

#[test]
fn what_once_broke_a_target_does_so_no_more() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("kept");
    for directory in fs::read_dir(kept).expect("kept inputs").flatten() {
        let name = directory.file_name().into_string().expect("UTF-8");
        for file in fs::read_dir(directory.path()).expect("a target's inputs").flatten() {
            check(nfio_parsers::target(&name), &fs::read(file.path()).expect("an input"));
        }
    }
}
