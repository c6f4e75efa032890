//! A guest's life as its owner sees it.

use nfio_host::hypervisor::{Execution, Guest, GuestSpec, Hypervisor, Prepared, Status};
use std::fs;
use std::time::{Duration, Instant};

use crate::bed::*;

#[test]
fn a_guest_lives_through_its_whole_life_and_leaves_nothing() {
    let (bed, _one) = bed();
    let spec = bed.spec("");
    let begin = Instant::now();
    let guest = bed.deployed(&spec);
    let deployed = begin.elapsed();
    assert_eq!(bed.status(&guest), Status::Created);
    assert_eq!(bed.oci.get_id(&guest).unwrap(), guest.id);
    assert_eq!(bed.oci.deploy(&spec).unwrap_err().code(), 705);
    assert_eq!(bed.oci.execute_in_guest(&guest, &sh("true")).unwrap_err().code(), 716);
    assert_eq!(bed.oci.get_ip(&guest).unwrap_err().code(), 716);

    let begin = Instant::now();
    bed.oci.start(&guest, &Prepared::default()).unwrap();
    let started = begin.elapsed();
    assert_eq!(bed.status(&guest), Status::Running);
    let address = bed.oci.get_ip(&guest).unwrap();
    assert!(pings(&address), "{address} does not answer");
    until("its first words are in the log", || bed.log(&guest).contains("fw-a is up"));

    let before = bed.oci.counters(&guest).unwrap();
    assert!(pings(&address));
    let after = bed.oci.counters(&guest).unwrap();
    assert!(after.rx_bytes >= before.rx_bytes + 84 && after.tx_bytes >= before.tx_bytes + 84);

    let begin = Instant::now();
    bed.sh(&guest, "true");
    let executed = begin.elapsed();
    bed.sh(&guest, "echo kept > /root/note");
    let begin = Instant::now();
    bed.oci.stop(&guest).unwrap();
    let stopped = begin.elapsed();
    assert!(bed.log(&guest).contains("asked to end"), "SIGTERM was not given: {}", bed.log(&guest));
    assert_eq!(bed.status(&guest), Status::Exited);
    assert_eq!(traces(), [""; 0]);
    assert_eq!(bed.oci.counters(&guest).unwrap_err().code(), 716);
    bed.oci.stop(&guest).unwrap();

    bed.oci.start(&guest, &Prepared::default()).unwrap();
    assert_eq!(out(&bed.sh(&guest, "cat /root/note")), "kept");
    assert_eq!(bed.oci.get_ip(&guest).unwrap(), address);
    bed.oci.restart(&guest, &Prepared::default()).unwrap();
    assert_eq!(out(&bed.sh(&guest, "cat /root/note")), "kept");
    assert!(!images().join("box/root/note").exists());

    assert_eq!(bed.oci.destroy(&guest, false).unwrap_err().code(), 706);
    bed.oci.destroy(&guest, true).unwrap();
    bed.oci.destroy(&guest, true).unwrap();
    assert_eq!(bed.oci.guest_status(&guest).unwrap_err().code(), 702);
    assert_eq!(traces(), [""; 0]);
    assert!(groups(&guest).is_empty(), "{:?}", groups(&guest));
    assert_eq!(leases(), 0);
    assert_eq!(fs::read_dir(bed.dir.path().join("oci/guests")).unwrap().count(), 0);
    println!("deploy {deployed:?}, start {started:?}, exec {executed:?}, stop {stopped:?}");
}

#[test]
fn commands_get_stdin_and_answer_with_exit_code_stdout_and_stderr() {
    let (bed, _one) = bed();
    let guest =
        bed.up(&bed.spec("user = \"1000:1000\"\ncommand = [\"sleep\", \"1000\"]\n[env]\nCOLOUR = \"red\""));
    let run = |argv: &[&str], stdin: &[u8]| {
        let argv = argv.iter().map(ToString::to_string).collect();
        bed.oci.execute_in_guest(&guest, &Execution { argv, stdin: stdin.into() }).unwrap()
    };
    let both = run(&["sh", "-c", "cat; echo no >&2; exit 7"], b"yes");
    assert_eq!((both.exit_code, &both.stdout[..], &both.stderr[..]), (7, &b"yes"[..], &b"no\n"[..]));
    assert_eq!(run(&["sh", "-c", "kill -9 $$"], b"").exit_code, 137);
    assert_eq!(
        out(&run(&["sh", "-c", "echo $COLOUR; id -u; hostname; head -c1 /proc/1/comm"], b"")),
        "red\n0\nfw-a\ns"
    );
    let missing = run(&["nothing-like-this"], b"");
    assert!(
        missing.exit_code == 127 && String::from_utf8_lossy(&missing.stderr).contains("not found"),
        "{missing:?}"
    );
    let denied = run(&["/etc/passwd"], b"");
    assert!(denied.exit_code == 126 && !denied.stderr.is_empty(), "{denied:?}");
    // More than the pipes hold, both ways at once, and more than is kept.
    let big = vec![b'x'; 2 << 20];
    assert_eq!(run(&["cat"], &big).stdout, big);
    let flood = run(&["sh", "-c", "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2"], b"");
    assert_eq!((flood.stdout.len(), flood.stderr.len(), flood.exit_code), (2 << 20, 2 << 20, 0));
    // Input that nobody reads, and a child that stays in the background with our pipes.
    assert_eq!(run(&["true"], &big).exit_code, 0);
    assert_eq!(out(&run(&["sh", "-c", "sleep 1000 & echo away"], b"")), "away");
    bed.oci.pause(&guest).unwrap();
    assert_eq!(bed.oci.execute_in_guest(&guest, &sh("true")).unwrap_err().code(), 716);
    bed.oci.destroy(&guest, true).unwrap();
    assert_eq!(traces(), [""; 0]);
}

