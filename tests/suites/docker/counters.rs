//! Counters of guests on other hosts.

use nfio_tests::{Engine, Mounted, eventually};
use std::time::{Duration, Instant};

#[test]
fn of_a_remote_guest_grow_and_are_read_from_memory() {
    let engine = Engine::remote();
    let mounted = Mounted::on(engine.by_tls());
    let fw = mounted.firewall("counted");
    fw.act("activate");
    let before = fw.counter("rx_bytes");
    assert!(fw.answers_ping());
    eventually("it grows with the traffic", || fw.counter("rx_bytes") > before);
    let start = Instant::now();
    for _ in 0..20 {
        fw.counter("rx_bytes");
    }
    // The engine takes a second to measure.
    assert!(start.elapsed() < Duration::from_secs(5), "20 reads took {:?}", start.elapsed());
    let last = fw.counter("rx_bytes");
    fw.act("pause");
    let paused = fw.counter("rx_bytes");
    assert!(paused >= last, "{paused} of a paused guest, {last} before");
    // Nothing changes, and it stays readable.
    assert_eq!(fw.counter("rx_bytes"), paused);
    fw.act("unpause");
    fw.act("restart");
    assert!(fw.answers_ping());
    eventually("they follow a restart", || fw.try_get("stats/rx_bytes").is_ok_and(|text| text != "0\n"));
    fw.act("destroy");
}

#[test]
fn of_a_paused_remote_guest_that_nobody_has_read_before_are_there() {
    let engine = Engine::remote();
    let mounted = Mounted::on(engine.by_tls());
    let fw = mounted.firewall("paused");
    fw.act("activate");
    assert!(fw.answers_ping());
    fw.act("pause");
    assert!(fw.counter("rx_bytes") > 0);
    fw.act("destroy");
}

#[test]
fn of_a_local_guest_follow_its_restarts_and_stay_readable_while_it_is_paused() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("local");
    fw.act("activate");
    for verb in ["restart", "pause"] {
        let before = fw.counter("rx_bytes");
        assert!(fw.answers_ping());
        assert!(fw.counter("rx_bytes") > before);
        fw.act(verb);
    }
    assert!(fw.counter("rx_bytes") > 0);
    fw.act("destroy");
}
