//! What a path names. [`node`] is the one place that knows the shape of the tree; it looks at the path alone, so it
//! costs no system call. Everything else asks it (the manual's `vnfs_get_opcode`, `vnfs_get_nf_type`,
//! `vnfs_get_file_name` and `vnfs_is_nf_instance` are questions to its answer).

use middlebox_sdk::layout::{is_instance_name, is_type_name};
use std::ffi::OsStr;
use std::path::{Component, Path};

/// Name of the directory of all types.
pub const NF_TYPES: &str = "nf-types";
/// Name of the directory of service chains.
pub const CHNS: &str = "chns";
/// Name of the directory that tells about the loaded modules.
pub const MODULES: &str = "modules";
/// What stands in the place of the type for a chain, which is an instance of no type: no type can be called so.
pub const CHAIN: &str = "-chain";
/// Name of nfio's own directory in ROOT; it does not exist in MOUNT.
pub const PRIVATE: &str = ".nfio";

/// An instance: its type and its name. A chain is one too, of the type [`CHAIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance<'a> {
    /// The type.
    pub ty: &'a str,
    /// The instance's name.
    pub name: &'a str,
}

impl<'a> Instance<'a> {
    /// The chain of this name.
    pub fn chain(name: &'a str) -> Self {
        Self { ty: CHAIN, name }
    }

    /// Whether it is a chain.
    pub fn is_chain(&self) -> bool {
        self.ty == CHAIN
    }

    /// The instance's path below ROOT and below MOUNT alike.
    pub fn path(&self) -> std::path::PathBuf {
        match self.is_chain() {
            true => [CHNS, self.name].iter().collect(),
            false => [NF_TYPES, self.ty, self.name].iter().collect(),
        }
    }
}

/// What a path below MOUNT (or, the same but for `modules`, below ROOT) names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// The mount itself.
    Root,
    /// `nf-types`.
    NfTypes,
    /// `nf-types/<type>`.
    Type(&'a str),
    /// `nf-types/<type>/<instance>`, or `chns/<chain>`.
    Instance(Instance<'a>),
    /// Something below an instance or a chain.
    Within(Instance<'a>, &'a Path),
    /// `chns`.
    Chains,
    /// `modules`.
    Modules,
    /// `modules/<type>`.
    Module(&'a str),
    /// `modules/<type>/<file>`.
    ModuleFile(&'a str, &'a str),
    /// A path that cannot exist: a name that the contract does not allow at its place.
    Nothing,
}

/// Whether an operation concerns a VNF (the manual's opcodes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Below `nf-types` (0x01 in the original).
    Nf,
    /// Anywhere else.
    Undefined,
}

/// Says what `path`, relative to MOUNT, names. An empty path is the mount itself.
pub fn node(path: &Path) -> Node<'_> {
    let mut names = path.components();
    match names.next().map(|c| c.as_os_str()) {
        None => Node::Root,
        Some(top) if top == NF_TYPES => below_types(&mut names),
        Some(top) if top == CHNS => below_chains(&mut names),
        Some(top) if top == MODULES => below_modules(&mut names),
        Some(_) => Node::Nothing,
    }
}

fn below_types<'a>(names: &mut std::path::Components<'a>) -> Node<'a> {
    let Some(ty) = names.next() else { return Node::NfTypes };
    let Some(ty) = text(ty).filter(|ty| is_type_name(ty)) else { return Node::Nothing };
    let Some(name) = names.next() else { return Node::Type(ty) };
    let Some(name) = text(name).filter(|name| is_instance_name(name)) else { return Node::Nothing };
    whole_or_part(Instance { ty, name }, names)
}

fn below_chains<'a>(names: &mut std::path::Components<'a>) -> Node<'a> {
    let Some(name) = names.next() else { return Node::Chains };
    let Some(name) = text(name).filter(|name| is_instance_name(name)) else { return Node::Nothing };
    whole_or_part(Instance::chain(name), names)
}

