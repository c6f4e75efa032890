//! Extended attributes, for which neither the standard library nor nix has calls. All work on a descriptor's path
//! below /proc, so they reach symbolic links and files without a name too.

use nix::errno::Errno;
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use super::Answer;
use super::ordinary::by_descriptor;

/// ACLs that were stored but not enforced would be a hole: there are none.
const ACL: &[u8] = b"system.posix_acl_";
/// Labels of SELinux are given by the mount, not by what lies in ROOT. Not supported once is what `ls -l` takes for an
/// answer for all files; that this one has none it asks of each.
const LABEL: &[u8] = b"security.selinux";
/// Names that only root sees.
const TRUSTED: &[u8] = b"trusted.";

fn path(fd: impl AsFd) -> Answer<CString> {
    CString::new(by_descriptor(fd).as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Refuses names that no file has here.
pub(crate) fn permitted(name: &OsStr) -> Answer<()> {
    let refused = name.as_bytes().starts_with(ACL) || name.as_bytes() == LABEL;
    if refused { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

fn checked(name: &OsStr) -> Answer<CString> {
    permitted(name)?;
    CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)
}

fn length(answer: isize) -> Answer<usize> {
    Errno::result(answer).map(isize::cast_unsigned)
}

/// setxattr(2), flags as there.
pub(crate) fn set(fd: impl AsFd, name: &OsStr, value: &[u8], flags: i32) -> Answer<()> {
    let (path, name) = (path(fd)?, checked(name)?);
    // SAFETY: both names end in NUL and live through the call; value is readable for its whole length.
    let answer =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) };
    Errno::result(answer).map(drop)
}

/// The value of an attribute, in at most `room` bytes (ERANGE beyond); without room its length alone.
pub(crate) fn get(fd: impl AsFd, name: &OsStr, room: usize) -> Answer<Found> {
    let (path, name) = (path(fd)?, checked(name)?);
    let mut value = vec![0_u8; room];
    // SAFETY: both names end in NUL and live through the call; value is writable for its whole length, and a length
    // of 0 lets the kernel touch nothing.
    let answer =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    Ok(found(value, length(answer)?))
}

/// What a query for a value or a list comes back with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Length(usize),
    Bytes(Vec<u8>),
}

fn found(mut value: Vec<u8>, length: usize) -> Found {
    if value.is_empty() {
        return Found::Length(length);
    }
    value.truncate(length);
    Found::Bytes(value)
}

/// The names of all attributes, each ended by NUL, as [`get`] does with `room`.
pub(crate) fn list(fd: impl AsFd, privileged: bool, room: usize) -> Answer<Found> {
    let path = path(fd)?;
    // SAFETY: the path ends in NUL and lives through the call; a null buffer of length 0 asks for the length.
    let all = length(unsafe { libc::listxattr(path.as_ptr(), std::ptr::null_mut(), 0) })?;
    let mut names = vec![0_u8; all];
    if all > 0 {
        // SAFETY: as above, and names is writable for its whole length.
        let got = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
        names.truncate(length(got)?);
    }
    let names = visible(&names, privileged);
    match room {
        0 => Ok(Found::Length(names.len())),
        room if names.len() > room => Err(Errno::ERANGE),
        _ => Ok(Found::Bytes(names)),
    }
}

fn visible(names: &[u8], privileged: bool) -> Vec<u8> {
    let shown = |name: &&[u8]| {
        let refused = name.starts_with(ACL) || name.strip_suffix(b"\0") == Some(LABEL);
        !refused && (privileged || !name.starts_with(TRUSTED))
    };
    names.split_inclusive(|byte| *byte == 0).filter(shown).flatten().copied().collect()
}

/// removexattr(2).
pub(crate) fn remove(fd: impl AsFd, name: &OsStr) -> Answer<()> {
    let (path, name) = (path(fd)?, checked(name)?);
    // SAFETY: both names end in NUL and live through the call.
    Errno::result(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_and_labels_are_never_listed_and_trusted_names_to_root_alone() {
        let names = b"user.a\0trusted.b\0system.posix_acl_access\0security.selinux\0";
        assert_eq!(visible(names, true), b"user.a\0trusted.b\0");
        assert_eq!(visible(names, false), b"user.a\0");
    }
}
