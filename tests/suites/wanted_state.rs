//! What a guest is wanted to be outlasts nfio, the guest's processes and the machine; and it never comes back without
//! its rules.

use nfio_tests::{Instance, Mounted, eventually};
use std::fs;
use std::process::Command;

const NO_FORWARDING: &str = "\
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip daddr 192.0.2.9 drop
    }
    chain input {
        type filter hook input priority 0; policy accept;
        icmp type echo-request drop
    }
}
";

/// Ends every process of a guest as a machine that goes down would: its monitor and its first process.
fn end_processes(mounted: &Mounted, instance: &str) {
    let id = fs::read_to_string(mounted.root().join(".nfio/instances/firewall").join(instance).join("id"));
    let directory = mounted.root().join(".nfio/oci/guests").join(id.expect("the id").trim());
    let mut pids = Vec::new();
    for process in fs::read_dir("/proc").expect("proc").flatten() {
        let Ok(command) = fs::read(process.path().join("cmdline")) else { continue };
        if String::from_utf8_lossy(&command).contains(&*directory.to_string_lossy()) {
            pids.push(process.file_name().to_string_lossy().parse().expect("a pid"));
        }
    }
    assert!(!pids.is_empty(), "the guest has a monitor");
    for pid in pids {
        let target = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGKILL).expect("kill");
    }
}

/// The host's end of a guest's link, by its index.
fn host_link(fw: &Instance) -> String {
    let link = fw.run("ip -o link show eth0");
    let index = link.split("@if").nth(1).and_then(|rest| rest.split(':').next());
    index.expect("eth0@ifN").to_owned()
}

/// Indices of all links of the host.
fn links() -> Vec<String> {
    let output = Command::new("ip").args(["-o", "link"]).output().expect("ip");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split(':').next()).map(str::to_owned).collect()
}

/// A network namespace behind the firewall that counts what reaches it: packets to 192.0.2.9 by way of the guest.
struct FarSide {
    name: String,
}

impl FarSide {
    /// Wires the far side to the bridge, reachable through the guest alone.
    fn new(fw: &Instance) -> Self {
        let far = Self { name: format!("far{}", std::process::id()) };
        let guest = fw.address();
        // Both sides are on one bridge: told of the short way, the host would no longer go through the guest.
        far.host("for i in all nfio0; do echo 0 > /proc/sys/net/ipv4/conf/$i/accept_redirects; done");
        far.host(&format!("ip netns add {0}; ip link add {0} type veth peer name far0 netns {0}", far.name));
        far.host(&format!("ip link set {} master nfio0 up", far.name));
        far.inside("ip link set lo up; ip link set far0 up; ip addr add 10.203.255.9/16 dev far0; ip addr add 192.0.2.9/32 dev lo");
        far.inside("nft add table ip count; nft 'add chain ip count in { type filter hook prerouting priority -300; }'; nft add rule ip count in ip daddr 192.0.2.9 counter");
        far.host(&format!("ip route replace 192.0.2.9/32 via {guest}"));
        far
    }

    /// Has the guest forward what is for the far side.
    fn route(fw: &Instance) {
        fw.run("ip route replace 192.0.2.9/32 via 10.203.255.9");
    }

    #[track_caller]
    fn host(&self, script: &str) {
        let output = Command::new("sh").args(["-euc", script]).output().expect("sh");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[track_caller]
    fn inside(&self, script: &str) -> String {
        let net = format!("--net=/run/netns/{}", self.name);
        let output = Command::new("nsenter").args([&net, "sh", "-euc", script]).output().expect("nsenter");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Packets that got through the firewall.
    fn arrived(&self) -> u64 {
        let rules = self.inside("nft list chain ip count in");
        let words: Vec<_> = rules.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "packets").expect("a counter");
        words[at + 1].parse().expect("a number")
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        let _ = Command::new("ip").args(["route", "del", "192.0.2.9/32"]).output();
    }
}

#[test]
fn after_a_machine_went_down_a_firewall_forwards_nothing_before_its_rules_are_in_force() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    // The bridge, and with it the routes of this test, goes with the last guest on it.
    let other = mounted.firewall("fw-b");
    other.act("activate");
    let far = FarSide::new(&fw);
    FarSide::route(&fw);
    let ping = || Command::new("ping").args(["-c", "1", "-W", "1", "192.0.2.9"]).output().expect("ping");
    ping();
    assert!(far.arrived() > 0, "without rules the guest forwards to the far side");

