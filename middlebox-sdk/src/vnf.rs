//! The handle of an instance, lent to a module for the length of one call.

use std::fmt;

use crate::error::{EIO, NfioError, Result};

/// What stands behind a [`Vnf`]: nfio itself, or [`crate::testing::Guest`]. Authors never call it.
///
/// Names of identities, values and operations are text, so that the host can learn new ones without a change of
/// the ABI; one that a host does not know is EOPNOTSUPP.
pub trait Host: Send + Sync {
    /// `type`, `name`, `user`, `host`, `image`, `driver` or `run` (`new` in a `configure` of a run that nothing was
    /// configured in, otherwise `known`).
    fn identity(&self, what: &str) -> Result<String>;
    /// Content of an ordinary file of the instance; empty where it is missing.
    fn read_file(&self, path: &str) -> Result<Vec<u8>>;
    /// Replaces the content of an ordinary file of the instance.
    fn write_file(&self, path: &str, data: &[u8]) -> Result<()>;
    /// Content of a standard value, by its name in the skeleton.
    fn value(&self, name: &str) -> Result<Vec<u8>>;
    /// Writes a file into the guest.
    fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()>;
    /// Sets an environment variable of the guest's first process.
    fn set_env(&self, name: &str, value: &str) -> Result<()>;
    /// Sets the command of the guest's first process.
    fn set_command(&self, argv: &[&str]) -> Result<()>;
    /// A driver operation of the manual, with its argument and answer as text.
    fn operate(&self, operation: &str, argument: &str) -> Result<String>;
    /// Runs a command in the guest.
    fn execute(&self, argv: &[&str], stdin: &[u8]) -> Result<Output>;
    /// Writes a line to nfio's log.
    fn log(&self, level: Level, message: &str);
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// For the module's author.
    Debug,
}

/// What a command in a guest answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + signal where one ended it, 127 where the program was not found.
    pub exit_code: i32,
    /// Its stdout, up to [`LIMIT`](Self::LIMIT).
    pub stdout: Vec<u8>,
    /// Its stderr, up to [`LIMIT`](Self::LIMIT).
    pub stderr: Vec<u8>,
}

impl Output {
    /// How many bytes are kept of each of stdout and stderr; what comes after them is dropped. One of this length
    /// has to be taken for cut off.
    pub const LIMIT: usize = 2 << 20;

    /// Whether the command ended with exit code 0.
    pub fn success(&self) -> bool {
        self.exit_code == 0
    }

    /// Whether there was no such program in the guest, or none that can be run: the shells' codes 127 and 126.
    pub fn not_found(&self) -> bool {
        matches!(self.exit_code, 126 | 127)
    }

    /// What it said, for a message: stderr, or stdout where that is empty, trimmed.
    pub fn words(&self) -> String {
        let words = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        String::from_utf8_lossy(words).trim().to_owned()
    }
}

/// Counters over all interfaces of a guest but lo, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes received by the guest.
    pub rx_bytes: u64,
    /// Bytes sent by the guest.
    pub tx_bytes: u64,
    /// Packets dropped by its interfaces.
    pub pkt_drops: u64,
}

/// The handle of an instance. It is good for the length of one call; a call that missed its deadline loses it:
/// whatever it still asks is ETIMEDOUT.
///
/// An operation that changes the guest is EPERM outside [`prepare`](crate::Middlebox::prepare),
/// [`configure`](crate::Middlebox::configure) and a [`write`](crate::Middlebox::write) to a verb.
#[derive(Clone, Copy)]
pub struct Vnf<'a> {
    host: &'a dyn Host,
}

impl fmt::Debug for Vnf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |what| self.host.identity(what).unwrap_or_default();
        write!(f, "Vnf({}/{})", name("type"), name("name"))
    }
}

/// # Who and where
impl<'a> Vnf<'a> {
    /// A handle on `host`.
    pub fn new(host: &'a dyn Host) -> Self {
        Self { host }
    }

    /// The type's name.
    pub fn type_name(&self) -> Result<String> {
        self.host.identity("type")
    }

    /// The instance's name.
    pub fn name(&self) -> Result<String> {
        self.host.identity("name")
    }

    /// Name of the user who owns the instance.
    pub fn user(&self) -> Result<String> {
        self.host.identity("user")
    }

    /// The host that the guest runs, or would run, on (`machine/ip`).
    pub fn host(&self) -> Result<String> {
        self.host.identity("host")
    }

    /// The image that the guest runs, or would run (`machine/vm.image`).
    pub fn image(&self) -> Result<String> {
        self.host.identity("image")
    }

    /// The hypervisor driver's name: `Oci`, `Docker` or `Libvirt`.
    pub fn driver(&self) -> Result<String> {
        self.host.identity("driver")
    }

    /// In `configure`: whether nfio has just started the guest, so that nothing which an earlier `configure` left in
    /// its memory (rules, processes) is there to be replaced. What it left on its disk may be. False wherever that is
    /// not certain, and on hosts older than this function: whoever uses it saves a look, and changes nothing else.
    pub fn is_new_run(&self) -> bool {
        self.host.identity("run").is_ok_and(|run| run == "new")
    }
}

