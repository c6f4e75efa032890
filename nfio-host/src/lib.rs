//! The library behind the binary `nfio`.

pub mod error;
pub mod hypervisor;
