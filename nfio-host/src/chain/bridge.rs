//! The bridges of hops with a virtual machine, in nfio's own network namespace: a cable with two ends. A container or an
//! end joins by a veth pair, a virtual machine by an interface that its driver plugs in.
//!
//! A bridge is a chain's own by its name and its hardware address, and so are its ports.

use rtnetlink::packet_route::link::{BridgeStpState, InfoBridge, InfoData, InfoVeth};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::fs;
use std::io;
use std::os::fd::RawFd;

use super::links::{self, Found, Link, hardware};
use super::parameters::{no_ipv6, reverse_path, set};
use super::plan::{Hop, Side};
use crate::error::{NfioError, Result};
use crate::netlink::{index, netlink, said};

/// What has bridged packets judged by rules for routed ones.
const JUDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// The links of nfio's own network namespace.
#[derive(Debug, Default)]
pub(super) struct Bridges(Found);

impl Bridges {
    /// What is there of them.
    pub(super) fn list() -> io::Result<Self> {
        links::list().map(Self)
    }

    /// The bridge of a hop.
    fn of(&self, hop: &Hop) -> Option<&Link> {
        self.0.get(hop.bridge.as_ref()?).filter(|link| link.hardware == bridge_hardware(hop))
    }

    /// What connects a side of a hop to its bridge, if it does.
    pub(super) fn port(&self, hop: &Hop, side: &Side) -> Option<&Link> {
        let bridge = self.of(hop)?.index;
        self.0.get(&side.port).filter(|port| port.bridge == Some(bridge) && port.is_up)
    }
}

/// The hardware address of a hop's bridge.
fn bridge_hardware(hop: &Hop) -> Vec<u8> {
    [&[0x02, 0x62], &hop.from.address.octets()[..]].concat()
}

/// The hardware address of a port that is a veth pair's.
fn port_hardware(side: &Side) -> Vec<u8> {
    [&[0x02, 0x70], &side.address.octets()[..]].concat()
}

/// Makes the bridge of a hop where it is missing. This machine takes no part in what passes there.
///
/// # Errors
/// VNFConfigurationError (EINVAL) where its name is taken, or where this machine would have its firewall judge what
/// passes.
pub(super) fn make(hop: &Hop, there: &Bridges) -> Result<()> {
    let Some(name) = &hop.bridge else { return Ok(()) };
    if there.of(hop).is_none() {
        if there.0.has(name) {
            return Err(NfioError::configuration(format!(
                "this machine has an interface called {name} already that is not the chain's: rename it"
            )));
        }
        if fs::read_to_string(JUDGED).is_ok_and(|value| value.trim() != "0") {
            return Err(NfioError::configuration(
                "a chain with virtual machines needs bridges, and this machine has its own firewall judge what passes \
                 over them (Docker drops it), as net.bridge.bridge-nf-call-iptables is 1: \
                 sysctl -w net.bridge.bridge-nf-call-iptables=0",
            ));
        }
        let bridge = LinkMessageBuilder::<LinkBridge>::new(name)
            .set_info_data(InfoData::Bridge(vec![
                InfoBridge::StpState(BridgeStpState::Disabled),
                InfoBridge::MulticastSnooping(false),
            ]))
            .address(bridge_hardware(hop));
        netlink(async |handle| said("making", name, handle.link().add(bridge.build()).execute().await))?;
    }
    // Nor does it answer for its own addresses, or forward what is sent to it.
    set(&no_ipv6(name), "1")?;
    set(&reverse_path(name), "1")?;
    set(&format!("net/ipv4/conf/{name}/forwarding"), "0")?;
    set(&format!("net/ipv4/conf/{name}/arp_ignore"), "8")?;
    Ok(raise(name)?)
}

/// Readies a port.
pub(super) fn ready(side: &Side) -> io::Result<()> {
    set(&no_ipv6(&side.port), "1")?;
    raise(&side.port)
}

fn raise(name: &str) -> io::Result<()> {
    let link = index(name)?;
    netlink(async |handle| {
        let up = LinkUnspec::new_with_index(link).up().build();
        said("raising", name, handle.link().set(up).execute().await)
    })
}

/// Connects a side of a hop in the namespace that is open as `peer` to the hop's bridge. The pair is there whole or not at
/// all, and down.
pub(super) fn join(hop: &Hop, side: &Side, peer: RawFd) -> io::Result<()> {
    let bridge = index(hop.bridge.as_deref().unwrap_or_default())?;
    let inner = LinkUnspec::new_with_name(&side.name).address(hardware(side.address)).setns_by_fd(peer);
    let pair = LinkMessageBuilder::<LinkVeth>::new(&side.port, &side.name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inner.build())))
        .address(port_hardware(side))
        .controller(bridge);
    netlink(async |handle| {
        let made = handle.link().add(pair.build()).execute().await;
        said("making", &format!("{} (to {})", side.name, side.port), made)
    })
}

/// Removes the bridge of a hop, and those of its ports that are the chain's own and not a virtual machine's.
pub(super) fn remove(hop: &Hop, there: &Bridges) -> io::Result<()> {
    let ports = [&hop.from, &hop.to].into_iter().filter_map(|side| {
        let port = there.0.get(&side.port).filter(|port| port.hardware == port_hardware(side));
        port.map(|port| (&side.port, port.index))
    });
    let bridge = hop.bridge.iter().zip(there.of(hop).map(|bridge| bridge.index));
    let links: Vec<(&String, u32)> = ports.chain(bridge).collect();
    netlink(async |handle| {
        for (name, link) in links {
            match handle.link().del(link).execute().await {
                // The other side of a pair ended meanwhile and took it along.
                Err(_) if index(name).is_err() => {}
                other => said("removing", name, other)?,
            }
        }
        Ok(())
    })
}
