//! Drivers that are broken on purpose, each in one way.

use nfio_host::error::{HypervisorError, NfioError, Result};
use nfio_host::hypervisor::{
    Counters, Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status,
};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::faults::Fault;
use crate::ground::Ground;
use crate::stage::execution;

/// A driver with a fault; in all else it is the one within.
pub(crate) struct Broken {
    inner: Arc<dyn Hypervisor>,
    ground: Arc<dyn Ground>,
    fault: Fault,
    memory: Mutex<Memory>,
}

/// What a broken driver keeps, by the guests' ids.
#[derive(Default)]
struct Memory {
    specs: HashMap<String, GuestSpec>,
    prepared: HashMap<String, Prepared>,
    told: HashMap<String, Status>,
    spent: HashMap<String, u64>,
    address: Option<String>,
    output: Vec<u8>,
}

impl Broken {
    pub(crate) fn new(inner: Arc<dyn Hypervisor>, ground: Arc<dyn Ground>, fault: Fault) -> Self {
        Self { inner, ground, fault, memory: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec_of(&self, guest: &Guest) -> Option<GuestSpec> {
        self.memory().specs.get(&guest.labels.id).cloned()
    }

    fn told(&self, guest: &Guest, status: Status) {
        self.memory().told.insert(guest.labels.id.clone(), status);
    }

    /// Another class, or no words, for what the driver within refuses.
    fn refuse<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|e| match (self.fault, e) {
            (Fault::WhatDoesNotRunIsNotFound, e) if e.code() == 716 => {
                HypervisorError::NotFound(e.to_string()).into()
            }
            (Fault::WhatIsNotFoundDoesNotRun, e) if e.code() == 702 => {
                HypervisorError::NotRunning(e.to_string()).into()
            }
            (Fault::RefusalsAreMute, NfioError::Hypervisor(HypervisorError::Start(_))) => {
                HypervisorError::Start("it failed".into()).into()
            }
            (_, e) => e,
        })
    }

    /// What is deployed in place of `spec`.
    fn altered(&self, spec: &GuestSpec) -> GuestSpec {
        let mut spec = spec.clone();
        let boot = &mut spec.boot;
        match self.fault {
            Fault::LabelsAreOthers => spec.labels.ty = "nat".into(),
            Fault::EnvironmentIsLost => boot.env.clear(),
            Fault::WordsOfTheCommandAreJoined => {
                boot.command = boot.command.take().map(|words| vec![words.join(" ")])
            }
            Fault::BootFilesAreWrittenOnce => spec.files.clear(),
            Fault::TheTypesCommandWins => boot.command = None,
            Fault::StopTimeoutIsIgnored => boot.stop_timeout = None,
            Fault::NeedsWinOverBootConf => {
                boot.sysctls.retain(|key, _| !spec.needs.sysctls.contains_key(key));
            }
            Fault::DropIsIgnored => boot.capabilities.drop.clear(),
            Fault::GuestsArePrivileged => boot.privileged = true,
            Fault::MemoryIsUnlimited => spec.memory = None,
            Fault::CpuIsUnlimited => spec.vcpu = None,
            Fault::OutputIsLost => {
                spec.log = spec.log.with_extension("lost");
                fs::write(&spec.log, "").expect("a log that nobody looks for");
            }
            _ => {}
        }
        spec
    }

    /// What is prepared in place of `prepared`.
    fn prepared(&self, guest: &Guest, prepared: &Prepared) -> Prepared {
        let spec = self.spec_of(guest);
        let first = !self.memory().prepared.contains_key(&guest.labels.id);
        let mut now = prepared.clone();
        match (self.fault, spec) {
            (Fault::PreparedIsThatOfTheFirstStart, _) if !first => {
                now = self.memory().prepared[&guest.labels.id].clone();
            }
            (Fault::FilesAreLate, _) => now.files.clear(),
            (Fault::BootFilesAreWrittenOnce, Some(spec)) if first => {
                now.files.splice(0..0, spec.files).for_each(drop)
            }
            (Fault::TheTypesCommandWins, Some(spec)) => now.command = now.command.or(spec.boot.command),
            (Fault::OutputStaysWhereItWas, _) => now.log = None,
            _ => {}
        }
        self.memory().prepared.entry(guest.labels.id.clone()).or_insert_with(|| prepared.clone());
        now
    }