    fw.put("config/nf_conf", NO_FORWARDING);
    // The route has to be there by itself from the first packet on.
    fw.put(
        "config/boot.conf",
        "command = [\"sh\", \"-c\", \"ip route replace 192.0.2.9/32 via 10.203.255.9; exec sleep 1000000\"]\n",
    );
    fw.act("destroy");
    fw.act("activate");
    far.host(&format!("ip route replace 192.0.2.9/32 via {}", fw.address()));
    let link = host_link(&fw);
    mounted.kill();
    end_processes(&mounted, "fw-a");
    // The kernel takes a dying network namespace's rules before its interfaces. The guest's monitor holds it until the
    // link is gone, but the monitor has just been killed too: a machine that goes down takes the wire along.
    eventually("the link is gone", || !links().contains(&link));
    // Packets all the while, from before the guest comes back.
    let before = far.arrived();
    let mut flood = Command::new("ping").args(["-q", "-i", "0.01", "192.0.2.9"]).spawn().expect("ping");
    mounted.mount();
    eventually("the guest runs again", || {
        fw.status() == "running" && !fw.try_get("stats/rules").is_ok_and(|r| r.is_empty())
    });
    eventually("packets reach the guest's rules", || fw.counter("pkt_drops") > 10);
    flood.kill().expect("kill");
    flood.wait().expect("wait");
    assert_eq!(far.arrived(), before, "not one packet came through");
    assert!(!fw.answers_ping());

    // A guest that stops goes as closed as it came.
    let mut flood = Command::new("ping").args(["-q", "-i", "0.002", "192.0.2.9"]).spawn().expect("ping");
    for verb in ["stop", "start", "restart", "stop", "start"] {
        fw.act(verb);
    }
    flood.kill().expect("kill");
    flood.wait().expect("wait");
    assert_eq!(far.arrived(), before, "not one packet came through");
    fw.act("destroy");
    other.act("destroy");
}

#[test]
fn a_guest_that_a_verb_stopped_stays_stopped_over_a_remount() {
    let mounted = Mounted::new();
    let (stopped, never) = (mounted.firewall("fw-a"), mounted.firewall("fw-b"));
    never.put("config/boot.conf", "restart = \"no\"\n");
    stopped.act("activate");
    never.act("activate");
    stopped.act("stop");
    mounted.kill();
    end_processes(&mounted, "fw-b");
    // One that is wanted running comes back; when it has, the others would have too.
    let wanted = mounted.instance("firewall", "fw-c");
    mounted.mount();
    std::fs::create_dir(wanted.path()).expect("mkdir");
    wanted.put("machine/ip", "127.0.0.1\n");
    wanted.put("machine/vm.image", &format!("{}\n", nfio_tests::image().display()));
    wanted.act("activate");
    mounted.kill();
    end_processes(&mounted, "fw-c");
    mounted.mount();
    eventually("the wanted guest runs again", || wanted.status() == "running");
    assert_eq!((stopped.status(), never.status()), ("exited".into(), "exited".into()));
    for fw in [stopped, never, wanted] {
        fw.act("destroy");
    }
}

#[test]
fn a_guest_with_restart_always_comes_back_when_it_ends_by_itself_with_its_rules() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/boot.conf", "restart = \"always\"\ncommand = [\"sleep\", \"3\"]\n");
    fw.put("config/nf_conf", NO_FORWARDING);
    fw.act("activate");
    let runs = || mounted.log().matches("wanted running: starting it").count();
    eventually("it was started again twice", || runs() >= 2);
    eventually("and has its rules", || {
        fw.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request"))
    });
    fw.act("stop");
    assert_eq!(fw.status(), "exited");
    fw.act("destroy");
}

#[test]
fn a_guest_whose_processes_live_is_taken_over_and_not_restarted() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let uptime = fw.run("cut -d' ' -f22 /proc/1/stat");
    mounted.kill();
    mounted.mount();
    assert_eq!(fw.status(), "running");
    assert_eq!(fw.run("cut -d' ' -f22 /proc/1/stat"), uptime, "the same first process");
    assert!(!mounted.log().contains("configuring it"), "it has its rules already");
    fw.act("destroy");
}

