//! A mount of the built `nfio`, ended and cleaned up by drop.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use crate::{Place, eventually};

/// The types whose plugins every mount has; one a line, so that branches can add theirs side by side.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "firewall",
    "ids",
    "nat",
    "nginx",
    "random",
    "squid",
];

/// What a test may choose of a mount.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further arguments of `nfio mount`.
    pub arguments: Vec<String>,
    /// Text of nfio.toml.
    pub config: String,
    /// Where ROOT is made; None: below `/run`.
    pub root: Option<PathBuf>,
    /// The nfio that mounts; None: the built one.
    pub nfio: Option<PathBuf>,
    /// Where the guests live.
    pub place: Place,
}

/// A mount of its own ROOT and its own module_root.
pub struct Mounted {
    directory: tempfile::TempDir,
    options: Options,
}

impl Mounted {
    /// Mounts a new ROOT with all built plugins.
    #[track_caller]
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// Mounts a new ROOT whose guests live elsewhere than with the driver Oci.
    #[track_caller]
    pub fn on(place: Place) -> Self {
        Self::with(Options { place, ..Options::default() })
    }

    /// Mounts a new ROOT.
    #[track_caller]
    pub fn with(options: Options) -> Self {
        let mounted = Self::unmounted(options);
        mounted.mount();
        mounted
    }

    /// Makes ROOT, mount point and module_root, and leaves the mount to the test.
    #[track_caller]
    pub fn unmounted(options: Options) -> Self {
        crate::require_testbed();
        let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
        let mounted = Self { directory, options };
        // Another user of the test reaches the mount through it.
        fs::set_permissions(mounted.directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        for path in [mounted.root(), mounted.path(), mounted.module_root()] {
            fs::create_dir(path).expect("mkdir");
        }
        for ty in TYPES {
            let name = format!("lib{ty}.so");
            fs::copy(built(&name), mounted.module_root().join(&name)).expect("a built plugin");
        }
        mounted.configure(&mounted.options.config);
        mounted
    }

    /// Writes nfio.toml anew, with what the place of the guests needs; it counts from the next mount.
    #[track_caller]
    pub fn configure(&self, config: &str) {
        let text = format!("{config}{}", self.options.place.config);
        fs::write(self.config(), text).expect("nfio.toml");
    }

    /// Has the guests reached in another way from the next mount on.
    #[track_caller]
    pub fn reach(&mut self, place: Place) {
        self.options.place = place;
        self.configure(&self.options.config);
    }

    /// Runs `nfio mount`, which must succeed.
    #[track_caller]
    pub fn mount(&self) {
        let output = self.try_mount();
        assert!(output.status.success(), "nfio mount: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `nfio mount`.
    pub fn try_mount(&self) -> Output {
        self.mount_command(&[]).output().expect("nfio mount")
    }

    /// Runs `nfio mount --foreground` as our child, so that its end can be seen, and waits until it is ready.
    #[track_caller]
    pub fn mount_in_foreground(&self) -> Child {
        let log = fs::File::create(self.directory.path().join("foreground.log")).expect("a log");
        let child = self.mount_command(&["--foreground"]).stderr(log).spawn().expect("nfio mount");
        eventually("the mount is ready", || self.path().join("nf-types").is_dir());
        child
    }

    /// `nfio mount`, with these words beside those of the options.
    pub fn mount_command(&self, words: &[&str]) -> Command {
        let place = &self.options.place;
        let mut command = match &place.network {
            Some(network) if place.beside => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", network.display())).arg("--").arg(self.nfio().get_program());
                command
            }
            _ => self.nfio(),
        };
        command.envs(place.environment.iter().cloned());
        command.args(["mount", "--hypervisor", place.hypervisor, "--module-root"]).arg(self.module_root());
        command.arg("--config").arg(self.config()).args(&self.options.arguments).args(words);
        command.arg(self.root()).arg(self.path());
        command
    }

    /// Runs `nfio umount`, which must succeed.
    #[track_caller]
    pub fn umount(&self) {
        // A child that a test beside this one is starting has copies of our descriptors until its exec: for that long
        // the mount may be in use.
        eventually("nfio umount", || {
            let output = self.nfio().arg("umount").arg(self.path()).output().expect("nfio umount");
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || words.contains("is in use"), "nfio umount: {words}");
            output.status.success()
        });
    }

    /// Ends the daemon with SIGKILL, as a crash would, and waits until it is gone.
    #[track_caller]
    pub fn kill(&self) {
        let pid = self.pid();
        let target = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGKILL).expect("kill");
        eventually("the daemon ends", || !is_alive(pid));
    }

