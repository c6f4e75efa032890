//! Plugins are tried in a process of its own, before nfio itself loads them: our own binary, started anew with the
//! hidden subcommand `module`. It inherits nothing, says what it found in lines on a pipe that the plugin does not
//! know of, and is ended past its time.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a plugin may take to be loaded, or for one call of a check, by the wall clock.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// The most that is read of a child, in bytes: a type's table has less than 16 MiB, quoted.
const TALK: usize = 40 << 20;

/// How a child ended.
pub(super) enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// Past its time.
    Overdue,
}

impl Ending {
    /// What became of the plugin, for a sentence that begins with `it`.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Overdue => format!("did not come back within {} seconds", LIMIT.as_secs()),
            Self::Exited(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("crashed: {}", signal_name(signal)),
                (None, Some(code)) => format!("ended the process (exit {code})"),
                (None, None) => "ended the process".into(),
            },
        }
    }
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

/// Runs `nfio module WORDS` and hands each line that it says to `line`. It may take [`LIMIT`] in all, or where
/// `each` is set from line to line.
pub(super) fn run(words: &[&OsStr], each: bool, line: impl FnMut(&str)) -> io::Result<Ending> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("nfio").arg("module").args(words).current_dir("/");
    // A group of its own, so that what a plugin starts ends with it.
    command.process_group(0).stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // It holds our writing end of the pipe.
    drop(command);
    let ended = listen(&mut child, reader, each, line);
    // Before it is waited for: until then its pid is nobody else's.
    // A group that has ended cannot be ended.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let status = child.wait()?;
    Ok(if ended? { Ending::Exited(status) } else { Ending::Overdue })
}

/// Until the child has ended: true; or its time is over: false.
fn listen(
    child: &mut Child,
    mut pipe: PipeReader,
    each: bool,
    mut line: impl FnMut(&str),
) -> io::Result<bool> {
    let mut deadline = Instant::now() + LIMIT;
    let (mut pending, mut total) = (Vec::new(), 0);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || total > TALK {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let mut buffer = [0; 1 << 16];
        let count = pipe.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        total += count;
        pending.extend_from_slice(&buffer[..count]);
        if !buffer[..count].contains(&b'\n') {
            continue;
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            line(&String::from_utf8_lossy(&pending[..end]));
            pending.drain(..=end);
            if each {
                deadline = Instant::now() + LIMIT;
            }
        }
    }
    // The pipe ends with the process, unless the plugin has closed it.
    while !has_ended(child)? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

/// Whether the child has ended, which leaves it to be waited for.
fn has_ended(child: &Child) -> io::Result<bool> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(Pid::from_raw(child.id() as i32)), peek)? != WaitStatus::StillAlive)
}

/// The child's side, before anything else: cuts all ties and answers the pipe that only we know of.
pub(super) fn settle() -> io::Result<File> {
    // With the thread that waits for us we end as well. One that has ended already has no use for our answer, and
    // the pipe tells.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // No core dump, neither to a file nor to whatever the machine collects them with.
    nix::sys::prctl::set_dumpable(false)?;
    // Named after the descriptor that it was executed from, it would be a riddle in every list of processes.
    let _ = nix::sys::prctl::set_name(c"nfio-module");
    // SAFETY: closes descriptors that this program has not made and nothing in it refers to.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let pipe = io::stdout().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(pipe.into())
}
