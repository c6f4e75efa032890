//! What the suite has to know of a driver's ground: the machine or engine that the guests run on.

use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::{Guest, Hypervisor};
use std::process::Command;
use std::sync::Arc;

/// Where a driver's guests run, and how one gets at them without the driver.
pub(crate) trait Ground: Send + Sync {
    /// A new driver value, as a new nfio would make it over the same guests.
    fn driver(&self) -> Arc<dyn Hypervisor>;

    /// In what the driver differs from others, as far as the trait leaves it to the driver.
    fn facts(&self) -> Facts;

    /// Kills the guest's processes behind the driver's back.
    fn kill(&self, guest: &Guest);

    /// Removes the guest behind the driver's back.
    fn remove(&self, guest: &Guest);

    /// The labels of the guest, as they are kept where it runs.
    fn labels(&self, guest: &Guest) -> Labels;

    /// What there is of guests, by whatever name: nothing once all have been destroyed.
    fn left(&self) -> Vec<String>;

    /// A program of this machine, run in the network of the guests' host.
    fn near(&self, program: &str) -> Command;
}

/// Plain data. No promise of the trait is left out by any of it.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// `machine/ip` of all guests.
    pub(crate) host: String,
    /// Whether that is this machine: the driver reaches the guests' namespaces, so it withholds forwarding.
    pub(crate) local: bool,
    /// Image of `examples/images/busybox.sh`.
    pub(crate) image: String,
    /// UUID of the ROOT that the driver works for.
    pub(crate) root: String,
    /// Whether the engine refuses a second guest of one name.
    pub(crate) unique_names: bool,
    /// What boot.conf may hold and this driver refuses: the text, and the word that names it.
    pub(crate) unserved: &'static [(&'static str, &'static str)],
}
