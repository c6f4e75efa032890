//! Special files: values, verbs, logs, and calls that are slow or fail.

use crate::bed::{Bed, PATIENCE, errno, eventually};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What was written to verbs so far.
fn written(bed: &Bed) -> Vec<(String, String)> {
    bed.fake.writes.lock().unwrap().iter().map(|(file, text, _)| (file.clone(), text.clone())).collect()
}

fn pair(file: &str, text: &str) -> (String, String) {
    (file.into(), text.into())
}

#[test]
fn one_open_file_reads_one_snapshot() {
    let bed = Bed::new();
    let mut file = File::open(bed.a("status")).unwrap();
    assert_eq!(bed.fake.reads.load(Ordering::SeqCst), 0, "opening takes none");
    let mut start = [0; 2];
    file.read_exact(&mut start).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!((&start, rest.as_str()), (b"a-", "0\n"));
    file.seek(SeekFrom::Start(0)).unwrap();
    rest.clear();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "a-1\n");
    let mut middle = [0; 9];
    assert_eq!(file.read_at(&mut middle, 2).unwrap(), 2);
    assert_eq!(&middle[..2], b"1\n");
    assert_eq!(file.read_at(&mut middle, 4).unwrap(), 0);
    assert_eq!(file.read_at(&mut middle, 4000).unwrap(), 0);
    assert_eq!(bed.fake.reads.load(Ordering::SeqCst), 2);
}

#[test]
fn a_value_shows_the_constant_size_and_is_copied_whole() {
    let bed = Bed::new();
    let metadata = fs::metadata(bed.a("status")).unwrap();
    assert_eq!((metadata.len(), metadata.blocks(), metadata.mode() & 0o7777), (1000, 2, 0o444));
    assert_eq!(fs::metadata(bed.a("sized")).unwrap().len(), 3);
    assert!(bed.sh(0, "cp status config/copy && cat config/copy").starts_with("a-"));
    assert!(
        bed.sh(0, "grep -h . status knob; head -c 2 status; dd if=status bs=1 2>/dev/null").contains("knob")
    );
}

#[test]
fn a_failed_read_is_its_errno() {
    let bed = Bed::new();
    assert_eq!(errno(fs::read(bed.a("stats/n"))), libc::ENXIO);
}

#[test]
fn read_only_special_files_refuse_root_too() {
    let bed = Bed::new();
    for file in ["status", "log"] {
        assert_eq!(errno(OpenOptions::new().write(true).open(bed.a(file))), libc::EACCES, "{file}");
        fs::set_permissions(bed.a(file), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(errno(OpenOptions::new().append(true).open(bed.a(file))), libc::EACCES, "{file}");
        assert_eq!(nix::unistd::truncate(&bed.a(file), 0), Err(nix::errno::Errno::EACCES), "{file}");
    }
}

#[test]
fn special_files_keep_mode_owner_and_times() {
    let bed = Bed::new();
    fs::set_permissions(bed.a("action"), fs::Permissions::from_mode(0o664)).unwrap();
    chown(bed.a("action"), Some(1234), Some(55)).unwrap();
    bed.sh(0, "touch -d @77 action");
    for path in [bed.a("action"), bed.root("nf-types/box/a/action")] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o664, 1234, 55));
        assert_eq!(metadata.mtime(), 77);
    }
    bed.sh(1234, "echo start > action");
    let writes = bed.fake.writes.lock().unwrap();
    assert_eq!(writes.last().map(|(_, _, caller)| (caller.uid, caller.gid)), Some((1234, 1234)));
}

#[test]
fn each_write_to_a_verb_is_one_request_whatever_offset_and_flags() {
    let bed = Bed::new();
    bed.sh(0, "printf 'a\\nb' > action; echo c >> action; echo d > action; truncate -s 5 action");
    let mut file = OpenOptions::new().write(true).open(bed.a("action")).unwrap();
    file.write_all(b"e").unwrap();
    file.write_all(b"f").unwrap();
    file.write_at(b"g", 5000).unwrap();
    let texts: String = written(&bed).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.replace('\n', ""), "abcdefg");
    assert!(written(&bed).ends_with(&["e", "f", "g"].map(|text| pair("action", text))));
    assert_eq!(fs::metadata(bed.a("action")).unwrap().len(), 1000);
    assert_eq!(fs::metadata(bed.root("nf-types/box/a/action")).unwrap().len(), 0);
}

