//! A virtual machine: its interfaces are plugged into it, each a port of a hop's bridge; what is to be made inside goes to
//! `ip` by its agent, which is asked only when something is to be made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::super::bridge::Bridges;
use super::super::graph::Member;
use super::super::links::{self, Found, Link, hardware, number};
use super::super::parameters::{Values, no_ipv6, reverse_path};
use super::super::plan::{HOP_PREFIX, Hop, Place, Plan, Route, Side};
use super::super::record::Parameter;
use super::{Stack, Wanted, no_pair};
use crate::error::{HypervisorError, NfioError, Result, one_line};
use crate::hypervisor::{self, Cable, Execution};
use crate::vnf::VnfsOperations;

/// What a machine does with the lines that it gets; nothing else is ever run in it.
const SCRIPT: &str = include_str!("machine.sh");
/// The exit code of what whoever made the machine can mend.
const REFUSED: i32 = 2;

/// A virtual machine that runs.
pub(in super::super) struct Machine {
    pub(in super::super) vnfs: Arc<VnfsOperations>,
    pub(in super::super) place: Place,
    pub(in super::super) member: Member,
    pub(in super::super) machine: hypervisor::Machine,
}

impl Machine {
    /// Has the lines done, and answers what that printed.
    fn do_lines(&self, lines: String) -> Result<String> {
        let argv = ["sh", "-c", SCRIPT, "sh", &links::RULE_PRIORITY.to_string()].map(str::to_owned).to_vec();
        let execution = Execution { argv, stdin: lines.into_bytes() };
        let output = self.vnfs.member_execute(self.member.at(), &self.member.id, &execution)?;
        let words = one_line(&String::from_utf8_lossy(&output.stderr));
        match output.exit_code {
            0 => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            REFUSED => Err(NfioError::configuration(format!("{} {words}", self.member))),
            code => {
                let message = format!("{}: its links cannot be set (exit code {code}): {words}", self.member);
                Err(NfioError::posix(libc::EIO, message))
            }
        }
    }

    /// Unplugs the interface of a side; whether it was there.
    fn unplug(&self, hop: &Hop, side: &Side) -> Result<bool> {
        self.vnfs.member_detach(self.member.at(), &self.member.id, &cable(hop, side))
    }
}

impl Stack for Machine {
    fn is_ready(&self) -> bool {
        self.machine.is_up
    }

    fn check(&self) -> Result<()> {
        if !self.machine.is_paused {
            return Ok(());
        }
        let message = format!("{} is paused, and keeps its links until it runs: write unpause", self.member);
        Err(HypervisorError::NotRunning(message).into())
    }

    fn run(&self) -> Option<&str> {
        Some(&self.machine.run)
    }

    /// An interface is there as long as its port is.
    fn list(&self, plan: &Plan, bridges: &Bridges) -> Result<Found> {
        let mut found = BTreeMap::new();
        for (_, hop) in plan.hops_of(self.place) {
            let Some(side) = hop.side(self.place) else { continue };
            if let Some(port) = bridges.port(hop, side) {
                // What goes out by the port comes into the machine.
                let (rx_bytes, tx_bytes) = (port.tx_bytes, port.rx_bytes);
                let link = Link { hardware: hardware(side.address), rx_bytes, tx_bytes, ..port.clone() };
                found.insert(side.name.clone(), link);
            }
        }
        Ok(Found(found))
    }

    fn values(&self) -> Result<Values> {
        Ok(Values::parse(&self.do_lines("report\n".into())?))
    }

    fn pair(&self, hop: &Hop, _: &dyn Stack) -> Result<()> {
        Err(no_pair(hop))
    }

    fn join(&self, hop: &Hop, side: &Side) -> Result<()> {
        // One whose port has left the bridge may still be plugged in.
        self.unplug(hop, side)?;
        self.vnfs.member_attach(self.member.at(), &self.member.id, &cable(hop, side))
    }

    fn part(&self, sides: &[(&Hop, &Side)]) -> Result<()> {
        sides.iter().try_for_each(|(hop, side)| self.unplug(hop, side).map(drop))
    }

    fn furnish(&self, wanted: &Wanted<'_>) -> Result<()> {
        let values = self.values()?;
        self.do_lines(lines(wanted, &values)).map(drop)
    }

