//! Ordinary files: content and names.

use crate::bed::{Bed, errno};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, FallocateFlags, OFlag, RenameFlags, copy_file_range, fallocate, openat, renameat2,
};
use nix::sys::stat::Mode;
use nix::unistd::{Whence, lseek64};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> i32 {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, flags).err().map_or(0, |e| e as i32)
}

#[test]
fn it_shows_as_fuse_nfio_with_its_root_as_source() {
    let bed = Bed::new();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let point = bed.mounted().mountpoint().to_str().unwrap().to_owned();
    let line = mounts.lines().find(|line| line.contains(&point)).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!(words[0], bed.root("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(words[2], "fuse.nfio");
    for option in ["nosuid", "nodev", "default_permissions"] {
        assert!(words[3].split(',').any(|word| word == option), "{option}: {line}");
    }
}

#[test]
fn appends_of_several_writers_lose_nothing() {
    let bed = Bed::new();
    let open = || OpenOptions::new().append(true).create(true).open(bed.a("appended")).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let mut file = open();
            scope.spawn(move || (0..100).for_each(|_| file.write_all(&[b'a' + writer; 10]).unwrap()));
        }
    });
    let text = fs::read(bed.a("appended")).unwrap();
    assert_eq!(text.len(), 4000);
    assert!(text.chunks(10).all(|chunk| chunk.iter().all(|byte| *byte == chunk[0])));
    assert_eq!(fs::read(bed.root("nf-types/box/a/appended")).unwrap(), text);
}

#[test]
fn truncation_and_holes_are_those_of_the_backing_file() {
    let bed = Bed::new();
    let mut file = File::create_new(bed.a("f")).unwrap();
    file.write_all(b"0123456789").unwrap();
    file.set_len(4).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(fs::read(bed.a("f")).unwrap(), b"0123\0\0\0\0");
    file.seek(SeekFrom::Start(1 << 20)).unwrap();
    file.write_all(b"end").unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 3);
    assert!(file.metadata().unwrap().blocks() < 1024, "a hole takes no space");
    let hole = lseek64(&file, 0, Whence::SeekHole).unwrap();
    assert!(hole > 0 && hole < 1 << 20);
    assert_eq!(lseek64(&file, hole, Whence::SeekData).unwrap(), 1 << 20);
    fallocate(&file, FallocateFlags::empty(), 0, 2 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2 << 20);
    drop(file);
    OpenOptions::new().write(true).truncate(true).open(bed.a("f")).unwrap();
    assert_eq!(fs::metadata(bed.a("f")).unwrap().len(), 0);
}

