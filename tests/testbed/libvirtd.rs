//! Libvirt daemons of the test bed's own: each a `libvirtd` in a network namespace of its own, all of whose state lies
//! below `/run`. They never touch the machine's own libvirt, and end with the test bed.

use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::daemon::Daemon;
use crate::network::{Network, does};
use crate::slots::Slots;
use crate::{Place, certificates, sshd};

/// Where a libvirtd keeps its state, and what of it lies where in a daemon's directory. The daemon sees its own there.
const STATE: [(&str, &str); 4] = [
    ("run", "/run/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("etc", "/etc/libvirt"),
];

/// Its guests are root's like everything here, and no control group, namespace or label is made for them: those would
/// stay behind, or are not to be had in a container.
const QEMU_CONF: &str = "user = \"root\"
group = \"root\"
dynamic_ownership = 0
remember_owner = 0
security_driver = \"none\"
stdio_handler = \"file\"
namespaces = []
cgroup_controllers = []
";

/// Mounts what is its own over the machine's, then becomes the daemon. The file system `/sys` is that of the network
/// where it is mounted, and libvirt looks for bridges there. Beside controllers of version 1, a version 2 without any
/// keeps libvirt from starting containers. A copy of a mount of nfio's here would keep it from ending.
/// Consoles of guests are locked below `/run/lock`.
const RUN: &str = "set -e
directory=$1 cache=$2
shift 2
umount -a -l -t fuse.nfio
while [ $# -gt 0 ]; do mkdir -p \"$2\"; mount --bind \"$directory/$1\" \"$2\"; shift 2; done
mkdir -p /var/cache/libvirt /run/lock
mount --bind \"$cache\" /var/cache/libvirt
mkdir -p \"$directory/groups\"
mount --rbind /sys/fs/cgroup \"$directory/groups\"
mount -t sysfs sysfs /sys
mount --rbind \"$directory/groups\" /sys/fs/cgroup
umount -R -l \"$directory/groups\"
if [ -e /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi
if [ -d \"$directory/tls\" ]; then set -- --listen; fi
exec libvirtd \"$@\" --pid-file \"$directory/pid\"";

/// A libvirtd. One that a test has for itself ends by drop, the shared one ends with the test bed.
#[derive(Debug)]
pub struct Libvirtd {
    /// What its guests are: `qemu` or `lxc`.
    driver: &'static str,
    directory: PathBuf,
    network: Network,
    daemon: Daemon,
    /// In what environment `ssh` reaches it.
    ssh: OnceLock<Vec<(&'static str, String)>>,
    /// Returned last, when its guests have ended.
    _slots: Slots,
}

impl Libvirtd {
    /// The name of the network to which its guests connect, with addresses by DHCP.
    pub const NETWORK: &str = "nfio";

    /// The daemon of this machine; shared by all tests, which never stop it. They run two virtual machines at a time, so
    /// that no other test of the binary may have any.
    pub fn local() -> &'static Self {
        static LOCAL: OnceLock<Libvirtd> = OnceLock::new();
        LOCAL.get_or_init(|| Self::machines(2))
    }

    /// A daemon that tests share which let no guest boot.
    pub fn without_machines() -> &'static Self {
        static IDLE: OnceLock<Libvirtd> = OnceLock::new();
        IDLE.get_or_init(|| Self::machines(0))
    }

    /// A daemon that a test has for itself, for `count` virtual machines at a time. It waits until no more than two run
    /// over all tests.
    pub fn machines(count: usize) -> Self {
        Self::of("qemu", Slots::take(count), false)
    }

    /// A daemon that a test has for itself, for one virtual machine, which other hosts reach by SSH and with mutual TLS.
    pub fn remote() -> Self {
        let daemon = Self::of("qemu", Slots::take(1), true);
        let pid = daemon.daemon.pid().to_string();
        let host = sshd::Host {
            address: daemon.network.address(),
            config: String::new(),
            // Where the daemon has its socket in its usual place, as on a host of its own.
            command: &|program| {
                let mut command = Command::new("nsenter");
                command.args(["--target", &pid, "--mount", "--net", "--", program]);
                command
            },
        };
        daemon.ssh.set(sshd::start(&host, &daemon.file("ssh"))).expect("it has none yet");
        daemon
    }

    /// A daemon that a test has for itself, whose guests are containers.
    pub fn containers() -> Self {
        Self::of("lxc", Slots::take(0), false)
    }

    /// The address of a host in its network that it leases to nobody.
    pub fn free_address(&self) -> String {
        format!("10.98.{}.5", self.network.number())
    }

    fn of(driver: &'static str, slots: Slots, tls: bool) -> Self {
        crate::require_testbed();
        let network = Network::new();
        let directory = PathBuf::from(format!("/run/libvirtd-{}", network.number()));
        for (name, _) in STATE {
            fs::create_dir_all(directory.join(name)).expect("a directory below /run");
        }
        fs::write(directory.join("etc/qemu.conf"), QEMU_CONF).expect("qemu.conf");
        // Without it, libvirtd asks polkit who may do what.
        fs::write(directory.join("etc/libvirtd.conf"), "auth_unix_rw = \"none\"\n").expect("libvirtd.conf");
        if tls {
            listen(&directory, &network.address());
        }
        let daemon = Self {
            driver,
            daemon: Daemon::new(directory.join("words")),
            directory,
            network,
            ssh: OnceLock::new(),
            _slots: slots,
        };
        daemon.run();
        daemon.define_network();
        daemon
    }

    /// Starts the daemon, which does not run, and waits until it answers.
    #[track_caller]
    pub fn run(&self) {
        let mut command = self.network.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", RUN, "sh"]);
        command.arg(&self.directory).arg(cache());
        for (name, place) in STATE {
            command.args([name, place]);
        }
        self.daemon.run(command, || self.socket().exists() && self.try_virsh(&["version"]).status.success());
    }

    /// The network of its guests: a bridge with DHCP. No ping before a lease: that takes three seconds of every boot.
    fn define_network(&self) {
        let number = self.network.number();
        let xml = self.file("network.xml");
        let text = format!(
            "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>{name}</name>
  <bridge name='virbr-nfio' stp='off' delay='0'/>
  <ip address='10.98.{number}.1' netmask='255.255.255.0'>
    <dhcp><range start='10.98.{number}.10' end='10.98.{number}.250'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
",
            name = Self::NETWORK
        );
        fs::write(&xml, text).expect("network.xml");
        self.virsh(&["net-define", xml.to_str().expect("UTF-8")]);
        self.virsh(&["net-autostart", Self::NETWORK]);
        self.virsh(&["net-start", Self::NETWORK]);
    }

    /// Ends the daemon with SIGKILL; its guests go on, and are its own again when it comes back.
    #[track_caller]
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Sends the daemon a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Runs virsh on this daemon, which must succeed; answers what it prints, without the newlines at its end.
    #[track_caller]
    pub fn virsh(&self, arguments: &[&str]) -> String {
        does(self.command().args(arguments)).trim_end().to_owned()
    }

    /// Runs virsh on this daemon.
    pub fn try_virsh(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).stdin(Stdio::null()).output().expect("virsh")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("virsh");
        command.env("LC_ALL", "C").args(["--quiet", "--connect", &self.uri()]);
        command
    }

    /// The names of its domains, whether they run or not.
    #[track_caller]
    pub fn domains(&self) -> Vec<String> {
        self.virsh(&["list", "--all", "--name"]).lines().map(str::to_owned).collect()
    }

    /// The names of the interfaces that it made for guests.
    #[track_caller]
    pub fn taps(&self) -> Vec<String> {
        let links = does(self.network.command("ip").args(["-o", "link"]));
        let names = links.lines().filter_map(|line| line.split(": ").nth(1));
        names.filter(|name| name.starts_with("vnet")).map(str::to_owned).collect()
    }

    /// The URI of a connection to it.
    pub fn uri(&self) -> String {
        format!("{}:///system?socket={}", self.driver, self.socket().display())
    }

    /// The directory of its guests' own layers; there once one has had a layer.
    pub fn layers(&self) -> PathBuf {
        self.file("layers")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.file("run/libvirt-sock")
    }

    /// The network of its host, where its guests can be reached.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What `nfio` is told of it as the libvirt of this machine.
    pub fn place(&self) -> Place {
        Place {
            hypervisor: "Libvirt",
            host: "127.0.0.1".to_owned(),
            network: Some(self.network.path()),
            beside: false,
            config: format!(
                "[libvirt]\nuri = \"{}\"\nnetwork = \"{}\"\nlayers = \"{}\"\n",
                self.uri(),
                Self::NETWORK,
                self.layers().display()
            ),
            environment: Vec::new(),
        }
    }

    /// As [`place`](Self::place), with `nfio` in the daemon's network: it makes bridges there.
    pub fn beside(&self) -> Place {
        Place { beside: true, ..self.place() }
    }

    /// What `nfio` is told of it as the libvirt of another host, by SSH.
    pub fn by_ssh(&self) -> Place {
        let uri = format!("qemu+ssh://root@{}/system", self.network.address());
        Place { environment: self.ssh.get().expect("a remote libvirtd").clone(), ..self.elsewhere(&uri) }
    }

    /// What `nfio` is told of it as the libvirt of another host, with mutual TLS.
    pub fn by_tls(&self) -> Place {
        let pki = self.file("tls");
        self.elsewhere(&format!("qemu+tls://{}/system?pkipath={}", self.network.address(), pki.display()))
    }

    fn elsewhere(&self, uri: &str) -> Place {
        let host = self.network.address();
        let config =
            format!("[libvirt]\nnetwork = \"{}\"\n[hosts.\"{host}\"]\nlibvirt = \"{uri}\"\n", Self::NETWORK);
        Place { host, config, ..self.place() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        // Its guests outlive it.
        self.daemon.wake();
        let running = self.try_virsh(&["list", "--name"]);
        for name in String::from_utf8_lossy(&running.stdout).lines().filter(|name| !name.is_empty()) {
            self.try_virsh(&["destroy", name]);
        }
        self.try_virsh(&["net-destroy", Self::NETWORK]);
        self.daemon.end();
    }
}

/// Has a daemon listen with mutual TLS; the client's files have the names that libvirt gives them.
fn listen(directory: &Path, address: &str) {
    let pki = directory.join("tls");
    certificates::make(&pki, address);
    for (from, to) in [("ca", "cacert"), ("cert", "clientcert"), ("key", "clientkey")] {
        fs::copy(pki.join(format!("{from}.pem")), pki.join(format!("{to}.pem"))).expect("a copy");
    }
    let at = pki.display();
    let config = format!(
        "auth_unix_rw = \"none\"\nlisten_tls = 1\nlisten_addr = \"{address}\"\nauth_tls = \"none\"\n\
         ca_file = \"{at}/ca.pem\"\ncert_file = \"{at}/server.pem\"\nkey_file = \"{at}/server-key.pem\"\n"
    );
    fs::write(directory.join("etc/libvirtd.conf"), config).expect("libvirtd.conf");
}

/// What libvirt found out about QEMU, kept from run to run: finding it out takes seconds.
fn cache() -> PathBuf {
    let built = crate::built("nfio");
    let target = built.parent().and_then(Path::parent).expect("target/<profile>");
    let cache = target.join("libvirt-cache");
    fs::create_dir_all(&cache).expect("a directory below target");
    cache
}
