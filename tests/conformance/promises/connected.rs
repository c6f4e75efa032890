//! Addresses, counters, forwarding and kernel parameters.

use nfio_host::hypervisor::{Guest, Prepared, Stack};
use std::collections::BTreeSet;

use crate::stage::{Stage, accepted, refused};

pub(crate) fn the_address_is_that_of_the_first_interface(stage: &Stage) {
    let guest = stage.shared();
    let address = stage.address(&guest);
    let shown =
        stage.says(&guest, "/usr/sbin/ip -4 -o addr show dev eth0 | sed 's/.*inet \\([^/]*\\).*/\\1/'");
    assert_eq!(address, shown);
    accepted("pause", stage.driver.pause(&guest));
    assert_eq!(accepted("get_ip of a paused guest", stage.driver.get_ip(&guest)), address);
    accepted("unpause", stage.driver.unpause(&guest));
    let ping =
        stage.ground().near("busybox").args(["ping", "-c", "1", "-W", "5", &address]).output().expect("ping");
    assert!(ping.status.success(), "{address} does not answer");
}

pub(crate) fn counters_grow_with_traffic_and_start_anew(stage: &Stage) {
    let guest = stage.idle();
    let counters = || accepted("counters", stage.driver.counters(&guest));
    let before = counters();
    stage.traffic(&guest);
    stage.until("both ways are counted", || {
        let now = counters();
        now.rx_bytes >= before.rx_bytes + 5 * 1400 && now.tx_bytes >= before.tx_bytes + 5 * 1400
    });
    let last = counters();
    accepted("pause", stage.driver.pause(&guest));
    let paused = accepted("counters of a paused guest", stage.driver.counters(&guest));
    assert!(
        paused.rx_bytes >= last.rx_bytes && paused.tx_bytes >= last.tx_bytes,
        "{paused:?} after {last:?}"
    );
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    let anew = counters();
    assert!(anew.tx_bytes < 5 * 1400, "after a restart {anew:?}, before it {last:?}");
    let other = stage.shared();
    let before_other = accepted("counters", stage.driver.counters(&other));
    stage.traffic(&guest);
    let others = accepted("counters", stage.driver.counters(&other));
    assert!(
        others.tx_bytes < before_other.tx_bytes + 5 * 1400,
        "another guest's traffic was counted: {others:?}"
    );
}

pub(crate) fn forwarding_is_off_until_it_is_switched_on(stage: &Stage) {
    // A new network namespace may take the machine's setting over.
    let set_on = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"];
    assert!(
        stage.ground().near("busybox").args(set_on).status().expect("sh").success(),
        "ip_forward of the host"
    );
    let mut spec = stage.spec(&stage.idle_conf());
    spec.needs.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
    let guest = stage.up(&spec);
    let forwards = |guest: &Guest| stage.says(guest, "cat /proc/sys/net/ipv4/ip_forward");
    let set = |guest: &Guest, on| accepted("set_forwarding", stage.driver.set_forwarding(guest, on));
    // What no driver reaches, the engine sets at the start.
    let withheld = if stage.facts.local { "0" } else { "1" };
    assert_eq!(forwards(&guest), withheld, "before the guest is configured");
    set(&guest, true);
    assert_eq!(forwards(&guest), "1", "after set_forwarding(true)");
    set(&guest, false);
    assert_eq!(forwards(&guest), withheld, "after set_forwarding(false)");
    set(&guest, true);
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    assert_eq!(forwards(&guest), withheld, "after a restart");
    let asked_by_boot_conf = format!("{}[sysctls]\n\"net.ipv4.ip_forward\" = \"1\"", stage.idle_conf());
    let guest = stage.up(&stage.spec(&asked_by_boot_conf));
    assert_eq!(forwards(&guest), withheld, "boot.conf has asked for it");
    let plain = stage.shared();
    set(&plain, true);
    assert_eq!(forwards(&plain), "0", "nobody has asked for it");
}

