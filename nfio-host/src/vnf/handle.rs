//! What a module may ask of an instance during one call: the host behind the SDK's `Vnf`. What is allowed depends on
//! the call ([`Scope`]).

use middlebox_sdk::{Host, Level, Output};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::instance::{Busy, Instance};
use super::{Verb, VnfsOperations, spec};
use crate::beneath;
use crate::error::{HostError, HypervisorError, NfioError, Result, one_line};
use crate::hypervisor::{Execution, Prepared, PutFile};
use crate::modules::Module;

/// The call that a handle is lent to.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    /// `getattr`: nothing that asks a driver.
    Getattr,
    /// `read`, and `write` to a value: nothing that changes the guest.
    Read,
    /// `write` to a verb, by whoever has the turn: everything.
    Verb(&'a Busy<'a>),
    /// `prepare`: the guest does not run yet; files, environment and command are gathered for its start.
    Prepare,
    /// `configure`: the guest runs, and stays.
    Configure,
}

/// A handle. It is good for one call; past `expires` it refuses everything.
pub(super) struct Handle<'a> {
    vnfs: &'a VnfsOperations,
    instance: &'a Instance,
    scope: Scope<'a>,
    files: Files,
    prepared: Mutex<Prepared>,
}

/// The ordinary files of an instance, until the handle expires.
struct Files {
    directory: OwnedFd,
    expires: Option<Instant>,
}

impl Files {
    fn alive(&self) -> Result<()> {
        match self.expires {
            Some(expires) if Instant::now() >= expires => {
                Err(HostError::Deadline("the call missed its deadline and lost its handle".into()).into())
            }
            _ => Ok(()),
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.alive()?;
        spec::file(self.directory.as_fd(), path)
    }

    fn write(&self, path: &str, data: &[u8]) -> Result<()> {
        self.alive()?;
        beneath::write_file(self.directory.as_fd(), Path::new(path), data, 0o644)
    }
}

impl<'a> Handle<'a> {
    /// A handle on an instance whose directory is open.
    pub(super) fn new(
        vnfs: &'a VnfsOperations,
        instance: &'a Instance,
        scope: Scope<'a>,
        directory: OwnedFd,
    ) -> Self {
        let files = Files { directory, expires: None };
        Self { vnfs, instance, scope, files, prepared: Mutex::default() }
    }

    /// The same handle, worth nothing after `deadline`.
    pub(super) fn expiring(mut self, deadline: Duration) -> Self {
        self.files.expires = Some(Instant::now() + deadline);
        self
    }

