//! A guest's life, and what it leaves on this machine: nothing. What every driver promises of it is judged by
//! `tests/conformance`.

use nfio_host::hypervisor::{Guest, Hypervisor, Prepared, Status};
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
    let begin = Instant::now();
    bed.oci.start(&guest, &Prepared::default()).unwrap();
    let started = begin.elapsed();
    assert_eq!(bed.status(&guest), Status::Running);
    let address = bed.oci.get_ip(&guest).unwrap();
    assert!(pings(&address), "{address} does not answer");
    until("its first words are in the log", || bed.log(&guest).contains("fw-a is up"));

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

    bed.oci.start(&guest, &Prepared::default()).unwrap();
    assert_eq!(bed.oci.get_ip(&guest).unwrap(), address);
    bed.oci.restart(&guest, &Prepared::default()).unwrap();
    assert!(!images().join("box/root/note").exists());

    bed.oci.destroy(&guest, true).unwrap();
    assert_eq!(traces(), [""; 0]);
    assert!(groups(&guest).is_empty(), "{:?}", groups(&guest));
    assert_eq!(leases(), 0);
    assert_eq!(fs::read_dir(bed.dir.path().join("oci/guests")).unwrap().count(), 0);
    println!("deploy {deployed:?}, start {started:?}, exec {executed:?}, stop {stopped:?}");
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
    let gone = bed.deployed(&bed.spec("command = [\"sh\", \"-c\", \"echo last words; exit 3\"]"));
    bed.oci.start(&gone, &Prepared::default()).unwrap();
    until("it has ended by itself", || bed.status(&gone) == Status::Exited);
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
