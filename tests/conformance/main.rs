//! Conformance.
mod docker;
mod ground;
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
