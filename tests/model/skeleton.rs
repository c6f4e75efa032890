//! An instance's files as the README's table tells them, and the types' own.

use crate::operation::{BARE, GUARD};

/// How a special file answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// By the host.
    Standard,
    /// By the plugin.
    Own,
}

/// Files of a guard: path, mode, and how those that are special answer.
const FILES: [(&str, u32, Option<Special>); 17] = {
    use Special::{Own, Standard};
    [
        ("action", 0o644, Some(Standard)),
        ("command", 0o600, Some(Standard)),
        ("output", 0o400, Some(Standard)),
        ("status", 0o444, Some(Standard)),
        ("last_error", 0o440, Some(Standard)),
        ("log", 0o440, Some(Standard)),
        ("config/boot.conf", 0o640, None),
        ("config/nf_conf", 0o640, None),
        ("machine/ip", 0o644, None),
        ("machine/vm.image", 0o644, None),
        ("machine/vm.vcpu", 0o644, None),
        ("machine/vm.memory", 0o644, None),
        ("machine/vm.ip", 0o444, Some(Standard)),
        ("stats/rx_bytes", 0o444, Some(Standard)),
        ("stats/tx_bytes", 0o444, Some(Standard)),
        ("stats/pkt_drops", 0o444, Some(Own)),
        ("stats/rules", 0o440, Some(Own)),
    ]
};

const BARE_FILES: [&str; 6] = ["alpha", "beta", "gamma", "kappa", "omega", "theta"];

/// What `modules/<type>/` holds.
pub(crate) const MODULE_FILES: [&str; 7] =
    ["path", "version", "sdk_version", "state", "error", "calls", "reloads"];

/// The files of a type's instances, with their modes.
pub(crate) fn files(ty: &str) -> impl Iterator<Item = (&'static str, u32)> {
    let own: Vec<_> = match ty {
        GUARD => FILES.iter().map(|(path, mode, _)| (*path, *mode)).collect(),
        BARE => BARE_FILES.iter().map(|path| (*path, 0o644)).collect(),
        _ => Vec::new(),
    };
    own.into_iter()
}

/// The directories of a type's instances.
pub(crate) fn directories(ty: &str) -> &'static [&'static str] {
    if ty == GUARD { &["config", "machine", "stats"] } else { &[] }
}

/// How a path below an instance answers; None: as what it is.
pub(crate) fn special(ty: &str, path: &str) -> Option<Special> {
    let found = FILES.iter().find(|(known, ..)| *known == path)?;
    found.2.filter(|_| ty == GUARD)
}

/// Whether a special file can be written.
pub(crate) fn is_verb(path: &str) -> bool {
    matches!(path, "action" | "command")
}

/// Whether a path below a deployed instance must stay: special files, and directories.
pub(crate) fn stays(ty: &str, path: &str) -> bool {
    special(ty, path).is_some() || directories(ty).contains(&path)
}
