//! Pausing a guest: the freezer of version 1, or that of version 2.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Cgroup, PARENT, PATIENCE, until, write};
use crate::hypervisor::container::again::Again;

impl Cgroup {
    pub(in crate::hypervisor::oci) fn freeze(&self) -> io::Result<()> {
        let frozen = self.set_frozen(true);
        if frozen.is_err() {
            // Half frozen is neither running nor paused; the failure to report is the first one.
            let _ = self.set_frozen(false);
        }
        frozen
    }

    pub(in crate::hypervisor::oci) fn thaw(&self) -> io::Result<()> {
        match self.set_frozen(false) {
            // Its processes waited for their end only, and the monitor has removed the group meanwhile.
            Err(_) if self.freezer().is_none() => Ok(()),
            thawed => thawed,
        }
    }

    pub(in crate::hypervisor::oci) fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|freezer| freezer.wanted())
    }

    /// As [`is_frozen`](Self::is_frozen), for whoever asks again and again during one run of the guest.
    pub(in crate::hypervisor::oci) fn is_frozen_still(&self, kept: &Again) -> bool {
        self.freezer_of_guest().is_some_and(|freezer| {
            // Missing: the guest has just ended.
            kept.read(&freezer.switch()).is_ok_and(|text| text.trim_ascii() == b"1")
        })
    }

    fn set_frozen(&self, on: bool) -> io::Result<()> {
        let freezer = self.freezer().ok_or_else(|| {
            io::Error::other(
                "this machine has no freezer control group: mount /sys/fs/cgroup to pause guests",
            )
        })?;
        freezer.set(on)?;
        until(PATIENCE, || Ok(freezer.frozen()? == on))?.then_some(()).ok_or_else(|| {
            let word = if on { "stopped" } else { "gone on" };
            io::Error::other(format!("its processes have not {word} within {} s", PATIENCE.as_secs()))
        })
    }

    fn freezer(&self) -> Option<Freezer> {
        self.freezer_of_guest().filter(|freezer| freezer.dir.is_dir())
    }

    /// Where the guest's freezer is while it runs.
    fn freezer_of_guest(&self) -> Option<Freezer> {
        let find = |v2: bool| {
            self.hierarchies
                .iter()
                .find(|h| h.v2 == v2 && (v2 || h.controllers.iter().any(|c| c == "freezer")))
                .map(|h| Freezer { dir: h.mount.join(PARENT).join(&self.short), v2 })
        };
        find(false).or_else(|| find(true))
    }
}

struct Freezer {
    dir: PathBuf,
    v2: bool,
}

impl Freezer {
    fn set(&self, on: bool) -> io::Result<()> {
        match (self.v2, on) {
            (true, _) => write(&self.dir.join("cgroup.freeze"), if on { "1" } else { "0" }),
            (false, true) => write(&self.dir.join("freezer.state"), "FROZEN"),
            (false, false) => write(&self.dir.join("freezer.state"), "THAWED"),
        }
    }

    /// Whether it is to be frozen.
    fn wanted(&self) -> bool {
        fs::read_to_string(self.switch()).is_ok_and(|text| text.trim() == "1")
    }

    /// The file that says so by 1.
    fn switch(&self) -> PathBuf {
        self.dir.join(if self.v2 { "cgroup.freeze" } else { "freezer.self_freezing" })
    }

    /// Whether all its processes stand still.
    fn frozen(&self) -> io::Result<bool> {
        if self.v2 {
            let events = fs::read_to_string(self.dir.join("cgroup.events"))?;
            return Ok(events.lines().any(|line| line == "frozen 1"));
        }
        Ok(fs::read_to_string(self.dir.join("freezer.state"))?.trim() == "FROZEN")
    }
}
