//! Open files: what a `cat` costs, alone and among sixteen, and whole files.

use nfio_tests::{Instance, Mounted, first_process};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::floor::Floor;
use crate::table::{Table, Work, micros, millis};
use crate::{in_root, run};

/// An ordinary file of 4 KiB.
pub(crate) const ORDINARY: &str = "config/ordinary";
const BIG: &str = "config/big";
const MIB: usize = 1 << 20;

/// open + read + close, one client and sixteen.
pub(crate) fn reads(table: &mut Table, mounted: &Mounted, guest: &Instance, own: &Path) {
    let floor = Floor::over(&mounted.root());
    let below =
        floor.path().join(guest.file(ORDINARY).strip_prefix(mounted.path()).expect("a path of the mount"));
    let batch = |path: PathBuf| move || micros(200, || read(&path));
    let row = |name| Work::new(name, "us", 40);
    let rate = |name| Work::new(name, "1/s", 12).at_least(0.8);
    let (status, bytes) = (guest.file("status"), guest.file("stats/rx_bytes"));

    let ordinary = batch(guest.file(ORDINARY));
    table.compare(row("ordinary file").at_most(1.0), ("mount", ordinary), ("floor", batch(below.clone())));
    for (name, path, limit) in
        [("status", &status, 1.3), ("stats/rx_bytes", &bytes, 1.5), ("an own file", &own.to_owned(), 2.0)]
    {
        let (a, b) = (batch(path.clone()), batch(below.clone()));
        table.compare(row(name).at_most(limit), ("mount", a), ("floor", b));
    }
    for (name, path) in [("status, 16 clients", &status), ("stats/rx_bytes, 16 clients", &bytes)] {
        let (a, b) = (|| per_second(path, 16), || per_second(&below, 16));
        table.compare(rate(name), ("mount", a), ("floor", b));
    }
    let (a, b) = (|| per_second(own, 16), || per_second(&below, 16));
    table.compare(Work::new("an own file, 16 clients", "1/s", 12), ("mount", a), ("floor", b));

    let asked = |path: PathBuf| move || micros(500, || stat_past_the_cache(&path));
    table.compare(row("stat past the cache"), ("status", asked(status)), ("floor", asked(below)));

    let rules = guest.file("stats/rules");
    let pid = first_process(&mounted.guest(guest)).to_string();
    let by_hand = ["-t", pid.as_str(), "-a", "--", "nft", "list", "ruleset"];
    table.compare(
        Work::new("an own file that runs nft", "ms", 20),
        ("stats/rules", || millis(3, || read(&rules))),
        ("nsenter nft", || millis(3, || run(Command::new("nsenter").args(by_hand)))),
    );
}

/// Whole files, and small writes into one, against the file system below. All from and to the page cache.
pub(crate) fn bulk(table: &mut Table, mounted: &Mounted, guest: &Instance) {
    let on_mount = guest.file(BIG);
    let backing = in_root(mounted, &on_mount);
    let (a, b) = ("mount", "ROOT");
    let row = |name| Work::new(name, "MiB/s", 12).at_least(0.9);
    let writes = |path: &Path, piece| 64e3 / write_ms(path, piece);
    // Every write begins with an empty file, so that neither side pays for what the other left.
    let (whole, small) = ("write 64 MiB by 128 KiB", "write 64 MiB by 4 KiB");
    table.compare(row(whole), (a, || writes(&on_mount, MIB / 8)), (b, || writes(&backing, MIB / 8)));
    table.compare(row(small), (a, || writes(&on_mount, 4096)), (b, || writes(&backing, 4096)));
    let reads = |path: &Path| 64e3 / read_ms(path);
    table.compare(row("read 64 MiB by 128 KiB"), (a, || reads(&on_mount)), (b, || reads(&backing)));
    fs::remove_file(on_mount).expect("unlink");
}

/// What `cat` does, but for looking at the size.
pub(crate) fn read(path: &Path) {
    let mut buffer = [0; 8192];
    let count = File::open(path).expect("open").read(&mut buffer).expect("read");
    assert_ne!(count, 0, "{} is empty", path.display());
}

/// How many reads of `path` threads get done in a second.
pub(crate) fn per_second(path: &Path, threads: usize) -> f64 {
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

/// stat(2) that has the file system asked whatever the kernel knows.
fn stat_past_the_cache(path: &Path) {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path");
    let mut shown = std::mem::MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the name ends in NUL and the buffer is as large as the kernel fills it; both live through the call.
    let answer = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::AT_STATX_FORCE_SYNC,
            libc::STATX_BASIC_STATS,
            shown.as_mut_ptr(),
        )
    };
    assert_eq!(answer, 0, "statx of {}", path.display());
}

/// Milliseconds to write a new file of 64 MiB.
fn write_ms(path: &Path, piece: usize) -> f64 {
    let piece = vec![b'x'; piece];
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    drop(options.open(path).expect("open"));
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
