//! The grounds of the driver Libvirt: a libvirtd of the test bed's, whose guests boot the image of `examples/images/vm.sh`;
//! and libvirt's own test driver, which has domains and no guests.

use nfio_host::config::{self, Accelerator};
use nfio_host::hypervisor::boot_conf::BootConf;
use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::libvirt::{Libvirt, LibvirtConfig};
use nfio_host::hypervisor::{Guest, GuestSpec, Hypervisor, Prepared, Status};
use nfio_tests::Libvirtd;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

use crate::ground::{Facts, Ground};
use crate::stage::{accepted, refused};

pub(crate) struct LibvirtGround {
    daemon: &'static Libvirtd,
    root: String,
    state: TempDir,
    waiting: Mutex<Vec<(Guest, TempDir)>>,
}

fn driver(uri: String, network: &str, images: &Path, state: &Path) -> Arc<dyn Hypervisor> {
    let settings = config::Libvirt {
        uri,
        images: images.to_owned(),
        layers: state.join("layers"),
        network: network.to_owned(),
        // KVM is not to be had on every machine that tests run on.
        accelerator: Accelerator::Qemu,
    };
    let config = LibvirtConfig { state: state.to_owned(), settings, hosts: BTreeMap::new() };
    Arc::new(Libvirt::new(config).expect("the driver Libvirt"))
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let below = entries.into_iter().map(|entry| entry.path());
    below.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

impl LibvirtGround {
    pub(crate) fn new() -> Self {
        let state = tempfile::tempdir_in("/run").expect("a directory below /run");
        let root = uuid::Uuid::new_v4().to_string();
        Self { daemon: Libvirtd::local(), root, state, waiting: Mutex::default() }
    }
}

impl Ground for LibvirtGround {
    fn driver(&self) -> Arc<dyn Hypervisor> {
        let vm = nfio_tests::vm();
        driver(self.daemon.uri(), Libvirtd::NETWORK, vm.parent().expect("images"), self.state.path())
    }

    fn facts(&self) -> Facts {
        Facts {
            host: "127.0.0.1".into(),
            local: true,
            image: "vm".into(),
            root: self.root.clone(),
            unique_names: true,
            machine: true,
            memory: Some(192 << 20),
            at_a_time: 2,
            crowd: 2,
            unserved: &[
                ("command = [\"true\"]", "command"),
                ("entrypoint = [\"true\"]", "entrypoint"),
                ("[env]\nA = \"1\"", "[env]"),
                ("user = \"1\"", "user"),
                ("dns = [\"192.0.2.1\"]", "dns"),
                ("privileged = true", "privileged"),
                ("pull = true", "pull"),
                ("[capabilities]\nadd = [\"CHOWN\"]", "[capabilities]"),
                ("[[interface]]\nname = \"eth7\"", "[[interface]]"),
                ("[[interface]]\naddress = \"192.0.2.1/24\"", "[[interface]]"),
                ("[[port]]\nhost = 1\nguest = 2", "[[port]]"),
                ("[vm]\nformat = \"luks\"", "format"),
                ("[vm]\nkernel = \"../k\"", "kernel"),
                ("[vm]\ninitrd = \"/i\"", "initrd"),
                ("[vm]\ncmdline = \"a\\nb\"", "cmdline"),
            ],
        }
    }

    fn kill(&self, guest: &Guest) {
        self.daemon.virsh(&["destroy", &guest.labels.id]);
    }

    fn remove(&self, guest: &Guest) {
        self.daemon.virsh(&["destroy", &guest.labels.id]);
        self.daemon.virsh(&["undefine", &guest.labels.id]);
    }

    fn labels(&self, guest: &Guest) -> Labels {
        let xml = self.definition(guest);
        let label = |key: &str| {
            let element = xml.split_once("<nfio:guest ").and_then(|(_, rest)| rest.split_once("/>"));
            let value = element.and_then(|(element, _)| element.split_once(&format!(" {key}=")));
            let value = value.and_then(|(_, rest)| rest.get(1..)?.split(['"', '\'']).next());
            value.unwrap_or_else(|| panic!("no label {key}: {xml}")).to_owned()
        };
        Labels { root: label("root"), ty: label("type"), instance: label("instance"), id: label("id") }
    }

    fn left(&self) -> Vec<String> {
        let files = files_below(self.state.path()).into_iter().map(|path| path.display().to_string());
        self.daemon.domains().into_iter().chain(self.daemon.taps()).chain(files).collect()
    }

    fn waiting(&self) -> Option<&Mutex<Vec<(Guest, TempDir)>>> {
        Some(&self.waiting)
    }

    fn definition(&self, guest: &Guest) -> String {
        self.daemon.virsh(&["dumpxml", &guest.labels.id])
    }

    fn near(&self, program: &str) -> Command {
        self.daemon.network().command(program)
    }
}

/// What of the driver needs no guest: domains that libvirt's test driver pretends to run.
pub(crate) fn judge_without_guests() {
    let state = tempfile::tempdir().expect("a directory");
    fs::create_dir(state.path().join("kernel")).expect("mkdir");
    fs::write(state.path().join("kernel/vmlinuz"), "").expect("a file");
    let own = state.path().join("state");
    let driver = driver("test:///default".into(), "default", state.path(), &own);
    let id = uuid::Uuid::new_v4().to_string();
    let log = state.path().join("log");
    fs::write(&log, "").expect("a log");
    let spec = GuestSpec {
        labels: Labels { root: id.clone(), ty: "firewall".into(), instance: "a".into(), id: id.clone() },
        name: "root-firewall-a".into(),
        host: "127.0.0.1".into(),
        user: "root".into(),
        image: "kernel".into(),
        absolute_image: false,
        vcpu: None,
        memory: None,
        boot: BootConf::parse("stop_timeout = 1").expect("boot.conf"),
        needs: Default::default(),
        files: Vec::new(),
        log,
    };
    let guest = Guest::of(&spec);
    refused("guest_status", driver.guest_status(&guest), 702);
    assert_eq!(accepted("deploy", driver.deploy(&spec)), id);
    refused("a second deploy", driver.deploy(&spec), 705);
    let status = || accepted("guest_status", driver.guest_status(&guest));
    assert_eq!(status(), Status::Created);
    accepted("start", driver.start(&guest, &Prepared::default()));
    assert_eq!(status(), Status::Running);
    let run = accepted("run_id", driver.run_id(&guest));
    accepted("pause", driver.pause(&guest));
    assert_eq!(status(), Status::Paused);
    refused("destroy without force", driver.destroy(&guest, false), 706);
    accepted("unpause", driver.unpause(&guest));
    assert_eq!(accepted("run_id", driver.run_id(&guest)), run);
    accepted("stop", driver.stop(&guest));
    assert_eq!(status(), Status::Exited);
    accepted("start", driver.start(&guest, &Prepared::default()));
    assert_ne!(accepted("run_id", driver.run_id(&guest)), run, "two runs have one id");
    accepted("destroy", driver.destroy(&guest, true));
    refused("guest_status", driver.guest_status(&guest), 702);
    accepted("destroy once more", driver.destroy(&guest, false));
    assert!(files_below(&own).is_empty(), "{:?}", files_below(&own));
}
