//! One extended attribute, by system calls: nix has none for them. Of class `trusted`, which every kernel's tmpfs has.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const NAME: &std::ffi::CStr = c"trusted.model";

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

/// Sets it.
pub(crate) fn set(path: &Path, value: &str) -> io::Result<()> {
    let path = text(path);
    // SAFETY: both names end in NUL, and the value is as long as is said.
    let set = unsafe { libc::setxattr(path.as_ptr(), NAME.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads it.
pub(crate) fn get(path: &Path) -> io::Result<String> {
    let (path, mut value) = (text(path), [0_u8; 64]);
    // SAFETY: both names end in NUL, and the buffer has room for as many bytes as is said.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), NAME.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(String::from_utf8_lossy(&value[..length]).into_owned())
}
