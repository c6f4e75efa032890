//! The driver Libvirt, on a libvirtd of the test bed; one file a promise.

mod bed;
mod disks;
mod life_cycle;
mod lxc;
mod odd_words;
mod outlives;
mod remote;
mod side_by_side;
