//! What a module may ask of an instance during one call: the host behind the SDK's `Vnf`. What is allowed depends on
//! the call ([`Scope`]).

use middlebox_sdk::{Host, Level, Output};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::instance::Instance;
use super::turns::Busy;
use super::{Verb, VnfsOperations, spec};
use crate::beneath;
use crate::error::{HostError, HypervisorError, NfioError, Result, one_line};
use crate::fs::operations::DiskChange;
use crate::hypervisor::{Execution, Prepared, PutFile};

/// The call that a handle is lent to.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// `getattr`: nothing that asks a driver.
    Getattr,
    /// `read`, and `write` to a value: nothing that changes the guest.
    Read,
    /// `write` to a verb, with the turn: everything.
    Verb,
    /// `prepare`: the guest does not run yet; files, environment and command are gathered for its start.
    Prepare,
    /// `configure`: the guest runs, and stays. `new_run`: nothing has been configured in this run of it.
    Configure { new_run: bool },
}

/// A handle. It is good for one call; past its deadline, or once it is closed, it refuses everything. It owns what it
/// needs, because a call that hangs keeps it for good; but it does not keep the mount alive.
pub(super) struct Handle {
    vnfs: Weak<VnfsOperations>,
    instance: Arc<Instance>,
    scope: Scope,
    files: Files,
    /// Locked while the module has something changed, so that nobody closes the handle in the middle of it. None: it
    /// is closed.
    lease: Mutex<Option<Lease>>,
}

/// What a call has for its time, and its lender gets back.
#[derive(Default)]
pub(super) struct Lease {
    /// The instance's turn, for the verbs that a verb runs.
    pub(super) turn: Option<Busy>,
    /// What `prepare` asked for.
    pub(super) prepared: Prepared,
}

/// The ordinary files of an instance, for a time.
pub(super) struct Files {
    directory: OwnedFd,
    expires: Instant,
}

fn lost() -> NfioError {
    HostError::Deadline("the call missed its deadline and lost its handle".into()).into()
}

impl Files {
    /// The files in a directory, until then.
    pub(super) fn until(directory: OwnedFd, expires: Instant) -> Self {
        Self { directory, expires }
    }

    fn alive(&self) -> Result<()> {
        if Instant::now() < self.expires { Ok(()) } else { Err(lost()) }
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.alive()?;
        spec::file(self.directory.as_fd(), path)
    }

    pub(super) fn write(&self, path: &str, data: &[u8]) -> Result<()> {
        self.alive()?;
        beneath::write_file(self.directory.as_fd(), Path::new(path), data, 0o644)
    }
}

impl Handle {
    /// A handle on an instance whose directory is open, worth nothing after `deadline`.
    pub(super) fn new(
        vnfs: Weak<VnfsOperations>,
        instance: &Arc<Instance>,
        scope: Scope,
        directory: OwnedFd,
        deadline: Duration,
    ) -> Self {
        let files = Files::until(directory, Instant::now() + deadline);
        Self { vnfs, instance: Arc::clone(instance), scope, files, lease: Mutex::new(Some(Lease::default())) }
    }

    /// The same handle, which has the instance's turn until it is closed.
    pub(super) fn in_turn(self, turn: Busy) -> Self {
        let lease = Lease { turn: Some(turn), ..Lease::default() };
        Self { lease: Mutex::new(Some(lease)), ..self }
    }

    /// How long it is still good.
    pub(super) fn left(&self) -> Duration {
        self.files.expires.saturating_duration_since(Instant::now())
    }

    /// The instance that it is for.
    pub(super) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Ends it for good, once nothing is being changed by it any more.
    pub(super) fn close(&self) -> Lease {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// The mount's side, while the handle is good.
    fn alive(&self) -> Result<Arc<VnfsOperations>> {
        self.files.alive()?;
        self.vnfs.upgrade().ok_or_else(|| NfioError::posix(libc::ESHUTDOWN, "nfio is being unmounted"))
    }

    /// Has something changed. The handle stays open until that is done.
    fn change<T>(&self, change: impl FnOnce(&VnfsOperations, &mut Lease) -> Result<T>) -> Result<T> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let vnfs = self.alive()?;
        change(&vnfs, lease.as_mut().ok_or_else(lost)?)
    }

    fn refuse<T>(&self, what: &str) -> Result<T> {
        let scope = match self.scope {
            Scope::Getattr => "getattr",
            Scope::Read => "a read, or a write to a value",
            Scope::Verb => "a write to a verb",
            Scope::Prepare => "prepare",
            Scope::Configure { .. } => "configure",
        };
        Err(NfioError::posix(libc::EPERM, format!("a module may not {what} in {scope}")))
    }

    fn gather(&self, what: &str, gather: impl FnOnce(&mut Prepared)) -> Result<()> {
        self.change(|_, lease| match self.scope {
            Scope::Prepare => {
                gather(&mut lease.prepared);
                Ok(())
            }
            _ => self.refuse(what),
        })
    }

    /// Identity of the guest if there is one: what the record says counts, not what the files say now.
    fn recorded(&self, vnfs: &VnfsOperations, what: &str) -> Result<String> {
        let record = self.instance.record();
        let now = || spec::configuration(&vnfs.root, &self.instance);
        match (what, record) {
            ("user", Some(record)) => Ok(record.guest.user),
            ("user", None) => spec::user(&vnfs.root, &self.instance),
            ("host", Some(record)) => Ok(record.guest.host),
            ("host", None) => Ok(now()?.ip_address),
            (_, Some(record)) => Ok(record.guest.image),
            _ => Ok(now()?.image_name),
        }
    }
}

