//! A guest's control groups: `/nfio/<short>` for its processes, `/nfio/<short>.monitor` for its monitor, so
//! that neither ends or starves with nfio's own service. Version 1, version 2 and both beside one another;
//! libcontainer puts the guest's processes in, everything else happens here.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use super::{DEVICES, PIDS_LIMIT};
use crate::hypervisor::container::again::Again;

const PARENT: &str = "nfio";
const PATIENCE: Duration = Duration::from_secs(5);
const PERIOD: u64 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    v2: bool,
    controllers: Vec<String>,
}

impl Hierarchy {
    /// A process's group in this hierarchy, from its /proc/<pid>/cgroup.
    fn path_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let ours = match self.v2 {
                true => controllers.is_empty(),
                false => controllers.split(',').eq(self.controllers.iter().map(String::as_str)),
            };
            ours.then_some(path)
        })
    }
}

/// The control groups of one guest.
#[derive(Debug)]
pub(super) struct Cgroup {
    short: String,
    hierarchies: &'static [Hierarchy],
}

/// What a guest may use.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) vcpu: Option<f64>,
    pub(super) memory: Option<u64>,
    /// Every device, for a privileged guest.
    pub(super) all_devices: bool,
    /// Entries for devices.allow beside the default ones.
    pub(super) devices: Vec<String>,
}

impl Cgroup {
    pub(super) fn of(short: &str) -> io::Result<Self> {
        Ok(Self { short: short.into(), hierarchies: hierarchies()? })
    }

    /// The name that libcontainer gets.
    pub(super) fn path(short: &str) -> String {
        format!("/{PARENT}/{short}")
    }

