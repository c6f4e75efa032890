//! The single probes of `nfio doctor`. Each answers what it found, or a sentence with the way to mend it.

use nix::fcntl::{OFlag, OpenHow};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

type Found = Result<String, String>;

/// A capability: its number and its name.
type Capability = (u32, &'static str);

/// Without these the embedded runtime makes no guest: its own work, and Docker's default set plus NET_ADMIN and
/// NET_RAW, which guests get.
pub(super) const NEEDED: [Capability; 17] = [
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (2, "DAC_READ_SEARCH"),
    (3, "FOWNER"),
    (4, "FSETID"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (8, "SETPCAP"),
    (10, "NET_BIND_SERVICE"),
    (12, "NET_ADMIN"),
    (13, "NET_RAW"),
    (18, "SYS_CHROOT"),
    (19, "SYS_PTRACE"),
    (21, "SYS_ADMIN"),
    (27, "MKNOD"),
    (31, "SETFCAP"),
];

/// Only some guests ask for these.
pub(super) const USEFUL: [Capability; 4] =
    [(16, "SYS_MODULE"), (23, "SYS_NICE"), (24, "SYS_RESOURCE"), (29, "AUDIT_WRITE")];

/// Controllers that limit and freeze guests.
const CONTROLLERS: [&str; 5] = ["memory", "cpu", "pids", "freezer", "devices"];

pub(super) fn root() -> Found {
    match nix::unistd::geteuid() {
        uid if uid.is_root() => Ok("uid 0".into()),
        uid => Err(format!("you are uid {uid}: run nfio with sudo or as root")),
    }
}

pub(super) fn openat2() -> Found {
    let root = File::open("/").map_err(|e| format!("/ cannot be opened: {e}"))?;
    nix::fcntl::openat2(&root, ".", OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC))
        .map(|_| "works".into())
        .map_err(|e| {
            format!("{}: use Linux 5.6 or newer, and a seccomp profile that allows openat2", e.desc())
        })
}

pub(super) fn passthrough() -> Found {
    let name = nix::sys::utsname::uname().map_err(|e| e.desc().to_string())?;
    let release = name.release().to_string_lossy().into_owned();
    match crate::fs::try_passthrough() {
        Ok(()) => Ok(format!("tried on Linux {release}")),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            Err("only root can try it: run it with sudo or as root".into())
        }
        Err(e) => Err(format!(
            "Linux {release} does not offer it ({e}): ordinary files are slower than with 6.9 or newer"
        )),
    }
}

pub(super) fn overlayfs() -> Found {
    let known = read("/proc/filesystems")?;
    match known.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        true => Ok("known to the kernel".into()),
        false => Err("not known to the kernel: modprobe overlay".into()),
    }
}

pub(super) fn cgroups() -> Found {
    let mounts = read("/proc/self/mountinfo")?;
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    let there = controllers(&mounts, unified.as_deref());
    let missing: Vec<_> = CONTROLLERS.into_iter().filter(|name| !there.contains(*name)).collect();
    if missing.is_empty() {
        let version = if unified.is_some() { "v2" } else { "v1" };
        return Ok(format!("{} ({version})", CONTROLLERS.join(", ")));
    }
    Err(format!(
        "{} not to be had: enable them in the kernel (cgroup_enable=…) and mount them below /sys/fs/cgroup",
        missing.join(", ")
    ))
}

/// The controllers at hand: v1's are options of their mounts; v2 lists its own, has a freezer in every group, and
/// does devices by programs.
fn controllers<'a>(mountinfo: &'a str, unified: Option<&'a str>) -> BTreeSet<&'a str> {
    let mut there = BTreeSet::new();
    for line in mountinfo.lines() {
        let Some((_, rest)) = line.split_once(" - cgroup ") else { continue };
        there.extend(rest.split([' ', ',']));
    }
    if let Some(list) = unified {
        there.extend(list.split_whitespace());
        there.extend(["freezer", "devices"]);
    }
    there
}

pub(super) fn namespaces() -> Found {
    let kinds = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET;
    apart(move || {
        unshare(kinds).map(|()| "mnt, uts, ipc, pid, net".into()).map_err(|e| {
            format!("{}: run nfio as root with CAP_SYS_ADMIN on a kernel that has namespaces", e.desc())
        })
    })
}