pub(crate) fn kernel_parameters_are_set_and_boot_confs_win(stage: &Stage) {
    let conf = "[sysctls]\n\"net.ipv4.conf.all.rp_filter\" = \"2\"\n\"kernel.shmmax\" = \"65536\"";
    let mut spec = stage.spec(&format!("{}{conf}", stage.idle_conf()));
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.all.rp_filter", "1"),
        ("net.ipv4.ip_unprivileged_port_start", "77"),
        ("net.ipv4.conf.eth0.accept_redirects", "0"),
    ] {
        spec.needs.sysctls.insert(key.into(), value.into());
    }
    let guest = stage.up(&spec);
    let show = "cd /proc/sys; cat net/ipv4/conf/all/rp_filter kernel/shmmax net/ipv4/ip_unprivileged_port_start \
                net/ipv4/conf/eth0/accept_redirects";
    assert_eq!(stage.says(&guest, show), "2\n65536\n77\n0");
    // Switching forwarding resets parameters of the interfaces.
    accepted("set_forwarding", stage.driver.set_forwarding(&guest, true));
    assert_eq!(stage.says(&guest, show), "2\n65536\n77\n0", "with forwarding");
}

/// A virtual machine is a bridge away, where it is one of this machine.
fn stack_of_a_machine(stage: &Stage, guest: &Guest) {
    match stage.driver.stack(guest) {
        Ok(Stack::Machine(machine)) if stage.facts.local => {
            let run = accepted("run_id", stage.driver.run_id(guest));
            assert_eq!((Some(machine.run), machine.is_up), (run, true));
        }
        Err(e) if !stage.facts.local => {
            assert_eq!(e.errno(), libc::EOPNOTSUPP, "{e}");
            assert!(e.to_string().contains("service chains"), "{e}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn the_network_namespace_is_the_guests_own_where_there_is_one(stage: &Stage) {
    let guest = stage.shared();
    if stage.facts.machine || !stage.facts.local {
        let error = stage.driver.netns(&guest).expect_err("a namespace of this machine");
        assert_eq!(error.errno(), libc::EOPNOTSUPP, "{error}");
        assert!(error.to_string().contains("service chains"), "{error}");
        stack_of_a_machine(stage, &guest);
        return;
    }
    let number = || {
        let netns = accepted("netns", stage.driver.netns(&guest));
        std::os::unix::fs::MetadataExt::ino(&netns.metadata().expect("fstat"))
    };
    assert_eq!(format!("net:[{}]", number()), stage.says(&guest, "readlink /proc/self/ns/net"));
    accepted("pause", stage.driver.pause(&guest));
    number();
    accepted("unpause", stage.driver.unpause(&guest));
    stage.stop(&guest);
    refused("netns of a guest that does not run", stage.driver.netns(&guest), 716);
    stage.start(&guest);
    assert_eq!(
        format!("net:[{}]", number()),
        stage.says(&guest, "readlink /proc/self/ns/net"),
        "after a start"
    );
}

pub(crate) fn guests_live_side_by_side(stage: &Stage) {
    let specs: Vec<_> = (0..stage.facts.crowd).map(|_| stage.spec(&stage.idle_conf())).collect();
    let each = |work: &(dyn Fn(usize) -> Result<String, String> + Sync)| -> Vec<String> {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..specs.len()).map(|n| scope.spawn(move || work(n))).collect();
            let joined = all.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a panic".into())));
            joined.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("side by side: {e}"))
        })
    };
    let driver = &stage.driver;
    let addresses = each(&|n| {
        let id = driver.deploy(&specs[n]).map_err(|e| format!("deploy: {e}"))?;
        let guest = Guest { id, ..Guest::of(&specs[n]) };
        driver.start(&guest, &Prepared::default()).map_err(|e| format!("start: {e}"))?;
        Ok(stage.address(&guest))
    });
    let different: BTreeSet<&String> = addresses.iter().collect();
    assert_eq!(different.len(), specs.len(), "guests share an address: {addresses:?}");
    for spec in &specs {
        let name = stage.says(&Guest::of(spec), "hostname");
        assert_eq!(name, spec.labels.instance, "a command went to another guest");
    }
    each(&|n| {
        driver
            .destroy(&Guest::of(&specs[n]), true)
            .map(|()| String::new())
            .map_err(|e| format!("destroy: {e}"))
    });
}
