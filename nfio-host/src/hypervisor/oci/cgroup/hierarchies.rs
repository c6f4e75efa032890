//! Which hierarchies of control groups this machine has mounted.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    pub(super) v2: bool,
    pub(super) controllers: Vec<String>,
}

impl Hierarchy {
    /// A process's group in this hierarchy, from its /proc/<pid>/cgroup.
    pub(super) fn path_in<'a>(&self, text: &'a str) -> Option<&'a str> {
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

/// What is mounted, asked once: machines do not change this while they run, and every status needs it.
pub(super) fn hierarchies() -> io::Result<&'static [Hierarchy]> {
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
