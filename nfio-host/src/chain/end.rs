//! The ends of a chain: an interface or bridge of nfio's own network namespace, or a network namespace by its name
//! (ip-netns(8)).

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::plan::{Network, Shape};
use crate::error::{NfioError, Result};
use crate::hypervisor::oci::lease::Subnet;
use crate::netlink::{in_netns, index, netlink};

/// Where namespaces have their names.
const NAMED: &str = "/run/netns";
/// What stands before the name of a namespace.
const PREFIX: &str = "netns:";

/// An end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// An interface or a bridge.
    Interface(String),
    /// A namespace as a whole.
    Namespace(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => f.write_str(name),
            Self::Namespace(name) => write!(f, "{PREFIX}{name}"),
        }
    }
}

impl End {
    /// Reads the text of `ingress` or `egress` (`file`).
    ///
    /// # Errors
    /// VNFConfigurationError (EINVAL) where it is empty or no name.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self> {
        let (name, end): (&str, fn(String) -> Self) = match text.strip_prefix(PREFIX) {
            Some(name) => (name, Self::Namespace),
            None => (text, Self::Interface),
        };
        let sound = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
        let longest = if text.starts_with(PREFIX) { 255 } else { 15 };
        if name.is_empty() {
            return Err(NfioError::configuration(format!(
                "{file} is empty: write an interface or bridge (eth1), or a network namespace (netns:NAME)"
            )));
        }
        if !name.chars().all(sound) || name.len() > longest || name == "." || name == ".." {
            return Err(NfioError::configuration(format!(
                "{file} holds {text:?}, which is no name: write one interface, bridge, or netns:NAME"
            )));
        }
        if text == "lo" {
            let message =
                format!("{file} holds lo, by which nothing comes from elsewhere: write another interface");
            return Err(NfioError::configuration(message));
        }
        Ok(end(name.to_owned()))
    }

    /// Whether both are in one namespace.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self == other || matches!((self, other), (Self::Interface(_), Self::Interface(_)))
    }

    /// The namespace that it is in; None: it is not there.
    pub(super) fn open(&self) -> Result<Option<File>> {
        let path = match self {
            Self::Interface(name) => {
                return match index(name) {
                    Ok(_) => Ok(Some(File::open("/proc/self/ns/net")?)),
                    Err(_) => Ok(None),
                };
            }
            Self::Namespace(name) => Path::new(NAMED).join(name),
        };
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What it is for routing, now. `hops` are the addresses of all chains' links, which are no networks of an end.
    ///
    /// # Errors
    /// VNFConfigurationError (EINVAL) where it is not there, or where this machine would not forward by it.
    pub(super) fn shape(&self, file: &str, hops: Subnet) -> Result<Shape> {
        let absent = || {
            let (what, mend) = match self {
                Self::Interface(name) => ("interface or bridge", format!("ip link add {name} …")),
                Self::Namespace(name) => ("network namespace", format!("ip netns add {name}")),
            };
            NfioError::configuration(format!("{file} names {self}, and there is no such {what}: {mend}"))
        };
        let netns = self.open()?.ok_or_else(absent)?;
        let interface = match self {
            Self::Interface(name) => {
                self.forwards(file)?;
                Some(name.clone())
            }
            Self::Namespace(_) => None,
        };
        let name = interface.clone();
        let networks = in_netns(netns, move || networks(name.as_deref(), hops)).map_err(|e| {
            match e.raw_os_error().map(Errno::from_raw) {
                // What bears a namespace's name is none.
                Some(Errno::EINVAL) => absent(),
                _ => NfioError::configuration(format!("{file}: the networks of {self} cannot be read: {e}")),
            }
        })?;
        Ok(Shape { interface, networks })
    }

    /// Whether packets that come in by an interface can go on: what is the machine's own is not changed by a chain.
    fn forwards(&self, file: &str) -> Result<()> {
        for (key, wrong, way_out) in [
            ("net/ipv4/ip_forward", "0", "sysctl -w net.ipv4.ip_forward=1"),
            ("net/ipv4/conf/all/rp_filter", "1", "sysctl -w net.ipv4.conf.all.rp_filter=2"),
        ] {
            let value = fs::read_to_string(Path::new("/proc/sys").join(key))?;
            if value.trim() == wrong {
                return Err(NfioError::configuration(format!(
                    "{file} names {self}, and this machine would drop the chain's packets, as {} is {wrong}: {way_out}",
                    key.replace('/', ".")
                )));
            }
        }
        Ok(())
    }
}

/// The networks that the calling thread's namespace reaches, by `interface` where it is named: what its main routing table
/// says but for the default, and its own addresses.
fn networks(interface: Option<&str>, hops: Subnet) -> io::Result<Vec<Network>> {
    let only = interface.map(index).transpose()?;
    let mut networks = netlink(async |handle| {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> =
            handle.route().get(all).execute().try_collect().await.map_err(io::Error::other)?;
        let mut networks: Vec<Network> =
            routes.iter().filter(|route| leads_by(route, only)).filter_map(destination).collect();
        if interface.is_none() {
            let addresses: Vec<_> =
                handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
            let addresses = addresses.into_iter().flat_map(|message| message.attributes);
            networks.extend(addresses.filter_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) if !address.is_loopback() => {
                    Some(Network { address, prefix: 32 })
                }
                _ => None,
            }));
        }
        Ok(networks)
    })?;
    networks.retain(|network| !hops.contains(network.address));
    networks.sort();
    networks.dedup();
    Ok(networks)
}

fn leads_by(route: &RouteMessage, only: Option<u32>) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let out = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    table.unwrap_or(route.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
        && route.header.kind == RouteType::Unicast
        && (only.is_none() || out == only)
}

fn destination(route: &RouteMessage) -> Option<Network> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            Some(Network { address: *address, prefix: route.header.destination_prefix_length })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_interface_or_a_namespace_by_its_name() {
        assert_eq!(End::parse("ingress", "eth1").unwrap(), End::Interface("eth1".into()));
        let end = End::parse("ingress", "netns:client").unwrap();
        assert_eq!((end.to_string().as_str(), &end), ("netns:client", &End::Namespace("client".into())));
        for text in
            ["", "netns:", "netns:..", "netns:a/b", "eth0 eth1", "a/b", "sixteen-letters-", "x\u{1b}", "lo"]
        {
            let error = End::parse("egress", text).unwrap_err();
            assert_eq!(error.errno(), libc::EINVAL);
            assert!(error.to_string().starts_with("egress "), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_the_way_to_make_it() {
        let hops = Subnet::parse("10.204.0.0/16").unwrap();
        for (end, words) in
            [("nfio-none", "ip link add nfio-none"), ("netns:nfio-none", "ip netns add nfio-none")]
        {
            let error = End::parse("ingress", end).unwrap().shape("ingress", hops).unwrap_err();
            assert!(error.errno() == libc::EINVAL && error.to_string().contains(words), "{error}");
        }
    }
}
