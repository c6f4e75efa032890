//! Where nfio runs: over guests on paper, in a process of the suite's own, or as built, over guests of the driver Oci.

use nfio_tests::{Mounted, Options, built, end_guest, eventually};
use nix::mount::{MntFlags, umount2};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::draw::Choice;
use crate::fault::Fault;
use crate::model::{At, Nature};
use crate::operation::{BARE, GUARD};

/// A mount of its own ROOT that can be ended and made again. The end of the value is the end of all.
pub(crate) trait Ground {
    fn mount(&mut self);
    fn umount(&mut self);
    /// Ends nfio with SIGKILL.
    fn kill(&mut self);
    /// Ends an instance's guest, past nfio.
    fn end(&self, at: &At);
    /// Starts it, past nfio.
    fn start(&self, at: &At);
    fn mountpoint(&self) -> PathBuf;
    fn module_root(&self) -> PathBuf;
    /// All that nfio has logged, over all mounts.
    fn log(&self) -> String;
}

/// A kind of ground.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Paper(Option<Fault>),
    Oci,
}

impl Kind {
    pub(crate) fn ground(self) -> Box<dyn Ground> {
        match self {
            Self::Paper(fault) => Box::new(OnPaper::new(fault)),
            Self::Oci => Box::new(OnOci::new()),
        }
    }

    pub(crate) fn nature(self) -> Nature {
        let greeting = matches!(self, Self::Paper(_)).then_some("up\n");
        Nature { image: self.choice().image, greeting }
    }

    pub(crate) fn choice(self) -> Choice {
        match self {
            Self::Paper(_) => Choice { image: "box\n", on_paper: true },
            Self::Oci => Choice { image: oci_image(), on_paper: false },
        }
    }
}

fn oci_image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| format!("{}\n", nfio_tests::image().display()))
}

/// The plugins that every ground has at first: as built, but without what is for debuggers. That is most of them, and
/// nfio reads all of a plugin at each mount.
fn plugins() -> &'static Path {
    static PLUGINS: OnceLock<PathBuf> = OnceLock::new();
    PLUGINS.get_or_init(|| {
        nfio_tests::require_testbed();
        let directory = PathBuf::from(format!("/run/model-plugins-{}", std::process::id()));
        fs::create_dir(&directory).expect("mkdir");
        for name in [GUARD, BARE].map(file_name) {
            let mut strip = Command::new("strip");
            strip.arg("-g").arg("-o").arg(directory.join(&name)).arg(built(&name));
            assert!(strip.status().expect("strip, of the package binutils").success(), "strip {name}");
        }
        directory
    })
}

fn file_name(ty: &str) -> String {
    format!("lib{ty}.so")
}

/// Puts a plugin into place whole, or takes it away.
pub(crate) fn set_plugin(module_root: &Path, ty: &str, there: bool) {
    let place = module_root.join(file_name(ty));
    if there && !place.exists() {
        let aside = module_root.join(format!(".lib{ty}.new"));
        fs::copy(plugins().join(file_name(ty)), &aside).expect("a built plugin");
        fs::rename(aside, place).expect("a plugin in place");
    } else if !there && place.exists() {
        fs::remove_file(place).expect("a plugin that goes");
    }
}

struct OnPaper {
    directory: tempfile::TempDir,
    fault: Option<Fault>,
    nfio: Option<Child>,
}

