//! The embedded driver: containers of this machine, run by nfio itself on libcontainer. No daemon, nothing to
//! install, no state but files: every answer comes from a guest's directory and the kernel, so a new nfio
//! knows at once what the last one knew.
//!
//! nfio itself never forks. A *monitor* per running guest (`monitor.rs`) and a short-lived helper per
//! command (`exec.rs`) are our own binary, exec'd (`helper.rs`).

pub(super) mod binary;
mod cgroup;
mod check;
mod exec;
mod executor;
pub(super) mod helper;
pub(super) mod images;
pub(super) mod inside;
mod join;
mod layer;
pub(crate) mod lease;
mod monitor;
mod network;
mod prepare;
pub(super) mod remove;
mod residue;
mod seccomp;
pub(super) mod spec;
mod state;
mod unpack;

use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::container::check as container;
use super::container::counters;
use super::container::process::Held;
use super::container::sysctl::Sysctls;
use super::{Counters, Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status};
use crate::error::{HypervisorError, NfioError, Result, is_of_the_disk};
use crate::fault::{self, Step};
use binary::Binary;
use cgroup::Cgroup;
pub use helper::helper_main;
use images::Images;
use inside::Inside;
use lease::Subnet;
use remove::remove_tree;
use state::{Deployed, GuestDir, NetworkSettings, Running};

/// Processes and threads that a guest may have.
const PIDS_LIMIT: u32 = 1024;

/// Device nodes that every guest may open; any may be made (they do not open). The console (5:1) is the
/// machine's, not the guest's.
const DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// How often a start is tried in all where libcontainer trips.
const STARTS: u32 = 4;

/// Seconds that a guest gets to end by itself where boot.conf does not say.
const STOP_TIMEOUT: u32 = 10;

/// How long a command in a guest may take. Callers give up much earlier (`[deadlines]`); this is when the
/// command goes too, and with it the helper and the thread that wait for it.
const COMMAND_LIMIT: Duration = Duration::from_secs(3600);
/// Exit code of a command that SIGKILL ended.
const KILLED: i32 = 128 + 9;
/// From the end of a guest's processes to that of its first one, at most.
const LAST: Duration = Duration::from_millis(200);
/// From the end of a guest to that of its monitor, at most; mostly a tenth of a second.
const MONITOR_ENDS: Duration = Duration::from_secs(2);

/// Addresses of guests where nfio.toml does not say.
pub const SUBNET: &str = "10.203.0.0/16";

/// What all nfio of this machine share: leases, and the lock of the bridge.
pub const RUN: &str = "/run/nfio";

/// The bridge of guests where nfio.toml does not say.
pub const BRIDGE: &str = "nfio0";

/// What the driver has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciConfig {
    /// Where guests live: one directory each, and unpacked images.
    pub state: PathBuf,
    /// Where images are looked for.
    pub images: PathBuf,
    /// Addresses of guests, an IPv4 network; the bridge has its first address.
    pub subnet: String,
    /// The bridge that guests are connected to; made and removed on demand.
    pub bridge: String,
    /// What all nfio of this machine share: leases and a lock.
    pub run: PathBuf,
    /// The binary that has the hidden subcommand `oci`.
    pub helper: PathBuf,
    /// How long a command in a guest may take before it is killed, in whole seconds.
    pub command_limit: Duration,
}

impl OciConfig {
    /// The defaults beside these directories.
    pub fn new(state: impl Into<PathBuf>, images: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            images: images.into(),
            subnet: SUBNET.into(),
            bridge: BRIDGE.into(),
            run: RUN.into(),
            helper: "/proc/self/exe".into(),
            command_limit: COMMAND_LIMIT,
        }
    }
}

/// The driver.
#[derive(Debug)]
pub struct Oci {
    config: OciConfig,
    images: Images,
    helper: Binary,
    /// Guests known to run, held by pidfd. Nothing but a short cut: what is not in it is looked up.
    held: Mutex<HashMap<String, Arc<Held>>>,
}

impl Oci {
    /// A driver over this state, which is made where it is missing.
    ///
    /// # Errors
    /// A configuration that cannot work, or a state directory that cannot be made.
    pub fn new(config: OciConfig) -> Result<Self> {
        let oci = Self::beside(config)?;
        oci.sweep()?;
        Ok(oci)
    }

