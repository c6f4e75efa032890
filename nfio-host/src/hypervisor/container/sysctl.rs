//! Kernel parameters of a guest's namespaces. Those of the network are written by nfio in the guest's network
//! namespace, as they name interfaces that exist only once the network is wired; those of IPC by libcontainer.
//! Forwarding is withheld until the type has configured the guest: a firewall never forwards without its rules.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{NfioError, Result};
use crate::hypervisor::GuestSpec;
use crate::netlink::in_netns;

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The guest's parameters, sorted by who writes them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::hypervisor) struct Sysctls {
    /// For libcontainer: dotted key and value.
    pub(in crate::hypervisor) ipc: BTreeMap<String, String>,
    net: BTreeMap<PathBuf, String>,
    forwarding: BTreeMap<PathBuf, String>,
    /// What the type needs of IPv6, on a kernel without.
    pub(in crate::hypervisor) left_out: Vec<String>,
}

impl Sysctls {
    /// What the type needs and boot.conf asks for; boot.conf wins.
    pub(in crate::hypervisor) fn of(spec: &GuestSpec) -> Result<Self> {
        Self::on(spec, Path::new("/proc/sys/net/ipv6/conf").is_dir())
    }

    /// As [`of`](Self::of), for a kernel with or without IPv6.
    fn on(spec: &GuestSpec, ipv6: bool) -> Result<Self> {
        let mut sysctls = Self::default();
        for (key, value) in spec.needs.sysctls.iter().chain(&spec.boot.sysctls) {
            if !ipv6 && is_ipv6(key) {
                // A type serves every kernel; what boot.conf asks for is meant for this one.
                if spec.boot.sysctls.contains_key(key) {
                    return Err(NfioError::configuration(format!(
                        "the sysctl {key:?} cannot be set: this kernel has no IPv6; take it out of sysctls"
                    )));
                }
                sysctls.left_out.push(key.clone());
                continue;
            }
            let words = words(key).ok_or_else(|| refused(key))?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let path = words.iter().collect::<PathBuf>();
            match words[..] {
                ["net", "ipv4", "ip_forward"] | ["net", "ipv4" | "ipv6", "conf", _, "forwarding"] => {
                    sysctls.forwarding.insert(path, value.clone());
                }
                ["net", _, ..] => {
                    sysctls.net.insert(path, value.clone());
                }
                ["fs", "mqueue", _] => {
                    sysctls.ipc.insert(words.join("."), value.clone());
                }
                _ if IPC.contains(&words.join(".").as_str()) => {
                    sysctls.ipc.insert(words.join("."), value.clone());
                }
                _ => return Err(refused(key)),
            }
        }
        Ok(sysctls)
    }

    /// What an engine is to set when it makes a container: all, but forwarding is withheld from one of this machine.
    pub(in crate::hypervisor) fn at_create(&self, local: bool) -> BTreeMap<String, String> {
        let dotted = |path: &PathBuf| {
            // As sysctl(8) writes it: a dot within a word is a slash.
            let words = path.iter().map(|word| word.to_string_lossy().replace('.', "/"));
            words.collect::<Vec<_>>().join(".")
        };
        let mut all = self.ipc.clone();
        all.extend(self.net.iter().map(|(path, value)| (dotted(path), value.clone())));
        let withheld = |value: &String| if local { "0".to_owned() } else { value.clone() };
        all.extend(self.forwarding.iter().map(|(path, value)| (dotted(path), withheld(value))));
        if local {
            // A new namespace takes the host's setting over.
            all.insert("net.ipv4.ip_forward".into(), "0".into());
        }
        all
    }

    /// What is written in a virtual machine once it answers, paths below /proc/sys: all, but no forwarding.
    #[cfg(feature = "libvirt")]
    pub(in crate::hypervisor) fn withheld(&self) -> Vec<(String, String)> {
        let off = self.forwarding.keys().map(|path| (path.display().to_string(), "0".to_owned()));
        let ipc = self.ipc.iter().map(|(key, value)| (key.replace('.', "/"), value.clone()));
        off.chain(ipc).chain(written(&self.net)).collect()
    }

    /// What is written in a virtual machine once it is configured. Forwarding resets others, which come again.
    #[cfg(feature = "libvirt")]
    pub(in crate::hypervisor) fn forwarding(&self) -> Vec<(String, String)> {
        written(&self.forwarding).chain(written(&self.net)).collect()
    }

    pub(in crate::hypervisor) fn forwards(&self) -> bool {
        self.forwarding.values().any(|value| value.trim() != "0")
    }

    /// Switches forwarding off in the network namespace `netns`, which has no interface but lo yet.
    pub(in crate::hypervisor) fn withhold(netns: File) -> io::Result<()> {
        in_netns(netns, no_forwarding)
    }