    /// Where a path of the guest leads on this machine, its first name taken for a link.
    fn outside(&self, guest: &Guest, path: &str) -> Option<PathBuf> {
        let (link, rest) = path.strip_prefix('/')?.split_once('/')?;
        let link = execution(&["readlink", &format!("/{link}")], b"");
        let target = self.inner.execute_in_guest(guest, &link).ok()?.stdout;
        let target = String::from_utf8(target).ok()?;
        target.starts_with("/run").then(|| Path::new(target.trim()).join(rest))
    }

    /// Rewrites a guest's log.
    fn rewrite(&self, guest: &Guest, change: impl FnOnce(String) -> String) {
        let Some(spec) = self.spec_of(guest) else { return };
        let text = fs::read_to_string(&spec.log).expect("the guest's log");
        fs::write(&spec.log, change(text)).expect("the guest's log");
    }
}

impl Hypervisor for Broken {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn check(&self, spec: &GuestSpec) -> Result<()> {
        match self.fault {
            Fault::CheckAcceptsAll => Ok(()),
            Fault::CheckDeploys => self.deploy(spec).map(drop),
            _ => self.inner.check(spec),
        }
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        let there = self.memory().specs.insert(spec.labels.id.clone(), spec.clone());
        if self.is(Fault::DeployReplaces) && there.is_some() {
            self.inner.destroy(&Guest::of(spec), true)?;
        }
        if self.is(Fault::NamesAreIdentities) {
            let others: Vec<GuestSpec> = self.memory().specs.values().cloned().collect();
            for other in others.iter().filter(|other| other.name == spec.name) {
                self.inner.destroy(&Guest::of(other), true)?;
            }
        }
        let outcome = self.inner.deploy(&self.altered(spec));
        if self.is(Fault::AFailedDeployLeavesAGuest) && outcome.is_err() {
            let image = self.ground.facts().image;
            self.inner.deploy(&GuestSpec { image, ..spec.clone() })?;
        }
        outcome
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        let now = self.prepared(guest, prepared);
        if self.is(Fault::StartIsRestart) {
            self.inner.stop(guest)?;
        }
        self.refuse(self.inner.start(guest, &now))?;
        self.told(guest, Status::Running);
        match self.fault {
            Fault::FilesAreLate => {
                std::thread::sleep(Duration::from_millis(500));
                prepared.files.iter().try_for_each(|file| self.inner.put_file(guest, file))
            }
            Fault::ForwardingIsAlwaysOn => self.inner.set_forwarding(guest, true),
            _ => Ok(()),
        }
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        let runs = self.inner.guest_status(guest).is_ok_and(|status| status == Status::Running);
        match self.fault {
            Fault::StopDoesNothing => return Ok(()),
            Fault::StopKills if runs => self.ground.kill(guest),
            Fault::StopWaitsFirst => std::thread::sleep(Duration::from_secs(10)),
            Fault::StopOfAPausedGuestIsRefused if !runs => self.awake(guest)?,
            Fault::CountersRunOn => {
                let spent = self.inner.counters(guest)?.tx_bytes;
                *self.memory().spent.entry(guest.labels.id.clone()).or_default() += spent;
            }
            _ => {}
        }
        self.refuse(self.inner.stop(guest))?;
        self.told(guest, Status::Exited);
        match (self.fault, self.spec_of(guest)) {
            (Fault::StopTakesTheLayer, Some(spec)) => {
                self.inner.destroy(guest, true)?;
                self.inner.deploy(&spec).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn pause(&self, guest: &Guest) -> Result<()> {
        if !self.is(Fault::PauseOnlySaysSo) {
            self.refuse(self.inner.pause(guest))?;
        }
        self.told(guest, Status::Paused);
        Ok(())
    }

    fn unpause(&self, guest: &Guest) -> Result<()> {
        self.refuse(self.inner.unpause(guest))?;
        self.told(guest, Status::Running);
        Ok(())
    }

    fn destroy(&self, guest: &Guest, force: bool) -> Result<()> {
        match self.fault {
            Fault::DestroyOnlyStops => self.inner.stop(guest),
            Fault::DestroyIsAlwaysWithForce => self.inner.destroy(guest, true),
            _ => self.inner.destroy(guest, force),
        }
    }

    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output> {
        let Execution { mut argv, mut stdin } = execution.clone();
        match self.fault {
            Fault::CommandsGoThroughAShell => argv = vec!["sh".into(), "-c".into(), argv.join(" ")],
            Fault::CommandsHaveNoEnvironment => {
                argv.splice(0..0, ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"].map(String::from));
            }
            Fault::InputIsCut => stdin.truncate(64 << 10),
            Fault::CommandsThaw if self.inner.guest_status(guest)? == Status::Paused => {
                self.inner.unpause(guest)?
            }
            _ => {}
        }
        let mut output = self.refuse(self.inner.execute_in_guest(guest, &Execution { argv, stdin }))?;
        match self.fault {
            Fault::ExitCodesAreLost => output.exit_code = 0,
            Fault::StreamsAreMixed => output.stdout.append(&mut output.stderr),
            Fault::OutputOfCommandsIsCut => output.stdout.truncate(1 << 20),
            Fault::WhatCannotRunIsExitCode1 if matches!(output.exit_code, 126 | 127) => output.exit_code = 1,
            Fault::OutputIsThatOfAnotherCommand => {
                std::mem::swap(&mut output.stdout, &mut self.memory().output);
            }
            _ => {}
        }
        Ok(output)
    }

    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()> {
        let mut file = file.clone();
        match self.fault {
            Fault::ModesAreIgnored => file.mode = 0o644,
            Fault::FilesFollowLinksOutside => {
                if let Some(outside) = self.outside(guest, &file.path) {
                    return Ok(fs::write(outside, file.data)?);
                }
            }
            _ => {}
        }
        self.refuse(self.inner.put_file(guest, &file))
    }

    fn guest_status(&self, guest: &Guest) -> Result<Status> {
        let status = self.refuse(self.inner.guest_status(guest))?;
        let told = self.memory().told.get(&guest.labels.id).copied();
        match self.fault {
            Fault::StatusIsWhatWasTold => Ok(told.unwrap_or(status)),
            Fault::PauseOnlySaysSo if told == Some(Status::Paused) => Ok(Status::Paused),
            _ => Ok(status),
        }
    }

    fn run_id(&self, guest: &Guest) -> Result<Option<String>> {
        let run = self.refuse(self.inner.run_id(guest))?;
        match self.fault {
            Fault::ARunIsTheGuest => Ok(run.map(|_| guest.labels.id.clone())),
            _ => Ok(run),
        }
    }

    fn get_id(&self, guest: &Guest) -> Result<String> {
        if self.is(Fault::GuestsAreFoundByIdAlone) && guest.id.is_empty() {
            return Err(HypervisorError::NotFound("no id".into()).into());
        }
        self.refuse(self.inner.get_id(guest))
    }

    fn get_ip(&self, guest: &Guest) -> Result<String> {
        let address = self.refuse(self.inner.get_ip(guest))?;
        match self.fault {
            Fault::AddressesHavePrefixes => Ok(address + "/16"),
            Fault::AddressesAreShared => Ok(self.memory().address.get_or_insert(address).clone()),
            _ => Ok(address),
        }
    }

    fn counters(&self, guest: &Guest) -> Result<Counters> {
        let counters = self.refuse(self.inner.counters(guest))?;
        match self.fault {
            Fault::CountersAreZero => Ok(Counters::default()),
            Fault::CountersRunOn => {
                let spent = self.memory().spent.get(&guest.labels.id).copied().unwrap_or_default();
                Ok(Counters { tx_bytes: counters.tx_bytes + spent, ..counters })
            }
            Fault::CountersOfAPausedGuestAreRefused => self.awake(guest).map(|()| counters),
            _ => Ok(counters),
        }
    }

    fn set_forwarding(&self, guest: &Guest, on: bool) -> Result<()> {
        self.refuse(self.inner.set_forwarding(guest, on && !self.is(Fault::ForwardingIsNeverOn)))
    }

    fn netns(&self, guest: &Guest) -> Result<File> {
        let netns = self.refuse(self.inner.netns(guest))?;
        match self.fault {
            Fault::NamespacesAreTheHosts => Ok(File::open("/proc/self/ns/net")?),
            _ => Ok(netns),
        }
    }

    fn adopt(&self, guest: &Guest, log: &Path) -> Result<Status> {
        let status = self.refuse(self.inner.adopt(guest, log))?;
        if self.is(Fault::AdoptStartsAnew) && status == Status::Running {
            self.inner.restart(guest, &Prepared::default())?;
        }
        Ok(status)
    }

    fn settle_log(&self, guest: &Guest) {
        self.inner.settle_log(guest);
        match self.fault {
            Fault::LastWordsAreLost => {
                self.rewrite(guest, |text| text.lines().next().unwrap_or_default().into())
            }
            Fault::LogsAreNotCapped => self.rewrite(guest, |text| text.repeat(3)),
            _ => {}
        }
    }
}

impl Broken {
    fn awake(&self, guest: &Guest) -> Result<()> {
        match self.inner.guest_status(guest)? {
            Status::Running => Ok(()),
            status => Err(HypervisorError::NotRunning(format!("{} is {status}", guest.name)).into()),
        }
    }
}
