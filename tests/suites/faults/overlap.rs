//! Verbs that overlap, of two chains that need the same kernel parameters of nfio's own namespace, and of a chain and one of
//! its members; and what goes wrong while nfio is away.

mod bench;

use nfio_tests::{Instance, Space, state_of};
use std::io;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bench::{Bench, members};

/// How long a verb that should wait is watched.
const WATCH: Duration = Duration::from_millis(500);

/// A second chain in a bench, between a namespace and an interface of its own; both chains share flows in nfio's namespace.
fn another(bench: &Bench) -> (Space, Instance) {
    let client = Space::new(&["192.0.2.20/32"]);
    bench
        .machine()
        .sh("ip link add wan1 type bridge; ip address add 203.0.113.1/24 dev wan1; ip link set wan1 up");
    let [c, d] = members(&bench.mounted, ["c", "d"]);
    let chain = bench.mounted.chain("other", [&client.end(), "wan1"], &[("x", &[&c, &d], &[])]);
    (client, chain)
}

/// Gives a verb time to do something that it must not do yet.
fn watch(verb: &ScopedJoinHandle<'_, io::Result<()>>) {
    let start = Instant::now();
    while start.elapsed() < WATCH && !verb.is_finished() {
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn parameters_that_two_chains_share_are_restored_by_the_last_one_however_their_verbs_overlap() {
    let bench = Bench::new();
    let (_client, other) = another(&bench);
    let before = bench.machine().state();
    let policy = || bench.machine().sh("cat /proc/sys/net/ipv4/fib_multipath_hash_policy");
    // The one has found out who needs the parameters while the other goes, or comes.
    for (begin, verb, after) in [("running", "destroy", "0\n"), ("undeployed", "activate", "3\n")] {
        bench.chain.act("running");
        other.act(begin);
        assert_eq!(policy(), "3\n");
        let point = "1 Chain: record of the removal";
        bench.points.hold(&bench.chain, point);
        thread::scope(|scope| {
            let first = scope.spawn(|| bench.chain.try_act("destroy"));
            bench.points.await_held(&bench.chain, point);
            let second = scope.spawn(|| other.try_act(verb));
            watch(&second);
            bench.points.release(&bench.chain);
            first.join().expect("a write").expect("destroy");
            second.join().expect("a write").expect(verb);
        });
        assert_eq!(policy(), after, "after destroy of the one and {verb} of the other");
        other.act("undeployed");
        assert_eq!(bench.machine().state(), before);
    }
}

#[test]
fn a_member_that_is_started_anew_in_the_middle_of_activate_is_in_the_chain() {
    let bench = Bench::new();
    for point in ["1 Chain: pair made", "4 Chain: namespace furnished", "1 Chain: member configured"] {
        bench.points.hold(&bench.chain, point);
        thread::scope(|scope| {
            let activate = scope.spawn(|| bench.chain.try_act("activate"));
            bench.points.await_held(&bench.chain, point);
            let restart = scope.spawn(|| bench.members[0].try_act("restart"));
            watch(&restart);
            bench.points.release(&bench.chain);
            activate.join().expect("a write").expect("activate");
            restart.join().expect("a write").expect("restart");
        });
        // At once: it had its links back before it was configured, whoever came first.
        assert_eq!(bench.truth().as_deref(), Ok("running"), "restarted at {point}");
        assert!(bench.members[0].run("ip link").contains("out0"), "restarted at {point}");
        bench.act("destroy").and_then(|()| bench.truth()).expect("nothing is left");
    }
}

#[test]
fn a_member_that_is_destroyed_in_the_middle_of_activate_fails_it_and_nothing_is_left() {
    let bench = Bench::new();
    let others = || (bench.client().state(), bench.members[1].run(&state_of()), bench.leases("chains"));
    let (before, point) = (others(), "1 Chain: pair made");
    bench.points.hold(&bench.chain, point);
    thread::scope(|scope| {
        let activate = scope.spawn(|| bench.chain.try_act("activate"));
        bench.points.await_held(&bench.chain, point);
        bench.members[0].act("destroy");
        bench.points.release(&bench.chain);
        activate.join().expect("a write").expect_err("activate without a member");
    });
    assert!(bench.chain.get("last_error").contains("firewall/a"), "{}", bench.chain.get("last_error"));
    assert_eq!((bench.chain.status().as_str(), others()), ("undeployed", before));
    bench.members[0].act("activate");
    bench.act("activate").and_then(|()| bench.await_running()).expect("the chain runs");
}

#[test]
fn what_was_set_back_or_taken_away_is_mended_before_status_says_running() {
    let bench = Bench::new();
    bench.act("activate").expect("activate");
    bench.members[0].act("restart");
    // Its boot.conf says 1, and is written anew as it begins to forward.
    assert_eq!(bench.members[0].run("cat /proc/sys/net/ipv4/conf/all/rp_filter"), "0");
    bench.mounted.kill();
    bench.client().sh("for link in $(ip -o link | sed -n 's/^[0-9]*: \\(nfc[^@]*\\)@.*/\\1/p'); do ip link delete $link; done");
    bench.mounted.mount();
    assert_eq!(bench.truth().as_deref(), Ok("running"));
    bench.act("destroy").and_then(|()| bench.truth()).expect("nothing is left");
}
