//! Guests outlive nfio, also its kill -9; what happened meanwhile is seen, and their words are kept.

use super::{RULES, listed};
use nfio_tests::{Engine, Mounted, errno, eventually};
use std::fs;

/// A guest that counts, on both of its streams.
const COUNTS: &str = r#"command = ["sh", "-c", "i=0; while true; do i=$((i+1)); echo line $i; i=$((i+1)); echo line $i >&2; sleep 0.01; done"]
"#;

fn die_and_come_back(mounted: &Mounted) {
    mounted.kill();
    eventually("the mount is stale", || errno(fs::read_dir(mounted.path())) == libc::ENOTCONN);
    mounted.mount();
}

#[test]
fn they_are_found_again_as_they_are() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let [same, ended, gone] = ["same", "ended", "gone"].map(|name| mounted.firewall(name));
    for fw in [&same, &ended, &gone] {
        fw.put("config/nf_conf", RULES);
        fw.put("config/boot.conf", "restart = \"no\"\n");
        fw.act("activate");
    }
    let id = engine.docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "root-firewall-same"]);
    mounted.kill();
    engine.docker(&["kill", "root-firewall-ended"]);
    engine.docker(&["rm", "-f", "root-firewall-gone"]);
    eventually("the mount is stale", || errno(fs::read_dir(mounted.path())) == libc::ENOTCONN);
    mounted.mount();
    assert_eq!((same.status(), ended.status()), ("running".into(), "exited".into()));
    assert_eq!(errno(gone.try_get("stats/rx_bytes")), libc::ENXIO);
    assert!(!same.answers_ping());
    assert_eq!(same.run("echo still here"), "still here");
    let now = engine.docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "root-firewall-same"]);
    assert_eq!(now, id, "nothing was restarted");
    for fw in [&same, &ended, &gone] {
        fw.act("destroy");
    }
    assert!(listed(engine, &mounted).is_empty());
}

#[test]
fn no_line_of_theirs_is_lost_or_doubled() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("counts");
    fw.put("config/boot.conf", COUNTS);
    fw.act("activate");
    let lines = |least: usize| {
        eventually("it counts on", || fw.get("log").lines().count() > least);
        fw.get("log").lines().count()
    };
    let seen = lines(100);
    die_and_come_back(&mounted);
    let seen = lines(seen + 100);
    die_and_come_back(&mounted);
    lines(seen + 100);
    fw.act("stop");
    let log = fw.get("log");
    // The engine takes lines of two streams in the order in which it reads them.
    let mut numbers: Vec<usize> =
        log.lines().map(|line| line.strip_prefix("line ").expect(line).parse().expect(line)).collect();
    numbers.sort_unstable();
    let whole: Vec<usize> = (1..=numbers.len()).collect();
    assert!(numbers == whole, "lost or doubled: {numbers:?}");
    fw.act("destroy");
}

#[test]
fn long_lines_and_bursts_are_whole() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("burst");
    let script = "head -c 100000 /dev/zero | tr '\\\\0' x; echo; (seq 1 2000 >&2) & seq 2001 4000; wait; echo end; exec sleep 1000";
    fw.put("config/boot.conf", &format!("command = [\"sh\", \"-c\", \"{script}\"]\n"));
    fw.act("activate");
    eventually("it has said all", || fw.get("log").contains("end"));
    fw.act("stop");
    let log = fw.get("log");
    // The engine takes a long line in parts, and lines of the other stream may come between them.
    assert_eq!(log.matches('x').count(), 100_000);
    let mut numbers: Vec<u32> = log.replace('x', "").lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    assert!(numbers == (1..=4000).collect::<Vec<_>>(), "{} numbers", numbers.len());
    fw.act("destroy");
}
