//! What a guest may, and what it may not.

use nfio_host::hypervisor::Guest;

use crate::stage::{Stage, command};

/// Docker's default set with NET_ADMIN, by number (capabilities(7)).
const DEFAULT: [u32; 15] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 27, 29, 31];
const CHOWN: u32 = 0;
const NET_RAW: u32 = 13;
const SYS_NICE: u32 = 23;

fn set(bits: &[u32]) -> u64 {
    bits.iter().map(|bit| 1 << bit).sum()
}

/// Capabilities of the first process and of a command, which must be the same; the highest that either may get.
fn capabilities(stage: &Stage, guest: &Guest) -> u64 {
    let shown = stage.says(guest, "sed -n 's/^Cap\\(Eff\\|Bnd\\):\\t//p' /proc/1/status /proc/self/status");
    let sets: Vec<&str> = shown.lines().collect();
    assert!(
        sets.len() == 4 && sets.iter().all(|set| *set == sets[0]),
        "effective and bounding sets differ: {shown}"
    );
    u64::from_str_radix(sets[0], 16).unwrap_or_else(|e| panic!("{shown}: {e}"))
}

#[track_caller]
fn has(stage: &Stage, guest: &Guest, expected: &[u32]) {
    let (found, expected) = (capabilities(stage, guest), set(expected));
    assert_eq!(found, expected, "capabilities are {found:#x} and not {expected:#x}");
}

pub(crate) fn capabilities_are_the_default_with_what_is_added_and_without_what_is_dropped(stage: &Stage) {
    let sleeping = stage.idle_conf();
    has(stage, &stage.up(&stage.spec(&sleeping)), &DEFAULT);
    let without: Vec<u32> = DEFAULT.into_iter().filter(|bit| *bit != NET_RAW).collect();
    let conf = format!("{sleeping}[capabilities]\ndrop = [\"NET_RAW\"]");
    has(stage, &stage.up(&stage.spec(&conf)), &without);
    let conf = format!("{sleeping}[capabilities]\ndrop = [\"ALL\"]\nadd = [\"CHOWN\"]");
    has(stage, &stage.up(&stage.spec(&conf)), &[CHOWN]);
    let mut spec = stage.spec(&sleeping);
    spec.needs.capabilities.push("SYS_NICE".into());
    has(stage, &stage.up(&spec), &[&DEFAULT[..], &[SYS_NICE]].concat());
    // Whoever runs as somebody else has none until it is given some.
    let guest = stage
        .up(&stage
            .spec(&format!("user = \"1000:1000\"\n{}", command("cat /proc/self/status; exec sleep 1000"))));
    stage.until("it has told its capabilities", || stage.log(&guest).contains("CapEff:"));
    assert!(stage.log(&guest).contains("CapEff:\t0000000000000000"), "{}", stage.log(&guest));
}

pub(crate) fn no_process_gets_new_privileges_and_system_calls_are_filtered(stage: &Stage) {
    let guest = stage.idle();
    for process in ["1", "self"] {
        let shown = stage
            .says(&guest, &format!("sed -n 's/^\\(NoNewPrivs\\|Seccomp\\):\\t//p' /proc/{process}/status"));
        assert_eq!(shown, "1\n2", "NoNewPrivs and Seccomp of {process}");
    }
    let ways =
        ["unshare -U true", "unshare -m true", "mkdir -p /m && mount -t tmpfs none /m", "dmesg | grep -q ."];
    for script in ways {
        assert!(!stage.succeeds(&guest, script), "{script} succeeded");
    }
}

pub(crate) fn the_hosts_kernel_is_out_of_reach(stage: &Stage) {
    let guest = stage.idle();
    for script in [
        "cat /proc/sys/kernel/panic > /proc/sys/kernel/panic",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "mount -o remount,rw /proc/sys",
        "echo h > /proc/sysrq-trigger",
        "echo 1 > /sys/class/net/eth0/ifalias",
        "head -c 1 /proc/kcore | grep -q .",
        "ls /sys/firmware | grep -q .",
    ] {
        assert!(!stage.succeeds(&guest, script), "{script} succeeded");
    }
    // What a middlebox does for a living goes.
    for script in [
        "nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }' && nft list ruleset",
        "/usr/sbin/ip link add br7 type bridge && /usr/sbin/ip addr add 192.0.2.1/24 dev br7",
        "ping -c 1 127.0.0.1",
        "echo x > /dev/null && head -c 4 /dev/urandom > /dev/shm/x && chown 1:1 /dev/shm/x",
    ] {
        assert!(stage.succeeds(&guest, script), "{script} failed");
    }
}

pub(crate) fn limits_of_memory_and_processes_hold(stage: &Stage) {
    let mut spec = stage.spec(&stage.idle_conf());
    spec.memory = Some(32 << 20);
    let guest = stage.up(&spec);
    let hog = stage.says(&guest, "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c");
    assert_ne!(hog, "200000000", "32 MiB of memory held 200 MB");
    let guest = stage.idle();
    // The shell counts its children itself, as it may be unable to start another program.
    let forks = "i=0; while [ $i -lt 1100 ]; do sleep 100 & i=$((i+1)); done; echo all";
    assert_ne!(stage.says(&guest, forks), "all", "a guest has more than 1024 processes");
}

pub(crate) fn a_share_of_a_cpu_is_no_more(stage: &Stage) {
    let sleeping = stage.idle_conf();
    let mut spec = stage.spec(&sleeping);
    spec.vcpu = Some(0.05);
    let (limited, free) = (stage.up(&spec), stage.up(&stage.spec(&sleeping)));
    let burn = |guest: &Guest| {
        let work = stage.run(guest, &["sh", "-c", "time -p timeout 2 sh -c 'while :; do :; done'"], b"");
        let told = String::from_utf8_lossy(&work.stderr).into_owned();
        let user = told.lines().find_map(|line| line.strip_prefix("user")?.trim().parse::<f64>().ok());
        user.unwrap_or_else(|| panic!("time says {told:?}"))
    };
    // At the same time, as the machine may be busy with other things; where it is so busy that the other one gets next to
    // nothing either, once more.
    let round = || {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| burn(&free));
            (burn(&limited), other.join().unwrap_or_else(|_| panic!("the guest without a limit has failed")))
        })
    };
    let rounds = (0..15).map(|_| round());
    let (limited, free) = rounds
        .into_iter()
        .find(|(_, free)| *free > 0.3)
        .unwrap_or_else(|| panic!("no guest gets a sixth of a CPU here: this machine is too busy to judge"));
    assert!(
        limited < 0.6 * free,
        "a twentieth of a CPU worked for {limited} s where one without a limit did for {free} s"
    );
}