#[test]
fn a_refused_verb_fails_the_write_itself() {
    let bed = Bed::new();
    let mut file = OpenOptions::new().write(true).open(bed.a("action")).unwrap();
    assert_eq!(errno(file.write(b"frobnicate\n")), libc::EINVAL);
    assert!(!bed.shell(0, "echo frobnicate > action").status.success());
    bed.sh(0, "echo start > action");
}

#[test]
fn a_command_of_128_kib_is_one_write() {
    let bed = Bed::new();
    let mut file = OpenOptions::new().write(true).open(bed.a("command")).unwrap();
    assert_eq!(file.write(&vec![b'x'; 128 << 10]).unwrap(), 128 << 10);
    assert_eq!(written(&bed).len(), 1);
    assert_eq!(written(&bed)[0].1.len(), 128 << 10);
}

#[test]
fn an_open_command_reads_its_own_output() {
    let bed = Bed::new();
    assert_eq!(bed.sh(0, "exec 3<>command; echo cmd >&3; cat <&3"), "ran 4 bytes: cmd\n");
    let twice = bed.sh(0, "exec 3<>command; echo one >&3; cat <&3; echo three >&3; cat <&3; cat <&3");
    assert_eq!(twice, "ran 4 bytes: one\nran 6 bytes: three\n");
    let file = OpenOptions::new().read(true).write(true).open(bed.a("command")).unwrap();
    (&file).write_all(b"x").unwrap();
    let mut room = [0; 64];
    let count = file.read_at(&mut room, 0).unwrap();
    assert_eq!(&room[..count], b"ran 1 bytes: x\n");
    assert_eq!(file.read_at(&mut room, 4).unwrap(), count - 4);
    // Another open file knows nothing of it.
    assert_eq!(fs::read_to_string(bed.a("command")).unwrap(), "command\n");
}

#[test]
fn a_verb_reads_as_its_state() {
    let bed = Bed::new();
    assert_eq!(fs::read_to_string(bed.a("action")).unwrap(), "# last: none\n");
    assert_eq!(bed.sh(0, "exec 3<>action; echo start >&3; cat <&3"), "# last: none\n");
}

#[test]
fn a_log_has_its_true_size_and_grows_under_an_open_descriptor() {
    let bed = Bed::new();
    assert_eq!(fs::metadata(bed.a("log")).unwrap().len(), 0);
    bed.fake.log.lock().unwrap().extend_from_slice(b"one\ntwo\n");
    let metadata = fs::metadata(bed.a("log")).unwrap();
    assert_eq!((metadata.len(), metadata.mtime()), (8, 1008));
    assert_eq!(bed.sh(0, "tail -n 1 log; wc -c < log; tail -c 3 log"), "two\n8\nwo\n");
    let mut file = File::open(bed.a("log")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    bed.fake.log.lock().unwrap().extend_from_slice(b"three\n");
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo\nthree\n");
}

#[test]
fn tail_f_follows_a_log() {
    let bed = Bed::new();
    bed.fake.log.lock().unwrap().extend_from_slice(b"first\n");
    let followed = bed.root("followed");
    let mut tail = std::process::Command::new("tail")
        .args(["-s", "0.05", "-f"])
        .arg(bed.a("log"))
        .stdout(File::create(&followed).unwrap())
        .spawn()
        .unwrap();
    eventually("tail shows the first line", || fs::read(&followed).unwrap() == b"first\n");
    bed.fake.log.lock().unwrap().extend_from_slice(b"second\n");
    eventually("tail shows the second line", || fs::read(&followed).unwrap() == b"first\nsecond\n");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn slow_reads_hold_up_nobody_else() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        let _release = bed.fake.release_at_end();
        let slow: Vec<_> = (0..2).map(|_| scope.spawn(|| fs::read_to_string(bed.a("slow")))).collect();
        bed.fake.wait_for_slow(2);
        let third = scope.spawn(|| fs::read_to_string(bed.a("slow")));
        let begun = Instant::now();
        for _ in 0..50 {
            fs::read_to_string(bed.a("status")).unwrap();
            fs::metadata(bed.a("slow")).unwrap();
            fs::read_dir(bed.a("")).unwrap().for_each(|entry| assert!(entry.unwrap().metadata().is_ok()));
        }
        fs::create_dir(bed.path("nf-types/box/b")).unwrap();
        fs::remove_dir(bed.path("nf-types/box/b")).unwrap();
        assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
        bed.fake.release_slow();
        for read in slow.into_iter().chain([third]) {
            assert_eq!(read.join().unwrap().unwrap(), "at last\n");
        }
    });
}

