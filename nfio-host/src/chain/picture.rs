//! A chain drawn, for people: what is at each node, how it is, and what it has counted. `dot.rs` and `svg.rs` write it.

mod dot;
mod svg;

use super::graph::Graph;
use super::totals::Total;
use super::{Chain, Chains, end::End};
use crate::error::Result;
use crate::hypervisor::Status;

/// What there is to draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    /// The chain's name and status.
    title: String,
    status: String,
    ingress: Ending,
    egress: Ending,
    nodes: Vec<Node>,
    /// Numbers of the first nodes.
    start: Vec<usize>,
}

/// An end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    name: String,
    /// Bytes that passed it, while the chain is active.
    bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    name: String,
    /// Its column: how many nodes come before it at most.
    depth: usize,
    next: Vec<usize>,
    cards: Vec<Card>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Card {
    ty: String,
    name: String,
    status: String,
    /// What it has received, sent and dropped; None: it does not tell.
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
    drops: Option<u64>,
}

impl Picture {
    fn last(&self) -> usize {
        self.nodes.iter().map(|node| node.depth).max().unwrap_or(0)
    }
}

/// Bytes as people read them.
fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A counter, or a dash.
fn counted(value: Option<u64>, text: impl Fn(u64) -> String) -> String {
    value.map_or_else(|| "–".into(), text)
}

impl Chains {
    /// The picture of a chain: as it is active, else as it is drawn in the tree.
    ///
    /// # Errors
    /// VNFConfigurationError (EINVAL) where it is not active and makes no sense.
    pub(super) fn picture(&self, chain: &Chain) -> Result<Picture> {
        let (graph, ingress, egress) = match chain.record() {
            Some(record) => {
                // What cannot be measured now is drawn as it was last.
                let _ = self.measure(chain);
                let end = |end: &End, total| Ending {
                    name: end.to_string(),
                    bytes: Some(chain.now().meters.sum(total)),
                };
                (
                    record.graph.clone(),
                    end(&record.ingress, Total::Ingress),
                    end(&record.egress, Total::Egress),
                )
            }
            None => {
                let read = self.read(chain)?;
                let graph = read.drawing.graph(&chain.name)?;
                let [ingress, egress] = read.ends.map(|name| Ending { name, bytes: None });
                (graph, ingress, egress)
            }
        };
        Ok(Picture {
            title: chain.name.clone(),
            status: self.status(chain),
            ingress,
            egress,
            nodes: self.nodes(&graph),
            start: graph.start,
        })
    }

    fn nodes(&self, graph: &Graph) -> Vec<Node> {
        let node = |(node, depth): (&super::graph::Node, usize)| Node {
            name: node.name.clone(),
            depth,
            next: node.next.clone(),
            cards: node.members.iter().map(|member| self.card(member)).collect(),
        };
        graph.nodes.iter().zip(graph.depths()).map(node).collect()
    }

    fn card(&self, member: &super::graph::Member) -> Card {
        let status = self.vnfs.member_status(member.at());
        let runs = status.as_ref().is_ok_and(|status| *status == Status::Running);
        // One that does not answer is drawn without counters.
        let number = |path: &str| self.vnfs.member_number(member.at(), path).ok().filter(|_| runs);
        Card {
            ty: member.ty.clone(),
            name: member.name.clone(),
            status: status.map_or_else(|_| "unknown".into(), |status| status.to_string()),
            rx_bytes: number("stats/rx_bytes"),
            tx_bytes: number("stats/tx_bytes"),
            drops: number("stats/pkt_drops"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn example() -> Picture {
        let card = |name: &str, status: &str| Card {
            ty: "firewall".into(),
            name: name.into(),
            status: status.into(),
            rx_bytes: Some(1_234_567),
            tx_bytes: Some(999),
            drops: (status == "running").then_some(7),
        };
        let node = |name: &str, depth, next: &[usize], cards| Node {
            name: name.into(),
            depth,
            next: next.to_vec(),
            cards,
        };
        Picture {
            title: "edge".into(),
            status: "degraded: <b> \"x\"".into(),
            ingress: Ending { name: "netns:client".into(), bytes: Some(5_000_000_000) },
            egress: Ending { name: "a&b\\".into(), bytes: None },
            nodes: vec![
                node("fw", 0, &[1], vec![card("fw-a", "running"), card("fw-b", "exited")]),
                node("<ids>", 1, &[], vec![card("ids-a", "running")]),
            ],
            start: vec![0],
        }
    }

    #[test]
    fn bytes_are_told_as_people_read_them() {
        assert_eq!(
            [0, 999, 1000, 1_234_567, u64::MAX].map(human),
            ["0 B", "999 B", "1.0 kB", "1.2 MB", "18446744.1 TB"]
        );
    }
}
