//! Networks that a chain would stand in the way of: its links' addresses are routes in every namespace that it connects,
//! and lead away from whoever has the same addresses there. What is wider than the chains' subnet stays as it is, and is
//! no obstacle: the links' routes are more specific, and their addresses are nobody's there.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::Chains;
use super::end::End;
use super::links::{PROTOCOL, is_a_chains};
use super::plan::{Network, Place};
use super::record::Record;
use crate::error::{NfioError, Result};
use crate::hypervisor::oci::lease::Subnet;
use crate::netlink::{in_netns, index, links, netlink};

/// What is in the subnet and no chain's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Foreign {
    network: Network,
    /// Where it is reached.
    interface: String,
}

/// What a namespace says of a network: a route of the main table, or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    network: Network,
    link: u32,
    /// By a router.
    routed: bool,
}

impl Chains {
    /// Looks whether the links of a chain would have addresses of others.
    ///
    /// # Errors
    /// VNFConfigurationError (EINVAL) that names both networks and the key that mends it.
    pub(super) fn refuse_overlaps(&self, record: &Record) -> Result<()> {
        for place in record.plan().places() {
            // What a virtual machine has is its own to know.
            let Some(netns) = self.stack(record, place)?.and_then(|stack| stack.into_netns()) else {
                continue;
            };
            let (whose, whole, interface) = match place {
                Place::Member(number) => {
                    let member = record.graph.members().nth(number);
                    (member.map_or_else(String::new, |(_, member)| member.to_string()), false, None)
                }
                Place::Ingress => of_end(&record.ingress),
                Place::Egress => of_end(&record.egress),
            };
            let subnet = self.subnet;
            let found = in_netns(netns, move || foreign(subnet, whole, interface));
            match found {
                Ok(None) => {}
                Ok(Some(Foreign { network: Network { address, prefix }, interface })) => {
                    return Err(NfioError::configuration(format!(
                        "{whose} has the network {address}/{prefix} ({interface}), which overlaps {}, where the links \
                         of chains get their addresses from: set another subnet under [chains] in nfio.toml and mount \
                         again, or give that network other addresses",
                        self.config.subnet
                    )));
                }
                Err(e) => {
                    let message = format!("the networks of {whose} cannot be read: {e}");
                    return Err(NfioError::posix(libc::EIO, message));
                }
            }
        }
        Ok(())
    }
}

/// What an end is called, whether it is a namespace as a whole, and else its interface.
fn of_end(end: &End) -> (String, bool, Option<&str>) {
    match end {
        End::Interface(name) => ("this machine".into(), false, Some(name)),
        End::Namespace(_) => (end.to_string(), true, None),
    }
}

/// The first network of the calling thread's namespace that begins in `subnet` and is no chain's: its own addresses, what
/// is on its links, and what it reaches by routers, where `whole`, or where that is by `interface`: what is sent there
/// would be sent by the chain.
fn foreign(subnet: Subnet, whole: bool, interface: Option<&str>) -> io::Result<Option<Foreign>> {
    let by = interface.map(index).transpose()?;
    netlink(async |handle| {
        let mut told = told(&handle).await?;
        told.retain(|told| {
            subnet.contains(told.network.address) && (!told.routed || whole || by == Some(told.link))
        });
        if told.is_empty() {
            return Ok(None);
        }
        // Read last: a chain's link is known by its hardware address from its first moment, and what is gone by now is
        // nobody's any more.
        let mut there = BTreeMap::new();
        for message in links(&handle).await? {
            let (mut name, mut hardware) = (String::new(), Vec::new());
            for attribute in message.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = text,
                    LinkAttribute::Address(address) => hardware = address,
                    _ => {}
                }
            }
            there.insert(message.header.index, (name, hardware));
        }
        Ok(told.into_iter().find_map(|told| match there.get(&told.link) {
            Some((name, hardware)) if !is_a_chains(hardware, subnet) => {
                Some(Foreign { network: told.network, interface: name.clone() })
            }
            _ => None,
        }))
    })
}

