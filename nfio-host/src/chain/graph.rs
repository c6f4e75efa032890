//! What the links of a chain mean: its nodes, the instances at each, and what comes next. Nothing here looks at a disk;
//! `drawing.rs` reads the links.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::error::{NfioError, Result};
use crate::tree::{self, Node as Named};

/// An instance at a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Member {
    #[serde(rename = "type")]
    pub(super) ty: String,
    pub(super) name: String,
    /// Tells it from another instance that gets its name later. Empty until activate.
    #[serde(default)]
    pub(super) id: String,
}

impl Member {
    pub(super) fn at(&self) -> tree::Instance<'_> {
        tree::Instance { ty: &self.ty, name: &self.name }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ty, self.name)
    }
}

/// A node: instances that share its load, and the nodes that come next. None: the egress does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) next: Vec<usize>,
    pub(super) members: Vec<Member>,
}

/// A chain that makes sense: all nodes are reached from the start, and none comes before itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Graph {
    pub(super) start: Vec<usize>,
    pub(super) nodes: Vec<Node>,
}

/// What a link points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Instance(Member),
    /// A node of the same chain, there or not.
    Node(String),
    /// Anything else.
    Elsewhere,
}

/// A link of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Below the chain, for messages: `fw/next`.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
    pub(super) target: Target,
}

/// A chain as it is drawn in the tree, whether it makes sense or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Drawing {
    pub(super) start: Vec<Link>,
    /// By node: links to instances, links to what comes next.
    pub(super) nodes: BTreeMap<String, (Vec<Link>, Vec<Link>)>,
}

/// What a link's text means. `directory` is where the link stands, below MOUNT; `mount` is MOUNT, which absolute links
/// have to lead into. Texts are taken at their word: a link on the way is not followed.
pub(super) fn target(chain: &str, directory: &Path, text: &Path, mount: &Path) -> Target {
    let below = match text.strip_prefix(mount) {
        Ok(below) => below.to_owned(),
        Err(_) if text.is_absolute() => return Target::Elsewhere,
        Err(_) => directory.join(text),
    };
    let mut plain = PathBuf::new();
    for part in below.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            // Out of MOUNT.
            _ => return Target::Elsewhere,
        }
    }
    match tree::node(&plain) {
        Named::Instance(at) if !at.is_chain() => {
            Target::Instance(Member { ty: at.ty.into(), name: at.name.into(), id: String::new() })
        }
        Named::Within(at, rest) if at == tree::Instance::chain(chain) && rest.components().count() == 1 => {
            rest.to_str().map_or(Target::Elsewhere, |name| Target::Node(name.into()))
        }
        _ => Target::Elsewhere,
    }
}

fn wrong<T>(message: String) -> Result<T> {
    Err(NfioError::configuration(message))
}

impl Drawing {
    /// What is drawn, if it makes sense.
    ///
    /// # Errors
    /// VNFConfigurationError (EINVAL) that names the link or node, and the way out.
    pub(super) fn graph(&self, chain: &str) -> Result<Graph> {
        if self.start.is_empty() {
            return wrong(format!(
                "the chain {chain} has no start: make a link `start` to its first node (ln -s NODE start)"
            ));
        }
        let names: Vec<&String> = self.nodes.keys().collect();
        let place = |link: &Link| {
            match &link.target {
            Target::Node(name) => names.binary_search(&name).map_err(|_| {
                NfioError::configuration(format!(
                    "the link {} points to {:?}, and the chain {chain} has no such node: make it with mkdir, or mend \
                     the link",
                    link.path, link.text
                ))
            }),
            _ => wrong(format!(
                "the link {} points to {:?}, which is no node of the chain {chain}: point it to one",
                link.path, link.text
            )),
        }
        };
        let start = self.start.iter().map(place).collect::<Result<Vec<_>>>()?;
        let mut nodes = Vec::new();
        for (name, (members, next)) in &self.nodes {
            let next = next.iter().map(place).collect::<Result<Vec<_>>>()?;
            nodes.push(Node { name: name.clone(), next: unique(next), members: members_of(name, members)? });
        }
        let graph = Graph { start: unique(start), nodes };
        graph.judge(chain)?;
        Ok(graph)
    }
}

