//! Processes, held so that a reused pid is never mistaken for the one that was meant.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::again::Again;

/// A process as a record names it: its pid alone would be somebody else's after reuse, after a reboot, or in
/// another PID namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::hypervisor) struct Identity {
    pub(in crate::hypervisor) pid: i32,
    /// Start time in clock ticks since boot.
    started: u64,
    /// Boot and PID namespace that the pid belongs to.
    world: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.world, self.pid, self.started)
    }
}

impl Identity {
    pub(in crate::hypervisor) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, started: start_time(pid)?, world: world()? })
    }

    /// A hold on the process; None when it has ended.
    pub(in crate::hypervisor) fn hold(&self) -> io::Result<Option<Held>> {
        if self.world != world()? {
            return Ok(None);
        }
        let held = match Held::open(self.pid) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            other => other?,
        };
        // The start time is read after the pidfd was opened: if it fits, the pidfd is the process's own.
        Ok(match start_time(self.pid) {
            Ok(started) if started == self.started && held.alive() => Some(held),
            _ => None,
        })
    }
}

fn world() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let pids = fs::read_link("/proc/self/ns/pid")?;
    Ok(format!("{} {}", boot.trim(), pids.display()))
}

fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name stands in brackets and may hold anything; the fields begin behind the last one.
    stat.rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has no start time")))
}

/// A process held by a pidfd.
#[derive(Debug)]
pub(in crate::hypervisor) struct Held {
    pid: i32,
    fd: OwnedFd,
    /// Its `/proc/<pid>/net/dev`.
    pub(in crate::hypervisor) interfaces: Again,
    /// The switch of its freezer control group, where the driver has one.
    pub(in crate::hypervisor) freezer: Again,
}

impl Held {
    pub(in crate::hypervisor) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers and answers a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { pid, fd, interfaces: Again::default(), freezer: Again::default() })
    }

    pub(in crate::hypervisor) fn pid(&self) -> i32 {
        self.pid
    }

    pub(in crate::hypervisor) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The process's network namespace, proven to be its own.
    pub(in crate::hypervisor) fn netns(&self) -> io::Result<fs::File> {
        let netns = fs::File::open(format!("/proc/{}/ns/net", self.pid))?;
        // Asked after opening: as long as it lives, its pid is nobody else's.
        if self.alive() { Ok(netns) } else { Err(io::Error::other("it has just ended")) }
    }

    pub(in crate::hypervisor) fn alive(&self) -> bool {
        !self.ended_within(Duration::ZERO)
    }

    /// Whether the process ends within `limit`.
    pub(in crate::hypervisor) fn ended_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            // Rounded up, or the last fraction of a millisecond would be waited for in a busy loop.
            let left = end.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(n) if n > 0 => return true,
                _ if left == 0 => return false,
                _ => {}
            }
        }
    }

    /// Waits, at most for `limit`, until this process, a container's small init, has run the container's command or
    /// ended for want of it: it forks a copy of itself, which becomes the command.
    pub(in crate::hypervisor) fn runs_its_command(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let pid = self.pid.to_string();
        let begun = || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            // Asked once there is a child: before, the process may still have to become the init.
            let init = program(&pid);
            children.split_whitespace().any(|child| program(child).is_some_and(|it| Some(it) != init))
        };
        while !begun() && Instant::now() < end && !self.ended_within(Duration::from_millis(1)) {}
    }

    /// Sends a signal; a process that has ended meanwhile is no error.
    pub(in crate::hypervisor) fn signal(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: the descriptor is a pidfd that lives as long as self; the siginfo pointer may be null.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            e => Err(e),
        }
    }

    /// Whether SIGTERM would reach anybody. A namespace's first process that neither catches nor blocks
    /// (to fetch it by sigwait or signalfd) a signal never sees it: the kernel drops it.
    pub(in crate::hypervisor) fn hears_sigterm(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let bit = 1u64 << (libc::SIGTERM - 1);
        ["SigCgt:", "SigBlk:"].iter().any(|key| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
                .is_some_and(|mask| mask & bit != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_held_by_pid_and_start_time() {
        let me = Identity::of(std::process::id() as i32).unwrap();
        assert!(me.hold().unwrap().unwrap().alive());
        let other = Identity { started: me.started + 1, ..me.clone() };
        assert!(other.hold().unwrap().is_none());
        let rebooted = Identity { world: "another boot".into(), ..me };
        assert!(rebooted.hold().unwrap().is_none());
    }

    #[test]
    fn a_child_that_ended_is_seen_at_once() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let held = Held::open(child.id() as i32).unwrap();
        assert!(held.ended_within(Duration::from_secs(5)));
        assert!(!held.alive());
        child.wait().unwrap();
        held.signal(Signal::SIGKILL).unwrap();
    }
}
