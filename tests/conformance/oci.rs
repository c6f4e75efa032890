//! The ground of the embedded driver: this machine, and a state directory.

use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::oci::{Oci, OciConfig};
use nfio_host::hypervisor::{Guest, Hypervisor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use crate::ground::{Facts, Ground};

pub(crate) struct OciGround {
    state: tempfile::TempDir,
    root: String,
}

impl OciGround {
    pub(crate) fn new() -> Self {
        nfio_tests::require_testbed();
        let state = tempfile::tempdir_in("/run").expect("a directory below /run");
        Self { state, root: uuid::Uuid::new_v4().to_string() }
    }

    /// What the driver keeps of a guest.
    fn kept(&self, guest: &Guest, file: &str) -> Value {
        let path = self.state.path().join("guests").join(&guest.labels.id).join(file);
        let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Ground for OciGround {
    fn driver(&self) -> Arc<dyn Hypervisor> {
        let images = nfio_tests::image().parent().expect("the directory of images");
        let mut config = OciConfig::new(self.state.path(), images);
        config.helper = nfio_tests::built("nfio");
        // Others of them are at work meanwhile.
        Arc::new(Oci::beside(config).expect("the driver Oci"))
    }

    fn facts(&self) -> Facts {
        Facts {
            host: "127.0.0.1".into(),
            local: true,
            image: "firewall".into(),
            root: self.root.clone(),
            unique_names: false,
            machine: false,
            memory: None,
            at_a_time: 4,
            crowd: 8,
            unserved: &[
                ("pull = true", "pull"),
                ("[[interface]]\nname = \"eth1\"", "[[interface]]"),
                ("[[port]]\nhost = 1\nguest = 2", "[[port]]"),
            ],
        }
    }

    fn kill(&self, guest: &Guest) {
        let init = self.kept(guest, "run.json")["init"]["pid"].as_i64().expect("its pid") as i32;
        kill(Pid::from_raw(init), Signal::SIGKILL).expect("kill");
    }

    fn remove(&self, guest: &Guest) {
        // Another nfio over the same state.
        self.driver().destroy(guest, true).expect("destroy");
    }

    fn labels(&self, guest: &Guest) -> Labels {
        let mut deployed = self.kept(guest, "spec.json");
        serde_json::from_value(deployed["spec"]["labels"].take()).expect("labels")
    }

    fn left(&self) -> Vec<String> {
        let guests = fs::read_dir(self.state.path().join("guests")).expect("the directory of guests");
        guests.map(|guest| guest.expect("an entry").path().display().to_string()).collect()
    }

    fn near(&self, program: &str) -> Command {
        Command::new(program)
    }
}
