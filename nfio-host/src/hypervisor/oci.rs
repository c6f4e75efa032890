//! The embedded driver: containers of this machine, run by nfio itself on libcontainer. No daemon, nothing to
//! install, no state but files: every answer comes from a guest's directory and the kernel, so a new nfio
//! knows at once what the last one knew.
//!
//! nfio itself never forks. A *monitor* per running guest (`monitor.rs`) and a short-lived helper per
//! command (`exec.rs`) are our own binary, exec'd (`helper.rs`).
//!
//! Here is what verbs and reads ask. `guests.rs` finds the guest that they are about, `deploy.rs` makes one, the monitor
//! starts it, `residue.rs` ends and removes it.

pub(super) mod binary;
mod cgroup;
mod check;
mod config;
mod deploy;
mod exec;
mod executor;
mod guests;
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
use std::path::Path;
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
pub use config::{BRIDGE, OciConfig, RUN, SUBNET};
use guests::{frozen, short};
pub use helper::helper_main;
use images::Images;
use lease::Subnet;
use remove::remove_tree;
use state::Running;

/// How often a start is tried in all where libcontainer trips.
const STARTS: u32 = 4;

/// Seconds that a guest gets to end by itself where boot.conf does not say.
const STOP_TIMEOUT: u32 = 10;

/// Exit code of a command that SIGKILL ended.
const KILLED: i32 = 128 + 9;
/// From the end of a guest's processes to that of its first one, at most.
const LAST: Duration = Duration::from_millis(200);
/// From the end of a guest to that of its monitor, at most; mostly a tenth of a second.
const MONITOR_ENDS: Duration = Duration::from_secs(2);

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
        inside::put(guest, &init, file)
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
