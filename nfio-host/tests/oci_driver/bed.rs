//! What the tests have in common: a driver over a state directory of its own, and guests.

use middlebox_sdk::Type;
use nfio_host::hypervisor::boot_conf::BootConf;
use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::oci::{Oci, OciConfig};
use nfio_host::hypervisor::{Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, Status};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One driver over one state directory, with the image of `examples/images/busybox.sh`.
pub(crate) struct Bed {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) oci: Oci,
}

/// Guests share one bridge, one set of control groups and one process table: tests that say what must be gone
/// run one after the other.
pub(crate) fn bed() -> (Bed, std::sync::MutexGuard<'static, ()>) {
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

/// As [`bed`], with other settings.
pub(crate) fn bed_with(change: impl FnOnce(&mut OciConfig)) -> (Bed, std::sync::MutexGuard<'static, ()>) {
    let (mut bed, one) = bed();
    let mut config = config(bed.dir.path());
    change(&mut config);
    bed.oci = Oci::new(config).unwrap();
    (bed, one)
}

pub(crate) fn config(dir: &Path) -> OciConfig {
    let mut config = OciConfig::new(dir.join("oci"), images());
    config.helper = env!("CARGO_BIN_EXE_nfio").into();
    config
}

pub(crate) fn images() -> PathBuf {
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
    pub(crate) fn spec(&self, conf: &str) -> GuestSpec {
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

    pub(crate) fn up(&self, spec: &GuestSpec) -> Guest {
        let guest = self.deployed(spec);
        self.oci.start(&guest, &Prepared::default()).unwrap();
        guest
    }

    pub(crate) fn deployed(&self, spec: &GuestSpec) -> Guest {
        let id = self.oci.deploy(spec).unwrap();
        Guest { id, ..Guest::of(spec) }
    }

    pub(crate) fn sh(&self, guest: &Guest, script: &str) -> Output {
        self.oci.execute_in_guest(guest, &sh(script)).unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    pub(crate) fn status(&self, guest: &Guest) -> Status {
        self.oci.guest_status(guest).unwrap()
    }

    /// What the driver keeps of a running guest: run.json.
    pub(crate) fn record(&self, guest: &Guest) -> PathBuf {
        self.dir.path().join("oci/guests").join(&guest.id).join("run.json")
    }

    /// The pid of the guest's monitor.
    pub(crate) fn monitor(&self, guest: &Guest) -> i32 {
        let record = fs::read(self.record(guest)).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["monitor"]["pid"].as_i64().unwrap() as i32
    }

    pub(crate) fn log(&self, guest: &Guest) -> String {
        fs::read_to_string(self.dir.path().join(format!("{}.log", guest.labels.id))).unwrap()
    }
}

/// A test that fails leaves nothing either: control groups outlive the namespaces that tests run in.
impl Drop for Bed {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir.path().join("oci/guests")).into_iter().flatten().flatten() {
            let mut labels = self.spec("").labels;
            labels.id = entry.file_name().to_string_lossy().into_owned();
            let guest = Guest { labels, ..Guest::of(&self.spec("")) };
            if let Err(e) = self.oci.destroy(&guest, true) {
                eprintln!("{}: {e}", guest.labels.id);
            }
        }
    }
}

pub(crate) fn sh(script: &str) -> Execution {
    Execution { argv: vec!["sh".into(), "-c".into(), script.into()], stdin: Vec::new() }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn pings(address: &str) -> bool {
    let command = ["ping", "-c", "1", "-W", "2", address];
    Command::new("busybox").args(command).output().unwrap().status.success()
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// Addresses that are taken.
pub(crate) fn leases() -> usize {
    fs::read_dir("/run/nfio/leases").map_or(0, Iterator::count)
}

/// Everything of ours that could be left on the machine.
pub(crate) fn traces() -> Vec<String> {
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
pub(crate) fn groups(guest: &Guest) -> Vec<PathBuf> {
    let short: String = guest.id.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|h| h.path().join("nfio"));
    let all = hierarchies.chain([PathBuf::from("/sys/fs/cgroup/nfio")]);
    let both = all.flat_map(|dir| [dir.join(&short), dir.join(format!("{short}.monitor"))]);
    both.filter(|dir| dir.exists()).collect()
}
