//! The library behind the binary `nfio`. Data flows kernel → [`fs`] → [`tree`] → [`vnf`] → [`modules`] and
//! [`hypervisor`] → guest; nothing walks back up. [`chain`] connects guests.

pub mod beneath;
pub mod chain;
pub mod cli;
pub mod config;
mod descriptors;
pub mod error;
mod fault;
pub mod fs;
pub mod hypervisor;
pub mod modules;
mod netlink;
pub mod root;
pub mod tree;
pub mod vnf;
