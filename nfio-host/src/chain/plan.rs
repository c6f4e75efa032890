//! From a graph to links, addresses and routes: what is to be made in which network namespace. Pure: `wiring.rs` does it.
//!
//! A *hop* connects two neighbours: an end and an instance, or two instances. It is a veth pair; where one of them is a
//! virtual machine, a bridge with a port for each. Every instance of a node has a hop to every instance of the next ones. Within a guest, what comes in by a link towards the ingress goes on towards
//! the egress and the other way round, whatever its addresses are: rules by interface lead into a table of their own for
//! each direction. Several ways are one route with several next hops, chosen by flow; the addresses of hops themselves,
//! which a NAT takes for its own, lead back exactly to where they are.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::graph::Graph;

/// Length of the prefix of a hop's network: two addresses, one for each side.
pub(super) const HOP_PREFIX: u8 = 31;

/// Where something is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Place {
    /// Where traffic comes from.
    Ingress,
    /// Where it goes.
    Egress,
    /// An instance, by its number in [`Graph::members`].
    Member(usize),
}

/// One side of a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) place: Place,
    /// Name of the interface.
    pub(super) name: String,
    /// Name of what connects it to the hop's bridge, where there is one.
    pub(super) port: String,
    pub(super) address: Ipv4Addr,
}

/// A link between two neighbours; `from` is the side towards the ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) from: Side,
    pub(super) to: Side,
    /// Name of the bridge that a virtual machine needs in between.
    pub(super) bridge: Option<String>,
}

impl Hop {
    /// The network of its two addresses.
    fn network(&self) -> Network {
        Network { address: self.from.address, prefix: HOP_PREFIX }
    }

    /// Its side at `place`.
    pub(super) fn side(&self, place: Place) -> Option<&Side> {
        [&self.from, &self.to].into_iter().find(|side| side.place == place)
    }

    /// What is at the other side.
    pub(super) fn other(&self, place: Place) -> &Side {
        if self.from.place == place { &self.to } else { &self.from }
    }
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Network {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
}

/// A routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// The main one: for what is sent by the place itself.
    Main,
    /// For what goes on towards the egress.
    Forward,
    /// For what goes back towards the ingress.
    Back,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) table: Table,
    /// None: everything.
    pub(super) to: Option<Network>,
    /// Hops to take, by number.
    pub(super) via: Vec<usize>,
    /// The hop's own network.
    pub(super) direct: bool,
}

/// What an end is for routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// The interface by which traffic comes, in a namespace that has others too. None: a namespace as a whole.
    pub(super) interface: Option<String>,
    /// Networks that are reached through it.
    pub(super) networks: Vec<Network>,
}

/// What is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) hops: Vec<Hop>,
    members: usize,
}

/// How many hops the chain has: as many pairs of addresses it needs.
pub(super) fn count(graph: &Graph) -> usize {
    pairs(graph).len()
}

/// All pairs of neighbours, in the order of their hops.
fn pairs(graph: &Graph) -> Vec<(Place, Place)> {
    let members_at = |node: usize| {
        graph
            .members()
            .enumerate()
            .filter(move |(_, (at, _))| *at == node)
            .map(|(number, _)| Place::Member(number))
    };
    let mut pairs = Vec::new();
    for start in &graph.start {
        pairs.extend(members_at(*start).map(|member| (Place::Ingress, member)));
    }
    for (number, node) in graph.nodes.iter().enumerate() {
        for from in members_at(number) {
            if node.next.is_empty() {
                pairs.push((from, Place::Egress));
            }
            for next in &node.next {
                pairs.extend(members_at(*next).map(|to| (from, to)));
            }
        }
    }
    pairs
}

impl Plan {
    /// The plan of a chain. `machines` are the numbers of those members that are virtual machines; `short` tells the chain's
    /// links outside of guests from those of others (8 characters); `addresses` are the lower ones of each hop's pair.
    /// Within a guest links are called in0, in1 … and out0, out1 …, so that the function's configuration can name them.
    pub(super) fn new(graph: &Graph, machines: &[usize], short: &str, addresses: &[Ipv4Addr]) -> Self {
        let is_machine = |place| matches!(place, Place::Member(number) if machines.contains(&number));
        let mut hops: Vec<Hop> = Vec::new();
        for ((from, to), address) in pairs(graph).into_iter().zip(addresses) {
            let outs = hops.iter().filter(|hop| hop.from.place == from).count();
            let ins = hops.iter().filter(|hop| hop.to.place == to).count();
            let name = |place, inside: &str, end: &str, number| match place {
                Place::Member(_) => format!("{inside}{number}"),
                _ => format!("nfc{short}{end}{number}"),
            };
            let upper = Ipv4Addr::from(u32::from(*address) + 1);
            let number = hops.len();
            let side = |place, name, address, letter| {
                // At most 15 characters.
                Side { place, name, port: format!("nfp{short}{letter}{number:x}"), address }
            };
            hops.push(Hop {
                from: side(from, name(from, "out", "i", outs), *address, 'f'),
                to: side(to, name(to, "in", "e", ins), upper, 't'),
                bridge: (is_machine(from) || is_machine(to)).then(|| format!("nfb{short}{number:x}")),
            });
        }
        Self { hops, members: graph.members().count() }
    }

