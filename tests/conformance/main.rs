mod ground;
mod oci;
mod promises;
mod run;
mod stage;

#[test]
fn oci_keeps_every_promise() {
    run::judge_all(&oci::OciGround::new());
}
