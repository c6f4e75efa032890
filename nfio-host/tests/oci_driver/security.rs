//! What a guest can reach, and what it cannot.

use nfio_host::hypervisor::Hypervisor;
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
    // Whatever nfio may have, programs that use select(2) are safe.
    assert_eq!(
        out(&bed.sh(&guest, "ulimit -S -n; awk '/^Max open files/ { print $4 }' /proc/1/limits")),
        "1024\n1024"
    );
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
