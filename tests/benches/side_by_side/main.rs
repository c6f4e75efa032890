//! `make bench`: how fast nfio is, side by side with what it is compared to, in one run on one machine. No time is
//! promised and none is asserted: only ratios tell, and only on a machine with nothing else to do.
//!
//! ROOT lies below target/, on a real disk: on the test bed's tmpfs files would be compared to memory. All reads come
//! from the page cache, on both sides, and nobody waits for the disk but nfio's own records (activate, destroy). Names
//! and attributes that the kernel may keep for a while are kept: this is what users see, not what a request costs.
//!
//! Words after `--bench` choose among the parts: `cargo bench … -- files names`.

mod chain;
mod docker;
mod files;
mod floor;
mod names;
mod plugin;
mod scale;
mod table;
mod verbs;

use nfio_tests::{Mounted, Options};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use table::Table;

const RULES: &str = "\
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        icmp type echo-request drop
    }
}
";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Plugins are tried in a process of their own, which is this same binary.
    if words.get(1).is_some_and(|word| word == "module") {
        return nfio_host::modules::helper_main(&words[2..]);
    }
    // `cargo test --all-targets` runs it too, without this argument.
    if words.iter().any(|word| word == "--bench") {
        let parts: Vec<_> = words[1..].iter().filter_map(|word| word.to_str()).collect();
        let parts: Vec<_> = parts.into_iter().filter(|word| !word.starts_with('-')).collect();
        measure(|part| parts.is_empty() || parts.contains(&part));
    }
    ExitCode::SUCCESS
}

fn measure(wanted: impl Fn(&str) -> bool) {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory below target/");
    let mounted = Mounted::with(Options { root: Some(disk.path().join("root")), ..Options::default() });
    let machine = format!("{}; ROOT on {}", machine(), file_system(&mounted.root()));
    println!("{machine}\n");
    let mut table = Table::new();
    if wanted("files") || wanted("verbs") || wanted("docker") {
        guest(&mut table, &mounted, &wanted);
    }
    if wanted("names") {
        names::walks(&mut table, &mounted);
        names::instances(&mut table);
    }
    if wanted("plugin") {
        plugin::calls(&mut table);
    }
    if wanted("scale") {
        scale::thousands(&mut table);
    }
    if wanted("chain") {
        chain::measure(&mut table);
    }
    println!("\nmedian and min of all rounds; spread: width of their middle half, in % of the median");
    println!("times: less is better; 1/s, MiB/s and Gb/s: more is better");
    table.print_verdict();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/");
    table.save(&target.join("bench.json"), &machine);
}

/// What needs a running guest.
fn guest(table: &mut Table, mounted: &Mounted, wanted: &impl Fn(&str) -> bool) {
    let guest = mounted.firewall("guest");
    guest.put("config/nf_conf", RULES);
    guest.put(files::ORDINARY, &"x".repeat(4096));
    guest.act("activate");
    if wanted("files") {
        plugin::install_odd(&mounted.module_root());
        let odd = mounted.instance("odd", "own");
        nfio_tests::eventually("the type is live", || fs::create_dir(odd.path()).is_ok());
        files::reads(table, mounted, &guest, &odd.file("odd/build"));
        files::bulk(table, mounted, &guest);
    }
    if wanted("verbs") || wanted("docker") {
        let activate = verbs::verbs(table, mounted, &guest);
        docker::many_on_oci(table, mounted);
        if wanted("docker") {
            docker::docker(table, activate);
        }
    }
    guest.act("destroy");
}

/// What a path of the mount is in ROOT.
fn in_root(mounted: &Mounted, path: &Path) -> PathBuf {
    mounted.root().join(path.strip_prefix(mounted.path()).expect("a path of the mount"))
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
