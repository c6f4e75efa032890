//! The background process of `nfio mount`: our own binary, started anew (a fork without exec would keep /dev/fuse
//! open behind the daemon's back). The command waits at its stdout for one line: that it is ready, or why not.

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::sentence;
use crate::error::{NfioError, Result};
use crate::root::Root;
use crate::tree::PRIVATE;

/// The hidden option that marks the background process.
pub(super) const FLAG: &str = "in-background";
/// The log of background mounts, in ROOT's private directory.
const LOG: &str = "log";
/// From this length on the log is set aside (as `log.old`, over the one before) when a mount begins.
const LOG_CAP: u64 = 4 << 20;
/// The line that says that the file system answers.
const READY: &str = "ready";

/// Starts the background process with our own arguments and returns when it is ready.
///
/// # Errors
/// Its own sentence where it failed.
pub(super) fn start(root: &Path) -> Result<()> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "nfio".into());
    // Right behind the word `mount`: further on a `--` could stand before it.
    let command = args.next().unwrap_or_else(|| "mount".into());
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .arg(command)
        .arg(format!("--{FLAG}"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| {
            let message = format!("the background process cannot be started ({e}): try --foreground");
            NfioError::posix(e.raw_os_error().unwrap_or(Errno::EIO as i32), message)
        })?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    match line.trim_end() {
        READY => Ok(()),
        "" => {
            let status = child.wait()?;
            let message = format!(
                "the background process ended before the mount was ready ({status}): see {}",
                root.join(PRIVATE).join(LOG).display()
            );
            Err(NfioError::posix(Errno::EIO as i32, message))
        }
        why => {
            // It is on its way out: nothing of it shall be left when we return.
            child.wait()?;
            Err(NfioError::posix(Errno::EIO as i32, why))
        }
    }
}

/// The command that waits for us.
#[derive(Debug)]
pub(super) struct Waiting(File);

/// Makes the background process its own: a session without terminal, and a private way to the command that waits.
pub(super) fn settle() -> nix::Result<Waiting> {
    // Until we are ready we end with the command, so that ^C leaves nothing behind.
    set_pdeathsig(Signal::SIGTERM)?;
    setsid()?;
    let waiting: OwnedFd = std::io::stdout().as_fd().try_clone_to_owned().map_err(errno)?;
    // Nothing that we start may keep the command waiting.
    let null = File::options().read(true).write(true).open("/dev/null").map_err(errno)?;
    dup2_stdout(&null)?;
    Ok(Waiting(waiting.into()))
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

impl Waiting {
    /// Lets the command return: the file system answers.
    pub(super) fn ready(mut self) {
        // A command that has gone meanwhile was killed: then our own death signal is under way already.
        let _ = set_pdeathsig(None);
        let _ = writeln!(self.0, "{READY}");
    }

    /// Lets the command fail with our sentence.
    pub(super) fn failed(mut self, error: &NfioError) {
        let _ = writeln!(self.0, "{}", sentence(error));
    }
}

/// Leads stderr, and with it the log, to the file in ROOT.
pub(super) fn log_to_file(root: &Root) -> Result<()> {
    let path = root.private().join(LOG);
    let failed = |e: std::io::Error| {
        let message =
            format!("log {} cannot be written ({e}): mend that or use --foreground", path.display());
        NfioError::posix(e.raw_os_error().unwrap_or(Errno::EIO as i32), message)
    };
    if std::fs::symlink_metadata(&path).is_ok_and(|found| found.len() >= LOG_CAP) {
        std::fs::rename(&path, path.with_extension("old")).map_err(failed)?;
    }
    let log = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&path)
        .map_err(failed)?;
    if !log.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is not a regular file")));
    }
    dup2_stderr(&log).map_err(|e| failed(e.into()))
}
