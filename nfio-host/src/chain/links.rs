//! What a chain has in network namespaces, by rtnetlink: veth pairs, addresses, routes, rules. All of this concerns the calling
//! thread's network namespace.
//!
//! A link is a chain's own by its name and its hardware address, which is made of the address that the chain holds a lease
//! of; both are there from the moment that the link is.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::{RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{
    Handle, IpVersion, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, RouteNextHopBuilder,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use super::parameters;
use super::plan::{HOP_PREFIX, Hop, Place, Plan, Route, Side, Table};
use crate::fault::{self, Step};
use crate::hypervisor::oci::lease::Subnet;
use crate::netlink::{index, links, netlink, said};

/// The number of a guest's first own routing table.
pub(super) const GUEST_TABLES: u32 = 0x6f00_0000;
/// Where our rules stand: behind the local table, before the main one.
pub(super) const RULE_PRIORITY: u32 = 20_400;
/// Routes in main tables yield to all that is there already.
pub(super) const METRIC: u32 = 4096;
/// The last route of our own tables: where the way on is gone, packets are dropped; none takes another way around.
pub(super) const LAST_METRIC: u32 = 2 * METRIC;
/// Who made a route, for people (`proto 110`).
pub(super) const PROTOCOL: u8 = 110;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) hardware: Vec<u8>,
    pub(super) is_up: bool,
    /// The bridge that it is a port of.
    pub(super) bridge: Option<u32>,
    /// Bytes received since it was made.
    pub(super) rx_bytes: u64,
    /// Bytes sent.
    pub(super) tx_bytes: u64,
}

/// The links of a network stack, by name.
#[derive(Debug, Default)]
pub(super) struct Found(pub(super) BTreeMap<String, Link>);

impl Found {
    /// The link of this side, if it is the chain's own.
    pub(super) fn ours(&self, side: &Side) -> Option<&Link> {
        self.0.get(&side.name).filter(|link| link.hardware == hardware(side.address))
    }

    /// The link of this name, whoever's it is.
    pub(super) fn get(&self, name: &str) -> Option<&Link> {
        self.0.get(name)
    }

    /// Whether any link has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// The hardware address of a link.
pub(super) fn hardware(address: Ipv4Addr) -> Vec<u8> {
    [&[0x02, 0x43], &address.octets()[..]].concat()
}

/// Whether a link is some chain's: of an address of theirs is its hardware address made.
pub(super) fn is_a_chains(address: &[u8], subnet: Subnet) -> bool {
    matches!(*address, [0x02, 0x43, a, b, c, d] if subnet.contains(Ipv4Addr::new(a, b, c, d)))
}

/// All links.
pub(super) fn list() -> io::Result<Found> {
    let messages = netlink(async |handle| links(&handle).await)?;
    let mut found = BTreeMap::new();
    for message in messages {
        let (index, is_up) = (message.header.index, message.header.flags.contains(LinkFlags::Up));
        let hardware = Vec::new();
        let mut link = Link { index, hardware, is_up, bridge: None, rx_bytes: 0, tx_bytes: 0 };
        let mut name = None;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text),
                LinkAttribute::Address(address) => link.hardware = address,
                LinkAttribute::Controller(bridge) => link.bridge = Some(bridge),
                LinkAttribute::Stats64(stats) => {
                    (link.rx_bytes, link.tx_bytes) = (stats.rx_bytes, stats.tx_bytes);
                }
                _ => {}
            }
        }
        found.extend(name.map(|name| (name, link)));
    }
    Ok(Found(found))
}

/// Makes a pair: its first side here, its other one in the namespace that is open as `peer`. It is there whole or not at
/// all, and down.
pub(super) fn make_pair(hop: &Hop, peer: RawFd) -> io::Result<()> {
    let other = LinkUnspec::new_with_name(&hop.to.name).address(hardware(hop.to.address)).setns_by_fd(peer);
    let pair = LinkMessageBuilder::<LinkVeth>::new(&hop.from.name, &hop.to.name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(other.build())))
        .address(hardware(hop.from.address));
    netlink(async |handle| {
        let made = handle.link().add(pair.build()).execute().await;
        said("making", &format!("{} (to {})", hop.from.name, hop.to.name), made)
    })
}

/// Removes those of these links that are there and the chain's own.
pub(super) fn remove(sides: &[&Side]) -> io::Result<()> {
    let found = list()?;
    netlink(async |handle| {
        for side in sides.iter().filter(|side| found.ours(side).is_some()) {
            let Ok(link) = index(&side.name) else { continue };
            match handle.link().del(link).execute().await {
                // The other side's namespace ended meanwhile and took both along.
                Err(_) if index(&side.name).is_err() => {}
                other => said("removing", &side.name, other)?,
            }
        }
        Ok(())
    })
}

