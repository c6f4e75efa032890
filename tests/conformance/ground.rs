//! What the suite has to know of a driver's ground: the machine or engine that the guests run on.

use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::{Guest, Hypervisor};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

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

    /// Guests that wait for the next promise, with the directories of their logs, where a boot takes seconds.
    fn waiting(&self) -> Option<&Mutex<Vec<(Guest, TempDir)>>> {
        None
    }

    /// The guest's definition where it runs, in the engine's own words; "" where no promise asks for it.
    fn definition(&self, _: &Guest) -> String {
        String::new()
    }

    /// A program of this machine, run in the network of the guests' host.
    fn near(&self, program: &str) -> Command;
}

/// Plain data. No promise of the trait is left out by any of it; those that a virtual machine keeps in another form are in
/// `machines.rs`.
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
    /// Whether a guest is a virtual machine: it boots its image, no command, and is nobody's container.
    pub(crate) machine: bool,
    /// Memory of the guests, in bytes.
    pub(crate) memory: Option<u64>,
    /// How many promises are judged at a time.
    pub(crate) at_a_time: usize,
    /// How many guests live side by side.
    pub(crate) crowd: usize,
    /// What boot.conf may hold and this driver refuses: the text, and the word that names it.
    pub(crate) unserved: &'static [(&'static str, &'static str)],
}
