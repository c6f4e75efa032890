//! The states of a guest, and what is kept over them. Verbs in states: `verb_table`.

use nfio_tests::{Mounted, errno};

#[test]
fn status_goes_through_the_words_of_the_contract() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let mut seen = vec![fw.status()];
    for verb in ["activate", "pause", "unpause", "stop", "start", "destroy"] {
        fw.act(verb);
        seen.push(fw.status());
    }
    assert_eq!(seen, ["undeployed", "running", "paused", "running", "exited", "running", "undeployed"]);
}

#[test]
fn a_running_guest_has_an_address_answers_pings_and_counts_bytes() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let before = (fw.counter("rx_bytes"), fw.counter("tx_bytes"));
    assert!(fw.answers_ping());
    assert!(fw.counter("rx_bytes") > before.0 && fw.counter("tx_bytes") > before.1);
    fw.act("destroy");
}

#[test]
fn values_of_a_guest_that_is_not_there_or_does_not_run_are_errors() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let values = ["machine/vm.ip", "stats/rx_bytes", "stats/tx_bytes", "stats/pkt_drops", "stats/rules"];
    for value in values {
        assert_eq!(errno(fw.try_get(value)), libc::ENXIO, "{value}");
    }
    fw.act("activate");
    fw.act("stop");
    for value in values {
        assert_eq!(errno(fw.try_get(value)), libc::EHOSTDOWN, "{value}");
    }
    fw.act("destroy");
}

#[test]
fn counters_of_a_paused_guest_stay_readable() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    fw.act("pause");
    assert!(fw.counter("rx_bytes") < u64::MAX);
    fw.act("destroy");
}

#[test]
fn a_guest_keeps_its_layer_over_stop_and_start_and_loses_it_at_destroy() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    fw.run("echo kept > /root-file");
    fw.act("stop");
    fw.act("start");
    assert_eq!(fw.run("cat /root-file"), "kept");
    fw.act("destroy");
    fw.act("activate");
    assert_eq!(fw.run("test -e /root-file || echo gone"), "gone");
    fw.act("destroy");
}

#[test]
fn limits_of_memory_and_cpus_reach_the_guests_control_group() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("machine/vm.memory", "64M\n");
    fw.put("machine/vm.vcpu", "0.5\n");
    fw.act("activate");
    // More than its memory allows: the kernel ends the process, not the guest.
    let outcome = fw.try_write("command", "head -c 200000000 /dev/zero | tail >/dev/null");
    assert_eq!(errno(outcome), libc::EREMOTEIO);
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}
