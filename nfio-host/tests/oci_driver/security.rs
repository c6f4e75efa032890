//! What a guest can reach, and what it cannot.

use nfio_host::hypervisor::{Guest, Hypervisor, Prepared, PutFile};
use std::fs;
use std::path::Path;

use crate::bed::*;

#[test]
fn ways_out_are_closed() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec(""));
    for (way, script) in [
        ("mount", "mkdir -p /m && mount -t tmpfs none /m"),
        ("a user namespace", "unshare -U true"),
        ("a mount namespace", "unshare -m true"),
        ("sysrq", "echo h > /proc/sysrq-trigger"),
        ("a sysctl of the host", "cat /proc/sys/kernel/panic > /proc/sys/kernel/panic"),
        ("kernel memory", "head -c 1 /proc/kcore | grep -q ."),
        ("sysfs", "echo 1 > /sys/class/net/eth0/ifalias"),
        ("control groups", "find /sys/fs/cgroup -name cgroup.procs | grep -q ."),
        ("the kernel's log", "dmesg | grep -q ."),
        ("a host process", "kill -0 $((0x7fffffff - 1))"),
    ] {
        let tried = bed.sh(&guest, script);
        assert_ne!(tried.exit_code, 0, "{way}: {tried:?}");
    }
    // Device nodes of the disks, wherever they are made.
    let disks = fs::read_to_string("/proc/partitions").unwrap();
    for line in disks.lines().skip(2) {
        let words: Vec<&str> = line.split_whitespace().collect();
        for dir in ["/dev", "/tmp", "/root"] {
            let script =
                format!("mknod {dir}/raw b {} {} ; head -c 1 {dir}/raw | grep -c ''", words[0], words[1]);
            assert_eq!(out(&bed.sh(&guest, &script)), "0", "{line} in {dir} can be read");
            bed.sh(&guest, &format!("rm -f {dir}/raw"));
        }
    }
    assert_eq!(out(&bed.sh(&guest, "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status | tr -dc 0-9")), "12");
    assert_eq!(out(&bed.sh(&guest, "grep -E 'Seccomp:|NoNewPrivs' /proc/1/status | tr -dc 0-9")), "12");
    // What a middlebox does for a living goes.
    for script in [
        "nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }' && nft list ruleset",
        "ip link add br7 type bridge && ip addr add 192.0.2.1/24 dev br7",
        "ping -c 1 127.0.0.1",
        "echo x > /dev/null && head -c 4 /dev/urandom > /dev/shm/x && mkdir -p /var/lib/x && chown 1:1 /var/lib/x",
    ] {
        let tried = bed.sh(&guest, script);
        assert_eq!(tried.exit_code, 0, "{script}: {tried:?}");
    }
    bed.oci.destroy(&guest, true).unwrap();
    let guest = bed.up(&bed.spec("[capabilities]\ndrop = [\"ALL\"]\nadd = [\"CHOWN\"]"));
    assert_eq!(out(&bed.sh(&guest, "grep CapBnd /proc/1/status | cut -f2")), "0000000000000001");
    bed.oci.destroy(&guest, true).unwrap();
    if Path::new("/dev/net/tun").exists() {
        let mut spec = bed.spec("");
        let open = "exec 3<>/dev/net/tun";
        spec.needs.devices = vec!["/dev/net/tun".into()];
        let guest = bed.up(&spec);
        assert_eq!(bed.sh(&guest, open).exit_code, 0, "the device that the type needs does not open");
        bed.oci.destroy(&guest, true).unwrap();
    }
    let guest = bed.up(&bed.spec("privileged = true"));
    assert_eq!(bed.sh(&guest, "mkdir -p /m && mount -t tmpfs none /m").exit_code, 0);
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn files_are_put_into_running_and_starting_guests_and_never_outside() {
    let (bed, _one) = bed();
    let file = |path: &str, data: &str| PutFile { path: path.into(), mode: 0o640, data: data.into() };
    let mut spec = bed.spec("command = [\"sh\", \"-c\", \"cat /etc/app/conf; exec sleep 1000\"]");
    spec.files = vec![file("/etc/app/conf", "boot\n")];
    let guest = bed.deployed(&spec);
    let prepared = Prepared {
        files: vec![file("/etc/app/conf", "type\n")],
        env: vec![("A".into(), "b".into())],
        command: Some(vec!["false".into()]),
        ..Prepared::default()
    };
    bed.oci.start(&guest, &prepared).unwrap();
    until("the file is there before the first process", || bed.log(&guest) == "type\n");
    bed.oci.put_file(&guest, &file("/srv/a/b", "one")).unwrap();
    bed.oci.put_file(&guest, &file("/srv/a/b", "two")).unwrap();
    assert_eq!(out(&bed.sh(&guest, "cat /srv/a/b; stat -c %a /srv/a/b; ls /srv/a")), "two640\nb");
    let outside = bed.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    bed.sh(&guest, &format!("mkdir -p {0}; ln -s {up} /link; ln -s /proc/1/root /magic", outside.display()));
    bed.oci.put_file(&guest, &file("/link/x", "in")).unwrap();
    assert_eq!(out(&bed.sh(&guest, &format!("cat {}/x", outside.display()))), "in");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(bed.oci.put_file(&guest, &file("/magic/x", "x")).is_err());
    assert_eq!(bed.oci.put_file(&guest, &file("relative", "x")).unwrap_err().code(), 720);
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn limits_hold() {
    let (bed, _one) = bed();
    let mut spec = bed.spec("");
    spec.vcpu = Some(0.5);
    spec.memory = Some(32 << 20);
    let guest = bed.up(&spec);
    let hog = bed.sh(&guest, "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c");
    assert_ne!(out(&hog), "200000000", "32 MiB of memory held 200 MB");
    // Half a CPU: a second of work takes two.
    let burn = bed.sh(&guest, "time -p timeout 2 sh -c 'while :; do :; done'");
    let text = String::from_utf8_lossy(&burn.stderr).into_owned();
    let user: f64 = text.lines().find_map(|l| l.strip_prefix("user ")).unwrap_or("0").trim().parse().unwrap();
    assert!(user < 1.6, "{text}");
    bed.oci.destroy(&guest, true).unwrap();
    let guest = bed.up(&bed.spec(""));
    let forks = bed.sh(&guest, "i=0; while [ $i -lt 1100 ]; do sleep 100 & i=$((i+1)); done");
    assert!(forks.exit_code != 0, "1100 processes of 1024: {forks:?}");
    bed.oci.destroy(&guest, true).unwrap();
    assert_eq!(traces(), [""; 0]);
}

#[test]
fn forwarding_is_withheld_until_it_is_switched_on() {
    let (bed, _one) = bed();
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    let mut spec =
        bed.spec("[sysctls]\n\"net.ipv4.conf.eth0.rp_filter\" = \"2\"\n\"kernel.shmmax\" = \"65536\"");
    let guest = bed.up(&spec);
    let show = |guest: &Guest| {
        out(&bed
            .sh(guest, "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/conf/eth0/rp_filter kernel/shmmax"))
        .replace('\n', " ")
    };
    assert_eq!(show(&guest), "0 2 65536");
    bed.oci.set_forwarding(&guest, true).unwrap();
    assert_eq!(show(&guest), "1 2 65536");
    bed.oci.restart(&guest, &Prepared::default()).unwrap();
    assert_eq!(show(&guest), "0 2 65536");
    bed.oci.set_forwarding(&guest, true).unwrap();
    bed.oci.set_forwarding(&guest, false).unwrap();
    assert_eq!(show(&guest), "0 2 65536");
    assert_ne!(bed.sh(&guest, "echo 1 > /proc/sys/net/ipv4/ip_forward").exit_code, 0);
    bed.oci.destroy(&guest, true).unwrap();
    spec.needs.sysctls.clear();
    let plain = bed.up(&spec);
    bed.oci.set_forwarding(&plain, true).unwrap();
    assert_eq!(show(&plain), "0 2 65536");
    bed.oci.destroy(&plain, true).unwrap();
}
