//! The test bed's Rust side: a mount of the built `nfio` with the built plugins, and how a test waits. Everything lies
//! below `/run`, which in the test bed is a tmpfs that goes with it.

mod certificates;
mod chain;
mod daemon;
mod engine;
mod faults;
mod http;
mod image;
mod libvirtd;
mod mounted;
mod network;
mod odd;
mod out_of_tree;
mod place;
mod plugins;
mod slots;
mod sshd;
mod user;
mod wait;

pub use chain::{Serving, Space, state_of};
pub use engine::Engine;
pub use faults::{Covered, end_guest, first_process};
pub use http::{Page, Server, get};
pub use image::{debian, image, slow_image, vm};
pub use libvirtd::Libvirtd;
pub use mounted::{Instance, Mounted, Options, built, nfio};
pub use network::Network;
pub use out_of_tree::{Crate, Tree, checkout, output_of};
pub use place::Place;
pub use plugins::{build_name, odd_build, odd_plugin};
pub use user::{NOBODY, User};
pub use wait::{errno, eventually, ok};

/// Fails a test that runs outside the test bed, with the way in.
pub fn require_testbed() {
    assert!(
        std::env::var_os("NFIO_TESTBED").is_some(),
        "this test mounts file systems and makes bridges: run it by `make test`, or in tests/testbed/enter.sh"
    );
}
