//! An engine that goes away, comes back, or hears and does not answer.

use super::RULES;
use nfio_tests::{Engine, Instance, Mounted, Options, errno, eventually};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

fn has_its_rules(fw: &Instance) -> bool {
    fw.try_get("status").is_ok_and(|status| status == "running\n")
        && fw.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request"))
}

#[test]
fn killed_and_started_again_it_has_its_guests_back() {
    let engine = Engine::start();
    let mounted = Mounted::on(engine.by_socket());
    let (fw, stopped) = (mounted.firewall("back"), mounted.firewall("stays-down"));
    fw.put("config/nf_conf", RULES);
    fw.act("activate");
    stopped.act("activate");
    stopped.act("stop");
    // More than once: how fast an engine comes back is not always the same.
    for _ in 0..3 {
        engine.kill();
        eventually("a read tells that nobody answers", || {
            let start = Instant::now();
            let error = errno(fw.try_get("status"));
            assert!(start.elapsed() < Duration::from_secs(6), "a read took {:?}", start.elapsed());
            error == libc::ECONNREFUSED
        });
        for value in ["stats/rx_bytes", "machine/vm.ip", "status"] {
            assert_eq!(errno(fw.try_get(value)), libc::ECONNREFUSED, "{value}");
        }
        assert_eq!(errno(fw.try_act("stop")), libc::ECONNREFUSED);
        let error = fw.get("last_error");
        assert!(error.contains("701") && error.contains("docker.sock"), "{error}");
        engine.run();
        eventually("the guest is back with its rules", || has_its_rules(&fw));
        assert!(!fw.answers_ping());
        assert_eq!(stopped.status(), "exited");
        // What failed meanwhile was the verb, not the wish.
        fw.act("running");
    }
    fw.act("destroy");
    stopped.act("destroy");
}

#[test]
fn ended_in_good_order_and_started_again_it_has_its_guests_back() {
    let engine = Engine::start();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("order");
    fw.put("config/nf_conf", RULES);
    fw.act("activate");
    engine.end();
    eventually("a read tells that nobody answers", || errno(fw.try_get("status")) == libc::ECONNREFUSED);
    engine.run();
    eventually("the guest is back with its rules", || has_its_rules(&fw));
    fw.act("destroy");
}

#[test]
fn one_that_hears_and_does_not_answer_fails_reads_within_the_deadline() {
    let engine = Engine::start();
    let config = "[deadlines]\nread = 3\n".to_owned();
    let mounted = Mounted::with(Options { config, place: engine.by_tls(), ..Options::default() });
    let fw = mounted.firewall("silent");
    fw.act("activate");
    let before = fw.counter("rx_bytes");
    engine.signal(Signal::SIGSTOP);
    eventually("reads fail", || {
        let start = Instant::now();
        let error = errno(fw.try_get("status"));
        assert!(start.elapsed() < Duration::from_secs(5), "a read took {:?}", start.elapsed());
        error == libc::ECONNREFUSED || error == libc::ETIMEDOUT
    });
    assert!([libc::ECONNREFUSED, libc::ETIMEDOUT].contains(&errno(fw.try_get("stats/rx_bytes"))));
    engine.signal(Signal::SIGCONT);
    eventually("it answers again", || fw.try_get("status").is_ok_and(|status| status == "running\n"));
    eventually("counters too", || fw.try_get("stats/rx_bytes").is_ok());
    assert!(fw.counter("rx_bytes") >= before);
    fw.act("destroy");
}

#[test]
fn a_mount_succeeds_without_it_and_recovers_by_itself() {
    let engine = Engine::start();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("late");
    fw.put("config/nf_conf", RULES);
    fw.act("activate");
    mounted.umount();
    engine.kill();
    mounted.mount();
    assert_eq!(errno(fw.try_get("status")), libc::ECONNREFUSED);
    engine.run();
    eventually("the guest is back with its rules", || has_its_rules(&fw));
    fw.act("destroy");
}
