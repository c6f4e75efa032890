//! Every verb in every state, on real guests. The state `created` is reached as it is in life: nfio is
//! killed between deploy and start.

use nfio_tests::{Instance, Mounted, Options, end_guest, errno, eventually};
use std::fs;
use std::thread;

/// A cell is what `status` says after the verb, or the errno that it fails with; then nothing has changed. EIO stands
/// with the class that tells one from another.
const TABLE: &str = "
             undeployed  created          exited           running     paused
activate     running     EEXIST           EEXIST           EEXIST      EEXIST
start        ENXIO       running          running          running     VNFStartError
stop         ENXIO       created          exited           exited      exited
restart      ENXIO       running          running          running     running
pause        ENXIO       EHOSTDOWN        EHOSTDOWN        paused      paused
unpause      ENXIO       EHOSTDOWN        EHOSTDOWN        running     running
reload       ENXIO       EHOSTDOWN        EHOSTDOWN        running     EHOSTDOWN
destroy      ENXIO       undeployed       undeployed       undeployed  undeployed
running      running     running          running          running     running
exited       undeployed  created          exited           exited      exited
undeployed   undeployed  undeployed       undeployed       undeployed  undeployed
forget       ENXIO       undeployed       undeployed       undeployed  undeployed
";

/// Cells in which the guest goes on untouched, and those in which another one runs afterwards.
const SAME_RUN: [(&str, &str); 6] = [
    ("start", "running"),
    ("unpause", "running"),
    ("reload", "running"),
    ("running", "running"),
    ("unpause", "paused"),
    ("running", "paused"),
];
const OTHER_RUN: [(&str, &str); 2] = [("restart", "running"), ("restart", "paused")];

/// One cell of the table.
struct Cell<'a> {
    state: &'a str,
    verb: &'a str,
    outcome: &'a str,
}

/// A column of the table.
fn column(state: &str) -> impl Iterator<Item = Cell<'_>> {
    let mut rows = TABLE.trim_matches('\n').lines();
    let at = rows.next().and_then(|heading| heading.split_whitespace().position(|name| name == state));
    let at = at.expect("a column of this name");
    rows.map(move |row| {
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells.len(), 6, "{row}");
        Cell { state, verb: cells[0], outcome: cells[at + 1] }
    })
}

impl Cell<'_> {
    /// Writes the verb in the state and looks at what comes of it.
    #[track_caller]
    fn holds(&self, mounted: &Mounted, fw: &Instance) {
        let Self { state, verb, outcome } = *self;
        assert_eq!(fw.status(), state, "before {verb}");
        let guest = mounted.guest(fw);
        let run = || fs::read_to_string(guest.join("run.json")).unwrap_or_default();
        let before = run();
        let answer = errno(fw.try_act(verb));
        let (expected, status, told) = match outcome {
            "EEXIST" => (libc::EEXIST, state, "error: VNFAlreadyDeployedError\nerrno: EEXIST\n"),
            "ENXIO" => (libc::ENXIO, state, "error: VNFNotFoundError\nerrno: ENXIO\n"),
            "EHOSTDOWN" => (libc::EHOSTDOWN, state, "error: VNFNotRunningError\nerrno: EHOSTDOWN\n"),
            "VNFStartError" => (libc::EIO, state, "error: VNFStartError\nerrno: EIO\n"),
            status => (0, status, ""),
        };
        let error = fw.try_get("last_error").expect("last_error");
        assert_eq!(answer, expected, "{verb} while {state}: {error}");
        assert_eq!(fw.status(), status, "after {verb} while {state}");
        if told.is_empty() {
            assert_eq!(error, "", "{verb} while {state}");
        } else {
            let operation = format!("{told}operation: {verb}\n");
            assert!(error.contains(&operation), "{verb} while {state}: {error}");
        }
        if expected != 0 || SAME_RUN.contains(&(verb, state)) {
            assert_eq!(run(), before, "{verb} while {state} touched the guest");
        }
        if OTHER_RUN.contains(&(verb, state)) {
            assert_ne!(run(), before, "{verb} while {state} left the old run");
        }
        if verb == "forget" && !before.is_empty() {
            assert_eq!(run(), before, "a guest that is forgotten goes on");
            end_guest(&guest);
        }
        let action = fw.try_get("action").expect("action");
        assert!(action.starts_with(&format!("# last: {verb}\n")), "{action}");
    }
}

/// Brings an instance of any state to a state.
#[track_caller]
fn reach(fw: &Instance, state: &str) {
    match state {
        "undeployed" => fw.act("undeployed"),
        "exited" => {
            fw.act("running");
            fw.act("exited");
        }
        "running" => fw.act("running"),
        _ => {
            fw.act("running");
            fw.act("pause");
        }
    }
}

#[test]
fn every_verb_answers_in_every_state_as_the_table_says() {
    let mounted = Mounted::new();
    thread::scope(|scope| {
        for state in ["undeployed", "exited", "running", "paused"] {
            let mounted = &mounted;
            scope.spawn(move || {
                let fw = mounted.firewall(state);
                for cell in column(state) {
                    reach(&fw, state);
                    cell.holds(mounted, &fw);
                }
            });
        }
    });
}

#[test]
fn a_guest_that_was_deployed_and_never_started_answers_as_the_table_says() {
    let mounted = Mounted::with_odd(Options::default());
    let cells: Vec<_> = column("created").map(|cell| (mounted.odd(cell.verb), cell)).collect();
    thread::scope(|scope| {
        for (odd, _) in &cells {
            // Not started again at mount, or there would be nothing to see.
            odd.put("config/boot.conf", "restart = \"no\"\n");
            odd.put("say", "prepare: wait\n");
            scope.spawn(|| assert_eq!(errno(odd.try_act("activate")), libc::ECONNABORTED));
        }
        for (odd, _) in &cells {
            eventually("it is deployed and waits", || odd.status() == "created");
        }
        mounted.kill();
    });
    mounted.mount();
    for (odd, cell) in &cells {
        odd.put("say", "");
        cell.holds(&mounted, odd);
    }
}

#[test]
fn forget_drops_the_record_and_touches_nothing_else() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let (guest, address) = (mounted.guest(&fw), fw.address().to_string());
    let pings = || {
        let mut ping = std::process::Command::new("ping");
        ping.args(["-c", "1", "-W", "1", &address]).output().expect("ping").status.success()
    };
    assert!(pings());
    fw.act("forget");
    assert_eq!(fw.status(), "undeployed");
    assert!(guest.join("run.json").exists() && pings(), "the guest goes on");
    assert!(mounted.log().contains("is forgotten"), "{}", mounted.log());
    // The instance's next guest is another one.
    fw.act("activate");
    assert_ne!(fw.address().to_string(), address);
    assert!(pings() && fw.answers_ping());
    fw.act("destroy");
    assert!(pings());
    fs::remove_dir(fw.path()).expect("what has no record can be removed");
    end_guest(&guest);
}