/// # Files of the instance and of the guest
impl Vnf<'_> {
    /// Content of an ordinary file of the instance, for example `config/nf_conf`; empty where it is missing.
    ///
    /// # Errors
    /// EINVAL for a path that leaves the instance or names no regular file (a symbolic link, a fifo).
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.host.read_file(path)
    }

    /// Replaces the content of an ordinary file of the instance, made where it is missing.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file), and what writing can meet.
    pub fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.host.write_file(path, data)
    }

    /// A standard value of the instance by its name in the skeleton, for example `stats/rx_bytes`, without its
    /// final newline.
    ///
    /// # Errors
    /// ENXIO where the guest is not deployed, EHOSTDOWN where it does not run, EOPNOTSUPP for a name that is no
    /// standard value.
    pub fn value(&self, name: &str) -> Result<String> {
        let mut text = self.host.value(name)?;
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        String::from_utf8(text).map_err(|_| NfioError::posix(EIO, format!("{name} is not UTF-8")))
    }

    /// What the guest has printed so far: the content of the standard file `log`, capped as that one is, and there also
    /// while the guest does not run. No driver is asked, so `getattr` may ask for it. Text lines are whole but perhaps
    /// for the last one.
    ///
    /// # Errors
    /// EOPNOTSUPP where the host is older than this function.
    pub fn guest_log(&self) -> Result<Vec<u8>> {
        self.host.value("log")
    }

    /// Writes a file into the guest (in `prepare`: before its first process runs). `path` is absolute in the
    /// guest and never leaves its root; directories on the way are made; `mode` are permission bits.
    pub fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.host.put_file(path, mode, data)
    }

    /// Sets an environment variable of the guest's first process. Only in `prepare`.
    pub fn set_env(&self, name: &str, value: &str) -> Result<()> {
        self.host.set_env(name, value)
    }

    /// Sets the command of the guest's first process in place of the image's; `command` in boot.conf wins over
    /// it. Only in `prepare`.
    pub fn set_command(&self, argv: &[&str]) -> Result<()> {
        self.host.set_command(argv)
    }
}

/// # The driver's operations
impl Vnf<'_> {
    /// Runs a command in the guest and waits for it: program and arguments as they are (no shell), `stdin` up to
    /// 2 MiB.
    ///
    /// # Errors
    /// ENXIO, EHOSTDOWN, or VNFCommandExecutionError where the guest cannot be asked. A command that failed is no
    /// error: see [`Output::exit_code`], or use [`run`](Self::run).
    pub fn execute_in_guest(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        self.host.execute(argv, stdin)
    }

    /// Runs a command in the guest and answers its stdout.
    ///
    /// # Errors
    /// As [`execute_in_guest`](Self::execute_in_guest); an exit code other than 0 is a VNFCommandExecutionError
    /// with the command's own words.
    pub fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Vec<u8>> {
        let output = self.execute_in_guest(argv, stdin)?;
        if output.success() {
            return Ok(output.stdout);
        }
        Err(NfioError::command(format!(
            "{} ended with exit code {}: {}",
            argv.first().unwrap_or(&""),
            output.exit_code,
            output.words()
        )))
    }

    /// The driver's id of the guest.
    pub fn get_id(&self) -> Result<String> {
        self.host.operate("get_id", "")
    }

    /// First address of the guest's first interface.
    pub fn get_ip(&self) -> Result<String> {
        self.host.operate("get_ip", "")
    }

    /// The guest's state: one word of `undeployed created running paused restarting removing exited dead`.
    pub fn guest_status(&self) -> Result<String> {
        self.host.operate("guest_status", "")
    }

    /// Counters of the guest's interfaces, as the host sees them.
    pub fn counters(&self) -> Result<Counters> {
        let text = self.host.operate("counters", "")?;
        let broken = || NfioError::posix(EIO, format!("the host answered {text:?} for counters"));
        let table: toml::Table = text.parse().map_err(|_| broken())?;
        let number = |key: &str| {
            table.get(key).and_then(|n| n.as_integer()).and_then(|n| u64::try_from(n).ok()).ok_or_else(broken)
        };
        Ok(Counters {
            rx_bytes: number("rx_bytes")?,
            tx_bytes: number("tx_bytes")?,
            pkt_drops: number("pkt_drops")?,
        })
    }

    /// Deploys and starts the guest, as the verb `activate`. Only in a write to a verb.
    pub fn deploy(&self) -> Result<()> {
        self.host.operate("deploy", "").map(drop)
    }

    /// Starts the guest, as the verb of this name. Only in a write to a verb.
    pub fn start(&self) -> Result<()> {
        self.host.operate("start", "").map(drop)
    }

    /// Restarts the guest, as the verb of this name. Only in a write to a verb.
    pub fn restart(&self) -> Result<()> {
        self.host.operate("restart", "").map(drop)
    }

    /// Stops the guest, as the verb of this name. Only in a write to a verb.
    pub fn stop(&self) -> Result<()> {
        self.host.operate("stop", "").map(drop)
    }

    /// Pauses the guest, as the verb of this name. Only in a write to a verb.
    pub fn pause(&self) -> Result<()> {
        self.host.operate("pause", "").map(drop)
    }

    /// Unpauses the guest, as the verb of this name. Only in a write to a verb.
    pub fn unpause(&self) -> Result<()> {
        self.host.operate("unpause", "").map(drop)
    }

    /// Destroys the guest; one that runs only with `force`. Only in a write to a verb.
    pub fn destroy(&self, force: bool) -> Result<()> {
        self.host.operate("destroy", if force { "force" } else { "" }).map(drop)
    }

    /// Writes a line to nfio's log, with the type's and the instance's name.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }
}
