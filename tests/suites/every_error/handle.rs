//! What the handle that a module is lent answers: all that the life cycle does from its own verb, elsewhere as the
//! table says.

use super::{say, told};
use nfio_tests::{Mounted, Options, errno};
use std::fs;

#[test]
fn an_own_verb_may_do_what_the_life_cycle_does() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    let poke = |operation: &str| {
        say(&odd, &format!("write: do {operation}"));
        errno(odd.try_write("poke", "x"))
    };
    assert_eq!(poke("start"), libc::ENXIO);
    told(&odd, 702, "VNFNotFoundError", "ENXIO", "poke", "not deployed");
    for (operation, status) in [
        ("deploy", "running"),
        ("pause", "paused"),
        ("unpause", "running"),
        ("restart", "running"),
        ("stop", "exited"),
        ("start", "running"),
    ] {
        assert_eq!(poke(operation), 0, "{operation}: {}", odd.get("last_error"));
        assert_eq!(odd.status(), status, "{operation}");
        assert_eq!(odd.get("last_error"), "", "{operation}");
    }
    assert_eq!(poke("deploy"), libc::EEXIST);
    assert_eq!(poke("destroy"), libc::EIO, "one that runs goes by force only");
    told(&odd, 706, "VNFDestroyError", "EIO", "poke", "force");
    assert_eq!(odd.status(), "running");
    assert_eq!(poke("stop"), 0);
    assert_eq!(poke("destroy"), 0);
    assert_eq!(odd.status(), "undeployed");
}

/// What a handle answers in each call. `.`: allowed; `-`: EPERM.
pub(super) const HANDLE: &str = "
                mkdir  getattr  read  value  prepare  configure
type_name       .      .        .     .      .        .
name            .      .        .     .      .        .
user            -      .        .     .      .        .
host            -      .        .     .      .        .
image           -      .        .     .      .        .
driver          -      .        .     .      .        .
read_file       .      .        .     .      .        .
write_file      .      .        .     .      .        .
value_status    -      .        .     .      .        .
value_rx_bytes  -      -        .     .      .        .
guest_log       -      .        .     .      .        .
guest_status    -      -        .     .      .        .
get_id          -      -        .     .      .        .
get_ip          -      -        .     .      .        .
counters        -      -        .     .      .        .
execute         -      -        .     .      -        .
put_file        -      -        -     -      .        .
set_env         -      -        -     -      .        -
set_command     -      -        -     -      .        -
deploy          -      -        -     -      -        -
start           -      -        -     -      -        -
pause           -      -        -     -      -        -
unpause         -      -        -     -      -        -
restart         -      -        -     -      -        -
stop            -      -        -     -      -        -
destroy-force   -      -        -     -      -        -
";

#[test]
fn a_handle_refuses_whatever_is_beyond_its_call() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("try.a");
    let heard = || odd.try_get("heard").expect("what the module was answered");
    let mut columns = vec![("mkdir", heard())];
    odd.act("activate");
    say(&odd, "getattr: try\nread: try\nwrite: try\nprepare: try\nconfigure: try");
    fs::metadata(odd.file("odd/sized")).expect("stat");
    columns.push(("getattr", heard()));
    columns.push(("read", odd.try_get("odd/value").expect("read")));
    odd.try_write("odd/value", "x").expect("write to a value");
    columns.push(("value", heard()));
    odd.act("reload");
    columns.push(("configure", heard()));
    odd.act("stop");
    say(&odd, "prepare: try");
    odd.act("start");
    columns.push(("prepare", heard()));
    assert_eq!(odd.status(), "running", "nothing of all this changed the guest");

    let mut rows = HANDLE.trim().lines();
    let calls: Vec<_> = rows.next().expect("the heading").split_whitespace().collect();
    for row in rows {
        let mut cells = row.split_whitespace();
        let name = cells.next().expect("a name").replace('_', " ").replace("value ", "value_");
        for (call, cell) in calls.iter().zip(cells) {
            let answers = &columns.iter().find(|(column, _)| column == call).expect("a column").1;
            let answer = answers
                .lines()
                .find_map(|line| {
                    line.replace('_', " ")
                        .replace("value ", "value_")
                        .strip_prefix(&format!("{name} "))
                        .map(str::to_owned)
                })
                .unwrap_or_else(|| panic!("{call}: {name} is not in {answers}"));
            let refused = format!("0 {}", libc::EPERM);
            // In prepare the guest is deployed and does not run: what asks the driver is told so.
            let down = format!("716 {}", libc::EHOSTDOWN);
            match cell {
                "-" => assert_eq!(answer, refused, "{name} in {call}"),
                _ if *call == "prepare" => {
                    assert!(answer == "ok" || answer == down, "{name} in {call}: {answer}")
                }
                _ => assert_eq!(answer, "ok", "{name} in {call}"),
            }
        }
    }
    odd.act("destroy");
}
