//! `nfio doctor`: tries what a mount with the embedded runtime needs, and says how to mend what is missing. What it
//! makes to try (a veth, a bridge) lives in namespaces that end with it.

mod probes;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::mount::{find_module_root, open_fuse};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    /// What was looked at.
    what: &'static str,
    /// What was found, or why it is missing and how to mend it.
    found: Result<String, String>,
    /// Whether a mount with `--hypervisor Oci` works without it.
    needed: bool,
}

/// The command: 0 where a mount with the driver Oci can work.
pub(super) fn run(module_root: &Path) -> ExitCode {
    let checks = checks(module_root);
    // A reader that has gone away (`| head`) changes nothing about the answer.
    let _ = std::io::stdout().write_all(table(&checks).as_bytes());
    ExitCode::from(u8::from(!fit(&checks)))
}

fn checks(module_root: &Path) -> Vec<Check> {
    let needed = |what, found| Check { what, found, needed: true };
    let useful = |what, found| Check { what, found, needed: false };
    let fuse = open_fuse().map(|()| "opens".into()).map_err(|e| e.to_string());
    let modules =
        find_module_root(module_root).map_err(|e| e.to_string()).and_then(|dir| match dir.read_dir() {
            Ok(_) => Ok(dir.display().to_string()),
            Err(e) => Err(format!("{} cannot be read ({e}): chmod it", dir.display())),
        });
    vec![
        needed("root", probes::root()),
        needed("/dev/fuse", fuse),
        needed("openat2", probes::openat2()),
        useful("FUSE passthrough", probes::passthrough()),
        needed("overlayfs", probes::overlayfs()),
        needed("cgroup controllers", probes::cgroups()),
        needed("namespaces", probes::namespaces()),
        needed("veth and bridge", probes::network()),
        needed("seccomp", probes::seccomp()),
        needed("capabilities", probes::capabilities(&probes::NEEDED)),
        useful("more capabilities", probes::capabilities(&probes::USEFUL)),
        useful("routes of chains", probes::chains()),
        useful("nft", probes::nft()),
        needed("module_root", modules),
    ]
}

fn fit(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.found.is_ok() || !check.needed)
}

fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { what, found, needed } in checks {
        let (state, detail) = match found {
            Ok(detail) => ("ok", detail.clone()),
            Err(why) if *needed => ("missing", why.clone()),
            Err(why) => ("missing", format!("{why} (a mount works without)")),
        };
        text.push_str(&format!("{state:7}  {what:width$}  — {detail}\n"));
    }
    let verdict = match fit(checks) {
        true => "This machine can mount with --hypervisor Oci.\n",
        false => "This machine cannot mount with --hypervisor Oci until what is missing is mended.\n",
    };
    text + verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_what_and_how_to_mend_it_and_only_what_is_needed_counts() {
        let found = |what, found: Result<&str, &str>, needed| Check {
            what,
            found: found.map(Into::into).map_err(Into::into),
            needed,
        };
        let mut checks =
            vec![found("root", Ok("uid 0"), true), found("FUSE passthrough", Err("use Linux 6.9"), false)];
        assert_eq!(
            table(&checks),
            "ok       root              — uid 0\n\
             missing  FUSE passthrough  — use Linux 6.9 (a mount works without)\n\
             This machine can mount with --hypervisor Oci.\n"
        );
        assert!(fit(&checks));
        checks.push(found("/dev/fuse", Err("modprobe fuse"), true));
        assert!(!fit(&checks));
        assert!(table(&checks).contains("missing  /dev/fuse         — modprobe fuse\nThis machine cannot"));
    }
}