impl OnPaper {
    fn new(fault: Option<Fault>) -> Self {
        nfio_tests::require_testbed();
        let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
        for name in ["root", "mnt", "plugins", "guests"] {
            fs::create_dir(directory.path().join(name)).expect("mkdir");
        }
        for ty in [GUARD, BARE] {
            set_plugin(&directory.path().join("plugins"), ty, true);
        }
        let mut ground = Self { directory, fault, nfio: None };
        ground.mount();
        ground
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Rewrites what is on a guest's paper.
    fn rewrite(&self, (ty, name): &At, change: impl FnOnce(&mut serde_json::Value)) {
        let id = self.place("root/.nfio/instances").join(ty).join(name).join("id");
        let id = fs::read_to_string(id).expect("the instance's id");
        let sheet = self.place("guests").join(id.trim());
        let mut text = serde_json::from_slice(&fs::read(&sheet).expect("the guest")).expect("its paper");
        change(&mut text);
        let aside = self.place("rewritten");
        fs::write(&aside, text.to_string()).expect("the guest");
        fs::rename(aside, sheet).expect("the guest");
    }

    fn wait(&mut self) {
        if let Some(mut nfio) = self.nfio.take() {
            nfio.wait().expect("the end of nfio");
        }
    }
}

impl Ground for OnPaper {
    fn mount(&mut self) {
        let log = File::options().append(true).create(true).open(self.place("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nfio-on-paper"));
        command.args(["root", "mnt", "plugins", "guests"].map(|name| self.place(name)));
        command.args(self.fault.map(|fault| format!("{fault:?}")));
        let mut nfio = command.stderr(log).stdout(Stdio::piped()).spawn().expect("nfio-on-paper");
        let mut line = String::new();
        let stdout = nfio.stdout.take().expect("its stdout");
        BufReader::new(stdout).read_line(&mut line).expect("its word");
        self.nfio = Some(nfio);
        assert_eq!(line, "ready\n", "nfio-on-paper does not mount:\n{}", self.log());
    }

    fn umount(&mut self) {
        // A child that a test beside this one is starting has copies of our descriptors until its exec.
        eventually("umount", || umount2(&self.mountpoint(), MntFlags::empty()).is_ok());
        self.wait();
    }

    fn kill(&mut self) {
        if let Some(nfio) = &mut self.nfio {
            nfio.kill().expect("kill");
        }
        self.wait();
        umount2(&self.mountpoint(), MntFlags::MNT_DETACH).expect("umount of a stale mount");
    }

    fn end(&self, at: &At) {
        self.rewrite(at, |sheet| sheet["status"] = "exited".into());
    }

    fn start(&self, at: &At) {
        self.rewrite(at, |sheet| {
            sheet["status"] = "running".into();
            sheet["rules"] = Vec::<u16>::new().into();
            sheet["runs"] = (sheet["runs"].as_u64().expect("a number") + 1).into();
        });
    }

    fn mountpoint(&self) -> PathBuf {
        self.place("mnt")
    }

    fn module_root(&self) -> PathBuf {
        self.place("plugins")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place("log")).unwrap_or_default()
    }
}

impl Drop for OnPaper {
    fn drop(&mut self) {
        if let Some(mut nfio) = self.nfio.take() {
            let _ = nfio.kill();
            let _ = nfio.wait();
        }
        let _ = umount2(&self.mountpoint(), MntFlags::MNT_DETACH);
    }
}

struct OnOci(Mounted);

impl OnOci {
    fn new() -> Self {
        let mounted = Mounted::unmounted(Options::default());
        for entry in fs::read_dir(mounted.module_root()).expect("module_root") {
            fs::remove_file(entry.expect("a plugin").path()).expect("a plugin that goes");
        }
        for ty in [GUARD, BARE] {
            set_plugin(&mounted.module_root(), ty, true);
        }
        mounted.mount();
        Self(mounted)
    }
}

impl Ground for OnOci {
    fn mount(&mut self) {
        self.0.mount();
    }

    fn umount(&mut self) {
        self.0.umount();
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn end(&self, (ty, name): &At) {
        end_guest(&self.0.guest(&self.0.instance(ty, name)));
    }

    fn start(&self, (ty, name): &At) {
        unreachable!("no operation starts the guest of {ty}/{name} by hand");
    }

    fn mountpoint(&self) -> PathBuf {
        self.0.path()
    }

    fn module_root(&self) -> PathBuf {
        self.0.module_root()
    }

    fn log(&self) -> String {
        self.0.log()
    }
}