    /// What `prepare` asked for.
    pub(super) fn into_prepared(self) -> Prepared {
        self.prepared.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse<T>(&self, what: &str) -> Result<T> {
        let scope = match self.scope {
            Scope::Getattr => "getattr",
            Scope::Read => "a read, or a write to a value",
            Scope::Verb(_) => "a write to a verb",
            Scope::Prepare => "prepare",
            Scope::Configure => "configure",
        };
        Err(NfioError::posix(libc::EPERM, format!("a module may not {what} in {scope}")))
    }

    fn gather(&self, what: &str, gather: impl FnOnce(&mut Prepared)) -> Result<()> {
        self.files.alive()?;
        if !matches!(self.scope, Scope::Prepare) {
            return self.refuse(what);
        }
        gather(&mut self.prepared.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Identity of the guest if there is one: what the record says counts, not what the files say now.
    fn recorded(&self, what: &str) -> Result<String> {
        let record = self.instance.record();
        let now = || spec::configuration(&self.vnfs.root, self.instance);
        match (what, record) {
            ("user", Some(record)) => Ok(record.guest.user),
            ("user", None) => spec::user(&self.vnfs.root, self.instance),
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

impl Host for Handle<'_> {
    fn identity(&self, what: &str) -> Result<String> {
        self.files.alive()?;
        match what {
            "type" => Ok(self.instance.ty.clone()),
            "name" => Ok(self.instance.name.clone()),
            "driver" => Ok(self.vnfs.hypervisor.name().to_owned()),
            "user" | "host" | "image" => self.recorded(what),
            _ => unknown("identity", what),
        }
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.files.read(path)
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.files.write(path, data)
    }

    fn value(&self, name: &str) -> Result<Vec<u8>> {
        self.files.alive()?;
        if matches!(self.scope, Scope::Getattr) && !VnfsOperations::answered_from_memory(name) {
            return self.refuse("ask the driver");
        }
        self.vnfs.read_standard(self.instance, name)
    }

    fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.files.alive()?;
        let file = PutFile { path: path.to_owned(), mode, data: data.to_owned() };
        match self.scope {
            Scope::Prepare => self.gather("put a file into the guest", |prepared| prepared.files.push(file)),
            Scope::Configure | Scope::Verb(_) => {
                self.vnfs.hypervisor.put_file(&self.vnfs.guest(self.instance)?, &file)
            }
            Scope::Getattr | Scope::Read => self.refuse("put a file into the guest"),
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
        self.files.alive()?;
        let verb = match operation {
            "get_id" | "get_ip" | "guest_status" | "counters" => return self.ask(operation),
            "deploy" => Verb::Activate,
            "start" => Verb::Start,
            "restart" => Verb::Restart,
            "stop" => Verb::Stop,
            "pause" => Verb::Pause,
            "unpause" => Verb::Unpause,
            "destroy" => Verb::Destroy,
            _ => return unknown("operation", operation),
        };
        let Scope::Verb(turn) = self.scope else { return self.refuse(operation) };
        if verb == Verb::Destroy && argument != "force" {
            self.vnfs.hypervisor.destroy(&self.vnfs.guest(self.instance)?, false)?;
        }
        self.vnfs.run_in_turn(self.instance, verb, turn)?;
        Ok(String::new())
    }

    fn execute(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        self.files.alive()?;
        if matches!(self.scope, Scope::Getattr | Scope::Prepare) {
            return self.refuse("run a command in the guest");
        }
        if argv.is_empty() {
            return Err(HypervisorError::CommandExecution("a command needs at least a program".into()).into());
        }
        let execution =
            Execution { argv: argv.iter().map(ToString::to_string).collect(), stdin: stdin.to_owned() };
        let guest = self.vnfs.guest(self.instance)?;
        let output = self.vnfs.hypervisor.execute_in_guest(&guest, &execution)?;
        Ok(Output { exit_code: output.exit_code, stdout: output.stdout, stderr: output.stderr })
    }

    fn log(&self, level: Level, message: &str) {
        log(&self.instance.to_string(), level, message);
    }
}

impl Handle<'_> {
    fn ask(&self, operation: &str) -> Result<String> {
        if matches!(self.scope, Scope::Getattr) {
            return self.refuse("ask the driver");
        }
        match operation {
            "get_id" => self.vnfs.hypervisor.get_id(&self.vnfs.guest(self.instance)?),
            "get_ip" => self.vnfs.ip(self.instance),
            "guest_status" => self.vnfs.status(self.instance).map(|status| status.to_string()),
            _ => {
                let counters = self.vnfs.counters(self.instance)?;
                Ok(format!(
                    "rx_bytes = {}\ntx_bytes = {}\npkt_drops = {}\n",
                    counters.rx_bytes, counters.tx_bytes, counters.pkt_drops
                ))
            }
        }
    }
}

fn log(instance: &str, level: Level, message: &str) {
    let message = one_line(message);
    match level {
        Level::Error => tracing::error!("{instance}: {message}"),
        Level::Warn => tracing::warn!("{instance}: {message}"),
        Level::Info => tracing::info!("{instance}: {message}"),
        Level::Debug => tracing::debug!("{instance}: {message}"),
    }
}

/// The handle of `mkdir`: an instance that nobody sees yet has files and a name, and nothing else.
struct Unborn {
    files: Files,
    ty: String,
    name: String,
}

impl Unborn {
    fn refuse<T>(&self) -> Result<T> {
        Err(NfioError::posix(
            libc::EPERM,
            "in mkdir there is no guest yet; a module may read and write files",
        ))
    }
}

impl Host for Unborn {
    fn identity(&self, what: &str) -> Result<String> {
        match what {
            "type" => Ok(self.ty.clone()),
            "name" => Ok(self.name.clone()),
            _ => self.refuse(),
        }
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.files.read(path)
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.files.write(path, data)
    }

    fn value(&self, _: &str) -> Result<Vec<u8>> {
        self.refuse()
    }

    fn put_file(&self, _: &str, _: u32, _: &[u8]) -> Result<()> {
        self.refuse()
    }

    fn set_env(&self, _: &str, _: &str) -> Result<()> {
        self.refuse()
    }

    fn set_command(&self, _: &[&str]) -> Result<()> {
        self.refuse()
    }

    fn operate(&self, _: &str, _: &str) -> Result<String> {
        self.refuse()
    }

    fn execute(&self, _: &[&str], _: &[u8]) -> Result<Output> {
        self.refuse()
    }

    fn log(&self, level: Level, message: &str) {
        log(&format!("{}/{}", self.ty, self.name), level, message);
    }
}

/// Calls a module's `mkdir`. The kernel holds the lock of the type's directory meanwhile, so a module that does not
/// come back loses its handle and the caller gets ETIMEDOUT.
pub(super) fn call_mkdir(
    module: std::sync::Arc<Module>,
    at: crate::tree::Instance<'_>,
    directory: OwnedFd,
    deadline: Duration,
) -> Result<()> {
    let files = Files { directory, expires: Some(Instant::now() + deadline) };
    let unborn = Unborn { files, ty: at.ty.to_owned(), name: at.name.to_owned() };
    let (done, outcome) = mpsc::channel();
    thread::Builder::new().name(format!("mkdir {}", at.ty)).spawn(move || {
        // Nobody waits any more once the deadline has passed.
        let _ = done.send(module.mkdir(&unborn));
    })?;
    outcome.recv_timeout(deadline).unwrap_or_else(|_| {
        let message = format!("the module of type {} did not answer mkdir within {deadline:?}", at.ty);
        Err(HostError::Deadline(message).into())
    })
}
