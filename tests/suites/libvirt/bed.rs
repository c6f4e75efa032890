//! The ground of these suites: the test bed's libvirtd boots the virtual machine of `examples/images/vm.sh`, and nothing
//! is left of it.

use nfio_tests::{Libvirtd, eventually, vm};
use serde_json::{Value, json};
use std::fs;

#[test]
fn a_machine_boots_takes_a_rule_and_ends() {
    let daemon = Libvirtd::machines(1);
    let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
    let xml = directory.path().join("vm-bed.xml");
    let console = directory.path().join("console");
    fs::write(&xml, domain(&console.display().to_string())).expect("a domain's XML");
    daemon.virsh(&["define", &xml.display().to_string()]);
    daemon.virsh(&["start", "vm-bed"]);
    eventually("the guest says that it is up", || {
        fs::read_to_string(&console).is_ok_and(|words| words.contains("vm-bed is up"))
    });
    eventually("the agent answers", || {
        daemon.try_virsh(&["qemu-agent-command", "vm-bed", r#"{"execute":"guest-ping"}"#]).status.success()
    });

    let by_lease = address(&daemon, "lease");
    assert_eq!(by_lease, address(&daemon, "agent"), "both know the guest's address");
    let pings = || {
        let mut ping = daemon.network().command("ping");
        ping.args(["-n", "-c", "1", "-W", "2", &by_lease]).output().expect("ping").status.success()
    };
    assert!(pings(), "a ping of {by_lease}");

    // What daemon and guest know of each other outlives the daemon.
    daemon.kill();
    assert!(pings(), "the guest needs no daemon");
    daemon.run();
    // The base64 of: table inet t { chain i { type filter hook input priority 0; icmp type echo-request drop; }; }
    let rules = "dGFibGUgaW5ldCB0IHsgY2hhaW4gaSB7IHR5cGUgZmlsdGVyIGhvb2sgaW5wdXQgcHJpb3JpdHkgMDsgaWNtcCB0eXBlIGVjaG8tcmVxdWVzdCBkcm9wOyB9OyB9Cg==";
    let arguments =
        json!({"path": "/usr/sbin/nft", "arg": ["-f", "-"], "input-data": rules, "capture-output": true});
    let pid = agent(&daemon, json!({"execute": "guest-exec", "arguments": arguments}))["pid"].clone();
    let status = json!({"execute": "guest-exec-status", "arguments": {"pid": pid}});
    let mut ended = Value::Null;
    eventually("nft ends", || {
        ended = agent(&daemon, status.clone());
        ended["exited"] == true
    });
    assert_eq!(ended["exitcode"], 0, "{ended}");
    assert!(!pings(), "the rule drops them");

    daemon.virsh(&["shutdown", "vm-bed", "--mode", "agent"]);
    eventually("the guest ends", || daemon.virsh(&["domstate", "vm-bed"]) == "shut off");
    daemon.virsh(&["undefine", "vm-bed"]);
    assert_eq!(daemon.domains(), [""; 0]);
    assert_eq!(daemon.taps(), [""; 0]);
}

/// The guest's IPv4 address in the daemon's network, as this source of libvirt's knows it.
fn address(daemon: &Libvirtd, source: &str) -> String {
    let mut address = None;
    eventually(&format!("an address by {source}"), || {
        let output = daemon.try_virsh(&["domifaddr", "vm-bed", "--source", source]);
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        address = words
            .split_whitespace()
            .find(|word| word.starts_with("10.98."))
            .and_then(|word| word.split('/').next())
            .map(str::to_owned);
        address.is_some()
    });
    address.expect("found")
}

/// Asks the guest's agent, which must succeed.
fn agent(daemon: &Libvirtd, question: Value) -> Value {
    let answer = daemon.virsh(&["qemu-agent-command", "vm-bed", &question.to_string()]);
    let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["return"].take()
}

fn domain(console: &str) -> String {
    let image = vm();
    let image = image.display();
    let network = Libvirtd::NETWORK;
    format!(
        "<domain type='qemu'>
  <name>vm-bed</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{image}/vmlinuz</kernel>
    <initrd>{image}/initrd.img</initrd>
    <cmdline>console=ttyS0 quiet nfio.hostname=vm-bed</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
    <interface type='network'>
      <source network='{network}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='file'><source path='{console}' append='on'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}
