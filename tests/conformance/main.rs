//! What every driver promises: the trait `Hypervisor` of nfio-host, promise by promise, judged over each driver on real
//! guests. A new driver is done when it keeps them all: it needs a [`ground::Ground`] and a test here.
//!
//! - `promises.rs` lists the promises; each is a function of its subject's file.
//! - `ground.rs` is what the suite knows of where guests run; `oci.rs`, `docker.rs` and `libvirt.rs` are the drivers' grounds.
//! - `machines.rs` holds the form that some promises have for virtual machines.
//! - `stage.rs` is what a promise is judged on, with guests of its own; `run.rs` judges several at a time and tells all
//!   failures. `NFIO_PROMISE=word` judges only promises whose name holds the word.
//! - `faults.rs` lists ways to be broken, and which promise each of them breaks; `broken.rs` are drivers with such faults.
//!   That the suite finds them all is what its word about the others is worth.
//!
//! It runs in the test bed: `sh tests/testbed/enter.sh cargo test -p nfio-tests --offline --test conformance`.

mod broken;
mod docker;
mod faults;
mod ground;
mod libvirt;
mod machines;
mod oci;
mod promises;
mod run;
mod stage;

#[test]
fn oci_keeps_every_promise() {
    run::judge_all(&oci::OciGround::new());
}

#[test]
fn docker_keeps_every_promise_on_this_machine() {
    run::judge_all(&docker::DockerGround::local());
}

#[test]
fn docker_keeps_every_promise_on_another_host() {
    run::judge_all(&docker::DockerGround::remote());
}

#[test]
fn libvirt_keeps_every_promise() {
    machines::judge_names();
    run::judge_all(&libvirt::LibvirtGround::new());
}

#[test]
fn libvirt_keeps_what_needs_no_guest() {
    libvirt::judge_without_guests();
}

#[test]
fn every_fault_of_a_broken_driver_is_found() {
    faults::find_all();
}
