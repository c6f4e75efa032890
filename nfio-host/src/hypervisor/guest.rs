//! What crosses between the life cycle and a driver.

use middlebox_sdk::Needs;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

use super::boot_conf::BootConf;

/// What identifies a guest, whatever it is called: the labels `io.nfio.root`, `.type`, `.instance`, `.id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// UUID of the ROOT.
    pub root: String,
    /// The type's name.
    #[serde(rename = "type")]
    pub ty: String,
    /// The instance's name at activate.
    pub instance: String,
    /// UUID of the instance.
    pub id: String,
}

/// A guest to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// Its identity.
    pub labels: Labels,
    /// Its name for people: `<user>-<type>-<instance>`.
    pub name: String,
    /// `machine/ip`.
    pub host: String,
    /// Owner of the instance.
    pub user: String,
    /// `machine/vm.image`.
    pub image: String,
    /// Whether an absolute path may name the image: root's instances alone.
    pub absolute_image: bool,
    /// CPUs, fractions allowed; None: the driver's default.
    pub vcpu: Option<f64>,
    /// Memory in bytes; None: the driver's default.
    pub memory: Option<u64>,
    /// `config/boot.conf`.
    pub boot: BootConf,
    /// What the type needs.
    pub needs: Needs,
    /// Files of boot.conf's `[[file]]`, read from below `config/`.
    pub files: Vec<PutFile>,
    /// Where the guest's output goes. The file exists; the driver appends and keeps it below its cap.
    pub log: PathBuf,
}

#[cfg(test)]
impl GuestSpec {
    /// A firewall of this machine that asks for nothing, for tests.
    pub(in crate::hypervisor) fn example() -> Self {
        Self {
            labels: Labels {
                root: uuid::Uuid::new_v4().to_string(),
                ty: "firewall".into(),
                instance: "fw-a".into(),
                id: uuid::Uuid::new_v4().to_string(),
            },
            name: "root-firewall-fw-a".into(),
            host: "127.0.0.1".into(),
            user: "root".into(),
            image: "box".into(),
            absolute_image: false,
            vcpu: None,
            memory: None,
            boot: BootConf::default(),
            needs: Default::default(),
            files: Vec::new(),
            log: "/dev/null".into(),
        }
    }
}

/// A guest that has been made, as its record tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its identity.
    pub labels: Labels,
    /// The driver's id; empty until deploy has answered.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The host that it was deployed on.
    pub host: String,
    /// The owner that it was deployed for.
    pub user: String,
    /// The image that it was deployed from.
    pub image: String,
}

impl Guest {
    /// The guest that is to be made of `spec`; it has no id yet.
    pub fn of(spec: &GuestSpec) -> Self {
        Self {
            labels: spec.labels.clone(),
            id: String::new(),
            name: spec.name.clone(),
            host: spec.host.clone(),
            user: spec.user.clone(),
            image: spec.image.clone(),
        }
    }
}

/// What a type's `prepare` asked for, before a start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Environment variables, beside (and over) those of image and boot.conf.
    pub env: Vec<(String, String)>,
    /// The command in place of the image's; boot.conf's `command` wins over it.
    pub command: Option<Vec<String>>,
    /// Files, in order.
    pub files: Vec<PutFile>,
    /// Where its output goes from now on; None: where it went at deploy. A ROOT that was moved took the log along.
    pub log: Option<PathBuf>,
}

/// A file to be written into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutFile {
    /// Absolute path in the guest; never leaves its root, whatever symbolic links the guest holds.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub data: Vec<u8>,
}

/// A command for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Program and arguments; a program without a slash is looked up in the guest's PATH.
    pub argv: Vec<String>,
    /// What it reads on stdin.
    pub stdin: Vec<u8>,
}

/// What a command in a guest answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + signal where one ended it.
    pub exit_code: i32,
    /// Its stdout, up to 2 MiB.
    pub stdout: Vec<u8>,
    /// Its stderr, up to 2 MiB.
    pub stderr: Vec<u8>,
}

/// Decimal counters over all interfaces of a guest but lo, since the guest's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received by the guest.
    pub rx_bytes: u64,
    /// Bytes sent by the guest.
    pub tx_bytes: u64,
    /// Packets dropped by its interfaces, received and sent.
    pub pkt_drops: u64,
}

/// A guest's state, in Docker's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No guest.
    Undeployed,
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Between stop and start.
    Restarting,
    /// Being removed.
    Removing,
    /// Has ended.
    Exited,
    /// Cannot be started or removed any more.
    Dead,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undeployed => "undeployed",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}