    /// Writes the network's parameters in the network namespace `netns`.
    pub(in crate::hypervisor) fn apply(&self, netns: File, forwarding: bool) -> io::Result<()> {
        in_netns(netns, || {
            if forwarding {
                self.forwarding.iter().try_for_each(|(path, value)| write(path, value))?;
            } else {
                no_forwarding()?;
                self.forwarding.keys().try_for_each(|path| write(path, "0"))?;
            }
            // Last: switching forwarding resets other parameters of the interfaces to a router's or a host's.
            self.net.iter().try_for_each(|(path, value)| write(path, value))
        })
    }
}

#[cfg(feature = "libvirt")]
fn written(values: &BTreeMap<PathBuf, String>) -> impl Iterator<Item = (String, String)> {
    values.iter().map(|(path, value)| (path.display().to_string(), value.clone()))
}

/// A new namespace takes the host's setting over: it is switched off in any case. A kernel without IPv6 has nothing to
/// switch.
fn no_forwarding() -> io::Result<()> {
    write(&PathBuf::from("net/ipv4/ip_forward"), "0")?;
    match write(&PathBuf::from("net/ipv6/conf/all/forwarding"), "0") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn is_ipv6(key: &str) -> bool {
    words(key).is_some_and(|words| words.len() > 2 && words[..2] == ["net", "ipv6"])
}

fn write(path: &PathBuf, value: &str) -> io::Result<()> {
    // For most of them the kernel wants its lock of all links, and does not sleep until it gets it but tries on and on:
    // where many guests start at once, as many threads would keep all processors from those who hold it.
    static TRYING: Mutex<()> = Mutex::new(());
    let _alone = TRYING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::write(PathBuf::from("/proc/sys").join(path), value).map_err(|e| {
        let key = path.display().to_string().replace('/', ".");
        io::Error::new(e.kind(), format!("the sysctl {key} cannot be set to {value:?} in the guest: {e}"))
    })
}

/// The words of a key, as sysctl(8) reads it: the first separator decides; where it is a dot, a slash within a
/// word stands for a dot (interfaces like eth0.100).
fn words(key: &str) -> Option<Vec<String>> {
    let words: Vec<String> = match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => key.split('/').map(String::from).collect(),
        _ => key.split('.').map(|word| word.replace('/', ".")).collect(),
    };
    let sound =
        |word: &String| !word.is_empty() && word != "." && word != ".." && !word.contains(['/', '\0']);
    words.iter().all(sound).then_some(words)
}

fn refused(key: &str) -> NfioError {
    NfioError::configuration(format!(
        "the sysctl {key:?} does not belong to a guest's own namespaces: take it out of sysctls (net.*, \
         fs.mqueue.* and the IPC ones of kernel.* can be set)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_is_set_apart_and_the_hosts_parameters_are_refused_by_name() {
        let mut spec = GuestSpec::example();
        spec.needs.sysctls = BTreeMap::from([
            ("net.ipv4.ip_forward".to_owned(), "1".to_owned()),
            ("net/ipv6/conf/all/forwarding".to_owned(), "1".to_owned()),
            ("net.ipv4.conf.eth0/7.rp_filter".to_owned(), "0".to_owned()),
            ("kernel.shmmax".to_owned(), "65536".to_owned()),
        ]);
        let sysctls = Sysctls::on(&spec, true).unwrap();
        assert!(sysctls.forwards());
        assert_eq!(sysctls.forwarding.len(), 2);
        assert!(sysctls.net.contains_key(&PathBuf::from("net/ipv4/conf/eth0.7/rp_filter")));
        assert!(sysctls.ipc.contains_key("kernel.shmmax"));
        let sysctls = Sysctls::on(&spec, false).unwrap();
        assert_eq!(sysctls.left_out, ["net/ipv6/conf/all/forwarding"]);
        assert_eq!(sysctls.forwarding.len(), 1);
        spec.boot.sysctls = BTreeMap::from([("net.ipv6.conf.all.forwarding".to_owned(), "1".to_owned())]);
        let error = Sysctls::on(&spec, false).unwrap_err().to_string();
        assert!(error.contains("net.ipv6.conf.all.forwarding") && error.contains("no IPv6"), "{error}");
        for key in [
            "kernel.panic",
            "vm.swappiness",
            "net",
            "net..x",
            "net.ipv4./../../kernel.panic",
            "net/../kernel/panic",
        ] {
            spec.boot.sysctls = BTreeMap::from([(key.to_owned(), "1".to_owned())]);
            let error = Sysctls::of(&spec).unwrap_err();
            assert!(error.code() == 720 && error.to_string().contains("sysctl"), "{key}: {error}");
        }
    }
}