    /// Whether something decides which device nodes open.
    pub(super) fn guards_devices(&self) -> bool {
        self.hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == "devices"))
    }

    /// Makes the guest's groups with their limits. A controller that is missing is an error where a limit was
    /// asked for; the limits that every guest gets are left out.
    pub(super) fn make(&self, limits: &Limits) -> io::Result<()> {
        if let Some(vcpu) = limits.vcpu {
            let quota = (vcpu * PERIOD as f64).round() as u64;
            let (dir, v2) = self.group("cpu")?.ok_or_else(|| missing("cpu", "machine/vm.vcpu"))?;
            if v2 {
                write(&dir.join("cpu.max"), &format!("{quota} {PERIOD}"))?;
            } else {
                write(&dir.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), &quota.to_string())?;
            }
        }
        if let Some(memory) = limits.memory {
            let (dir, v2) = self.group("memory")?.ok_or_else(|| missing("memory", "machine/vm.memory"))?;
            let memory = memory.to_string();
            // Memory and swap together are the limit: a guest that exceeds it ends, it does not swap.
            let (limit, swap, none) = match v2 {
                true => ("memory.max", "memory.swap.max", "0"),
                false => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", memory.as_str()),
            };
            write(&dir.join(limit), &memory)?;
            if dir.join(swap).exists() {
                write(&dir.join(swap), none)?;
            }
        }
        if let Some((dir, _)) = self.group("pids")? {
            write(&dir.join("pids.max"), &PIDS_LIMIT.to_string())?;
        }
        if let Some((dir, _)) = self.group("devices")?
            && !limits.all_devices
        {
            write(&dir.join("devices.deny"), "a")?;
            for device in DEVICES.iter().copied().chain(limits.devices.iter().map(String::as_str)) {
                write(&dir.join("devices.allow"), device)?;
            }
        }
        self.group("freezer").map(drop)
    }

    /// Moves this process, the monitor, out of nfio's service. Where nfio is in the root group there is nothing
    /// to leave (and every move waits for all CPUs); a hierarchy that refuses (delegated to somebody else)
    /// leaves it where it is.
    pub(super) fn enter_as_monitor(&self) {
        let me = std::process::id().to_string();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for hierarchy in self.hierarchies {
            // A new cpuset takes nobody in before it has been given CPUs, and has no part in whose we are.
            if hierarchy.controllers.iter().any(|c| c == "cpuset") && !hierarchy.v2 {
                continue;
            }
            if hierarchy.path_in(&own) == Some("/") {
                continue;
            }
            let entered = make_dir(&hierarchy.mount, &self.monitor_name())
                .and_then(|dir| write(&dir.join("cgroup.procs"), &me));
            if let Err(e) = entered {
                tracing::warn!("the monitor stays in nfio's control group: {e}");
            }
        }
    }

    /// The reverse: the monitor leaves its groups so that it can remove them.
    pub(super) fn leave_as_monitor(&self) {
        let me = std::process::id().to_string();
        for hierarchy in self.hierarchies {
            if hierarchy.mount.join(PARENT).join(self.monitor_name()).is_dir() {
                // Where the root takes nobody in, destroy finds and removes the empty group.
                let _ = write(&hierarchy.mount.join("cgroup.procs"), &me);
            }
        }
        self.remove_monitor();
    }

    pub(super) fn freeze(&self) -> io::Result<()> {
        let frozen = self.set_frozen(true);
        if frozen.is_err() {
            // Half frozen is neither running nor paused; the failure to report is the first one.
            let _ = self.set_frozen(false);
        }
        frozen
    }

    pub(super) fn thaw(&self) -> io::Result<()> {
        match self.set_frozen(false) {
            // Its processes waited for their end only, and the monitor has removed the group meanwhile.
            Err(_) if self.freezer().is_none() => Ok(()),
            thawed => thawed,
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|freezer| freezer.wanted())
    }

    /// As [`is_frozen`](Self::is_frozen), for whoever asks again and again during one run of the guest.
    pub(super) fn is_frozen_still(&self, kept: &Again) -> bool {
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

    /// Kills whatever is left in the guest's groups and removes them.
    pub(super) fn remove(&self) -> io::Result<()> {
        for hierarchy in self.hierarchies {
            let dir = hierarchy.mount.join(PARENT).join(&self.short);
            if !dir.is_dir() {
                continue;
            }
            let gone = until(PATIENCE, || {
                for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                    if let Ok(pid) = pid.parse() {
                        // The pid is in our group now; a process that ended in between is what we want.
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                }
                if self.is_frozen() {
                    self.thaw()?;
                }
                match fs::remove_dir(&dir) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
                    // Its last process is about to go.
                    Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(false),
                    other => other.map(|()| true),
                }
            })?;
            if !gone {
                let text = format!("processes in {} do not end", dir.display());
                return Err(io::Error::other(text));
            }
            remove_parent(&hierarchy.mount);
        }
        Ok(())
    }

    /// Removes the groups of a monitor that has ended.
    pub(super) fn remove_monitor(&self) {
        for hierarchy in self.hierarchies {
            // Missing, or still somebody in it: both are left to the next one who passes.
            let _ = fs::remove_dir(hierarchy.mount.join(PARENT).join(self.monitor_name()));
            remove_parent(&hierarchy.mount);
        }
    }

    fn monitor_name(&self) -> String {
        format!("{}.monitor", self.short)
    }

    /// The guest's directory in the hierarchy of that controller, made; None where there is no such controller.
    fn group(&self, controller: &str) -> io::Result<Option<(PathBuf, bool)>> {
        for hierarchy in self.hierarchies {
            let offered = hierarchy.controllers.iter().any(|c| c == controller);
            if !hierarchy.v2 && offered {
                return Ok(Some((make_dir(&hierarchy.mount, &self.short)?, false)));
            }
            if hierarchy.v2 && (offered || controller == "freezer") {
                if offered && !delegate(&hierarchy.mount, controller)? {
                    return Ok(None);
                }
                return Ok(Some((make_dir(&hierarchy.mount, &self.short)?, true)));
            }
        }
        Ok(None)
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

/// Asks every few milliseconds until the answer is yes or the time is up.
pub(super) fn until(limit: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Makes `/nfio/<name>`; a guest that just went may take the empty parent with it.
fn make_dir(mount: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = mount.join(PARENT).join(name);
    for _ in 0..100 {
        match fs::create_dir_all(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display()))),
            Ok(()) => return Ok(dir),
        }
    }
    Err(io::Error::other(format!("{} cannot be made", dir.display())))
}