    /// All places, guests first: they are ready before the ends send anything.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.members).map(Place::Member).chain([Place::Egress, Place::Ingress])
    }

    /// The hops of a place.
    pub(super) fn hops_of(&self, place: Place) -> impl Iterator<Item = (usize, &Hop)> {
        self.hops.iter().enumerate().filter(move |(_, hop)| hop.side(place).is_some())
    }

    /// Hops that lead from the place towards the egress (`Forward`) or the ingress.
    fn ways(&self, place: Place, towards: Table) -> Vec<usize> {
        let starts_here =
            |hop: &Hop| if towards == Table::Back { hop.to.place } else { hop.from.place } == place;
        (0..self.hops.len()).filter(|number| starts_here(&self.hops[*number])).collect()
    }

    /// Whether several ways lead on from the place.
    pub(super) fn shares(&self, place: Place) -> bool {
        [Table::Forward, Table::Back].into_iter().any(|towards| self.ways(place, towards).len() > 1)
    }

    /// All places that are reached from `from` in this direction, itself included.
    fn reached(&self, from: Place, towards: Table) -> BTreeSet<Place> {
        let mut reached = BTreeSet::from([from]);
        let mut left = vec![from];
        while let Some(place) = left.pop() {
            for way in self.ways(place, towards) {
                let on = self.hops[way].other(place).place;
                if reached.insert(on) {
                    left.push(on);
                }
            }
        }
        reached
    }

    /// The routes of a place.
    pub(super) fn routes(&self, place: Place, ingress: &Shape, egress: &Shape) -> Vec<Route> {
        let mut routes = Vec::new();
        for (towards, networks) in [(Table::Forward, &egress.networks), (Table::Back, &ingress.networks)] {
            let ways = self.ways(place, towards);
            if ways.is_empty() {
                continue;
            }
            let end = match place {
                Place::Ingress => Some(ingress),
                Place::Egress => Some(egress),
                Place::Member(_) => None,
            };
            // A namespace as a whole has no rules by interface; an interface's namespace is not ours to route in.
            let tables: &[Table] = match end.map(|end| &end.interface) {
                None => &[towards, Table::Main],
                Some(None) => &[Table::Main],
                Some(Some(_)) => &[towards],
            };
            for table in tables {
                self.hop_routes(place, towards, *table, &mut routes);
                let all = |to| Route { table: *table, to, via: ways.clone(), direct: false };
                match *table {
                    Table::Main => {
                        routes.extend(networks.iter().map(|network| all(Some(*network))));
                        if place == Place::Ingress {
                            routes.push(all(None));
                        }
                    }
                    _ => routes.push(all(None)),
                }
            }
        }
        routes
    }

    /// Routes to the addresses of hops in one direction.
    fn hop_routes(&self, place: Place, towards: Table, table: Table, routes: &mut Vec<Route>) {
        let ways = self.ways(place, towards);
        let beyond: Vec<_> =
            ways.iter().map(|way| self.reached(self.hops[*way].other(place).place, towards)).collect();
        for way in &ways {
            // In the main table the kernel has made it with the address.
            if table != Table::Main {
                let to = Some(self.hops[*way].network());
                routes.push(Route { table, to, via: vec![*way], direct: true });
            }
        }
        for hop in self.hops.iter().filter(|hop| hop.side(place).is_none()) {
            let near = if towards == Table::Back { hop.to.place } else { hop.from.place };
            let via: Vec<usize> = ways
                .iter()
                .zip(&beyond)
                .filter(|(_, beyond)| beyond.contains(&near))
                .map(|(way, _)| *way)
                .collect();
            if !via.is_empty() {
                routes.push(Route { table, to: Some(hop.network()), via, direct: false });
            }
        }
    }

    /// Which table what comes in by an interface of the place is routed by.
    pub(super) fn rules(&self, place: Place, ingress: &Shape, egress: &Shape) -> Vec<(String, Table)> {
        let by_interface =
            |end: &Shape, table| end.interface.iter().map(|name| (name.clone(), table)).collect();
        match place {
            Place::Ingress => by_interface(ingress, Table::Forward),
            Place::Egress => by_interface(egress, Table::Back),
            Place::Member(_) => {
                let rule = |(_, hop): (usize, &Hop)| match hop.to.place == place {
                    true => (hop.to.name.clone(), Table::Forward),
                    false => (hop.from.name.clone(), Table::Back),
                };
                self.hops_of(place).map(rule).collect()
            }
        }
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