#[test]
fn pause_stops_it_unpause_goes_on_and_a_paused_guest_stops_and_goes() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec("command = [\"sh\", \"-c\", \"while :; do echo tick; sleep 0.02; done\"]"));
    until("it ticks", || bed.log(&guest).len() > 10);
    bed.oci.pause(&guest).unwrap();
    assert_eq!(bed.status(&guest), Status::Paused);
    until("what it had written is in the log", || {
        let length = bed.log(&guest).len();
        std::thread::sleep(Duration::from_millis(100));
        length == bed.log(&guest).len()
    });
    assert!(bed.oci.counters(&guest).is_ok());
    let length = bed.log(&guest).len();
    assert_eq!(bed.oci.start(&guest, &Prepared::default()).unwrap_err().code(), 707);
    bed.oci.unpause(&guest).unwrap();
    assert_eq!(bed.status(&guest), Status::Running);
    until("it ticks again", || bed.log(&guest).len() > length);
    bed.oci.pause(&guest).unwrap();
    let begin = Instant::now();
    bed.oci.stop(&guest).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(9), "a first process that ignores SIGTERM was waited for");
    assert_eq!(bed.status(&guest), Status::Exited);
    bed.oci.start(&guest, &Prepared::default()).unwrap();
    bed.oci.pause(&guest).unwrap();
    bed.oci.destroy(&guest, true).unwrap();
    assert_eq!(traces(), [""; 0]);
}

#[test]
fn reads_cost_microseconds() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec(""));
    let time = |work: &dyn Fn()| {
        let begin = Instant::now();
        (0..1000).for_each(|_| work());
        begin.elapsed() / 1000
    };
    let status = time(&|| assert_eq!(bed.status(&guest), Status::Running));
    let counters = time(&|| assert!(bed.oci.counters(&guest).is_ok()));
    println!("status {status:?}, counters {counters:?}");
    assert!(
        status < Duration::from_millis(1) && counters < Duration::from_millis(1),
        "{status:?} {counters:?}"
    );
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let (bed, _one) = bed();
    for (conf, word) in [
        ("command = [\"/no/such\"]", "/no/such"),
        ("command = [\"/etc/passwd\"]", "/etc/passwd"),
        ("[sysctls]\n\"net.ipv4.conf.eth7.rp_filter\" = \"1\"", "net.ipv4.conf.eth7.rp_filter"),
    ] {
        let guest = bed.deployed(&bed.spec(conf));
        let error = bed.oci.start(&guest, &Prepared::default()).unwrap_err();
        assert!(error.code() == 707 && error.to_string().contains(word), "{}: {error}", error.code());
        assert_eq!(bed.status(&guest), Status::Created);
        until("its monitor is gone", || traces().is_empty());
        bed.oci.destroy(&guest, true).unwrap();
    }
    let missing = bed.spec("");
    let error = bed.oci.deploy(&GuestSpec { image: "nope".into(), ..missing.clone() }).unwrap_err();
    assert!(error.code() == 705 && error.to_string().contains("nope"), "{error}");
    assert_eq!(bed.oci.get_id(&Guest::of(&missing)).unwrap_err().code(), 702);
    let gone = bed.deployed(&bed.spec("command = [\"sh\", \"-c\", \"echo last words; exit 3\"]"));
    bed.oci.start(&gone, &Prepared::default()).unwrap();
    until("it has ended by itself", || bed.status(&gone) == Status::Exited);
    until("its last words are in the log", || bed.log(&gone) == "last words\n");
    bed.oci.destroy(&gone, true).unwrap();
    until("nothing is left", || traces().is_empty());
}

#[test]
fn guests_start_side_by_side_with_addresses_of_their_own() {
    let (bed, _one) = bed();
    let guests: Vec<Guest> = (0..8).map(|_| bed.deployed(&bed.spec(""))).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for guest in &guests {
            scope.spawn(|| bed.oci.start(guest, &Prepared::default()).unwrap());
        }
    });
    println!("8 guests at once: {:?}", begin.elapsed());
    let mut addresses: Vec<String> = guests.iter().map(|guest| bed.oci.get_ip(guest).unwrap()).collect();
    assert!(addresses.iter().all(|address| pings(address)), "{addresses:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 8);
    std::thread::scope(|scope| {
        for guest in &guests {
            scope.spawn(|| bed.oci.destroy(guest, true).unwrap());
        }
    });
    until("nothing is left", || traces().is_empty());
}