fn unknown<T>(what: &str, name: &str) -> Result<T> {
    Err(NfioError::posix(libc::EOPNOTSUPP, format!("this host knows no {what} called {name}")))
}

impl Host for Handle {
    fn identity(&self, what: &str) -> Result<String> {
        let vnfs = self.alive()?;
        match what {
            "type" => Ok(self.instance.ty.clone()),
            "name" => Ok(self.instance.name.clone()),
            "driver" => Ok(vnfs.hypervisor.name().to_owned()),
            "user" | "host" | "image" => self.recorded(&vnfs, what),
            "run" => {
                let new = matches!(self.scope, Scope::Configure { new_run: true });
                Ok(if new { "new" } else { "known" }.into())
            }
            _ => unknown("identity", what),
        }
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.files.read(path)
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.change(|vnfs, _| {
            self.files.write(path, data)?;
            vnfs.tell_disk_change(DiskChange::File(self.instance.at(), path));
            Ok(())
        })
    }

    fn value(&self, name: &str) -> Result<Vec<u8>> {
        let vnfs = self.alive()?;
        if matches!(self.scope, Scope::Getattr) && !VnfsOperations::answered_from_memory(name) {
            return self.refuse("ask the driver");
        }
        vnfs.read_standard(&self.instance, name)
    }

    fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        let file = PutFile { path: path.to_owned(), mode, data: data.to_owned() };
        match self.scope {
            Scope::Prepare => self.gather("put a file into the guest", |prepared| prepared.files.push(file)),
            Scope::Configure { .. } | Scope::Verb => {
                self.change(|vnfs, _| vnfs.hypervisor.put_file(&vnfs.guest(&self.instance)?, &file))
            }
            Scope::Getattr | Scope::Read => {
                self.alive()?;
                self.refuse("put a file into the guest")
            }
        }
    }

    fn set_env(&self, name: &str, value: &str) -> Result<()> {
        self.gather("set the environment", |prepared| prepared.env.push((name.to_owned(), value.to_owned())))
    }

    fn set_command(&self, argv: &[&str]) -> Result<()> {
        let argv = argv.iter().map(ToString::to_string).collect();
        self.gather("set the command", |prepared| prepared.command = Some(argv))
    }

    fn operate(&self, operation: &str, argument: &str) -> Result<String> {
        let vnfs = self.alive()?;
        let verb = match operation {
            "get_id" | "get_ip" | "guest_status" | "counters" => return self.ask(&vnfs, operation),
            "deploy" => Verb::Activate,
            "start" => Verb::Start,
            "restart" => Verb::Restart,
            "stop" => Verb::Stop,
            "pause" => Verb::Pause,
            "unpause" => Verb::Unpause,
            "destroy" => Verb::Destroy,
            _ => return unknown("operation", operation),
        };
        self.change(|vnfs, lease| {
            let Some(turn) = &lease.turn else { return self.refuse(operation) };
            if verb == Verb::Destroy && argument != "force" {
                vnfs.hypervisor.destroy(&vnfs.guest(&self.instance)?, false)?;
            }
            vnfs.run_in_turn(&self.instance, verb, turn)?;
            Ok(String::new())
        })
    }

    fn execute(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        let vnfs = self.alive()?;
        if matches!(self.scope, Scope::Getattr | Scope::Prepare) {
            return self.refuse("run a command in the guest");
        }
        if argv.is_empty() {
            return Err(HypervisorError::CommandExecution("a command needs at least a program".into()).into());
        }
        let execution =
            Execution { argv: argv.iter().map(ToString::to_string).collect(), stdin: stdin.to_owned() };
        let guest = self.change(|vnfs, _| vnfs.guest(&self.instance))?;
        // Whoever closes the handle does not wait for it: the guest may never answer, and stopping it ends it.
        let output = vnfs.hypervisor.execute_in_guest(&guest, &execution)?;
        Ok(Output { exit_code: output.exit_code, stdout: output.stdout, stderr: output.stderr })
    }

    fn log(&self, level: Level, message: &str) {
        log(&self.instance.to_string(), level, message);
    }
}

impl Handle {
    fn ask(&self, vnfs: &VnfsOperations, operation: &str) -> Result<String> {
        if matches!(self.scope, Scope::Getattr) {
            return self.refuse("ask the driver");
        }
        match operation {
            "get_id" => vnfs.hypervisor.get_id(&vnfs.guest(&self.instance)?),
            "get_ip" => vnfs.ip(&self.instance),
            "guest_status" => vnfs.status(&self.instance).map(|status| status.to_string()),
            _ => {
                let counters = vnfs.counters(&self.instance)?;
                Ok(format!(
                    "rx_bytes = {}\ntx_bytes = {}\npkt_drops = {}\n",
                    counters.rx_bytes, counters.tx_bytes, counters.pkt_drops
                ))
            }
        }
    }
}

/// Writes a line of a module into nfio's log.
pub(super) fn log(instance: &str, level: Level, message: &str) {
    let message = one_line(message);
    match level {
        Level::Error => tracing::error!("{instance}: {message}"),
        Level::Warn => tracing::warn!("{instance}: {message}"),
        Level::Info => tracing::info!("{instance}: {message}"),
        Level::Debug => tracing::debug!("{instance}: {message}"),
    }
}
