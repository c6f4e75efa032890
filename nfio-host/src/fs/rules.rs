//! Which operation is allowed where. Rules look at what paths name (and at the type's table), never at files.

use middlebox_sdk::layout::{is_instance_name, is_type_name};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::path::Path;

use super::Answer;
use super::operations::{Operations, TypeState};
use crate::tree::{self, Instance, Node};

/// What mkdir makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mkdir<'a> {
    /// A directory like any other.
    Plain,
    /// An instance of this type or a chain, of a name that is checked.
    Instance(Instance<'a>),
}

/// What rename moves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rename<'a> {
    /// A file or directory like any other.
    Plain,
    /// An instance within its type, or a chain, to a name that is checked.
    Instance(Instance<'a>, Instance<'a>),
}

/// Whether files, links and devices can be made in this directory.
pub(crate) fn may_make_in(parent: &Path) -> Answer<()> {
    match tree::node(parent) {
        Node::Instance(_) | Node::Within(..) | Node::Chains => Ok(()),
        _ => Err(Errno::EPERM),
    }
}

/// What a directory of this name in `parent` is to be.
pub(crate) fn mkdir<'a>(ops: &dyn Operations, parent: &'a Path, name: &'a OsStr) -> Answer<Mkdir<'a>> {
    let name = name.to_str();
    match tree::node(parent) {
        Node::NfTypes => {
            let ty = name.filter(|name| is_type_name(name)).ok_or(Errno::EINVAL)?;
            Err(if ops.type_state(ty) == TypeState::Loaded { Errno::EEXIST } else { Errno::ENOPKG })
        }
        Node::Type(ty) => {
            let name = name.filter(|name| is_instance_name(name)).ok_or(Errno::EINVAL)?;
            Ok(Mkdir::Instance(Instance { ty, name }))
        }
        Node::Chains => {
            let name = name.filter(|name| is_instance_name(name)).ok_or(Errno::EINVAL)?;
            Ok(Mkdir::Instance(Instance::chain(name)))
        }
        _ => may_make_in(parent).map(|()| Mkdir::Plain),
    }
}

/// What moving `from` to `name` in `parent` means. Both ways are judged for an exchange.
pub(crate) fn rename<'a>(from: &'a Path, parent: &'a Path, name: &'a OsStr) -> Answer<Rename<'a>> {
    match tree::node(from) {
        Node::Instance(from) => match tree::node(parent) {
            Node::Type(ty) if ty == from.ty => {
                let name = name.to_str().filter(|name| is_instance_name(name)).ok_or(Errno::EINVAL)?;
                Ok(Rename::Instance(from, Instance { ty, name }))
            }
            Node::Chains if from.is_chain() => {
                let name = name.to_str().filter(|name| is_instance_name(name)).ok_or(Errno::EINVAL)?;
                Ok(Rename::Instance(from, Instance::chain(name)))
            }
            // Not EXDEV, at which mv would copy.
            _ => Err(Errno::EPERM),
        },
        Node::Within(..) => may_make_in(parent).map(|()| Rename::Plain),
        _ => Err(Errno::EPERM),
    }
}

/// Whether the path is part of its instance's skeleton (special files, and directories on the way to any file).
pub(crate) fn is_skeleton(ops: &dyn Operations, path: &Path) -> bool {
    match tree::node(path) {
        Node::Within(instance, rest) => rest.to_str().is_some_and(|rest| ops.is_skeleton(instance.ty, rest)),
        _ => false,
    }
}

/// EBUSY for a part of the skeleton of an instance that is deployed.
pub(crate) fn not_of_a_guest(ops: &dyn Operations, path: &Path) -> Answer<()> {
    match tree::node(path) {
        Node::Within(instance, _) if is_skeleton(ops, path) && ops.is_deployed(instance) => Err(Errno::EBUSY),
        _ => Ok(()),
    }
}
