//! Docker Engines of the test bed's own: each a `dockerd` in a network namespace of its own, all of whose state lies
//! below `/run`. They never touch the machine's own engine, and end with the test bed.

use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use crate::daemon::Daemon;
use crate::network::{Network, does};
use crate::{Place, certificates, image, sshd};

/// The images that every engine has.
const IMAGES: [&str; 1] = ["firewall"];

/// An engine. One that a test has for itself ends by drop, the shared ones end with the test bed.
#[derive(Debug)]
pub struct Engine {
    directory: PathBuf,
    network: Network,
    daemon: Daemon,
    images: Mutex<Vec<String>>,
    /// The environment that reaches its host's SSH server, once that runs.
    ssh: OnceLock<Vec<(&'static str, String)>>,
}

impl Engine {
    /// The engine of this machine, reached by its socket; shared by all tests, which never stop it.
    pub fn local() -> &'static Self {
        static LOCAL: OnceLock<Engine> = OnceLock::new();
        LOCAL.get_or_init(Self::start)
    }

    /// The engine of another host, reached by TLS or SSH; shared by all tests, which never stop it.
    pub fn remote() -> &'static Self {
        static REMOTE: OnceLock<Engine> = OnceLock::new();
        REMOTE.get_or_init(Self::start)
    }

    /// An engine that a test has for itself.
    pub fn start() -> Self {
        Self::with_disk("size=2g")
    }

    /// An engine whose disk is a tmpfs of these mount options, for example `size=60m`.
    pub fn with_disk(options: &str) -> Self {
        crate::require_testbed();
        away_from_the_machine();
        let network = Network::new();
        let directory = PathBuf::from(format!("/run/engine-{}", network.number()));
        fs::create_dir(&directory).expect("a directory below /run");
        fs::create_dir(directory.join("data")).expect("a directory for the engine's data");
        does(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.join("data")));
        certificates::make(&directory.join("tls"), &network.address());
        fs::write(directory.join("daemon.json"), "{}\n").expect("daemon.json");
        let engine = Self {
            daemon: Daemon::new(directory.join("log")),
            directory,
            network,
            images: Mutex::default(),
            ssh: OnceLock::new(),
        };
        engine.run();
        for name in IMAGES {
            engine.image(name);
        }
        engine
    }

    /// Starts the daemon, which does not run, and waits until it answers.
    #[track_caller]
    pub fn run(&self) {
        let tls = self.tls();
        let mut command = self.network.command("dockerd");
        for (option, file) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "daemon.json"),
        ] {
            command.arg(option).arg(self.file(file));
        }
        // The test bed sweeps the control groups below this one when it ends.
        command.args(["--cgroup-parent", "/nfio", "--tlsverify"]);
        for (option, file) in
            [("--tlscacert", "ca.pem"), ("--tlscert", "server.pem"), ("--tlskey", "server-key.pem")]
        {
            command.arg(option).arg(tls.join(file));
        }
        command.arg("-H").arg(format!("unix://{}", self.socket().display()));
        command.arg("-H").arg(format!("tcp://{}:2376", self.address()));
        self.daemon.run(command, || self.try_docker(&["version"]).status.success());
    }

    /// Ends the daemon with SIGKILL; its guests end with it, at the latest when it comes back.
    #[track_caller]
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Ends the daemon in good order, as its service would: it stops its guests first.
    #[track_caller]
    pub fn end(&self) {
        self.daemon.end();
    }

    /// Sends the daemon a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Sees to it that the engine has an image, and answers its name: `firewall`, or one that `testbed/images.sh` made.
    #[track_caller]
    pub fn image(&self, name: &str) -> String {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if !images.iter().any(|known| known == name) {
            let directory = if name == "firewall" { image().to_owned() } else { crate::debian(name) };
            self.import(name, &directory, r#"CMD ["/sbin/init"]"#);
            images.push(name.to_owned());
        }
        name.to_owned()
    }

    /// Makes an image of a directory, with an instruction of a Dockerfile; empty: none.
    #[track_caller]
    pub fn import(&self, name: &str, directory: &Path, change: &str) {
        let mut tar = Command::new("tar");
        let tar = tar.arg("-C").arg(directory).args(["-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().expect("tar");
        let mut import = self.command();
        import.arg("import");
        if !change.is_empty() {
            import.args(["--change", change]);
        }
        does(import.args(["-", name]).stdin(tar.stdout.take().expect("a pipe")));
        assert!(tar.wait().expect("tar").success(), "tar of {}", directory.display());
    }

    /// Runs the docker command on this engine, which must succeed; answers what it prints, without the final newline.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        does(self.command().args(arguments)).trim_end().to_owned()
    }

    /// Runs the docker command on this engine.
    pub fn try_docker(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).stdin(Stdio::null()).output().expect("docker")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_CONFIG", self.file("client"))
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT");
        command.arg("-H").arg(format!("unix://{}", self.socket().display()));
        command
    }

    /// Fills the engine's disk, and answers the file that takes the room.
    #[track_caller]
    pub fn fill_disk(&self) -> PathBuf {
        let path = self.file("data").join("fill");
        let mut file = fs::File::create(&path).expect("a file");
        let zeros = vec![0; 1 << 16];
        while file.write_all(&zeros).is_ok() {}
        path
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.file("docker.sock")
    }

    /// The address of its host, where it listens with mutual TLS.
    pub fn address(&self) -> String {
        self.network.address()
    }

    /// Directory of `ca.pem`, `cert.pem` and `key.pem` (a client's), and of `other-*.pem`, which it does not know.
    pub fn tls(&self) -> PathBuf {
        self.file("tls")
    }

    /// The network of its host, where its guests can be reached.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What `nfio` is told of it as the engine of this machine.
    pub fn by_socket(&self) -> Place {
        Place {
            config: format!("[docker]\nsocket = \"{}\"\n", self.socket().display()),
            ..self.by("127.0.0.1".to_owned())
        }
    }

    /// What `nfio` is told of it as the engine of another host, with mutual TLS.
    pub fn by_tls(&self) -> Place {
        let tls = self.tls();
        let tls = tls.display();
        let files =
            format!("{{ ca = \"{tls}/ca.pem\", cert = \"{tls}/cert.pem\", key = \"{tls}/key.pem\" }}");
        Place {
            config: format!("[hosts.\"{}\"]\ntls = {files}\n", self.address()),
            ..self.by(self.address())
        }
    }

    /// What `nfio` is told of it as the engine of another host, over SSH.
    pub fn by_ssh(&self) -> Place {
        Place {
            config: format!("[hosts.\"{}\"]\nssh = \"root\"\n", self.address()),
            environment: self.ssh.get_or_init(|| self.start_sshd()).clone(),
            ..self.by(self.address())
        }
    }

    fn start_sshd(&self) -> Vec<(&'static str, String)> {
        let host = sshd::Host {
            address: self.address(),
            config: format!("SetEnv DOCKER_HOST=unix://{}\n", self.socket().display()),
            command: &|program| self.network.command(program),
        };
        sshd::start(&host, &self.file("ssh"))
    }

    /// A place for its guests, without the way there.
    fn by(&self, host: String) -> Place {
        Place {
            hypervisor: "Docker",
            host,
            network: Some(self.network.path()),
            beside: false,
            config: String::new(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.daemon.end();
    }
}

/// An engine writes keys into /etc/docker: not into the machine's.
fn away_from_the_machine() {
    static AWAY: Once = Once::new();
    AWAY.call_once(|| {
        fs::create_dir_all("/etc/docker").expect("/etc/docker, as Docker's packages have it");
        does(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/etc/docker"]));
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions("/etc/docker", mode).expect("chmod");
    });
}
