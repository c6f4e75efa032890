//! The grounds of the driver Docker: an engine of the test bed's as this machine's, and one as another host's.

use nfio_host::config::{Host, Tls};
use nfio_host::hypervisor::docker::{Docker, DockerConfig};
use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::{Guest, Hypervisor};
use nfio_tests::Engine;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use crate::ground::{Facts, Ground};

pub(crate) struct DockerGround {
    engine: &'static Engine,
    local: bool,
    root: String,
    state: tempfile::TempDir,
}

impl DockerGround {
    /// By its socket.
    pub(crate) fn local() -> Self {
        Self::on(Engine::local(), true)
    }

    /// By TCP with mutual TLS.
    pub(crate) fn remote() -> Self {
        Self::on(Engine::remote(), false)
    }

    fn on(engine: &'static Engine, local: bool) -> Self {
        let state = tempfile::tempdir_in("/run").expect("a directory below /run");
        Self { engine, local, root: uuid::Uuid::new_v4().to_string(), state }
    }

    /// The guest's container, found without the driver.
    fn container(&self, guest: &Guest) -> String {
        let filter = format!("label=io.nfio.id={}", guest.labels.id);
        let found = self.engine.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
        assert!(!found.is_empty() && found.lines().count() == 1, "containers of {}: {found:?}", guest.name);
        found
    }
}

impl Ground for DockerGround {
    fn driver(&self) -> Arc<dyn Hypervisor> {
        let mut hosts = BTreeMap::new();
        if !self.local {
            let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|file| self.engine.tls().join(file));
            let tls = Some(Tls { ca, cert, key });
            hosts.insert(self.engine.address(), Host { tls, ..Host::default() });
        }
        let socket = self.local.then(|| self.engine.socket());
        let config =
            DockerConfig { root: self.root.clone(), socket, hosts, state: self.state.path().to_owned() };
        Arc::new(Docker::new(config).expect("the driver Docker"))
    }

    fn facts(&self) -> Facts {
        Facts {
            host: if self.local { "127.0.0.1".into() } else { self.engine.address() },
            local: self.local,
            image: "firewall".into(),
            root: self.root.clone(),
            unique_names: true,
            machine: false,
            memory: None,
            at_a_time: 4,
            crowd: 8,
            unserved: &[
                ("[[interface]]\nbridge = \"br0\"", "bridge"),
                ("[[interface]]\nnetwork = \"host\"", "host"),
                ("[[port]]\nhost = 1\nguest = 2\nprotocol = \"icmp\"", "icmp"),
            ],
        }
    }

    fn kill(&self, guest: &Guest) {
        self.engine.docker(&["kill", &self.container(guest)]);
    }

    fn remove(&self, guest: &Guest) {
        self.engine.docker(&["rm", "-f", &self.container(guest)]);
    }

    fn labels(&self, guest: &Guest) -> Labels {
        let label = |key: &str| {
            let format = format!("{{{{index .Config.Labels \"io.nfio.{key}\"}}}}");
            self.engine.docker(&["inspect", "--format", &format, &self.container(guest)])
        };
        Labels { root: label("root"), ty: label("type"), instance: label("instance"), id: label("id") }
    }

    fn left(&self) -> Vec<String> {
        let root = format!("label=io.nfio.root={}", self.root);
        let containers = self.engine.docker(&["ps", "-aq", "--filter", &root]);
        // Images that were made of guests' layers have the guests' labels.
        let images = self.engine.docker(&["image", "ls", "-aq", "--filter", &root]);
        let files = std::fs::read_dir(self.state.path()).expect("the driver's state").flatten();
        let files = files.filter(|file| file.path().is_file()).map(|file| file.path().display().to_string());
        containers.lines().chain(images.lines()).map(str::to_owned).chain(files).collect()
    }

    fn near(&self, program: &str) -> Command {
        self.engine.network().command(program)
    }
}
