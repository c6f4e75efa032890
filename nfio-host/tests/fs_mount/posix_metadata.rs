//! Ordinary files: owners, modes, times, attributes.

use crate::bed::{Bed, errno};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

const TENANT: u32 = 1234;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// A directory that the tenant may write.
fn tenants(bed: &Bed) {
    fs::create_dir(bed.a("t")).unwrap();
    chown(bed.a("t"), Some(TENANT), Some(TENANT)).unwrap();
}

#[test]
fn modes_and_owners_are_kept_in_root() {
    let bed = Bed::new();
    fs::write(bed.a("f"), "").unwrap();
    fs::set_permissions(bed.a("f"), fs::Permissions::from_mode(0o640)).unwrap();
    chown(bed.a("f"), Some(7), Some(8)).unwrap();
    for path in [bed.a("f"), bed.root("nf-types/box/a/f")] {
        assert_eq!((mode(&path), owner(&path)), (0o640, (7, 8)));
    }
}

#[test]
fn what_a_user_makes_is_the_users() {
    let bed = Bed::new();
    tenants(&bed);
    bed.sh(
        TENANT,
        "umask 027; cd t; echo x > f; mkdir d; ln -s f l; mkfifo p; umask 0; mkdir -m 1777 s; touch w",
    );
    for name in ["f", "d", "l", "p", "s", "w"] {
        assert_eq!(owner(&bed.a(&format!("t/{name}"))), (TENANT, TENANT), "{name}");
    }
    let modes = ["f", "d", "p", "s", "w"].map(|name| mode(&bed.a(&format!("t/{name}"))));
    assert_eq!(modes, [0o640, 0o750, 0o640, 0o1777, 0o666]);
}

#[test]
fn a_setgid_directory_hands_its_group_on() {
    let bed = Bed::new();
    tenants(&bed);
    chown(bed.a("t"), None, Some(77)).unwrap();
    fs::set_permissions(bed.a("t"), fs::Permissions::from_mode(0o2775)).unwrap();
    bed.sh(TENANT, "umask 022; touch t/f; mkdir t/d");
    assert_eq!(owner(&bed.a("t/f")), (TENANT, 77));
    assert_eq!((owner(&bed.a("t/d")), mode(&bed.a("t/d"))), ((TENANT, 77), 0o2755));
    assert_eq!(mode(&bed.a("t/f")), 0o644);
}