#[test]
fn large_files_come_back_as_they_were_written() {
    let bed = Bed::new();
    let data: Vec<u8> = (0..5_000_011_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(bed.a("large"), &data).unwrap();
    assert!(fs::read(bed.a("large")).unwrap() == data);
    let (source, target) = (File::open(bed.a("large")).unwrap(), File::create_new(bed.a("copy")).unwrap());
    let (mut from, mut to) = (11, 0);
    let copied = copy_file_range(&source, Some(&mut from), &target, Some(&mut to), 1 << 20).unwrap();
    assert!(fs::read(bed.a("copy")).unwrap() == data[11..11 + copied]);
}

#[test]
fn a_shared_mapping_reaches_the_file() {
    let bed = Bed::new();
    let path = bed.a("mapped");
    fs::write(&path, vec![b'x'; 8192]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // SAFETY: a new mapping of 8192 bytes of an open file of that length, at an address of the kernel's choice; it
    // is written, synced and unmapped below and not used after.
    let unmapped = unsafe {
        let (prot, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        let at = libc::mmap(std::ptr::null_mut(), 8192, prot, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(*at.cast::<u8>().add(5000), b'x');
        *at.cast::<u8>().add(5000) = b'y';
        libc::msync(at, 8192, libc::MS_SYNC) + libc::munmap(at, 8192)
    };
    assert_eq!(unmapped, 0);
    drop(file);
    assert_eq!(fs::read(bed.root("nf-types/box/a/mapped")).unwrap()[5000], b'y');
}

#[test]
fn rename_has_all_its_flags() {
    let bed = Bed::new();
    let (one, two) = (bed.a("one"), bed.a("two"));
    fs::write(&one, "1").unwrap();
    fs::write(&two, "2").unwrap();
    assert_eq!(rename(&one, &two, RenameFlags::RENAME_NOREPLACE), libc::EEXIST);
    assert_eq!(rename(&one, &two, RenameFlags::RENAME_EXCHANGE), 0);
    assert_eq!(fs::read_to_string(&one).unwrap(), "2");
    assert_eq!(rename(&one, &two, RenameFlags::empty()), 0);
    assert_eq!(fs::read_to_string(&two).unwrap(), "2");
    assert_eq!(errno(fs::metadata(&one)), libc::ENOENT);
    assert_eq!(rename(&two, &one, RenameFlags::RENAME_WHITEOUT), libc::EINVAL);
}

#[test]
fn what_is_below_a_renamed_directory_stays_open_and_found() {
    let bed = Bed::new();
    fs::create_dir_all(bed.a("d/e")).unwrap();
    let mut file = File::create_new(bed.a("d/e/f")).unwrap();
    fs::rename(bed.a("d"), bed.a("z")).unwrap();
    file.write_all(b"still").unwrap();
    file.set_len(3).unwrap();
    assert_eq!(fs::read_to_string(bed.a("z/e/f")).unwrap(), "sti");
    fs::rename(bed.a("z/e"), bed.path("chns/e")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
    assert_eq!(fs::read_to_string(bed.path("chns/e/f")).unwrap(), "sti");
    assert_eq!(errno(fs::remove_dir(bed.path("chns/e"))), libc::ENOTEMPTY);
}

#[test]
fn hard_links_are_one_file() {
    let bed = Bed::new();
    fs::write(bed.a("one"), "text").unwrap();
    fs::hard_link(bed.a("one"), bed.path("chns/two")).unwrap();
    let (one, two) = (fs::metadata(bed.a("one")).unwrap(), fs::metadata(bed.path("chns/two")).unwrap());
    assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
    fs::write(bed.path("chns/two"), "longer text").unwrap();
    assert_eq!(fs::read_to_string(bed.a("one")).unwrap(), "longer text");
    fs::remove_file(bed.a("one")).unwrap();
    assert_eq!(fs::metadata(bed.path("chns/two")).unwrap().nlink(), 1);
    assert_eq!(fs::read_to_string(bed.path("chns/two")).unwrap(), "longer text");
}

#[test]
fn symbolic_links_keep_their_text_and_never_lead_nfio_out() {
    let bed = Bed::new();
    for target in ["../b", "/etc/passwd", "nowhere"] {
        let link = bed.a("link");
        symlink(target, &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        assert_eq!(errno(fs::read_link(bed.a("config"))), libc::EINVAL);
        fs::remove_file(&link).unwrap();
    }
    // A directory in ROOT swapped for a link behind the kernel's back, which goes on from the directory it has open.
    fs::create_dir(bed.a("d")).unwrap();
    let open = File::open(bed.a("d")).unwrap();
    fs::rename(bed.root("nf-types/box/a/d"), bed.root("d")).unwrap();
    symlink("/etc", bed.root("nf-types/box/a/d")).unwrap();
    let outside = openat(&open, "passwd", OFlag::O_RDONLY, Mode::empty());
    assert!(matches!(outside, Err(Errno::ELOOP | Errno::ESTALE)), "{outside:?}");
    let made = openat(&open, "made-outside", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::empty());
    assert!(made.is_err(), "{made:?}");
    fs::remove_file(bed.root("nf-types/box/a/d")).unwrap();
}

#[test]
fn an_unlinked_file_that_is_open_works_on() {
    let bed = Bed::new();
    let path = bed.a("f");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    file.write_all(b"content").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.set_len(4).unwrap();
    reader.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    let mut text = String::new();
    (&reader).read_to_string(&mut text).unwrap();
    assert_eq!(text, "cont");
    // A new file of the name, perhaps of the same inode number in ROOT, is another one.
    fs::write(&path, "new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    file.write_at(b"C", 0).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_ne!(file.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
}

#[test]
fn a_file_replaced_while_open_keeps_the_old_content() {
    let bed = Bed::new();
    fs::write(bed.a("config/conf"), "old").unwrap();
    let mut open = File::open(bed.a("config/conf")).unwrap();
    fs::write(bed.a("new"), "new").unwrap();
    fs::rename(bed.a("new"), bed.a("config/conf")).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), open.metadata().unwrap().nlink()), ("old", 0));
    assert_eq!(fs::read_to_string(bed.a("config/conf")).unwrap(), "new");
    bed.sh(0, "sed -i s/new/edited/ config/conf");
    assert_eq!(fs::read_to_string(bed.a("config/conf")).unwrap(), "edited");
}

#[test]
fn a_directory_of_a_thousand_is_listed_whole_and_emptied_in_one_pass() {
    let bed = Bed::new();
    fs::create_dir(bed.a("many")).unwrap();
    for number in 0..1000 {
        File::create_new(bed.a(&format!("many/file-with-a-longer-name-{number:04}"))).unwrap();
    }
    let names = || fs::read_dir(bed.a("many")).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    let mut listed = names();
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), 1000);
    for entry in fs::read_dir(bed.a("many")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().ino(), entry.ino());
        fs::remove_file(entry.path()).unwrap();
    }
    fs::remove_dir(bed.a("many")).unwrap();
}

#[test]
fn fifos_sockets_and_locks_work() {
    let bed = Bed::new();
    bed.sh(0, "mkfifo pipe && { echo through > pipe & } && test \"$(cat pipe)\" = through && wait");
    let listener = std::os::unix::net::UnixListener::bind(bed.path("chns/socket")).unwrap();
    std::os::unix::net::UnixStream::connect(bed.path("chns/socket")).unwrap();
    drop(listener);
    bed.sh(0, "exec 9>lock && flock -n 9 && ! flock -n lock true");
    bed.sh(0, "mknod null c 1 3 && test $(stat -c %t,%T null) = 1,3");
}

#[test]
fn what_is_not_supported_says_so() {
    let bed = Bed::new();
    let file = File::open(bed.a("config/conf")).unwrap();
    // SAFETY: TCGETS with a buffer of the size that it writes, on an open descriptor.
    let refused = unsafe {
        let mut room = std::mem::MaybeUninit::<libc::termios>::uninit();
        libc::ioctl(file.as_raw_fd(), libc::TCGETS, room.as_mut_ptr())
    };
    assert_eq!((refused, Errno::last_raw()), (-1, libc::ENOTTY));
    let unnamed = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(bed.a(""));
    assert_eq!(errno(unnamed), libc::EOPNOTSUPP);
}
