//! `nfio.toml`: the options of the command line, and what needs more room than a command line has. Every default
//! is stated here, once; `examples/nfio.toml` shows every key. The command line wins over the file.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use middlebox_sdk::error::EINVAL;

use crate::chain;
use crate::error::{NfioError, Result, one_line};
use crate::hypervisor::oci::{self, lease::Subnet};

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

/// `[deadlines]`, in whole seconds, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// For reads of special files.
    #[serde(deserialize_with = "seconds")]
    pub read: Duration,
    /// For `command`, and for each call of a module within a verb (`prepare`, `configure`, `write` to its own verbs).
    #[serde(deserialize_with = "seconds")]
    pub verb: Duration,
    /// For a write to `action` or to a module's own verb, from its begin to the caller's answer.
    #[serde(deserialize_with = "seconds")]
    pub activate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(5),
            verb: Duration::from_secs(60),
            activate: Duration::from_secs(60),
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Duration, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(serde::de::Error::custom("a deadline is at least 1 second")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

/// `[policy]`: what instances of others than root may ask for in `boot.conf` and `machine/*`. Nothing, unless it is
/// granted here. Root's instances may everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// `privileged = true`.
    pub privileged: bool,
    /// Devices of the host.
    pub devices: bool,
    /// Paths of the host within the guest.
    pub host_paths: bool,
    /// Interfaces on bridges of the host.
    pub bridges: bool,
    /// Published ports.
    pub ports: bool,
    /// `pull = true`.
    pub pull: bool,
    /// Images by absolute path.
    pub image_paths: bool,
    /// Capabilities beside the default set, without `CAP_`.
    pub capabilities: Vec<String>,
    /// Hosts that may be named in `machine/ip`.
    pub hosts: Vec<String>,
    /// What may be named in `ingress` and `egress` of a chain, as it is written there.
    pub chain_ends: Vec<String>,
}

/// `[hosts."ADDR"]`: how the engine of a host is reached; `[hosts."*"]`: that of every host without an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// TCP with mutual TLS.
    pub tls: Option<Tls>,
    /// SSH, as this user: `user`, or `user@name` where ssh knows the host by another name.
    pub ssh: Option<String>,
    /// Plain TCP, unprotected: in so many words.
    pub insecure: bool,
    /// URI of the host's libvirt, for the driver `Libvirt`: `qemu+ssh://…`, `qemu+tls://…`.
    pub libvirt: Option<String>,
    /// The port, where it is not the usual one.
    pub port: Option<u16>,
}

/// Files of a mutual TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate of the authority that signed the host's.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[docker]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// Socket of this machine's engine; not set: as `DOCKER_HOST` says, else /var/run/docker.sock.
    pub socket: Option<PathBuf>,
}

/// `[libvirt]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Libvirt {
    /// libvirt of this machine.
    pub uri: String,
    /// Directory below which images are named.
    pub images: PathBuf,
    /// Directory of the guests' own layers; QEMU's user must be able to reach it.
    pub layers: PathBuf,
    /// Network that guests are connected to.
    pub network: String,
    /// `auto`, `kvm`, or `qemu`: without the processor's help, slow but everywhere.
    pub accelerator: Accelerator,
}

/// What runs a virtual machine's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// `kvm` where a domain of that type starts, else `qemu`.
    #[default]
    Auto,
    /// The processor.
    Kvm,
    /// QEMU itself.
    Qemu,
}

impl Default for Libvirt {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".into(),
            images: "/var/lib/nfio/images".into(),
            layers: "/var/lib/nfio/layers".into(),
            network: "default".into(),
            accelerator: Accelerator::Auto,
        }
    }
}

/// `[oci]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oci {
    /// Directory below which images are named.
    pub images: PathBuf,
    /// IPv4 network that guests get their addresses from.
    pub subnet: String,
    /// Bridge that guests are connected to; made where it is missing.
    pub bridge: String,
}

impl Default for Oci {
    fn default() -> Self {
        Self { images: "/var/lib/nfio/images".into(), subnet: oci::SUBNET.into(), bridge: oci::BRIDGE.into() }
    }
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

/// `[modules]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Modules {
    /// SHA-256 of the plugins that may be loaded, 64 hexadecimal digits each; not set: all that are trusted by
    /// owner and mode.
    #[serde(deserialize_with = "digests")]
    pub sha256: Option<Vec<String>>,
}

fn digests<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Vec<String>>, D::Error> {
    let mut list = Vec::<String>::deserialize(from)?;
    for digest in &mut list {
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(serde::de::Error::custom(format!(
                "{digest:?} is not a SHA-256 of 64 hexadecimal digits"
            )));
        }
        digest.make_ascii_lowercase();
    }
    Ok(Some(list))
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
mod tests {
    use super::*;

