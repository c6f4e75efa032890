//! What stands in a guest's root file system before its first process runs.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::inside::Inside;
use super::spec::hostname;
use crate::error::{HypervisorError, Result};
use crate::hypervisor::container::check::target;
use crate::hypervisor::{GuestSpec, Prepared};

/// Writes the network's files, then those of boot.conf, then those of the type: later ones win.
pub(super) fn write(inside: &Inside, spec: &GuestSpec, prepared: &Prepared, address: Ipv4Addr) -> Result<()> {
    let name = hostname(spec);
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{address}\t{name}\n");
    let own = [
        ("/etc/hosts", hosts),
        ("/etc/hostname", format!("{name}\n")),
        ("/etc/resolv.conf", resolv_conf(&spec.boot.dns)?),
    ];
    for (path, text) in &own {
        inside.write(Path::new(path), 0o644, text.as_bytes()).map_err(|e| failed(path, &e))?;
    }
    for file in spec.files.iter().chain(&prepared.files) {
        target(&file.path)?;
        inside.write(Path::new(&file.path), file.mode, &file.data).map_err(|e| failed(&file.path, &e))?;
    }
    Ok(())
}

fn failed(path: &str, e: &io::Error) -> HypervisorError {
    HypervisorError::Start(format!("{path} cannot be written into the guest: {e}"))
}

/// boot.conf's name servers, else the host's own but for those that listen on the host's loopback alone.
fn resolv_conf(dns: &[String]) -> io::Result<String> {
    let host = match fs::read_to_string("/etc/resolv.conf") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        other => other.unwrap_or_default(),
    };
    Ok(from_host(dns, &host))
}

fn from_host(dns: &[String], host: &str) -> String {
    let mut text = String::new();
    for server in dns {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    for line in host.lines() {
        let keep = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["nameserver", server, ..] => {
                dns.is_empty() && server.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
            }
            ["search" | "domain" | "options", ..] => true,
            _ => false,
        };
        if keep {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::PutFile;

    #[test]
    fn the_hosts_loopback_name_servers_are_left_out() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch lan\n";
        assert_eq!(from_host(&[], host), "nameserver 9.9.9.9\nsearch lan\n");
        assert_eq!(from_host(&["1.1.1.1".into()], host), "nameserver 1.1.1.1\nsearch lan\n");
    }

    #[test]
    fn the_types_files_win() {
        let root = tempfile::tempdir().unwrap();
        let inside = Inside::open(root.path()).unwrap();
        let file = |data: &str| PutFile { path: "/etc/hosts".into(), mode: 0o600, data: data.into() };
        let mut spec = GuestSpec::example();
        spec.files = vec![file("boot")];
        let prepared = Prepared { files: vec![file("type")], ..Prepared::default() };
        write(&inside, &spec, &prepared, Ipv4Addr::new(10, 0, 0, 2)).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("etc/hosts")).unwrap(), "type");
        assert_eq!(fs::read_to_string(root.path().join("etc/hostname")).unwrap(), "fw-a\n");
    }
}