pub(super) fn network() -> Found {
    apart(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| format!("no network namespace to try in: {}", e.desc()))?;
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?
            .block_on(make_links())
            .map_err(|(what, e)| {
                format!("{what} cannot be made ({e}): modprobe {what}, with CAP_NET_ADMIN")
            })?;
        Ok("made and removed in a namespace of their own".into())
    })
}

async fn make_links() -> Result<(), (&'static str, String)> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| ("netlink", e.to_string()))?;
    tokio::spawn(connection);
    let veth = rtnetlink::LinkVeth::new("nfio-try-a", "nfio-try-b").build();
    handle.link().add(veth).execute().await.map_err(|e| ("veth", e.to_string()))?;
    let bridge = rtnetlink::LinkBridge::new("nfio-try-br").build();
    handle.link().add(bridge).execute().await.map_err(|e| ("bridge", e.to_string()))
}

/// What service chains need of the kernel: tables by interface, routes of several ways.
pub(super) fn chains() -> Found {
    apart(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| format!("no network namespace to try in: {}", e.desc()))?;
        let rule = crate::netlink::netlink(async |handle| {
            let rule = handle.rule().add().v4().input_interface("nfio-try").table_id(0x6f00_0000);
            let rule = rule.action(rtnetlink::packet_route::rule::RuleAction::ToTable);
            rule.execute().await.map_err(std::io::Error::other)
        });
        rule.map_err(|e| {
            format!(
                "rules cannot be made ({e}): use a kernel with CONFIG_IP_MULTIPLE_TABLES, for service chains"
            )
        })?;
        let shared = |key: &str| Path::new("/proc/sys/net/ipv4").join(key).exists();
        match (shared("fib_multipath_hash_policy"), shared("fib_multipath_hash_fields")) {
            (true, true) => Ok("by interface, and shared by flow".into()),
            (true, false) => {
                Err("connections that instances share may come back another way: use Linux 5.14 or newer"
                    .into())
            }
            _ => {
                Err("instances of a chain cannot share its load: use a kernel with CONFIG_IP_ROUTE_MULTIPATH"
                    .into())
            }
        }
    })
}

pub(super) fn seccomp() -> Found {
    match Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        true => Ok("filters work".into()),
        false => Err("the kernel has no filters: use one with CONFIG_SECCOMP_FILTER".into()),
    }
}

pub(super) fn capabilities(wanted: &[Capability]) -> Found {
    let ours = effective(&read("/proc/self/status")?).ok_or("/proc/self/status tells no CapEff")?;
    let missing: Vec<_> = lacking(ours, wanted).collect();
    if missing.is_empty() {
        return Ok("all there".into());
    }
    Err(format!(
        "{}: whoever starts nfio must grant them, guests cannot have them either",
        missing.join(", ")
    ))
}

fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn lacking(ours: u64, wanted: &[Capability]) -> impl Iterator<Item = &'static str> {
    wanted.iter().filter(move |(number, _)| ours & (1 << number) == 0).map(|(_, name)| *name)
}

pub(super) fn nft() -> Found {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join("nft"))
        .find(|nft| nft.is_file())
        .map(|nft| nft.display().to_string())
        .ok_or_else(|| {
            "not installed here: apt install nftables, for images of firewalls made on this machine".into()
        })
}

/// Runs a probe on a thread of its own: namespaces that it enters are that thread's and end with it.
fn apart(probe: impl FnOnce() -> Found + Send + 'static) -> Found {
    std::thread::spawn(probe).join().unwrap_or_else(|_| Err("the probe failed".into()))
}

fn read(path: &str) -> Found {
    std::fs::read_to_string(path).map_err(|e| format!("{path} cannot be read ({e}): mount proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_both_versions_are_found() {
        let v1 = "30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                  31 29 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                  32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let there = controllers(v1, None);
        assert!(there.contains("cpu") && there.contains("pids") && !there.contains("memory"));
        let there = controllers("", Some("cpuset cpu io memory pids\n"));
        assert!(CONTROLLERS.iter().all(|name| there.contains(name)));
    }

    #[test]
    fn capabilities_that_we_lack_are_named() {
        let ours = effective("Name:\tx\nCapEff:\t000001fffeffffff\n").unwrap();
        assert_eq!(lacking(ours, &NEEDED).count(), 0);
        assert_eq!(lacking(ours, &USEFUL).collect::<Vec<_>>(), ["SYS_RESOURCE"]);
        assert_eq!(lacking(0, &NEEDED).count(), NEEDED.len());
    }
}