fn whole_or_part<'a>(instance: Instance<'a>, names: &std::path::Components<'a>) -> Node<'a> {
    match names.as_path() {
        rest if rest.as_os_str().is_empty() => Node::Instance(instance),
        rest => Node::Within(instance, rest),
    }
}

fn below_modules<'a>(names: &mut std::path::Components<'a>) -> Node<'a> {
    let Some(ty) = names.next() else { return Node::Modules };
    let Some(ty) = text(ty) else { return Node::Nothing };
    match (names.next(), names.next()) {
        (None, _) => Node::Module(ty),
        (Some(file), None) => text(file).map_or(Node::Nothing, |file| Node::ModuleFile(ty, file)),
        _ => Node::Nothing,
    }
}

fn text(component: Component<'_>) -> Option<&str> {
    component.as_os_str().to_str()
}

/// The manual's `vnfs_get_opcode`: [`Opcode::Nf`] for everything below `nf-types`.
pub fn vnfs_get_opcode(path: &Path) -> Opcode {
    match vnfs_get_nf_type(path) {
        Some(_) => Opcode::Nf,
        None => Opcode::Undefined,
    }
}

/// The manual's `vnfs_get_nf_type`: `firewall` for `nf-types/firewall/fw-alpha/action`.
pub fn vnfs_get_nf_type(path: &Path) -> Option<&str> {
    match node(path) {
        Node::Type(ty) => Some(ty),
        Node::Instance(instance) | Node::Within(instance, _) if !instance.is_chain() => Some(instance.ty),
        _ => None,
    }
}

/// The manual's `vnfs_get_file_name`: the last name of the path.
pub fn vnfs_get_file_name(path: &Path) -> Option<&OsStr> {
    path.file_name()
}

/// The manual's `vnfs_is_nf_instance`: whether the path is the directory of an instance.
pub fn vnfs_is_nf_instance(path: &Path) -> bool {
    matches!(node(path), Node::Instance(instance) if !instance.is_chain())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FW: Instance<'static> = Instance { ty: "firewall", name: "fw-a" };

    #[test]
    fn every_place_of_the_tree_is_told_apart() {
        let edge = Instance::chain("edge");
        let cases: [(&str, Node<'_>); 16] = [
            ("", Node::Root),
            ("nf-types", Node::NfTypes),
            ("nf-types/firewall", Node::Type("firewall")),
            ("nf-types/firewall/fw-a", Node::Instance(FW)),
            ("nf-types/firewall/fw-a/action", Node::Within(FW, Path::new("action"))),
            ("nf-types/firewall/fw-a/config/nf_conf", Node::Within(FW, Path::new("config/nf_conf"))),
            ("nf-types/Firewall", Node::Nothing),
            ("nf-types/firewall/-a/action", Node::Nothing),
            ("chns", Node::Chains),
            ("chns/edge", Node::Instance(edge)),
            ("chns/edge/start", Node::Within(edge, Path::new("start"))),
            ("chns/.aside-x/start", Node::Nothing),
            ("modules", Node::Modules),
            ("modules/firewall", Node::Module("firewall")),
            ("modules/firewall/state", Node::ModuleFile("firewall", "state")),
            (".nfio/lock", Node::Nothing),
        ];
        for (path, expected) in cases {
            assert_eq!(node(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn the_manuals_four_questions_are_answered() {
        let action = Path::new("nf-types/firewall/fw-a/action");
        assert_eq!(vnfs_get_opcode(action), Opcode::Nf);
        assert_eq!(vnfs_get_opcode(Path::new("chns/edge")), Opcode::Undefined);
        assert_eq!(vnfs_get_nf_type(action), Some("firewall"));
        assert_eq!(vnfs_get_file_name(action), Some(OsStr::new("action")));
        assert!(vnfs_is_nf_instance(Path::new("nf-types/firewall/fw-a")));
        assert!(!vnfs_is_nf_instance(action) && !vnfs_is_nf_instance(Path::new("chns/edge")));
        assert_eq!(vnfs_get_nf_type(Path::new("chns/edge/action")), None);
        assert!(!is_type_name(CHAIN));
    }
}