/// Every network of a namespace, and its addresses.
async fn told(handle: &Handle) -> io::Result<Vec<Told>> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<RouteMessage> =
        handle.route().get(all).execute().try_collect().await.map_err(io::Error::other)?;
    let addresses: Vec<_> = handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
    let mut told: Vec<Told> = routes.iter().filter_map(told_by).collect();
    for message in addresses {
        told.extend(message.attributes.into_iter().filter_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(Told {
                network: Network { address, prefix: 32 },
                link: message.header.index,
                routed: false,
            }),
            _ => None,
        }));
    }
    Ok(told)
}

/// What a route of the main table says; None for what a chain has made, for the default, and for what leads nowhere.
fn told_by(route: &RouteMessage) -> Option<Told> {
    let (mut table, mut link, mut network, mut routed) = (u32::from(route.header.table), None, None, false);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(_) => routed = true,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                network = Some(Network { address: *address, prefix: route.header.destination_prefix_length });
            }
            _ => {}
        }
    }
    let counts = table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && route.header.kind == RouteType::Unicast
        && route.header.protocol != RouteProtocol::Other(PROTOCOL);
    counts.then_some(Told { network: network?, link: link?, routed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What is found in a namespace of its own that a script has made, seen from the end that `interface` is, or as a
    /// whole.
    fn found(script: &str, interface: Option<&str>) -> Option<String> {
        let subnet = Subnet::parse("10.204.0.0/16").unwrap();
        let found = std::thread::scope(|scope| {
            let alone = scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                // A child has the namespace of the thread that makes it.
                assert!(Command::new("sh").args(["-ec", script]).status().unwrap().success(), "{script}");
                foreign(subnet, interface.is_none(), interface).unwrap()
            });
            alone.join().unwrap()
        });
        found.map(|Foreign { network, interface }| {
            format!("{}/{} {interface}", network.address, network.prefix)
        })
    }

    const LINK: &str =
        "ip link set lo up; ip link add d0 type veth peer d1; ip link set d1 up; ip link set d0 up; ";

    #[test]
    fn networks_and_addresses_in_the_subnet_are_found_and_wider_ones_are_not() {
        for (script, expected) in [
            ("ip address add 10.204.7.1/24 dev d0", Some("10.204.7.0/24 d0")),
            ("ip address add 10.204.0.1/16 dev d0", Some("10.204.0.0/16 d0")),
            ("ip route add 10.204.9.0/24 dev d0", Some("10.204.9.0/24 d0")),
            ("ip address add 10.204.9.9/32 dev lo", Some("10.204.9.9/32 lo")),
            // The network begins elsewhere, the address is taken all the same.
            ("ip address add 10.204.9.9/8 dev d0", Some("10.204.9.9/32 d0")),
            ("ip address add 10.1.2.3/8 dev d0", None),
            ("ip address add 192.0.2.1/24 dev d0; ip route add default via 192.0.2.2", None),
            ("ip route add unreachable 10.204.9.0/24", None),
        ] {
            assert_eq!(found(&format!("{LINK}{script}"), None).as_deref(), expected, "{script}");
            assert_eq!(found(&format!("{LINK}{script}"), Some("lo")).as_deref(), expected, "{script}");
        }
    }

    #[test]
    fn what_lies_behind_a_router_counts_where_the_chain_would_lead_there() {
        let script =
            format!("{LINK}ip address add 192.0.2.1/24 dev d0; ip route add 10.204.9.0/24 via 192.0.2.2");
        let behind = Some("10.204.9.0/24 d0".to_owned());
        assert_eq!((found(&script, None), found(&script, Some("d0"))), (behind.clone(), behind));
        assert_eq!(found(&script, Some("lo")), None);
    }

    #[test]
    fn links_of_chains_are_none_of_others() {
        let chains = "ip link add nfc0 address 02:43:0a:cc:00:02 type veth peer d1; ip link set nfc0 up; ip link set d1 up; \
                      ip address add 10.204.0.2/31 dev nfc0; ip route add 10.204.0.8/31 via 10.204.0.3 proto 110";
        assert_eq!(found(chains, None), None);
        // A hardware address of a chain with another subnet is nobody's here.
        let others = chains.replace("0a:cc", "0a:cd");
        assert_eq!(found(&others, None).as_deref(), Some("10.204.0.2/31 nfc0"));
    }
}
