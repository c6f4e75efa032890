//! `make bench`: how fast nfio is, side by side with what it is compared to, in one run on one machine. No time is
//! promised and none is asserted: only ratios tell, and only on a machine with nothing else to do.
//!
//! ROOT lies below target/, on a real disk: on the test bed's tmpfs files would be compared to memory. All reads come
//! from the page cache, on both sides, and nobody waits for the disk but nfio's own records (activate, destroy). Names
//! and attributes that the kernel may keep for a while are kept: this is what users see, not what a request costs.
//!
//! Later beside these: the floor (libfuse's `passthrough_hp`) and the engines' own APIs (activate).

mod chain;
mod table;

use nfio_tests::{Instance, Mounted, Options};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use table::{Table, micros, millis};

const ORDINARY: &str = "config/ordinary";
const BIG: &str = "config/big";
const MIB: usize = 1 << 20;
const RULES: &str = "\
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        icmp type echo-request drop
    }
}
";

fn main() {
    // `cargo test --all-targets` runs it too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory below target/");
    let mounted = Mounted::with(Options { root: Some(disk.path().join("root")), ..Options::default() });
    let guest = mounted.firewall("guest");
    guest.put("config/nf_conf", RULES);
    guest.put(ORDINARY, &"x".repeat(4096));
    guest.act("activate");
    println!("{}; ROOT on {}\n", machine(), file_system(&mounted.root()));

    let mut table = Table::new();
    reads(&mut table, &mounted, &guest);
    bulk(&mut table, &mounted, &guest);
    names(&mut table, &mounted, &guest);
    verbs(&mut table, &mounted, &guest);
    clients(&mut table, &guest);
    chain::measure(&mut table);
    println!("\nmedian and min of all rounds; spread: width of their middle half, in % of the median");
    println!("times: less is better; /s (reads per second) and Gb/s: more is better\n");
    table.print_json();
    guest.act("destroy");
}

/// open + read + close: what a `cat` costs.
fn reads(table: &mut Table, mounted: &Mounted, guest: &Instance) {
    let batch = |path: PathBuf| move || micros(200, || read(&path));
    let ordinary = guest.file(ORDINARY);
    let backing = in_root(mounted, &ordinary);
    let row = ("open+read+close", "us", 40);
    table.compare(row, ("ordinary, 4 KiB", batch(ordinary.clone())), ("the same in ROOT", batch(backing)));
    let row = ("open+read+close", "us", 40);
    for value in ["status", "stats/rx_bytes"] {
        let other = ("ordinary, 4 KiB", batch(ordinary.clone()));
        table.compare(row, (value, batch(guest.file(value))), other);
    }
    let rules = guest.file("stats/rules");
    let pid = first_process(mounted);
    let by_hand = ["-t", pid.as_str(), "-a", "--", "nft", "list", "ruleset"];
    table.compare(
        ("own file that runs nft", "ms", 20),
        ("stats/rules", || millis(3, || read(&rules))),
        ("nsenter nft", || millis(3, || run(Command::new("nsenter").args(by_hand)))),
    );
}

/// Whole files, and small writes into one.
fn bulk(table: &mut Table, mounted: &Mounted, guest: &Instance) {
    let on_mount = guest.file(BIG);
    let backing = in_root(mounted, &on_mount);
    let (a, b) = ("mount", "ROOT");
    let row = ("write 64 MiB by 128 KiB", "ms", 12);
    table.compare(row, (a, || write_ms(&on_mount, MIB / 8)), (b, || write_ms(&backing, MIB / 8)));
    let row = ("write 64 MiB by 4 KiB", "ms", 12);
    table.compare(row, (a, || write_ms(&on_mount, 4096)), (b, || write_ms(&backing, 4096)));
    let row = ("read 64 MiB by 128 KiB", "ms", 12);
    table.compare(row, (a, || read_ms(&on_mount)), (b, || read_ms(&backing)));
    fs::remove_file(on_mount).expect("unlink");
}