#[test]
fn a_root_that_was_moved_takes_its_guests_along_when_somebody_says_so() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    fw.run("echo kept > /kept");
    fw.act("stop");
    mounted.umount();
    let elsewhere = mounted.root().with_file_name("elsewhere");
    fs::rename(mounted.root(), &elsewhere).expect("rename");
    let mount = |further: &[&str]| {
        let mut command = nfio_tests::nfio();
        command
            .args(["mount", "--hypervisor", "Oci"])
            .args(further)
            .arg("--module-root")
            .arg(mounted.module_root());
        command.arg(&elsewhere).arg(mounted.path()).output().expect("nfio mount")
    };
    let refused = mount(&[]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && words.contains("--root-moved") && words.contains("--root-copied"),
        "{words}"
    );
    let moved = mount(&["--root-moved"]);
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    assert_eq!(fw.status(), "exited");
    fw.act("start");
    assert_eq!(fw.run("cat /kept"), "kept");
    fw.act("destroy");
    mounted.umount();
    fs::rename(&elsewhere, mounted.root()).expect("rename back");
}

#[test]
fn a_copied_root_has_an_identity_and_no_guests_of_its_own() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let (copy, place) = (mounted.root().with_file_name("copy"), mounted.root().with_file_name("place"));
    let cp = Command::new("cp").arg("-a").arg(mounted.root()).arg(&copy).status().expect("cp");
    assert!(cp.success());
    fs::create_dir(&place).expect("mkdir");
    let mount = nfio_tests::nfio()
        .args(["mount", "--hypervisor", "Oci", "--root-copied", "--module-root"])
        .arg(mounted.module_root())
        .args([&copy, &place])
        .output()
        .expect("nfio mount");
    assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
    let twin = |file: &str| place.join("nf-types/firewall/fw-a").join(file);
    assert_eq!(fs::read_to_string(twin("status")).expect("status"), "undeployed\n");
    fs::write(twin("action"), "activate\n").expect("the copy's own guest");
    let address = fs::read_to_string(twin("machine/vm.ip")).expect("address");
    assert_ne!(address.trim(), fw.address().to_string());
    fs::write(twin("action"), "destroy\n").expect("destroy");
    assert!(fw.answers_ping(), "the original's guest goes on");
    let umount = nfio_tests::nfio().arg("umount").arg(&place).status().expect("nfio umount");
    assert!(umount.success());
    fw.act("destroy");
}

/// Starts a guest behind nfio's back, as whoever knows its monitor could.
fn start_by_hand(mounted: &Mounted, fw: &Instance) -> std::process::Child {
    let mut monitor = nfio_tests::nfio()
        .args(["oci", "run"])
        .arg(mounted.guest(fw))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a monitor");
    let prepared = br#"{"env":[],"command":null,"files":[],"log":null}"#;
    std::io::Write::write_all(&mut monitor.stdin.take().expect("a pipe"), prepared)
        .expect("what prepare asked for");
    monitor
}

#[test]
fn a_guest_that_somebody_else_started_gets_its_rules_or_is_stopped() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/nf_conf", NO_FORWARDING);
    fw.act("activate");
    fw.act("stop");
    let mut monitor = start_by_hand(&mounted, &fw);
    eventually("it has its rules", || {
        fw.try_get("stats/rules").is_ok_and(|rules| rules.contains("echo-request"))
    });
    eventually("it forwards", || fw.run("cat /proc/sys/net/ipv4/ip_forward") == "1");
    fw.act("stop");
    monitor.wait().expect("the monitor ends with its guest");

    fw.put("config/nf_conf", "frobnicate\n");
    let mut monitor = start_by_hand(&mounted, &fw);
    eventually("it was stopped, with the reason", || {
        fw.try_get("last_error").is_ok_and(|e| e.contains("operation: configure") && e.contains("720"))
    });
    assert_eq!(fw.status(), "exited");
    monitor.wait().expect("the monitor ends with its guest");
    fw.act("destroy");
}
