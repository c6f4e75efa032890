//! How many descriptors nfio and its guests may have open (getrlimit(2), RLIMIT_NOFILE).

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// The soft limit of guests, whatever nfio was started with: programs that use select(2) take no more.
const GUEST: u64 = 1024;

/// Lets this process have as many as its hard limit allows: every file that somebody has open in the mount is one here too.
///
/// # Errors
/// Those of setrlimit(2).
pub(crate) fn raise() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Gives this process, and what it starts, the limit of guests.
///
/// # Errors
/// Those of setrlimit(2).
pub(crate) fn limit_as_guest() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, GUEST.min(hard), hard)?)
}
