//! Many guests at once, and reads of their states.

use nfio_tests::{Engine, Mounted};
use nix::sys::signal::Signal;
use std::thread;
use std::time::{Duration, Instant};

const MANY: usize = 32;

#[test]
fn thirty_two_activated_at_once_all_run_and_reads_of_their_states_cost_no_request() {
    // Its own engine: it is stopped for a moment.
    let engine = Engine::start();
    let mounted = Mounted::on(engine.by_socket());
    let all: Vec<_> = (0..MANY).map(|number| mounted.firewall(&format!("many-{number}"))).collect();
    let start = Instant::now();
    thread::scope(|scope| {
        for fw in &all {
            scope.spawn(|| fw.act("activate"));
        }
    });
    println!("{MANY} activated at once: {:?}", start.elapsed());
    let read_all = || {
        let start = Instant::now();
        for fw in &all {
            assert_eq!(fw.status(), "running", "{}", fw.path().display());
        }
        start.elapsed()
    };
    read_all();
    println!("reads of {MANY} states: {:?}", read_all());
    // Nobody answers requests now; that this is so has not yet been noticed.
    engine.signal(Signal::SIGSTOP);
    let took = read_all();
    engine.signal(Signal::SIGCONT);
    assert!(took < Duration::from_secs(1), "reads of {MANY} states: {took:?}");
    thread::scope(|scope| {
        for fw in &all {
            scope.spawn(|| fw.act("destroy"));
        }
    });
    assert!(super::listed(&engine, &mounted).is_empty());
}
