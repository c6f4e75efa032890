//! What service chains connect of a guest: its network stack.

use std::fs::File;

/// The network stack of a running guest of this machine.
#[derive(Debug)]
pub enum Stack {
    /// A network namespace.
    Namespace(File),
    /// A virtual machine, with a kernel of its own.
    Machine(Machine),
}

/// A virtual machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What tells this run from every other one.
    pub run: String,
    /// Whether it is up: commands in it are answered without waiting for its boot.
    pub is_up: bool,
    /// Whether it is frozen, and so neither takes interfaces nor lets go of them.
    pub is_paused: bool,
}

/// An interface that a machine is to have until its run ends, and the bridge of this machine that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cable {
    /// The interface's hardware address, as `02:43:0a:cc:00:01`.
    pub hardware: String,
    /// The bridge.
    pub bridge: String,
    /// What the bridge's port is to be called.
    pub port: String,
}