fn remove_parent(mount: &Path) {
    // Other guests in it: it stays.
    let _ = fs::remove_dir(mount.join(PARENT));
}

/// Hands a controller of version 2 down to the guests' groups; false where the machine keeps it for itself.
fn delegate(mount: &Path, controller: &str) -> io::Result<bool> {
    make_dir(mount, "")?;
    for dir in [mount.to_path_buf(), mount.join(PARENT)] {
        let enabled = fs::read_to_string(dir.join("cgroup.subtree_control"))?;
        if !enabled.split_whitespace().any(|name| name == controller)
            && write(&dir.join("cgroup.subtree_control"), &format!("+{controller}")).is_err()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
        .map_err(|e| io::Error::new(e.kind(), format!("{text:?} into {}: {e}", path.display())))
}

fn missing(controller: &str, key: &str) -> io::Error {
    io::Error::other(format!(
        "{key} cannot be kept: this machine has no {controller} control group; empty {key}, or mount one"
    ))
}

/// What is mounted, asked once: machines do not change this while they run, and every status needs it.
fn hierarchies() -> io::Result<&'static [Hierarchy]> {
    static KNOWN: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    match KNOWN.get() {
        Some(known) => Ok(known),
        None => find_hierarchies().map(|found| &KNOWN.get_or_init(|| found)[..]),
    }
}

fn find_hierarchies() -> io::Result<Vec<Hierarchy>> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let Some(hierarchy) = hierarchy(line) else { continue };
        if !found.iter().any(|h| h.controllers == hierarchy.controllers && h.v2 == hierarchy.v2) {
            found.push(hierarchy);
        }
    }
    for hierarchy in found.iter_mut().filter(|h| h.v2) {
        let offered = fs::read_to_string(hierarchy.mount.join("cgroup.controllers"))?;
        hierarchy.controllers = offered.split_whitespace().map(String::from).collect();
    }
    Ok(found)
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, fs) = line.split_once(" - ")?;
    let mut fs = fs.split(' ');
    let kind = fs.next()?;
    let options = fs.nth(1)?;
    let mount = PathBuf::from(mount.split(' ').nth(4)?);
    match kind {
        "cgroup2" => Some(Hierarchy { mount, v2: true, controllers: Vec::new() }),
        "cgroup" => {
            let known = ["rw", "ro", "xattr", "noprefix", "clone_children"];
            let controllers = options.split(',').filter(|o| !known.contains(o) && !o.contains("_agent="));
            Some(Hierarchy { mount, v2: false, controllers: controllers.map(String::from).collect() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_told_apart() {
        let v1 =
            "40 30 0:35 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let named = "41 30 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        let v2 = "42 30 0:37 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw";
        assert_eq!(hierarchy(v1).unwrap().controllers, ["cpu", "cpuacct"]);
        assert_eq!(hierarchy(named).unwrap().controllers, ["name=systemd"]);
        assert!(hierarchy(v2).unwrap().v2);
        assert_eq!(hierarchy("1 2 0:3 / / rw - ext4 /dev/vda rw"), None);
        let own = "4:cpu,cpuacct:/a:b\n1:name=systemd:/system.slice\n0::/\n";
        let path = |line: &str| hierarchy(line).unwrap().path_in(own).map(String::from);
        assert_eq!(path(v1).as_deref(), Some("/a:b"));
        assert_eq!(path(named).as_deref(), Some("/system.slice"));
        assert_eq!(path(v2).as_deref(), Some("/"));
    }
}
