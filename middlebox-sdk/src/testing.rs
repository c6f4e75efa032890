//! A guest that is not there, for the unit tests of a middlebox: it answers what the test told it to, and keeps what
//! the middlebox asked of it.
//!
//! ```
//! use middlebox_sdk::{Middlebox, Output, Type, Vnf, Result};
//! use middlebox_sdk::testing::{Call, Guest};
//!
//! struct Motd;
//!
//! impl Middlebox for Motd {
//!     fn describe(&self) -> Type {
//!         Type::new("motd", "0.1.0")
//!     }
//!     fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
//!         vnf.put_file("/etc/motd", 0o644, nf_conf)
//!     }
//! }
//!
//! let guest = Guest::new("motd", "motd-a");
//! Motd.configure(&guest.during(Call::Configure), b"hello\n").unwrap();
//! assert_eq!(guest.put_files()[0].data, b"hello\n");
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::error::{EOPNOTSUPP, EPERM, HypervisorError, NfioError, Result};
use crate::vnf::{Counters, Host, Level, Output, Vnf};

/// A file that a middlebox put into the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutFile {
    /// Absolute path in the guest.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub data: Vec<u8>,
}

/// A command that a middlebox ran in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it read.
    pub stdin: Vec<u8>,
}

/// The call that a handle is lent for ([`Guest::during`]): what it may do depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// [`Middlebox::mkdir`](crate::Middlebox::mkdir): files of the instance alone.
    Mkdir,
    /// [`Middlebox::getattr`](crate::Middlebox::getattr): nothing that asks a driver.
    Getattr,
    /// [`Middlebox::read`](crate::Middlebox::read), and a write to a value: nothing that changes the guest.
    Read,
    /// [`Middlebox::write`](crate::Middlebox::write) to a verb.
    Verb,
    /// [`Middlebox::prepare`](crate::Middlebox::prepare): files, environment and command of a guest not yet running.
    Prepare,
    /// [`Middlebox::configure`](crate::Middlebox::configure): files and commands, but no verbs.
    Configure,
}

type Answering = dyn Fn(&Command) -> Output + Send + Sync;

/// A guest for unit tests. It runs until the test or the middlebox says otherwise.
pub struct Guest {
    ty: String,
    name: String,
    answering: Box<Answering>,
    counters: Counters,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    status: String,
    call: Option<Call>,
    files: BTreeMap<String, Vec<u8>>,
    commands: Vec<Command>,
    put_files: Vec<PutFile>,
    env: BTreeMap<String, String>,
    command: Option<Vec<String>>,
    operations: Vec<String>,
    guest_log: Vec<u8>,
    new_run: bool,
    log: Vec<(Level, String)>,
}

/// # Setting the stage
impl Guest {
    /// A running guest of the instance `name` whose every command succeeds without output.
    pub fn new(ty: &str, name: &str) -> Self {
        Self {
            ty: ty.into(),
            name: name.into(),
            answering: Box::new(|_| Output::default()),
            counters: Counters::default(),
            state: Mutex::new(State { status: "running".into(), ..State::default() }),
        }
    }

    /// Answers commands in the guest.
    #[must_use]
    pub fn on_execute(mut self, answer: impl Fn(&Command) -> Output + Send + Sync + 'static) -> Self {
        self.answering = Box::new(answer);
        self
    }

    /// Sets the interface counters.
    #[must_use]
    pub fn with_counters(mut self, counters: Counters) -> Self {
        self.counters = counters;
        self
    }

    /// Sets an ordinary file of the instance.
    #[must_use]
    pub fn with_file(self, path: &str, data: impl Into<Vec<u8>>) -> Self {
        self.state().files.insert(path.into(), data.into());
        self
    }

    /// Sets what the guest has printed.
    #[must_use]
    pub fn with_log(self, text: impl Into<Vec<u8>>) -> Self {
        self.state().guest_log = text.into();
        self
    }

    /// Sets the state: `undeployed`, `running`, `exited` …
    #[must_use]
    pub fn with_status(self, status: &str) -> Self {
        self.state().status = status.into();
        self
    }

    /// Makes [`Vnf::is_new_run`] true.
    #[must_use]
    pub fn just_started(self) -> Self {
        self.state().new_run = true;
        self
    }

    /// A handle that allows everything.
    pub fn vnf(&self) -> Vnf<'_> {
        self.state().call = None;
        Vnf::new(self)
    }

    /// The handle as nfio lends it for a call: what that call may not do is EPERM. It holds until the next handle
    /// is taken.
    pub fn during(&self, call: Call) -> Vnf<'_> {
        self.state().call = Some(call);
        Vnf::new(self)
    }
}