#[test]
fn a_verb_under_way_holds_up_neither_readers_nor_a_second_one() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        let _release = bed.fake.release_at_end();
        let write = |text: &'static str| {
            // Without O_TRUNC: an open with it waits in the kernel (for the inode's lock) until the write is answered.
            let mut file = OpenOptions::new().write(true).open(bed.a("job")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let first = scope.spawn(move || write("one"));
        bed.fake.wait_for_slow(1);
        let begun = Instant::now();
        assert_eq!(fs::metadata(bed.a("job")).unwrap().len(), 1000);
        assert_eq!(fs::read_to_string(bed.a("job")).unwrap(), "job\n");
        let second = scope.spawn(move || write("two"));
        bed.fake.wait_for_slow(2);
        assert!(begun.elapsed() < PATIENCE / 2);
        bed.fake.release_slow();
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn past_its_deadline_a_read_times_out_and_a_full_lane_says_so() {
    let bed = Bed::new();
    let read = || errno(fs::read(bed.a("late")));
    std::thread::scope(|scope| {
        let _release = bed.fake.release_at_end();
        let first = scope.spawn(read);
        bed.fake.wait_for_slow(1);
        assert_eq!(first.join().unwrap(), libc::ETIMEDOUT);
        assert_eq!(read(), libc::EBUSY, "all that run are overdue");
        bed.fake.release_slow();
    });
    eventually("the lane comes back", || {
        fs::read_to_string(bed.a("late")).is_ok_and(|text| text == "at last\n")
    });
}

#[test]
fn a_panic_answers_eio_and_the_mount_goes_on() {
    let bed = Bed::new();
    for _ in 0..8 {
        assert_eq!(errno(fs::read(bed.a("boom"))), libc::EIO);
        assert_eq!(errno(fs::read(bed.a("boom_in_lane"))), libc::EIO);
    }
    assert!(fs::read_to_string(bed.a("status")).unwrap().starts_with("a-"));
}

#[test]
fn poll_tells_a_change_from_what_was_read_last() {
    let bed = Bed::new();
    let file = File::open(bed.a("status")).unwrap();
    let ready = || {
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN | PollFlags::POLLPRI)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5_000_u16)), Ok(1));
        fds[0].revents().unwrap()
    };
    // The stand-in answers another text at each read, so whatever was read is out of date.
    assert_eq!(ready(), PollFlags::POLLIN | PollFlags::POLLPRI | PollFlags::POLLERR);
    let plain = File::open(bed.a("config/conf")).unwrap();
    let mut fds = [PollFd::new(plain.as_fd(), PollFlags::POLLIN | PollFlags::POLLPRI)];
    assert_eq!(poll(&mut fds, PollTimeout::from(5_000_u16)), Ok(1));
    assert_eq!(fds[0].revents(), Some(PollFlags::POLLIN));
}

#[test]
fn unmounting_while_somebody_is_inside_lets_nobody_new_in() {
    let bed = Bed::new();
    let mut file = File::open(bed.a("config/conf")).unwrap();
    bed.mounted().unmounter().unmount().unwrap();
    assert_eq!(errno(fs::metadata(bed.a("status"))), libc::ENOENT);
    assert!(!bed.mounted().wait_for(Duration::ZERO));
    file.read_to_end(&mut Vec::new()).unwrap();
    drop(file);
    bed.mounted().wait().unwrap();
    bed.mounted().unmounter().unmount().unwrap();
}
