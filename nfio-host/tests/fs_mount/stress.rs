//! Many at once, and much of it.

use crate::bed::{Bed, errno};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Errors that somebody who looks while others make and remove may meet.
const GONE: [i32; 3] = [libc::ENOENT, libc::ENXIO, libc::ESTALE];

fn walk(path: &Path, seen: &mut usize) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.filter_map(Result::ok) {
        *seen += 1;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&entry.path(), seen),
            Ok(_) => {}
            Err(e) => assert!(GONE.contains(&e.raw_os_error().unwrap_or(0)), "{:?}: {e}", entry.path()),
        }
    }
}

#[test]
fn the_tree_is_walked_while_instances_come_go_and_move() {
    let bed = Bed::new();
    let done = AtomicBool::new(false);
    let until = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        // One maker: the stand-in builds aside under one name.
        scope.spawn(|| {
            for round in 0.. {
                if Instant::now() > until {
                    break;
                }
                let path = |name: &str| bed.path(&format!("nf-types/box/{name}"));
                let (b, c) = (path("b"), path("c"));
                fs::create_dir(&b).unwrap();
                assert!(fs::read_to_string(b.join("status")).unwrap().starts_with("b-"), "round {round}");
                fs::write(b.join("config/conf"), format!("{round}")).unwrap();
                fs::rename(&b, &c).unwrap();
                assert_eq!(fs::read_to_string(c.join("config/conf")).unwrap(), format!("{round}"));
                fs::remove_dir(&c).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::SeqCst) {
                    walk(&bed.path(""), &mut seen);
                }
                assert!(seen > 100);
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let failed = errno(fs::read(bed.path("nf-types/box/b/status")));
                assert!(failed == 0 || GONE.contains(&failed), "{failed}");
                let failed = errno(fs::read(bed.path("nf-types/box/c/config/conf")));
                assert!(failed == 0 || GONE.contains(&failed), "{failed}");
            }
        });
    });
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

#[test]
fn a_file_worked_on_at_random_is_what_memory_says() {
    const ROOM: usize = 256 << 10;
    let bed = Bed::new();
    let path = bed.a("f");
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    let (mut model, mut numbers, mut file) = (Vec::<u8>::new(), Numbers(42), open());
    for step in 0..3000_u32 {
        match numbers.below(10) {
            0..=3 => {
                let (at, length) = (numbers.below(ROOM), numbers.below(20_000));
                let data = vec![step as u8; length];
                file.write_all_at(&data, at as u64).unwrap();
                if length > 0 {
                    model.resize(model.len().max(at + length), 0);
                    model[at..at + length].copy_from_slice(&data);
                }
            }
            4..=6 => {
                let (at, length) = (numbers.below(ROOM), numbers.below(20_000));
                let mut room = vec![0; length];
                let count = file.read_at(&mut room, at as u64).unwrap();
                let expected = &model[at.min(model.len())..(at + length).min(model.len())];
                assert!(room[..count] == *expected, "step {step}: read {length} at {at}");
            }
            7 => {
                let length = numbers.below(ROOM);
                file.set_len(length as u64).unwrap();
                model.resize(length, 0);
            }
            8 => file = open(),
            _ => {
                let moved = bed.a("g");
                fs::rename(&path, &moved).unwrap();
                fs::rename(&moved, &path).unwrap();
            }
        }
        assert_eq!(file.metadata().unwrap().len(), model.len() as u64, "step {step}");
    }
    file.sync_all().unwrap();
    assert!(fs::read(&path).unwrap() == model);
    assert!(fs::read(bed.root("nf-types/box/a/f")).unwrap() == model);
}

#[test]
fn hundreds_of_instances_keep_no_descriptor() {
    let bed = Bed::new();
    for number in 0..300 {
        fs::create_dir(bed.path(&format!("nf-types/box/i{number}"))).unwrap();
    }
    let mut seen = 0;
    walk(&bed.path("nf-types"), &mut seen);
    assert!(seen > 300 * 10, "{seen}");
    let root = bed.root("");
    let held = fs::read_dir("/proc/self/fd").unwrap().filter(|fd| {
        let target = fs::read_link(fd.as_ref().unwrap().path());
        target.is_ok_and(|target| target.starts_with(&root))
    });
    assert!(held.count() < 5, "descriptors of ROOT stay open");
    let open: Vec<_> =
        (0..100).map(|n| File::open(bed.path(&format!("nf-types/box/i{n}/config/conf")))).collect();
    assert!(open.iter().all(Result::is_ok));
}
