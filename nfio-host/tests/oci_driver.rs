//! The driver Oci for real: containers, a bridge, packets. Needs root and namespaces of its own, so that
//! nothing of the machine is touched and nothing stays behind: see `tests/testbed`.

use middlebox_sdk::Type;
use nfio_host::hypervisor::boot_conf::BootConf;
use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::oci::{Oci, OciConfig};
use nfio_host::hypervisor::{Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One driver over one state directory, with the image of `examples/images/busybox.sh`.
struct Bed {
    dir: tempfile::TempDir,
    oci: Oci,
}

/// Guests share one bridge, one set of control groups and one process table: tests that say what must be gone
/// run one after the other.
fn bed() -> (Bed, std::sync::MutexGuard<'static, ()>) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    assert!(
        std::env::var_os("NFIO_TESTBED").is_some_and(|value| value == "1"),
        "these tests make bridges, control groups and containers: run them by `make test`, which does so in \
         namespaces of their own"
    );
    let one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let oci = Oci::new(config(dir.path())).unwrap();
    (Bed { dir, oci }, one)
}

fn config(dir: &Path) -> OciConfig {
    let mut config = OciConfig::new(dir.join("oci"), images());
    config.helper = env!("CARGO_BIN_EXE_nfio").into();
    config
}

fn images() -> PathBuf {
    static IMAGES: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = IMAGES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/images/busybox.sh");
        let status = Command::new(recipe).arg(dir.path().join("box")).status().unwrap();
        assert!(status.success(), "{recipe}");
        dir
    });
    made.path().into()
}

impl Bed {
    fn spec(&self, conf: &str) -> GuestSpec {
        let id = uuid::Uuid::new_v4().to_string();
        let log = self.dir.path().join(format!("{id}.log"));
        fs::write(&log, "").unwrap();
        GuestSpec {
            labels: Labels {
                root: uuid::Uuid::new_v4().to_string(),
                ty: "firewall".into(),
                instance: "fw-a".into(),
                id,
            },
            name: "root-firewall-fw-a".into(),
            host: "127.0.0.1".into(),
            user: "root".into(),
            image: "box".into(),
            absolute_image: false,
            vcpu: None,
            memory: None,
            boot: BootConf::parse(conf).unwrap(),
            needs: Type::new("box", "1").sysctl("net.ipv4.ip_forward", "1").needs,
            files: Vec::new(),
            log,
        }
    }

    fn up(&self, spec: &GuestSpec) -> Guest {
        let guest = self.deployed(spec);
        self.oci.start(&guest, &Prepared::default()).unwrap();
        guest
    }

    fn deployed(&self, spec: &GuestSpec) -> Guest {
        let id = self.oci.deploy(spec).unwrap();
        Guest { id, ..guest(spec) }
    }

    fn sh(&self, guest: &Guest, script: &str) -> Output {
        self.oci.execute_in_guest(guest, &sh(script)).unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    fn status(&self, guest: &Guest) -> Status {
        self.oci.guest_status(guest).unwrap()
    }

    fn log(&self, guest: &Guest) -> String {
        fs::read_to_string(self.dir.path().join(format!("{}.log", guest.labels.id))).unwrap()
    }
}

/// A test that fails leaves nothing either: control groups outlive the namespaces that tests run in.
impl Drop for Bed {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir.path().join("oci/guests")).into_iter().flatten().flatten() {
            let mut labels = self.spec("").labels;
            labels.id = entry.file_name().to_string_lossy().into_owned();
            let guest = Guest { labels, ..guest(&self.spec("")) };
            if let Err(e) = self.oci.destroy(&guest, true) {
                eprintln!("{}: {e}", guest.labels.id);
            }
        }
    }
}

fn guest(spec: &GuestSpec) -> Guest {
    Guest {
        labels: spec.labels.clone(),
        id: String::new(),
        name: spec.name.clone(),
        host: spec.host.clone(),
        user: spec.user.clone(),
        image: spec.image.clone(),
    }
}

