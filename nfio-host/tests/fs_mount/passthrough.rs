//! Ordinary files go past us, and nothing of what they promise is lost by it.

use crate::bed::Bed;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::sync::Arc;
use std::thread;

const TENANT: u32 = 1234;

fn read(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}

/// Whether this kernel passes files through: Linux 6.9 and later do.
fn kernel_passes() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 9)
}

#[test]
fn the_kernel_reads_and_writes_the_backing_file_by_itself_where_it_can() {
    let bed = Bed::new();
    fs::write(bed.a("f"), "one").unwrap();
    let (mount, root) = (File::open(bed.a("f")).unwrap(), bed.root("nf-types/box/a/f"));
    assert_eq!(read(&mount), b"one");
    // Behind the mount, without a change of length: a page cache of the mount's own would not notice.
    OpenOptions::new().write(true).open(root).unwrap().write_all_at(b"two", 0).unwrap();
    let expected: &[u8] = if kernel_passes() { b"two" } else { b"one" };
    assert_eq!(read(&mount), expected);
}

#[test]
fn descriptors_of_one_file_agree_however_and_in_whatever_order_they_were_opened() {
    let bed = Bed::new();
    let path = bed.a("f");
    // The first one cannot read, what it was opened for counts for itself alone.
    let first = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    let appender = OpenOptions::new().append(true).open(&path).unwrap();
    first.write_all_at(b"first", 0).unwrap();
    assert_eq!(read(&reader), b"first");
    (&appender).write_all(b", more").unwrap();
    assert_eq!(read(&reader), b"first, more");
    assert!(first.read_at(&mut [0; 8], 0).is_err() && reader.write_at(b"x", 0).is_err());
    drop(first);
    let truncating = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    assert_eq!((read(&reader), fs::metadata(&path).unwrap().len()), (Vec::new(), 0));
    truncating.write_all_at(b"end", 3).unwrap();
    assert_eq!(read(&reader), b"\0\0\0end");
    assert_eq!(fs::metadata(&path).unwrap().len(), 6);
    // A second name, and no name at all.
    fs::hard_link(&path, bed.a("g")).unwrap();
    let second = OpenOptions::new().read(true).write(true).open(bed.a("g")).unwrap();
    fs::remove_file(&path).unwrap();
    fs::remove_file(bed.a("g")).unwrap();
    second.write_all_at(b"gone", 0).unwrap();
    assert_eq!(read(&reader), b"gonend");
    assert_eq!(second.metadata().unwrap().nlink(), 0);
}

#[test]
fn many_open_write_and_close_one_file_side_by_side() {
    let bed = Bed::new();
    let path = Arc::new(bed.a("f"));
    fs::write(&*path, "").unwrap();
    let all: Vec<_> = (0..8_u8)
        .map(|n| {
            let path = Arc::clone(&path);
            thread::spawn(move || {
                for _ in 0..200 {
                    let file = OpenOptions::new().read(true).write(true).open(&*path).unwrap();
                    file.write_all_at(&[n], n.into()).unwrap();
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, n.into()).unwrap();
                    assert_eq!(byte, [n]);
                }
            })
        })
        .collect();
    all.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(fs::read(&*path).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn privileges_go_with_a_users_write_through_a_descriptor_that_was_there_before() {
    let bed = Bed::new();
    fs::set_permissions(bed.a(""), fs::Permissions::from_mode(0o755)).unwrap();
    let path = bed.a("f");
    fs::write(&path, "text").unwrap();
    chown(&path, Some(TENANT), Some(TENANT)).unwrap();
    let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
    // The user's shell holds its descriptor while root gives the file privileges, and writes then.
    let script = "exec 3<>f; read go; printf x >&3; echo done; read go; printf y >&3";
    let mut shell = std::process::Command::new("setpriv");
    shell.args(["--reuid", "1234", "--regid", "1234", "--clear-groups", "bash", "-c", script]);
    let mut shell = shell
        .current_dir(bed.a(""))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut go, done) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    assert_eq!(mode(), 0o6755);
    go.write_all(b"go\n").unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(done), &mut said).unwrap();
    assert_eq!((said.as_str(), mode()), ("done\n", 0o755));
    // Capabilities of the file likewise.
    bed.sh(0, SETXATTR);
    assert_eq!(bed.sh(0, LISTXATTR), "['security.capability']\n");
    go.write_all(b"go\n").unwrap();
    assert!(shell.wait().unwrap().success());
    assert_eq!(bed.sh(0, LISTXATTR), "[]\n");
    assert_eq!(fs::read(&path).unwrap(), b"xyxt");
}

const SETXATTR: &str = "python3 -c \"import os; os.setxattr('f', 'security.capability', \
                        bytes.fromhex('0100000200040000000000000000000000000000'))\"";
const LISTXATTR: &str = "python3 -c \"import os; print(os.listxattr('f'))\"";

#[test]
fn direct_and_synchronous_opens_work_too() {
    let bed = Bed::new();
    let path = bed.a("f");
    let open = |flags| OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(&path);
    let synced = open(libc::O_SYNC).unwrap();
    synced.write_all_at(&[b'x'; 4096], 0).unwrap();
    synced.sync_data().unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), 4096);
    // O_DIRECT beside the other: refused or served, but never garbled.
    if let Ok(direct) = open(libc::O_DIRECT) {
        let mut buffer = vec![0_u8; 8192];
        let at = buffer.as_ptr().align_offset(4096);
        direct.read_exact_at(&mut buffer[at..at + 4096], 0).unwrap();
        assert!(buffer[at..at + 4096].iter().all(|byte| *byte == b'x'));
    }
}