    fn clear(&self, wanted: &Wanted<'_>, before: &[&Parameter]) -> Result<()> {
        let mut was_there = false;
        for (hop, side) in wanted.sides() {
            was_there |= self.unplug(hop, side)?;
        }
        // One that still boots and had no interface is another run than the one that was furnished.
        if !was_there && !self.is_ready() {
            return Ok(());
        }
        let mut text = String::new();
        for (name, table) in &wanted.rules {
            line(&mut text, format_args!("unrule {name} {}", number(wanted.base, *table)));
        }
        for (_, table) in &wanted.rules {
            line(&mut text, format_args!("flush {}", number(wanted.base, *table)));
        }
        for Parameter { key, value, .. } in before {
            line(&mut text, format_args!("set {key} {value}"));
        }
        self.do_lines(text).map(drop)
    }
}

/// What leads from a side to the bridge of its hop.
fn cable(hop: &Hop, side: &Side) -> Cable {
    Cable {
        hardware: written(side.address),
        bridge: hop.bridge.clone().unwrap_or_default(),
        port: side.port.clone(),
    }
}

/// The hardware address of a side, as it is written.
fn written(address: Ipv4Addr) -> String {
    hardware(address).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // A String takes all.
    let _ = writeln!(text, "{words}");
}

/// What is to be done in a machine whose parameters are `values`, in the order of what is done in a namespace: rules and
/// what holds where no way leads on, then links, then routes.
fn lines(wanted: &Wanted<'_>, values: &Values) -> String {
    let (place, plan, base) = (wanted.place, wanted.plan, wanted.base);
    let mut text = String::new();
    let tables: BTreeSet<u32> = wanted.rules.iter().map(|(_, table)| number(base, *table)).collect();
    for table in tables {
        let (metric, protocol) = (links::LAST_METRIC, links::PROTOCOL);
        line(
            &mut text,
            format_args!("ip route replace blackhole default table {table} metric {metric} proto {protocol}"),
        );
    }
    for (name, table) in &wanted.rules {
        line(&mut text, format_args!("rule {name} {}", number(base, *table)));
    }
    for change in values.changes(plan.shares(place), wanted.is_guest()) {
        line(&mut text, format_args!("set {} {}", change.key, change.value));
    }
    let mut ways: BTreeMap<usize, (&str, Ipv4Addr)> = BTreeMap::new();
    for (number, hop) in plan.hops_of(place) {
        let Some(side) = hop.side(place).filter(|side| wanted.found.ours(side).is_some()) else { continue };
        line(&mut text, format_args!("link {} {}", side.name, written(side.address)));
        line(&mut text, format_args!("set {} 0", reverse_path(&side.name)));
        line(&mut text, format_args!("set {} 1", no_ipv6(&side.name)));
        ways.insert(number, (&side.name, hop.other(place).address));
    }
    for (number, hop) in plan.hops_of(place) {
        let (Some((name, peer)), Some(side)) = (ways.get(&number), hop.side(place)) else { continue };
        line(&mut text, format_args!("ip address replace {}/{HOP_PREFIX} dev {name}", side.address));
        let known = written(*peer);
        line(&mut text, format_args!("ip neighbour replace {peer} lladdr {known} dev {name} nud permanent"));
        line(&mut text, format_args!("ip link set dev {name} up"));
    }
    for route in &wanted.routes {
        if let Some(way) = way(route, &ways) {
            let to = route.to.map_or("default".into(), |to| format!("{}/{}", to.address, to.prefix));
            let (table, metric, protocol) = (number(base, route.table), links::METRIC, links::PROTOCOL);
            line(
                &mut text,
                format_args!("ip route replace {to} table {table} metric {metric} proto {protocol} {way}"),
            );
        }
    }
    text
}

/// Where a route leads, over those of its ways that are there; None: there is none.
fn way(route: &Route, ways: &BTreeMap<usize, (&str, Ipv4Addr)>) -> Option<String> {
    let there: Vec<_> = route.via.iter().filter_map(|way| ways.get(way)).collect();
    Some(match there[..] {
        [] => return None,
        [(name, _)] if route.direct => format!("dev {name} scope link"),
        [(name, gateway)] => format!("via {gateway} dev {name}"),
        _ => {
            let next = |(name, gateway): &&(&str, Ipv4Addr)| format!("nexthop via {gateway} dev {name}");
            there.iter().map(next).collect::<Vec<_>>().join(" ")
        }
    })
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