fn sh(script: &str) -> Execution {
    Execution { argv: vec!["sh".into(), "-c".into(), script.into()], stdin: Vec::new() }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn pings(address: &str) -> bool {
    let command = ["ping", "-c", "1", "-W", "2", address];
    Command::new("busybox").args(command).output().unwrap().status.success()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Everything of ours that could be left on the machine.
fn traces() -> Vec<String> {
    let mut found = Vec::new();
    let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    found.extend(
        links
            .lines()
            .filter(|l| l.contains("nfio0") || l.contains("nfv") || l.contains("nfp"))
            .map(String::from),
    );
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let ours = hierarchy.path().join("nfio");
        // Guests of other test runs on this machine share the parent; ours are known by their processes.
        for group in fs::read_dir(&ours).into_iter().flatten().flatten().filter(|g| g.path().is_dir()) {
            let procs = fs::read_to_string(group.path().join("cgroup.procs")).unwrap_or_default();
            if procs.lines().any(|pid| pid != "0") {
                found.push(group.path().display().to_string());
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains("rootfs")).map(String::from));
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(" oci run ") || command.contains("/sbin/init") {
            found.push(command);
        }
    }
    found
}

/// Control groups of the guest and its monitor, empty ones too.
fn groups(guest: &Guest) -> Vec<PathBuf> {
    let short: String = guest.id.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|h| h.path().join("nfio"));
    let all = hierarchies.chain([PathBuf::from("/sys/fs/cgroup/nfio")]);
    let both = all.flat_map(|dir| [dir.join(&short), dir.join(format!("{short}.monitor"))]);
    both.filter(|dir| dir.exists()).collect()
}

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
    assert_eq!(fs::read_dir("/run/nfio/leases").unwrap().count(), 0);
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
    assert!(begin.elapsed() < Duration::from_secs(3), "a first process that ignores SIGTERM was waited for");
    assert_eq!(bed.status(&guest), Status::Exited);
    bed.oci.start(&guest, &Prepared::default()).unwrap();
    bed.oci.pause(&guest).unwrap();
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
fn a_new_nfio_adopts_a_running_guest_and_a_killed_monitor_takes_its_guest_along() {
    let (bed, _one) = bed();
    // Not as root: whoever changes its user loses the parent-death signal unless it is set anew.
    let spec = bed.spec("user = \"1000:1000\"\ncommand = [\"sleep\", \"1000\"]");
    let guest = bed.up(&spec);
    assert_eq!(out(&bed.sh(&guest, "grep CapEff /proc/1/status | cut -f2")), "0000000000000000");
    let before = bed.oci.counters(&guest).unwrap();
    let again = Oci::new(config(bed.dir.path())).unwrap();
    let unanswered = Guest { id: String::new(), ..guest.clone() };
    assert_eq!(again.get_id(&unanswered).unwrap(), guest.id);
    assert_eq!(again.adopt(&guest).unwrap(), Status::Running);
    assert!(again.counters(&guest).unwrap().rx_bytes >= before.rx_bytes);
    let record = bed.dir.path().join("oci/guests").join(&guest.id).join("run.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let monitor = record["monitor"]["pid"].as_i64().unwrap();
    assert!(Command::new("kill").args(["-9", &monitor.to_string()]).status().unwrap().success());
    until("the guest ends with its monitor", || again.guest_status(&guest).unwrap() == Status::Exited);
    again.start(&guest, &Prepared::default()).unwrap();
    assert!(pings(&again.get_ip(&guest).unwrap()));
    again.destroy(&guest, true).unwrap();
    assert_eq!(again.adopt(&guest).unwrap_err().code(), 702);
    until("monitors are reaped", || traces().is_empty());
}

#[test]
fn a_start_whose_nfio_was_killed_can_be_destroyed_at_any_moment() {
    let (bed, _one) = bed();
    for delay in [0, 5, 20, 40, 60, 80, 120, 200] {
        let guest = bed.deployed(&bed.spec(""));
        let dir = bed.dir.path().join("oci/guests").join(&guest.id);
        let mut helper = Command::new(env!("CARGO_BIN_EXE_nfio"))
            .args(["oci", "run"])
            .arg(&dir)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(helper.stdin.take().unwrap(), &Prepared::default()).unwrap();
        drop(helper.stdout.take());
        helper.wait().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let begin = Instant::now();
        bed.oci.destroy(&guest, true).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "after {delay} ms: {:?}", begin.elapsed());
        assert!(!dir.exists());
        until("nothing is left", || traces().is_empty() && groups(&guest).is_empty());
        assert_eq!(fs::read_dir("/run/nfio/leases").unwrap().count(), 0, "after {delay} ms");
    }
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
    assert_eq!(bed.oci.get_id(&guest(&missing)).unwrap_err().code(), 702);
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