    /// A driver over state that another one may be at work on: what looks half-made may be being made, and stays.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn beside(config: OciConfig) -> Result<Self> {
        Subnet::parse(&config.subnet).map_err(|e| NfioError::configuration(e.to_string()))?;
        if !(1..=15).contains(&config.bridge.len()) || config.bridge.contains(['/', '\0', ' ', ':']) {
            return Err(NfioError::configuration(format!(
                "{:?} is no name for a bridge: use up to 15 letters and digits",
                config.bridge
            )));
        }
        let config = OciConfig { state: std::path::absolute(&config.state)?, ..config };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(config.state.join("guests"))?;
        let images = Images::new(std::path::absolute(&config.images)?, config.state.join("images"));
        let helper = Binary::new(config.helper.clone());
        Ok(Self { config, images, helper, held: Mutex::default() })
    }

    /// Removes what a crash left half-made or half-removed: guests and unpacked images.
    fn sweep(&self) -> io::Result<()> {
        for place in ["guests", "images"] {
            let entries = match fs::read_dir(self.config.state.join(place)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn dir(&self, id: &str) -> GuestDir {
        GuestDir::new(self.config.state.join("guests").join(id))
    }

    /// The guest's directory and what was deployed.
    fn find(&self, guest: &Guest) -> Result<(GuestDir, Deployed)> {
        let not_found = || {
            HypervisorError::NotFound(format!(
                "the guest {} is not there: it was destroyed, or never deployed; write forget into action to drop its record",
                guest.name
            ))
        };
        // The id is part of a path.
        uuid::Uuid::parse_str(&guest.labels.id).map_err(|_| not_found())?;
        let dir = self.dir(&guest.labels.id);
        let deployed = dir.deployed()?.ok_or_else(not_found)?;
        Ok((dir, deployed))
    }

    /// The guest's first process; None where it does not run.
    fn held(&self, guest: &Guest) -> Result<Option<Arc<Held>>> {
        let id = &guest.labels.id;
        let known = self.table().get(id).cloned();
        if let Some(held) = known.filter(|held| held.alive()) {
            return Ok(Some(held));
        }
        let (dir, _) = self.find(guest)?;
        let held = dir.hold_init()?.map(Arc::new);
        let mut table = self.table();
        // Perhaps it was destroyed since we looked: nobody would ever ask for it again, and it would be held for good.
        match &held {
            Some(held) if held.alive() => table.insert(id.clone(), held.clone()),
            _ => table.remove(id),
        };
        Ok(held)
    }

    fn running(&self, guest: &Guest) -> Result<Arc<Held>> {
        self.held(guest)?.ok_or_else(|| {
            HypervisorError::NotRunning(format!("{} does not run: write start into action", guest.name))
                .into()
        })
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A guest that runs and is not frozen.
    fn awake(&self, guest: &Guest) -> Result<Arc<Held>> {
        let held = self.running(guest)?;
        if frozen(&guest.labels.id)? {
            return Err(HypervisorError::NotRunning(format!(
                "{} is paused: write unpause into action first",
                guest.name
            ))
            .into());
        }
        Ok(held)
    }

    fn make(&self, spec: &GuestSpec, dir: &GuestDir) -> Result<()> {
        let image = self.images.find(&spec.image, spec.absolute_image)?;
        for device in &spec.needs.devices {
            spec::Device::find(device)?;
        }
        let config = &self.config;
        let network = NetworkSettings {
            bridge: config.bridge.clone(),
            subnet: config.subnet.clone(),
            run: config.run.clone(),
        };
        let deployed = Deployed { spec: spec.clone(), image, short: short(&spec.labels.id), network };
        remove_tree(dir.path())?;
        fs::DirBuilder::new().mode(0o700).create(dir.path())?;
        fault::at(Step::OciDirectory);
        layer::make(dir, &deployed.image)?;
        fault::at(Step::OciLayer);
        dir.write_deployed(&deployed)?;
        fault::at(Step::OciSpec);
        Ok(())
    }
}

impl Oci {
    /// An image unpacked below a ROOT that was moved is not where it was.
    fn follow_image(&self, dir: &GuestDir, deployed: Deployed) -> Result<()> {
        if deployed.image.is_dir() {
            return Ok(());
        }
        let image = self.images.find(&deployed.spec.image, deployed.spec.absolute_image)?;
        Ok(dir.write_deployed(&Deployed { image, ..deployed })?)
    }
}

/// A guest's short id: the first 12 digits of its UUID.
fn short(id: &str) -> String {
    id.chars().filter(char::is_ascii_hexdigit).take(12).collect::<String>().to_ascii_lowercase()
}

fn frozen(id: &str) -> io::Result<bool> {
    Ok(Cgroup::of(&short(id))?.is_frozen())
}

/// The class of an operation for what failed below it; what has a class of its own keeps it.
fn class(error: NfioError, of: fn(String) -> HypervisorError, guest: &str) -> NfioError {
    let of_the_disk = is_of_the_disk(&error);
    match error {
        NfioError::Posix { errno, message } if of_the_disk => {
            NfioError::posix(errno, format!("{guest}: {message}"))
        }
        NfioError::Posix { message, .. } => of(format!("{guest}: {message}")).into(),
        other => other,
    }
}

/// Whether libcontainer tripped over itself ([`exec::out_of_order`]), or over the directory of all guests' control
/// groups: it goes with the last group in it, perhaps just when libcontainer makes another.
fn tripped(report: &str) -> bool {
    exec::out_of_order(report) || (report.contains("cgroup error") && report.contains("os error 2"))
}

impl Hypervisor for Oci {
    fn name(&self) -> &'static str {
        "Oci"
    }

    fn check(&self, spec: &GuestSpec) -> Result<()> {
        check::judge(spec)?;
        self.images.check_name(&spec.image, spec.absolute_image)
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        self.check(spec)?;
        for key in Sysctls::of(spec)?.left_out {
            tracing::warn!("{}: {key} is left out, as this kernel has no IPv6", spec.name);
        }
        let id = &spec.labels.id;
        let dir = self.dir(id);
        if dir.path().exists() {
            return Err(HypervisorError::Deploy(format!(
                "{}: a guest with the id {id} is there already: destroy it first",
                spec.name
            ))
            .into());
        }
        let aside = self.dir(&format!(".new-{id}"));
        self.make(spec, &aside)
            .and_then(|()| Ok(fs::rename(aside.path(), dir.path())?))
            .inspect_err(|_| {
                // The failure to report is the first one; the next start of nfio sweeps again.
                let _ = remove_tree(aside.path());
            })
            .map_err(|e| class(e, HypervisorError::Deploy, &spec.name))?;
        Ok(id.clone())
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        let (dir, deployed) = self.find(guest)?;
        if self.held(guest)?.is_some() {
            if frozen(&guest.labels.id)? {
                return Err(HypervisorError::Start(format!(
                    "{} is paused: write unpause into action",
                    guest.name
                ))
                .into());
            }
            return Ok(());
        }
        self.follow_image(&dir, deployed).map_err(|e| class(e, HypervisorError::Start, &guest.name))?;
        let attempt = || {
            residue::settle(&dir)
                .map_err(NfioError::from)
                .and_then(|()| helper::run(&self.helper, &dir, prepared))
                .map(drop)
        };
        // Nothing of the guest has run when libcontainer trips, and the monitor has cleared up.
        let tried = (1..STARTS).try_fold((), |(), _| match attempt() {
            Err(e) if tripped(&e.to_string()) => Ok(()),
            outcome => Err(outcome),
        });
        let outcome = tried.map_or_else(|outcome| outcome, |()| attempt());
        outcome.map_err(|e| class(e, HypervisorError::Start, &guest.name))
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        let (dir, deployed) = self.find(guest)?;
        let wait = deployed.spec.boot.stop_timeout.unwrap_or(STOP_TIMEOUT);
        (|| {
            let Some(running) = dir.running()? else { return Ok(()) };
            let Some(init) = running.init.hold()? else { return residue::settle(&dir) };
            let cgroup = Cgroup::of(&deployed.short)?;
            if cgroup.is_frozen() {
                cgroup.thaw()?;
            }
            // The first process of a PID namespace gets a signal only if it asked for it. For one that did
            // not, waiting changes nothing.
            if init.hears_sigterm() {
                init.signal(Signal::SIGTERM)?;
                fault::at(Step::OciTermSent);
                init.ended_within(Duration::from_secs(wait.into()));
            }
            residue::kill(&dir, &running)
        })()
        .map_err(|e| class(e.into(), HypervisorError::Stop, &guest.name))
    }

    fn pause(&self, guest: &Guest) -> Result<()> {
        self.running(guest)?;
        let frozen = Cgroup::of(&short(&guest.labels.id)).and_then(|cgroup| cgroup.freeze());
        frozen.map_err(|e| class(e.into(), HypervisorError::Pause, &guest.name))
    }

    fn unpause(&self, guest: &Guest) -> Result<()> {
        self.running(guest)?;
        let thawed = Cgroup::of(&short(&guest.labels.id)).and_then(|cgroup| cgroup.thaw());
        thawed.map_err(|e| class(e.into(), HypervisorError::Unpause, &guest.name))
    }

    fn destroy(&self, guest: &Guest, force: bool) -> Result<()> {
        let (dir, _) = match self.find(guest) {
            Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => return Ok(()),
            other => other?,
        };
        if !force && self.held(guest)?.is_some() {
            return Err(HypervisorError::Destroy(format!(
                "{} runs: write stop into action first, or destroy it with force",
                guest.name
            ))
            .into());
        }
        residue::remove(&dir).map_err(|e| class(e.into(), HypervisorError::Destroy, &guest.name))?;
        // Last: as long as it lived, whoever asked for it noted it again.
        self.table().remove(&guest.labels.id);
        Ok(())
    }

    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output> {
        let init = self.awake(guest)?;
        container::command(&execution.argv, "the command")?;
        let done =
            helper::execute(&self.helper, &self.dir(&guest.labels.id), execution, self.config.command_limit);
        if done.as_ref().map_or(true, |output| output.exit_code == KILLED) {
            // A guest that ends takes its processes along before its first one is seen to have ended: whoever asks next
            // is told so.
            init.ended_within(LAST);
        }
        done.map_err(|e| class(e, HypervisorError::CommandExecution, &guest.name))
    }

    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()> {
        let init = self.awake(guest)?;
        container::target(&file.path)?;
        let put = || {
            let root = Inside::open(Path::new(&format!("/proc/{}/root", init.pid())))?;
            // Asked after opening: as long as it lives, its pid is nobody else's.
            if !init.alive() {
                return Err(io::Error::other("it has just ended"));
            }
            root.write(Path::new(&file.path), file.mode, &file.data)
        };
        put().map_err(|e| {
            let text = format!("{}: {} cannot be written: {e}", guest.name, file.path);
            HypervisorError::CommandExecution(text).into()
        })
    }

    fn settle_log(&self, guest: &Guest) {
        // The monitor writes it, and ends after it. Where that takes longer, or there is nothing to wait for, what is
        // there has to do.
        let _ = self.dir(&guest.labels.id).lock(MONITOR_ENDS);
    }

    fn guest_status(&self, guest: &Guest) -> Result<Status> {
        if let Some(held) = self.held(guest)? {
            let paused = Cgroup::of(&short(&guest.labels.id))?.is_frozen_still(&held.freezer);
            return Ok(if paused { Status::Paused } else { Status::Running });
        }
        let (dir, _) = self.find(guest)?;
        let ended = dir.running()?.is_some_and(|running| running.started) || dir.exited()?.is_some();
        Ok(if ended { Status::Exited } else { Status::Created })
    }

    fn run_id(&self, guest: &Guest) -> Result<Option<String>> {
        let (dir, _) = self.find(guest)?;
        let running = match self.held(guest)? {
            Some(_) => dir.running()?,
            None => None,
        };
        Ok(running.map(|running| running.init.to_string()))
    }

    fn get_id(&self, guest: &Guest) -> Result<String> {
        self.find(guest).map(|(_, deployed)| deployed.spec.labels.id)
    }

    fn get_ip(&self, guest: &Guest) -> Result<String> {
        self.running(guest)?;
        let running: Option<Running> = self.dir(&guest.labels.id).running()?;
        running.map(|running| running.address).ok_or_else(|| {
            HypervisorError::NotRunning(format!("{} has just ended: write start into action", guest.name))
                .into()
        })
    }

    fn counters(&self, guest: &Guest) -> Result<Counters> {
        let init = self.running(guest)?;
        counters::read(&init)?.ok_or_else(|| {
            HypervisorError::NotRunning(format!("{} has just ended: write start into action", guest.name))
                .into()
        })
    }

    fn counts_at_once(&self, _guest: &Guest) -> bool {
        true
    }

    fn set_forwarding(&self, guest: &Guest, on: bool) -> Result<()> {
        let (_, deployed) = self.find(guest)?;
        let sysctls = Sysctls::of(&deployed.spec)?;
        if !sysctls.forwards() {
            return Ok(());
        }
        let init = self.running(guest)?;
        let set = init.netns().and_then(|netns| sysctls.apply(netns, on));
        set.map_err(|e| class(e.into(), HypervisorError::Start, &guest.name))
    }

    fn netns(&self, guest: &Guest) -> Result<File> {
        let netns = self.running(guest)?.netns();
        netns.map_err(|e| HypervisorError::NotRunning(format!("{}: {e}", guest.name)).into())
    }

    fn adopt(&self, guest: &Guest, _log: &Path) -> Result<Status> {
        self.guest_status(guest)
    }
}
