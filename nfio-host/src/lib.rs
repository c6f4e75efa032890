//! The library behind the binary `nfio`. Data flows kernel → [`fs`] → [`tree`] → `vnf` → modules →
//! [`hypervisor`] → guest.

pub mod beneath;
pub mod cli;
pub mod config;
pub mod error;
pub mod fs;
pub mod hypervisor;
pub mod root;
pub mod tree;
