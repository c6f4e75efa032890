//! The driver Libvirt, on a libvirtd of the test bed; one file a promise.

mod bed;
mod life_cycle;
mod lxc;
