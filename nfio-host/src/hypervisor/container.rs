//! What the drivers of containers have in common: how a specification is judged, capabilities, kernel parameters,
//! the kernel's counters, processes that are held rather than named, logs below a cap.

pub(in crate::hypervisor) mod again;
pub(in crate::hypervisor) mod caps;
pub(in crate::hypervisor) mod check;
pub(in crate::hypervisor) mod counters;
pub(in crate::hypervisor) mod log;
pub(in crate::hypervisor) mod process;
pub(in crate::hypervisor) mod sysctl;