/// stat, find, mkdir, rmdir.
fn names(table: &mut Table, mounted: &Mounted, guest: &Instance) {
    let value = guest.file("status");
    let placeholder = in_root(mounted, &value);
    let stat = |path: &Path| micros(500, || assert!(fs::metadata(path).expect("stat").is_file()));
    let row = ("stat of a value", "us", 40);
    table.compare(row, ("mount", || stat(&value)), ("ROOT", || stat(&placeholder)));

    let instances: Vec<_> = (0..200).map(|n| mounted.instance("firewall", &format!("find-{n}"))).collect();
    instances.iter().for_each(|instance| fs::create_dir(instance.path()).expect("mkdir"));
    let all = guest.path().parent().expect("the type");
    let backing = in_root(mounted, all);
    let find = |path: &Path, test: &[&str]| millis(1, || run(Command::new("find").arg(path).args(test)));
    let row = ("find, 200 instances, names", "ms", 15);
    table.compare(row, ("mount", || find(all, &[])), ("ROOT", || find(&backing, &[])));
    let (row, test) = (("find, 200 instances, stat each", "ms", 15), &["-size", "+1"]);
    table.compare(row, ("mount", || find(all, test)), ("ROOT", || find(&backing, test)));
    instances.iter().for_each(|instance| fs::remove_dir(instance.path()).expect("rmdir"));

    // On tmpfs: ext4 makes files the more slowly the more have just been removed, and would hide the difference.
    let memory = Mounted::new();
    let made = memory.instance("firewall", "made");
    fs::create_dir(made.path()).expect("mkdir");
    let skeleton = skeleton(&in_root(&memory, made.path()));
    fs::remove_dir(made.path()).expect("rmdir");
    let copy = memory.root().with_file_name("made");
    table.compare(
        ("mkdir+rmdir, ROOT on tmpfs", "ms", 30),
        ("mount", || {
            millis(5, || {
                fs::create_dir(made.path()).expect("mkdir");
                fs::remove_dir(made.path()).expect("rmdir");
            })
        }),
        ("skeleton by hand, rm -r", || {
            millis(5, || {
                make(&copy, &skeleton);
                fs::remove_dir_all(&copy).expect("rm -r");
            })
        }),
    );
}

/// activate and destroy, and what others notice of an activate.
fn verbs(table: &mut Table, mounted: &Mounted, guest: &Instance) {
    let fw = mounted.firewall("deployed");
    let (mut activate, mut destroy) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        activate.push(millis(1, || fw.act("activate")));
        destroy.push(millis(1, || fw.act("destroy")));
    }
    table.alone("activate, empty nf_conf", "ms", activate);
    table.alone("destroy", "ms", destroy);

    let status = guest.file("status");
    let (mut busy, mut idle) = (Latencies::default(), Latencies::default());
    for _ in 0..15 {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                fw.act("activate");
                ended.store(true, Ordering::Relaxed);
            });
            let count = busy.read_while(&status, |_| !ended.load(Ordering::Relaxed));
            fw.act("destroy");
            idle.read_while(&status, |n| n < count);
        });
    }
    let sides = ("during an activate", "idle");
    table.pair(("status of another, median", "us"), (sides.0, busy.medians), (sides.1, idle.medians));
    table.pair(("status of another, slowest", "us"), (sides.0, busy.slowest), (sides.1, idle.slowest));
}

/// Throughput of many clients.
fn clients(table: &mut Table, guest: &Instance) {
    let (status, ordinary) = (guest.file("status"), guest.file(ORDINARY));
    let (row, one) = (("status, many clients", "/s", 10), ("1 client", || per_second(&status, 1)));
    table.compare(row, ("16 clients", || per_second(&status, 16)), one);
    let row = ("16 clients", "/s", 10);
    let other = ("ordinary, 4 KiB", || per_second(&ordinary, 16));
    table.compare(row, ("status", || per_second(&status, 16)), other);
}

/// How long single reads took, each entry over one stretch of reads.
#[derive(Default)]
struct Latencies {
    medians: Vec<f64>,
    slowest: Vec<f64>,
}