fn unique(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}

fn members_of(node: &str, links: &[Link]) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for link in links {
        match &link.target {
            Target::Instance(member) => members.push(member.clone()),
            Target::Node(_) => {
                return wrong(format!(
                    "the link {} points to a node, and only links called next do: call it next, or put it below next/",
                    link.path
                ));
            }
            Target::Elsewhere => {
                return wrong(format!(
                    "the link {} points to {:?}, which is no instance below nf-types/: mend the link",
                    link.path, link.text
                ));
            }
        }
    }
    if members.is_empty() {
        return wrong(format!(
            "the node {node} has no instance: make a link in it (ln -s ../../../nf-types/TYPE/NAME {node}/)"
        ));
    }
    members.sort();
    Ok(members)
}

impl Graph {
    /// Every instance, with the number of its node.
    pub(super) fn members(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.nodes.iter().enumerate().flat_map(|(node, n)| n.members.iter().map(move |member| (node, member)))
    }

    /// The longest way from the ingress to each node, in nodes: where it stands in a picture.
    pub(super) fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.nodes.len()];
        // As often as the longest way has nodes: it has no loop.
        for _ in 0..self.nodes.len() {
            for node in 0..self.nodes.len() {
                for next in &self.nodes[node].next {
                    depths[*next] = depths[*next].max(depths[node] + 1);
                }
            }
        }
        depths
    }

    fn judge(&self, chain: &str) -> Result<()> {
        let mut way = Vec::new();
        let mut done = vec![false; self.nodes.len()];
        for start in &self.start {
            self.walk(*start, &mut way, &mut done)?;
        }
        if let Some(lost) = done.iter().position(|done| !done) {
            return wrong(format!(
                "the node {} is not reached from the start of the chain {chain}: nothing would pass it; link to it, \
                 or remove it",
                self.nodes[lost].name
            ));
        }
        let mut all: Vec<(&Member, &str)> =
            self.members().map(|(node, member)| (member, self.nodes[node].name.as_str())).collect();
        all.sort();
        match all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            None => Ok(()),
            Some(pair) => wrong(format!(
                "{} stands at two places ({} and {}): an instance has one ingress side and one egress side; use another \
                 instance for one of them",
                pair[0].0, pair[0].1, pair[1].1
            )),
        }
    }

    fn walk(&self, node: usize, way: &mut Vec<usize>, done: &mut [bool]) -> Result<()> {
        if let Some(first) = way.iter().position(|before| *before == node) {
            let names = way[first..].iter().chain([&node]).map(|at| self.nodes[*at].name.as_str());
            let round = names.collect::<Vec<_>>().join(" -> ");
            return wrong(format!(
                "the nodes go round in a loop ({round}): take one of these next links away"
            ));
        }
        if done[node] {
            return Ok(());
        }
        way.push(node);
        for next in &self.nodes[node].next {
            self.walk(*next, way, done)?;
        }
        way.pop();
        done[node] = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_link(path: &str, to: &str) -> Link {
        Link { path: path.into(), text: format!("../{to}"), target: Target::Node(to.into()) }
    }

    fn member(name: &str) -> Member {
        Member { ty: "firewall".into(), name: name.into(), id: String::new() }
    }

    /// Nodes as (name, instances, next).
    fn drawing(start: &[&str], nodes: &[(&str, &[&str], &[&str])]) -> Drawing {
        let links = |from: &str, to: &[&str]| to.iter().map(|to| node_link(from, to)).collect::<Vec<_>>();
        let nodes = nodes.iter().map(|(name, members, next)| {
            let members = members.iter().map(|member_name| Link {
                path: format!("{name}/{member_name}"),
                text: "x".into(),
                target: Target::Instance(member(member_name)),
            });
            ((*name).to_owned(), (members.collect(), links(&format!("{name}/next"), next)))
        });
        Drawing { start: links("start", start), nodes: nodes.collect() }
    }

    #[test]
    fn links_are_taken_at_their_word_and_absolute_ones_count_below_the_mount_alone() {
        let of = |text: &str| target("edge", Path::new("chns/edge/fw"), Path::new(text), Path::new("/nfio"));
        assert_eq!(of("../../../nf-types/firewall/fw-a"), Target::Instance(member("fw-a")));
        assert_eq!(of("/nfio/nf-types/firewall/./fw-a/"), Target::Instance(member("fw-a")));
        assert_eq!(of("../ids"), Target::Node("ids".into()));
        assert_eq!(of("/nfio/chns/edge/ids"), Target::Node("ids".into()));
        for text in [
            "/srv/nf-types/firewall/fw-a",
            "../../../../nf-types/firewall/fw-a",
            "../../other/ids",
            "../../../nf-types/firewall",
            "../../../nf-types/firewall/fw-a/action",
            "../..",
            "../ids/next",
        ] {
            assert_eq!(of(text), Target::Elsewhere, "{text}");
        }
    }

    #[test]
    fn a_chain_of_nodes_with_shared_load_and_two_ways_makes_sense() {
        let drawing = drawing(
            &["fw"],
            &[
                ("fw", &["b", "a"], &["ids", "proxy"]),
                ("ids", &["c"], &["nat"]),
                ("proxy", &["d"], &["nat"]),
                ("nat", &["e"], &[]),
            ],
        );
        let graph = drawing.graph("edge").unwrap();
        assert_eq!(graph.start, [0]);
        assert_eq!(graph.nodes[0].members, [member("a"), member("b")]);
        assert_eq!(graph.nodes[0].next, [1, 3]);
        assert_eq!(graph.depths(), [0, 1, 2, 1]);
    }

    #[test]
    fn what_makes_no_sense_is_named_with_the_way_out() {
        for (drawing, words) in [
            (drawing(&[], &[("fw", &["a"], &[])]), "no start: make a link `start`"),
            (
                drawing(&["no"], &[("fw", &["a"], &[])]),
                "start points to \"../no\", and the chain edge has no such node",
            ),
            (drawing(&["fw"], &[("fw", &["a"], &["gone"])]), "fw/next points to \"../gone\""),
            (drawing(&["fw"], &[("fw", &[], &[])]), "the node fw has no instance"),
            (drawing(&["fw"], &[("fw", &["a"], &["fw"])]), "in a loop (fw -> fw)"),
            (
                drawing(&["x"], &[("x", &["o"], &["a"]), ("a", &["p"], &["b"]), ("b", &["q"], &["a"])]),
                "in a loop (a -> b -> a)",
            ),
            (drawing(&["a"], &[("a", &["p"], &[]), ("b", &["q"], &[])]), "b is not reached"),
            (
                drawing(&["a"], &[("a", &["p"], &["b"]), ("b", &["p"], &[])]),
                "firewall/p stands at two places (a and b)",
            ),
        ] {
            let error = drawing.graph("edge").unwrap_err();
            assert_eq!(error.errno(), libc::EINVAL);
            assert!(error.to_string().contains(words), "{error}");
        }
        let mut odd = drawing(&["fw"], &[("fw", &["a"], &[])]);
        odd.nodes.get_mut("fw").unwrap().0[0].target = Target::Elsewhere;
        assert!(
            odd.graph("edge").unwrap_err().to_string().contains("fw/a points to \"x\", which is no instance")
        );
        odd.nodes.get_mut("fw").unwrap().0[0].target = Target::Node("fw".into());
        assert!(odd.graph("edge").unwrap_err().to_string().contains("only links called next do"));
    }
}
