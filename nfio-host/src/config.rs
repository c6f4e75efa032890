//! `nfio.toml`: the options of the command line, and what needs more room than a command line has. Every default
//! is stated here, once; `examples/nfio.toml` shows every key. The command line wins over the file.
//!
//! `drivers.rs` has the sections of drivers and hosts, `limits.rs` those that say how long, who and which.

mod drivers;
mod limits;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use middlebox_sdk::error::EINVAL;

use crate::chain;
use crate::error::{NfioError, Result, one_line};
use crate::hypervisor::oci::lease::Subnet;
pub use drivers::{Accelerator, Docker, Host, Libvirt, Oci, Tls};
pub use limits::{Deadlines, Modules, Policy};

/// Where `nfio.toml` is looked for when `--config` does not name one; it need not be there.
pub const DEFAULT_PATH: &str = "/etc/nfio/nfio.toml";

/// Mount options that `-o` and `options` take. `allow_other` lets other users than root see the mount; the
/// others are the kernel's own.
pub const OPTIONS: [&str; 11] =
    ["allow_other", "ro", "rw", "nosuid", "nodev", "exec", "noexec", "atime", "noatime", "sync", "dirsync"];

/// Everything that a mount can be told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Stay in the foreground and log to stderr.
    pub foreground: bool,
    /// The driver: `Oci`, `Docker` (alias `DockerDriver`) or `Libvirt`.
    pub hypervisor: String,
    /// Directory of the plugins; relative to where nfio is started.
    pub module_root: PathBuf,
    /// What is logged.
    pub log_level: LogLevel,
    /// Mount options, each one of [`OPTIONS`]. Those of the command line come after these.
    pub options: Vec<String>,
    /// How long an answer may take.
    pub deadlines: Deadlines,
    /// What instances of others than root may have.
    pub policy: Policy,
    /// How hosts other than this machine are reached, by address.
    pub hosts: BTreeMap<String, Host>,
    /// Settings of the driver `Docker`.
    pub docker: Docker,
    /// Settings of the driver `Libvirt`.
    pub libvirt: Libvirt,
    /// Settings of the driver `Oci`.
    pub oci: Oci,
    /// Service chains.
    pub chains: Chains,
    /// Which plugins are trusted.
    pub modules: Modules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            foreground: false,
            hypervisor: "Docker".into(),
            module_root: "plugins".into(),
            log_level: LogLevel::default(),
            options: Vec::new(),
            deadlines: Deadlines::default(),
            policy: Policy::default(),
            hosts: BTreeMap::new(),
            docker: Docker::default(),
            libvirt: Libvirt::default(),
            oci: Oci::default(),
            chains: Chains::default(),
            modules: Modules::default(),
        }
    }
}

/// `log_level`: each level holds those above it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What an operator should look at.
    Warn,
    /// Verbs and their outcome, modules, the mount itself.
    #[default]
    Info,
    /// What drivers do.
    Debug,
    /// Every call.
    Trace,
}

/// `[chains]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chains {
    /// IPv4 network that the links between the nodes of a chain get their addresses from.
    pub subnet: String,
}

impl Default for Chains {
    fn default() -> Self {
        Self { subnet: chain::SUBNET.into() }
    }
}

impl Config {
    /// Reads `path`; without one [`DEFAULT_PATH`], or the defaults where that is missing.
    ///
    /// # Errors
    /// A file that cannot be read, or says something that is not known: one sentence with file, line and key.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_none() => {
                return Ok(Self::default());
            }
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(EINVAL);
                let why = match e.kind() {
                    std::io::ErrorKind::NotFound => "there is no such file: name another with --config",
                    std::io::ErrorKind::InvalidData => "it is not UTF-8 text: write it anew",
                    std::io::ErrorKind::IsADirectory => "it is a directory: name the file in it",
                    _ => &format!("{e}: make it readable or name another with --config"),
                };
                let message = format!("configuration {} cannot be read, {why}", file.display());
                return Err(NfioError::posix(errno, message));
            }
        };
        Self::parse(&text, &file.display().to_string())
    }

    /// Reads the text of a `nfio.toml`; `file` is what messages call it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(String::new(), |span| {
                format!(" line {}", 1 + text[..span.start.min(text.len())].matches('\n').count())
            });
            let what = one_line(&e.message().trim().replace('\n', ", "));
            let what = what.replacen("unknown field", "unknown key", 1);
            NfioError::posix(EINVAL, format!("{file}{at}: {what}: mend that line"))
        })?;
        check_options(&config.options)
            .map_err(|e| NfioError::posix(EINVAL, format!("{file}: options: {e}")))?;
        Ok(config)
    }

    /// Makes all paths absolute, seen from the current directory: nfio leaves it once it serves.
    ///
    /// # Errors
    /// An empty path, or a current directory that is gone.
    pub fn make_absolute(&mut self) -> Result<()> {
        let tls = self.hosts.values_mut().filter_map(|host| host.tls.as_mut());
        let paths =
            [&mut self.module_root, &mut self.oci.images, &mut self.libvirt.images, &mut self.libvirt.layers]
                .into_iter()
                .chain(tls.flat_map(|tls| [&mut tls.ca, &mut tls.cert, &mut tls.key]));
        for path in paths {
            *path = std::path::absolute(&*path).map_err(|e| {
                let errno = e.raw_os_error().unwrap_or(EINVAL);
                NfioError::posix(
                    errno,
                    format!("{path:?} in nfio.toml is no path ({e}): write an absolute one"),
                )
            })?;
        }
        Ok(())
    }
}

impl Config {
    /// Whether guests of the driver Oci and links of chains have addresses of their own.
    ///
    /// # Errors
    /// Subnets that overlap, with both of their keys. One that is none is left to whoever makes use of it.
    pub fn check_subnets(&self) -> Result<()> {
        let (guests, links) = (&self.oci.subnet, &self.chains.subnet);
        match (Subnet::parse(guests), Subnet::parse(links)) {
            (Ok(of_guests), Ok(of_links)) if of_guests.overlaps(of_links) => {
                Err(NfioError::configuration(format!(
                    "[oci] subnet {guests:?} and [chains] subnet {links:?} overlap: guests and the links of chains need \
                 addresses of their own; set one of them to another network in nfio.toml"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Whether all mount options are known ([`OPTIONS`]).
///
/// # Errors
/// One that is not, named.
pub fn check_options(options: &[String]) -> Result<()> {
    match options.iter().find(|option| !OPTIONS.contains(&option.as_str())) {
        None => Ok(()),
        Some(option) => Err(NfioError::posix(
            EINVAL,
            format!("unknown mount option {option:?}: use some of {}", OPTIONS.join(",")),
        )),
    }
}

#[cfg(test)]
mod tests;