/// Readies a namespace: first rules and what holds where no way leads on, then the place's own links with their addresses,
/// then routes. `base` is the number of its first own routing table. At no moment does a packet that came in by one of the
/// links find the main table alone.
pub(super) fn furnish(
    place: Place,
    plan: &Plan,
    base: u32,
    routes: &[Route],
    rules: &[(String, Table)],
) -> io::Result<()> {
    let found = list()?;
    // Number and gateway of each hop that is there.
    let mut ways: BTreeMap<usize, (u32, Ipv4Addr)> = BTreeMap::new();
    for (number, hop) in plan.hops_of(place) {
        let Some(side) = hop.side(place).filter(|side| found.ours(side).is_some()) else { continue };
        parameters::ready(&side.name)?;
        ways.insert(number, (index(&side.name)?, hop.other(place).address));
    }
    netlink(async |handle| {
        let tables: BTreeSet<Table> = rules.iter().map(|(_, table)| *table).collect();
        for table in tables {
            let set = handle.route().add(nowhere(number(base, table))).replace().execute().await;
            set.map_err(|e| io::Error::other(format!("setting the last route: {e}")))?;
        }
        add_rules(&handle, base, rules).await?;
        fault::at(Step::ChainRules);
        for (number, hop) in plan.hops_of(place) {
            let (Some((link, _)), Some(side)) = (ways.get(&number), hop.side(place)) else { continue };
            let add = handle.address().add(*link, IpAddr::V4(side.address), HOP_PREFIX).replace();
            said("addressing", &side.name, add.execute().await)?;
            // Nobody has to be asked, and nobody else can answer: asked before the other side is up, the kernel would ask
            // again after a second.
            let peer = hop.other(place).address;
            let known =
                handle.neighbours().add(*link, peer.into()).link_layer_address(&hardware(peer)).replace();
            said("telling the neighbour of", &side.name, known.execute().await)?;
            let up = LinkUnspec::new_with_index(*link).up().build();
            said("raising", &side.name, handle.link().set(up).execute().await)?;
            fault::at(Step::ChainRaised);
        }
        for route in routes {
            if let Some(message) = message(route, &ways, base) {
                let set = handle.route().add(message).replace().execute().await;
                set.map_err(|e| io::Error::other(format!("setting a route ({route:?}): {e}")))?;
            }
        }
        Ok(())
    })
}

/// The last route of a table.
fn nowhere(table: u32) -> RouteMessage {
    let route =
        RouteMessageBuilder::<Ipv4Addr>::new().protocol(RouteProtocol::Other(PROTOCOL)).priority(LAST_METRIC);
    route.kind(RouteType::BlackHole).table_id(table).build()
}

/// The number of a table.
pub(super) fn number(base: u32, table: Table) -> u32 {
    match table {
        Table::Main => 254,
        Table::Forward => base,
        Table::Back => base + 1,
    }
}

/// A route over those of its ways that are there; None: there is none.
fn message(route: &Route, ways: &BTreeMap<usize, (u32, Ipv4Addr)>, base: u32) -> Option<RouteMessage> {
    let there: Vec<_> = route.via.iter().filter_map(|way| ways.get(way)).collect();
    let mut message =
        RouteMessageBuilder::<Ipv4Addr>::new().protocol(RouteProtocol::Other(PROTOCOL)).priority(METRIC);
    message = message.table_id(number(base, route.table));
    if let Some(to) = route.to {
        message = message.destination_prefix(to.address, to.prefix);
    }
    let message = match there[..] {
        [] => return None,
        [(link, _)] if route.direct => message.output_interface(*link).scope(RouteScope::Link),
        [(link, gateway)] => message.output_interface(*link).gateway(*gateway),
        _ => {
            message.multipath(there.into_iter().filter_map(|(link, gateway)| next(*link, *gateway)).collect())
        }
    };
    Some(message.build())
}

fn next(link: u32, gateway: Ipv4Addr) -> Option<RouteNextHop> {
    RouteNextHopBuilder::new_ipv4().interface(link).via(gateway.into()).ok().map(RouteNextHopBuilder::build)
}

async fn all_rules(handle: &Handle) -> io::Result<Vec<RuleMessage>> {
    handle.rule().get(IpVersion::V4).execute().try_collect().await.map_err(io::Error::other)
}

/// The interface and the table of a rule of ours.
fn ours(rule: &RuleMessage) -> Option<(String, u32)> {
    let mut told = (None, None, None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Iifname(name) => told.0 = Some(name.clone()),
            RuleAttribute::Table(table) => told.1 = Some(*table),
            RuleAttribute::Priority(priority) => told.2 = Some(*priority),
            _ => {}
        }
    }
    (told.2 == Some(RULE_PRIORITY)).then_some(told.0.zip(told.1)).flatten()
}

async fn add_rules(handle: &Handle, base: u32, rules: &[(String, Table)]) -> io::Result<()> {
    let there: Vec<_> = all_rules(handle).await?.iter().filter_map(ours).collect();
    for (name, table) in rules {
        let table = number(base, *table);
        if there.iter().any(|(there, to)| there == name && *to == table) {
            continue;
        }
        let add = handle.rule().add().v4().input_interface(name).table_id(table).priority(RULE_PRIORITY);
        let added = add.action(RuleAction::ToTable).execute().await;
        added.map_err(|e| io::Error::other(format!("a rule for what comes in by {name}: {e}")))?;
    }
    Ok(())
}

/// Removes the two tables at `base` with the rules that lead into them; routes over links go with these.
pub(super) fn remove_tables(base: u32) -> io::Result<()> {
    netlink(async |handle| {
        let tables = [number(base, Table::Forward), number(base, Table::Back)];
        for rule in all_rules(&handle).await? {
            if ours(&rule).is_some_and(|(_, table)| tables.contains(&table)) {
                let removed = handle.rule().del(rule).execute().await;
                removed.map_err(|e| io::Error::other(format!("removing a rule: {e}")))?;
            }
        }
        for table in tables {
            match handle.route().del(nowhere(table)).execute().await {
                // It is not there.
                Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ESRCH => {}
                other => other.map_err(|e| io::Error::other(format!("removing the last route: {e}")))?,
            }
        }
        Ok(())
    })
}