impl Latencies {
    /// Reads as long as `more` of the number of reads so far holds, and answers that number.
    fn read_while(&mut self, path: &Path, more: impl Fn(usize) -> bool) -> usize {
        let mut all = Vec::new();
        while all.is_empty() || more(all.len()) {
            all.push(micros(1, || read(path)));
        }
        all.sort_by(f64::total_cmp);
        self.medians.push(all[all.len() / 2]);
        self.slowest.push(all[all.len() - 1]);
        all.len()
    }
}

/// What `cat` does, but for looking at the size.
fn read(path: &Path) {
    let mut buffer = [0; 8192];
    let count = File::open(path).expect("open").read(&mut buffer).expect("read");
    assert_ne!(count, 0, "{} is empty", path.display());
}

/// How many reads of `path` threads get done in a second.
fn per_second(path: &Path, threads: usize) -> f64 {
    let (done, start) = (AtomicU64::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_millis(300) {
                    read(path);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.into_inner() as f64 / start.elapsed().as_secs_f64()
}

/// Milliseconds to write a new file of 64 MiB.
fn write_ms(path: &Path, piece: usize) -> f64 {
    let piece = vec![b'x'; piece];
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    millis(1, || {
        let mut file = options.open(path).expect("open");
        (0..64 * MIB / piece.len()).for_each(|_| file.write_all(&piece).expect("write"));
    })
}

/// Milliseconds to read it.
fn read_ms(path: &Path) -> f64 {
    let mut piece = vec![0; MIB / 8];
    millis(1, || {
        let mut file = File::open(path).expect("open");
        (0..64 * MIB / piece.len()).for_each(|_| file.read_exact(&mut piece).expect("read"));
    })
}

/// What a path of the mount is in ROOT.
fn in_root(mounted: &Mounted, path: &Path) -> PathBuf {
    mounted.root().join(path.strip_prefix(mounted.path()).expect("a path of the mount"))
}

/// Everything below an instance, parents first, with its mode.
fn skeleton(instance: &Path) -> Vec<(PathBuf, Permissions)> {
    let mut found = vec![(PathBuf::new(), Permissions::from_mode(0o40755))];
    let mut at = 0;
    while at < found.len() {
        for entry in fs::read_dir(instance.join(&found[at].0)).into_iter().flatten().flatten() {
            let path = entry.path().strip_prefix(instance).expect("below it").to_owned();
            found.push((path, entry.metadata().expect("stat").permissions()));
        }
        at += 1;
    }
    found
}

/// Makes the same by hand.
fn make(copy: &Path, skeleton: &[(PathBuf, Permissions)]) {
    for (path, permissions) in skeleton {
        let path = copy.join(path);
        if permissions.mode() & libc::S_IFMT == libc::S_IFDIR {
            fs::create_dir(&path).expect("mkdir");
            fs::set_permissions(&path, permissions.clone()).expect("chmod");
        } else {
            File::create(&path).and_then(|file| file.set_permissions(permissions.clone())).expect("a file");
        }
    }
}

/// The pid of the only running guest's first process, from the driver's own record.
fn first_process(mounted: &Mounted) -> String {
    let guests = fs::read_dir(mounted.root().join(".nfio/oci/guests")).expect("the driver's guests");
    let records = guests.flatten().filter_map(|guest| fs::read_to_string(guest.path().join("run.json")).ok());
    let record = records.last().expect("a running guest");
    let pid = record.split_once(r#""pid":"#).expect("a pid").1;
    pid.chars().take_while(char::is_ascii_digit).collect()
}

/// Runs a program, which must succeed; nobody reads its output.
fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().expect("a program");
    assert!(status.success(), "{command:?}: {status}");
}

/// Where this was measured.
fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("Linux {}, {cores} CPUs, load {load} before", kernel.trim())
}

fn file_system(path: &Path) -> String {
    let told = Command::new("df").arg("--output=fstype").arg(path).output().expect("df");
    String::from_utf8_lossy(&told.stdout).lines().last().unwrap_or_default().into()
}