    /// The daemon's process id, from the lock of ROOT.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let text = fs::read_to_string(self.root().join(".nfio/lock")).expect("the lock");
        text.trim().parse().expect("a pid in the lock")
    }

    /// The UUID of ROOT, which its guests carry as a label.
    #[track_caller]
    pub fn uuid(&self) -> String {
        let text = fs::read_to_string(self.root().join(".nfio/root.toml")).expect("the identity of ROOT");
        let line = text.lines().find_map(|line| line.strip_prefix("uuid = ")).expect("a uuid");
        line.trim_matches('"').to_owned()
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// The backing directory.
    pub fn root(&self) -> PathBuf {
        self.options.root.clone().unwrap_or_else(|| self.directory.path().join("root"))
    }

    /// The directory of the plugins.
    pub fn module_root(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    fn nfio(&self) -> Command {
        self.options.nfio.as_ref().map_or_else(nfio, Command::new)
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("nfio.toml")
    }

    /// Makes a firewall whose host and image are set.
    #[track_caller]
    pub fn firewall(&self, name: &str) -> Instance {
        self.made("firewall", name)
    }

    /// Makes an instance of a type for the busybox image, with host and image set.
    #[track_caller]
    pub fn made(&self, ty: &str, name: &str) -> Instance {
        self.of_image(ty, name, "firewall")
    }

    /// Makes an instance of a type whose image is of Debian packages and has the type's name.
    #[track_caller]
    pub fn of_debian(&self, ty: &str, name: &str) -> Instance {
        self.of_image(ty, name, ty)
    }

    /// Makes an instance of a type, with host and image set: `firewall` is the busybox image, others are of Debian
    /// packages.
    #[track_caller]
    pub fn of_image(&self, ty: &str, name: &str, image: &str) -> Instance {
        let instance = self.instance(ty, name);
        fs::create_dir(instance.path()).expect("mkdir of an instance");
        instance.put("machine/ip", &format!("{}\n", self.options.place.host));
        instance.put("machine/vm.image", &format!("{}\n", self.options.place.image(image)));
        instance
    }

    /// A place for an instance, made or not.
    pub fn instance(&self, ty: &str, name: &str) -> Instance {
        let path = self.path().join("nf-types").join(ty).join(name);
        Instance { path, network: self.options.place.network.clone() }
    }

    /// What a daemon in the foreground wrote.
    pub fn foreground_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("foreground.log")).unwrap_or_default()
    }

    /// What the daemon wrote to its log, for a message.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root().join(".nfio/log")).unwrap_or_default()
    }
}

impl Default for Mounted {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the daemon ---\n{}", self.log());
        }
        // Guests outlive their mount, so they are destroyed first; a mount that a test ended comes back for that.
        let types = self.path().join("nf-types");
        if fs::read_dir(&types).is_err() || fs::read_dir(&types).is_ok_and(|mut all| all.next().is_none()) {
            let _ = self.try_mount();
        }
        for chain in fs::read_dir(self.path().join("chns")).into_iter().flatten().flatten() {
            let _ = fs::write(chain.path().join("action"), "undeployed\n");
        }
        for ty in fs::read_dir(&types).into_iter().flatten().flatten() {
            for instance in fs::read_dir(ty.path()).into_iter().flatten().flatten() {
                let _ = fs::write(instance.path().join("action"), "undeployed\n");
            }
        }
        // A guest that is left answers for an address that is another's soon, in a test that knows nothing of it.
        let left: Vec<_> = records(&self.root().join(".nfio/instances"));
        let _ = self.nfio().arg("umount").arg(self.path()).output();
        assert!(left.is_empty() || std::thread::panicking(), "still deployed: {left:?}\n{}", self.log());
    }
}

/// Instances that are deployed, as ROOT's private directory of them says.
fn records(directory: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = below(directory.to_owned()).flat_map(below);
    all.filter(|instance| instance.join("record.toml").exists()).collect()
}

/// An instance on a mount.
#[derive(Debug, Clone)]
pub struct Instance {
    path: PathBuf,
    network: Option<PathBuf>,
}

impl Instance {
    /// An instance or a chain at this path.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, network: None }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Text of a file, without its final newline.
    #[track_caller]
    pub fn get(&self, name: &str) -> String {
        let text = self.try_get(name).unwrap_or_else(|e| panic!("read of {name}: {e}"));
        text.strip_suffix('\n').map_or(text.clone(), str::to_owned)
    }

    /// Text of a file.
    pub fn try_get(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.file(name))
    }

    /// Replaces a file's text.
    #[track_caller]
    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap_or_else(|e| panic!("write of {name}: {e}"));
    }

    /// One write(2) to an existing file, as `echo TEXT > NAME` does it.
    pub fn try_write(&self, name: &str, text: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(self.file(name))?;
        let count = file.write(text.as_bytes())?;
        assert_eq!(count, text.len(), "a short write to {name}");
        Ok(())
    }

    /// Writes a verb, which must succeed.
    #[track_caller]
    pub fn act(&self, verb: &str) {
        if let Err(e) = self.try_act(verb) {
            panic!("{verb}: {e}; {}", self.try_get("last_error").unwrap_or_default());
        }
    }

    /// Writes a verb.
    pub fn try_act(&self, verb: &str) -> io::Result<()> {
        self.try_write("action", &format!("{verb}\n"))
    }

    /// The state.
    #[track_caller]
    pub fn status(&self) -> String {
        self.get("status")
    }

    /// The guest's address.
    #[track_caller]
    pub fn address(&self) -> IpAddr {
        self.get("machine/vm.ip").parse().expect("an address")
    }

    /// A counter.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        self.get(&format!("stats/{name}")).parse().expect("a decimal counter")
    }

    /// Whether the guest answers a ping.
    #[track_caller]
    pub fn answers_ping(&self) -> bool {
        let mut ping = match &self.network {
            None => Command::new("ping"),
            Some(network) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", network.display())).arg("ping");
                command
            }
        };
        ping.args(["-c", "1", "-W", "1", &self.address().to_string()])
            .output()
            .expect("ping")
            .status
            .success()
    }

    /// The output of a command in the guest.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.try_write("command", script).unwrap_or_else(|e| {
            panic!("{script}: {e}; {}", self.try_get("last_error").unwrap_or_default());
        });
        self.get("output")
    }
}

/// The built binary.
pub fn nfio() -> Command {
    Command::new(built("nfio"))
}

/// What the build left beside the test binary: `target/<profile>/deps/<test>`, two levels up.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("our own path");
    let path = test.ancestors().nth(2).expect("target/<profile>").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

fn is_alive(pid: i32) -> bool {
    // A killed child of nobody here is a zombie until the test bed's first process has reaped it.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}