#[test]
fn the_kernel_enforces_modes_for_other_users() {
    let bed = Bed::new();
    fs::write(bed.a("secret"), "s").unwrap();
    fs::set_permissions(bed.a("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    for refused in
        ["cat secret", "echo > new", "echo >> config/conf", "chmod 777 secret", "rm secret", "cat log"]
    {
        let output = bed.shell(TENANT, refused);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{refused}");
        assert!(said.contains("denied") || said.contains("not permitted"), "{refused}: {said}");
    }
    assert!(bed.sh(TENANT, "cat status").starts_with("a-"));
    assert_eq!(fs::read(bed.root("nf-types/box/a/secret")).unwrap(), b"s");
}

#[test]
fn suid_goes_with_a_users_write_truncation_and_any_chown() {
    let bed = Bed::new();
    tenants(&bed);
    let file = bed.a("t/f");
    for change in ["echo x >> t/f", "truncate -s 1 t/f", ": > t/f"] {
        bed.sh(TENANT, "echo long enough > t/f; chmod 6777 t/f");
        assert_eq!(mode(&file), 0o6777);
        bed.sh(TENANT, change);
        assert_eq!(mode(&file), 0o777, "{change}");
        assert_eq!(mode(&bed.root("nf-types/box/a/t/f")), 0o777, "{change}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
    fs::write(&file, "by root").unwrap();
    assert_eq!(mode(&file), 0o6755, "root keeps them");
    chown(&file, Some(TENANT), None).unwrap();
    assert_eq!(mode(&file), 0o755);
}

#[test]
fn a_file_is_made_with_all_the_bits_that_were_asked() {
    let bed = Bed::new();
    bed.sh(0, "umask 0; python3 - <<'E' 2>/dev/null || install -m 4751 /dev/null suid\nimport os\nos.close(os.open('suid', os.O_CREAT|os.O_EXCL|os.O_WRONLY, 0o4751))\nE");
    assert_eq!(mode(&bed.a("suid")), 0o4751);
}

#[test]
fn times_are_set_to_the_nanosecond_and_before_the_epoch() {
    let bed = Bed::new();
    File::create_new(bed.a("f")).unwrap();
    let set = |atime, mtime| {
        let at = nix::fcntl::AT_FDCWD;
        utimensat(at, &bed.a("f"), &atime, &mtime, UtimensatFlags::FollowSymlink).unwrap();
        fs::metadata(bed.a("f")).unwrap()
    };
    let shown = set(TimeSpec::new(1_000, 123_456_789), TimeSpec::new(-2, 500_000_000));
    assert_eq!((shown.atime(), shown.atime_nsec()), (1_000, 123_456_789));
    assert_eq!((shown.mtime(), shown.mtime_nsec()), (-2, 500_000_000));
    let shown = set(TimeSpec::UTIME_OMIT, TimeSpec::UTIME_NOW);
    assert_eq!(shown.atime(), 1_000);
    assert!(shown.mtime() > 1_000_000_000);
    symlink("f", bed.a("l")).unwrap();
    bed.sh(0, "touch -h -d @5 l && test $(stat -c %Y l) = 5 && test $(stat -c %Y f) != 5");
}

#[test]
fn extended_attributes_work_but_acls_are_refused() {
    let bed = Bed::new();
    fs::write(bed.a("f"), "").unwrap();
    symlink("f", bed.a("l")).unwrap();
    let get = |path: &str, name: &str, room| xattr(&bed.a(path), name, Call::Get(room));
    let set = |path: &str, name: &str, value: &str, flags| xattr(&bed.a(path), name, Call::Set(value, flags));
    assert_eq!(set("f", "user.note", "hello", libc::XATTR_CREATE), Ok(Vec::new()));
    assert_eq!(set("f", "user.note", "again", libc::XATTR_CREATE), Err(libc::EEXIST));
    assert_eq!(get("f", "user.note", 64), Ok(b"hello".to_vec()));
    assert_eq!(get("f", "user.note", 2), Err(libc::ERANGE));
    assert_eq!(get("f", "user.none", 64), Err(libc::ENODATA));
    assert_eq!(set("l", "trusted.note", "link", 0), Ok(Vec::new()));
    assert_eq!(get("l", "trusted.note", 64), Ok(b"link".to_vec()));
    assert_eq!(get("f", "trusted.note", 64), Err(libc::ENODATA));
    assert_eq!(set("f", "system.posix_acl_access", "\u{2}\0\0\0", 0), Err(libc::EOPNOTSUPP));
    let names = xattr(&bed.a("f"), "", Call::List(256)).unwrap();
    assert!(String::from_utf8_lossy(&names).contains("user.note\0"));
    assert_eq!(xattr(&bed.a("f"), "user.note", Call::Remove), Ok(Vec::new()));
    assert_eq!(get("f", "user.note", 64), Err(libc::ENODATA));
    // Special files carry them too.
    assert_eq!(set("status", "user.note", "kept", 0), Ok(Vec::new()));
    assert_eq!(xattr(&bed.root("nf-types/box/a/status"), "user.note", Call::Get(64)), Ok(b"kept".to_vec()));
}

enum Call<'a> {
    Set(&'a str, i32),
    Get(usize),
    List(usize),
    Remove,
}

fn xattr(path: &Path, name: &str, call: Call<'_>) -> Result<Vec<u8>, i32> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let (path, name) = (CString::new(path.as_os_str().as_bytes()).unwrap(), CString::new(name).unwrap());
    let (path, name) = (path.as_ptr(), name.as_ptr());
    let mut room = match call {
        Call::Get(room) | Call::List(room) => vec![0_u8; room],
        _ => Vec::new(),
    };
    let (at, length) = (room.as_mut_ptr(), room.len());
    // SAFETY: both names end in NUL and live through the call; every buffer is as long as said.
    let answer = unsafe {
        match call {
            Call::Set(value, flags) => {
                libc::lsetxattr(path, name, value.as_ptr().cast(), value.len(), flags) as isize
            }
            Call::Get(_) => libc::lgetxattr(path, name, at.cast(), length),
            Call::List(_) => libc::llistxattr(path, at.cast(), length),
            Call::Remove => libc::lremovexattr(path, name) as isize,
        }
    };
    let length = usize::try_from(answer).map_err(|_| nix::errno::Errno::last_raw())?;
    room.truncate(length);
    Ok(room)
}

#[test]
fn statfs_is_that_of_root() {
    let bed = Bed::new();
    let (here, there) = (statvfs(&bed.a("")).unwrap(), statvfs(&bed.root("")).unwrap());
    assert_eq!((here.blocks(), here.block_size()), (there.blocks(), there.block_size()));
    assert_eq!(here.name_max(), there.name_max());
    assert_eq!(errno(File::create(bed.a(&"n".repeat(256)))), libc::ENAMETOOLONG);
}

#[test]
fn privileges_that_a_write_takes_away_are_not_shown_any_more() {
    let bed = Bed::new();
    bed.sh(0, "echo > f && chmod 6777 f && stat -c %a f");
    bed.sh(TENANT, "echo x >> f");
    // What asks for the mode alone does not make the kernel ask for what a write changes.
    assert_eq!(bed.sh(0, "stat -c %a f"), "777\n");
}