    #[test]
    fn the_example_is_valid_and_shows_every_key_with_its_default() {
        let text = include_str!("../../examples/nfio.toml");
        assert_eq!(Config::parse(text, "nfio.toml").unwrap(), Config::default());
        // Commented lines show what has no default: they hold too, once uncommented.
        let shown: String = text
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |all, line| all + line + "\n");
        let shown = Config::parse(&shown, "nfio.toml").unwrap();
        assert!(shown.modules.sha256.is_some());
        assert!(shown.docker.socket.is_some() && shown.hosts.len() == 5);
        assert!(shown.hosts["192.0.2.10"].libvirt.is_some());
        for key in [
            "foreground",
            "hypervisor",
            "module_root",
            "log_level",
            "options",
            "read",
            "verb",
            "activate",
            "privileged",
            "devices",
            "host_paths",
            "bridges",
            "ports",
            "pull",
            "image_paths",
            "capabilities",
            "hosts",
            "chain_ends",
            "tls",
            "ssh",
            "port",
            "socket",
            "insecure",
            "uri",
            "layers",
            "network",
            "accelerator",
            "libvirt",
            "images",
            "subnet",
            "bridge",
            "sha256",
        ] {
            let stands = |line: &str| line.trim_start_matches("#: ").starts_with(&format!("{key} = "));
            assert!(text.lines().any(stands), "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        for (text, line, key) in [
            ("foreground = true\nhypervizor = \"Oci\"\n", 2, "hypervizor"),
            ("[policy]\n\npriviledged = true\n", 3, "priviledged"),
            ("[deadlines]\nread = 1\nwrite = 2\n", 3, "write"),
            ("[hosts.\"192.0.2.7\"]\ntelnet = true\n", 2, "telnet"),
            ("[oci]\nbridges = \"br0\"\n", 2, "bridges"),
            ("[network]\n", 1, "network"),
        ] {
            let error = Config::parse(text, "/etc/nfio/nfio.toml").unwrap_err().to_string();
            let expected = format!("/etc/nfio/nfio.toml line {line}: unknown key `{key}`");
            assert!(error.starts_with(&expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_their_line() {
        for (text, words) in [
            ("foreground = 1", "line 1: invalid type: integer `1`, expected a boolean"),
            ("\nlog_level = \"loud\"", "line 2: unknown variant `loud`, expected one of `error`"),
            ("[deadlines]\nread = 0", "line 2: a deadline is at least 1 second"),
            ("[deadlines]\nread = -1", "line 2: invalid value: integer `-1`"),
            ("options = [\"allow_other\", \"suid\"]", "options: unknown mount option \"suid\""),
            ("[modules]\nsha256 = [\"abc\"]", "line 2: \"abc\" is not a SHA-256"),
            ("x = ", "line 1: "),
            ("a = 1\na = 2", "line 2: "),
        ] {
            let error = Config::parse(text, "f").unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn relative_paths_become_absolute() {
        let text =
            "[oci]\nimages = \"images\"\n[hosts.a]\ntls = { ca = \"a\", cert = \"/b\", key = \"c\" }\n";
        let mut config = Config::parse(text, "f").unwrap();
        config.make_absolute().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!((&config.oci.images, &config.module_root), (&here.join("images"), &here.join("plugins")));
        let tls = config.hosts["a"].tls.as_ref().unwrap();
        assert_eq!((&tls.ca, tls.cert.to_str()), (&here.join("a"), Some("/b")));
    }

    #[test]
    fn guests_and_links_of_chains_have_addresses_of_their_own() {
        assert!(Config::default().check_subnets().is_ok());
        let check = |guests: &str, links: &str| {
            let text = format!("[oci]\nsubnet = \"{guests}\"\n[chains]\nsubnet = \"{links}\"\n");
            Config::parse(&text, "f").unwrap().check_subnets()
        };
        for (guests, links) in [
            ("10.203.0.0/16", "10.203.0.0/16"),
            ("10.0.0.0/8", "10.204.0.0/16"),
            ("10.204.7.0/24", "10.204.0.0/16"),
            // The network counts, not how it is written.
            ("10.203.9.9/16", "10.203.255.0/29"),
        ] {
            let error = check(guests, links).unwrap_err().to_string();
            let both = format!("[oci] subnet {guests:?} and [chains] subnet {links:?} overlap");
            assert!(error.contains(&both), "{error}");
        }
        assert!(check("10.203.0.0/17", "10.203.128.0/17").is_ok());
        assert!(check("none", "10.203.128.0/17").is_ok(), "the driver tells");
    }

    #[test]
    fn sections_of_drivers_that_are_not_in_this_build_are_kept() {
        let config =
            Config::parse("[docker]\nsocket = \"/run/docker.sock\"\n[libvirt]\nuri = \"x\"\n", "f").unwrap();
        assert_eq!(config.docker.socket.as_deref(), Some(Path::new("/run/docker.sock")));
        assert_eq!(config.libvirt.uri, "x");
    }

    #[test]
    fn a_named_configuration_must_be_there() {
        let error = Config::load(Some(Path::new("/none/nfio.toml"))).unwrap_err().to_string();
        assert!(error.contains("/none/nfio.toml") && error.contains("--config"), "{error}");
    }
}
