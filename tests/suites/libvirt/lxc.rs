//! A firewall that is a container of libvirt's driver LXC is a firewall like any other.

use nfio_tests::{Instance, Libvirtd, Mounted, errno, eventually};
use std::path::Path;

const DROP: &str = "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n\t\t\
                    icmp type echo-request drop\n\t}\n}\n";

fn firewall(libvirtd: &Libvirtd, mounted: &Mounted, name: &str) -> Instance {
    let firewall = mounted.firewall(name);
    let address = libvirtd.free_address();
    firewall.put("config/boot.conf", &format!("[[interface]]\naddress = \"{address}/24\"\n"));
    firewall
}

fn left_of(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_container_goes_through_the_whole_life_cycle_and_leaves_nothing() {
    let libvirtd = Libvirtd::containers();
    let mounted = Mounted::on(libvirtd.place());
    let fw = firewall(&libvirtd, &mounted, "lxc-a");
    fw.act("activate");
    assert_eq!(fw.status(), "running");
    assert_eq!(libvirtd.domains(), ["root-firewall-lxc-a"]);
    assert_eq!(fw.address().to_string(), libvirtd.free_address());
    assert!(fw.answers_ping(), "{}", fw.address());
    assert!(fw.counter("rx_bytes") > 0 && fw.counter("tx_bytes") > 0);
    assert_eq!(fw.run("cat /proc/sys/net/ipv4/ip_forward"), "1");

    assert_eq!(fw.run("hostname"), "lxc-a");

    fw.put("config/nf_conf", DROP);
    fw.act("reload");
    assert!(!fw.answers_ping());
    assert!(fw.counter("pkt_drops") >= 1);
    fw.put("config/nf_conf", "nonsense\n");
    assert_eq!(errno(fw.try_act("reload")), libc::EINVAL);
    fw.put("config/nf_conf", DROP);

    fw.run("echo kept > /root/mark");
    fw.act("pause");
    assert_eq!(fw.status(), "paused");
    assert_eq!(errno(fw.try_write("command", "true")), libc::EHOSTDOWN);
    fw.act("unpause");
    fw.act("restart");
    assert!(!fw.answers_ping(), "the rule holds");
    fw.act("stop");
    assert_eq!(fw.status(), "exited");
    fw.act("start");
    assert!(!fw.answers_ping(), "the rule holds");
    assert_eq!(fw.run("cat /root/mark"), "kept");
    assert!(!nfio_tests::image().join("root/mark").exists(), "the image is never written");
    eventually("its console is its log", || fw.get("log").contains("is up"));
    assert!(fw.get("log").contains("asked to end"), "{}", fw.get("log"));
    fw.act("destroy");
    assert_eq!(fw.status(), "undeployed");
    assert!(libvirtd.domains().is_empty() && libvirtd.taps().is_empty());
    assert_eq!(left_of(&libvirtd.layers()), [""; 0]);
}

#[test]
fn a_command_runs_within_the_container_and_its_bounds() {
    let libvirtd = Libvirtd::containers();
    let mounted = Mounted::on(libvirtd.place());
    let fw = firewall(&libvirtd, &mounted, "lxc-b");
    fw.act("activate");
    assert_eq!(fw.run("cat /etc/passwd | wc -l"), "2", "the image's files");
    let bound = "sed -n s/^CapBnd:.//p";
    assert_eq!(fw.run(&format!("{bound} /proc/self/status")), fw.run(&format!("{bound} /proc/1/status")));
    // NET_ADMIN (12), but neither SYS_ADMIN (21) nor MKNOD (27).
    let mask = u64::from_str_radix(&fw.run(&format!("{bound} /proc/self/status")), 16).expect("a mask");
    assert_eq!(mask & (1 << 12 | 1 << 21 | 1 << 27), 1 << 12, "{mask:x}");
    for kind in ["net", "pid", "mnt", "uts", "ipc"] {
        let of = |pid: &str| fw.run(&format!("readlink /proc/{pid}/ns/{kind}"));
        assert_eq!(of("self"), of("1"), "{kind}");
    }
    assert_eq!(fw.run("cat /proc/self/cgroup"), fw.run("cat /proc/1/cgroup"));
    // What is not in the image is not there, and a failing program says so with its words.
    assert!(fw.try_write("command", "no-such-program").is_err());
    assert!(fw.try_write("command", "sh -c 'echo out; echo err >&2; exit 3'").is_err());
    let words = fw.get("output");
    assert!(words.contains("out") && words.contains("err"), "{words}");
    assert!(fw.get("last_error").contains("exit code 3"), "{}", fw.get("last_error"));

    libvirtd.virsh(&["destroy", "root-firewall-lxc-b"]);
    eventually("virsh destroy shows", || fw.status() == "exited");
    fw.act("start");

    // What a guest writes about itself reaches libvirt as text alone.
    fw.run("sed -i 's#:/root:#:/</initenv>:#' /etc/passwd");
    assert_eq!(errno(fw.try_act("restart")), libc::EINVAL);
    fw.act("destroy");
}

#[test]
fn what_lxc_does_not_serve_is_refused_by_its_key() {
    let libvirtd = Libvirtd::containers();
    let mounted = Mounted::on(libvirtd.place());
    let fw = mounted.firewall("lxc-c");
    for conf in [
        "user = \"7\"",
        "dns = [\"192.0.2.1\"]",
        "env = { A = \"</initenv>\" }",
        "[vm]\nkernel = \"k\"",
        "[[interface]]\naddress = \"x\"",
    ] {
        fw.put("config/boot.conf", &format!("{conf}\n"));
        assert_eq!(errno(fw.try_act("activate")), libc::EINVAL, "{conf}");
    }
    assert!(libvirtd.domains().is_empty());
}

#[test]
fn a_container_outlives_nfio_and_libvirtd_and_its_words_are_kept() {
    const COUNTS: &str = r#"command = ["sh", "-c", "i=0; while true; do i=$((i+1)); echo line $i $WORD '<&>'; sleep 0.02; done"]
stop_timeout = 1
[env]
WORD = "a b"
[[file]]
source = "nf_conf"
target = "/etc/put"
mode = 0o600
"#;
    let libvirtd = Libvirtd::containers();
    let mounted = Mounted::on(libvirtd.place());
    let fw = firewall(&libvirtd, &mounted, "lxc-d");
    let interface = fw.get("config/boot.conf");
    fw.put("config/boot.conf", &format!("{COUNTS}{interface}"));
    fw.put("config/nf_conf", DROP);
    fw.act("activate");
    assert_eq!(fw.run("stat -c %a /etc/put"), "600");
    let lines = |least: usize| {
        eventually("it counts on", || fw.get("log").lines().count() > least);
        fw.get("log").lines().count()
    };
    let seen = lines(20);
    let pid = libvirtd.virsh(&["domid", "root-firewall-lxc-d"]);
    mounted.kill();
    libvirtd.kill();
    libvirtd.run();
    eventually("the mount is stale", || errno(std::fs::read_dir(mounted.path())) == libc::ENOTCONN);
    mounted.mount();
    assert_eq!(fw.status(), "running");
    assert_eq!(libvirtd.virsh(&["domid", "root-firewall-lxc-d"]), pid, "nothing was restarted");
    assert!(!fw.answers_ping());
    lines(seen + 50);
    assert_eq!(fw.run("echo still here"), "still here");
    let log = fw.get("log");
    let whole: Vec<&str> = log.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
    for (number, line) in whole.iter().enumerate() {
        assert_eq!(*line, format!("line {} a b <&>\n", number + 1));
    }
    fw.act("destroy");
    assert!(libvirtd.domains().is_empty() && left_of(&libvirtd.layers()).is_empty());
}