/// # Looking at what happened
impl Guest {
    /// An ordinary file of the instance as it is now.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).cloned()
    }

    /// All commands that were run, in order.
    pub fn commands(&self) -> Vec<Command> {
        self.state().commands.clone()
    }

    /// All files that were put into the guest, in order.
    pub fn put_files(&self) -> Vec<PutFile> {
        self.state().put_files.clone()
    }

    /// The environment that `prepare` set.
    pub fn env(&self) -> BTreeMap<String, String> {
        self.state().env.clone()
    }

    /// The command that `prepare` set.
    pub fn command(&self) -> Option<Vec<String>> {
        self.state().command.clone()
    }

    /// The driver operations that changed the guest, in order, for example `restart`.
    pub fn operations(&self) -> Vec<String> {
        self.state().operations.clone()
    }

    /// All lines of the log.
    pub fn log_lines(&self) -> Vec<(Level, String)> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already; what it left is still worth a look.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Refuses `what` unless the handle allows everything or was lent for one of `calls`.
    fn only_in(&self, what: &str, calls: &[Call]) -> Result<()> {
        match self.state().call {
            Some(call) if !calls.contains(&call) => {
                Err(NfioError::posix(EPERM, format!("a module may not {what} in {call:?}")))
            }
            _ => Ok(()),
        }
    }

    fn running(&self) -> Result<()> {
        match self.state().status.as_str() {
            "running" => Ok(()),
            "undeployed" => Err(HypervisorError::NotFound(format!("{} is not deployed", self.name)).into()),
            other => Err(HypervisorError::NotRunning(format!("{} is {other}", self.name)).into()),
        }
    }
}

/// The calls that may ask the driver.
const ASKING: &[Call] = &[Call::Read, Call::Verb, Call::Prepare, Call::Configure];

impl Host for Guest {
    fn identity(&self, what: &str) -> Result<String> {
        if self.state().call == Some(Call::Mkdir) && !matches!(what, "type" | "name") {
            self.only_in("ask for it", &[])?;
        }
        Ok(match what {
            "type" => self.ty.clone(),
            "name" => self.name.clone(),
            "user" => "root".into(),
            "host" => "127.0.0.1".into(),
            "image" => self.ty.clone(),
            "driver" => "Testing".into(),
            "run" => if self.state().new_run { "new" } else { "known" }.into(),
            _ => return Err(NfioError::posix(EOPNOTSUPP, format!("no identity is called {what}"))),
        })
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.file(path).unwrap_or_default())
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.state().files.insert(path.into(), data.into());
        Ok(())
    }

    fn value(&self, name: &str) -> Result<Vec<u8>> {
        match name {
            "log" => {
                self.only_in("read the guest's log", &[&[Call::Getattr], ASKING].concat())?;
                return Ok(self.state().guest_log.clone());
            }
            "status" => {}
            _ => self.only_in("ask the driver", ASKING)?,
        }
        let text = match name {
            "status" => self.state().status.clone(),
            "stats/rx_bytes" => self.counters.rx_bytes.to_string(),
            "stats/tx_bytes" => self.counters.tx_bytes.to_string(),
            "stats/pkt_drops" => self.counters.pkt_drops.to_string(),
            "machine/vm.ip" => "192.0.2.1".into(),
            _ => return Err(NfioError::posix(EOPNOTSUPP, format!("no standard value is called {name}"))),
        };
        Ok(format!("{text}\n").into_bytes())
    }

    fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.only_in("put a file into the guest", &[Call::Verb, Call::Prepare, Call::Configure])?;
        self.state().put_files.push(PutFile { path: path.into(), mode, data: data.into() });
        Ok(())
    }

    fn set_env(&self, name: &str, value: &str) -> Result<()> {
        self.only_in("set the environment", &[Call::Prepare])?;
        self.state().env.insert(name.into(), value.into());
        Ok(())
    }

    fn set_command(&self, argv: &[&str]) -> Result<()> {
        self.only_in("set the command", &[Call::Prepare])?;
        self.state().command = Some(argv.iter().map(ToString::to_string).collect());
        Ok(())
    }

    fn operate(&self, operation: &str, argument: &str) -> Result<String> {
        let asks = matches!(operation, "get_id" | "get_ip" | "guest_status" | "counters");
        self.only_in(operation, if asks { ASKING } else { &[Call::Verb] })?;
        let status = match operation {
            "get_id" => return Ok("fake".into()),
            "get_ip" => return Ok("192.0.2.1".into()),
            "guest_status" => return Ok(self.state().status.clone()),
            "counters" => {
                let Counters { rx_bytes, tx_bytes, pkt_drops } = self.counters;
                return Ok(format!(
                    "rx_bytes = {rx_bytes}\ntx_bytes = {tx_bytes}\npkt_drops = {pkt_drops}\n"
                ));
            }
            "deploy" | "start" | "restart" | "unpause" => "running",
            "stop" => "exited",
            "pause" => "paused",
            "destroy" => "undeployed",
            _ => return Err(NfioError::posix(EOPNOTSUPP, format!("no operation is called {operation}"))),
        };
        let mut state = self.state();
        state.operations.push(format!("{operation} {argument}").trim().into());
        state.status = status.into();
        Ok(String::new())
    }

    fn execute(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        self.only_in("run a command in the guest", &[Call::Read, Call::Verb, Call::Configure])?;
        self.running()?;
        let command = Command { argv: argv.iter().map(ToString::to_string).collect(), stdin: stdin.into() };
        let output = (self.answering)(&command);
        self.state().commands.push(command);
        Ok(output)
    }

    fn log(&self, level: Level, message: &str) {
        self.state().log.push((level, message.into()));
    }
}
