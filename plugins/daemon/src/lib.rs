//! What types whose function is a daemon with a configuration file have in common: `nginx`, `squid`.
//!
//! The guest's first process is a small shell script that runs the daemon once `configure` has had its configuration
//! checked: a daemon never runs without the instance's configuration, and one that is wrong is an error of the
//! configuration rather than a guest that ends. The script's other words do the work in the guest (check, then swap,
//! then signal, then wait until it is in force); what differs between daemons, the type says in shell functions, which
//! `daemon.sh` lists.
//!
//! Logs come through what the guest prints, and nothing grows in the guest.

#![forbid(unsafe_code)]

use middlebox_sdk::{NfioError, Output, Result, Vnf};

/// Where the script lies in the guest.
const SCRIPT: &str = "/usr/lib/nfio/daemon";
const COMMON: &str = include_str!("daemon.sh");
/// The script's exit code where the configuration is at fault.
const REFUSED: i32 = 2;
/// What the script prints before a line of the access log.
const MARK: &[u8] = b"access: ";

/// A daemon in guests.
#[derive(Debug, Clone, Copy)]
pub struct Daemon {
    directory: &'static str,
    own: &'static str,
}

impl Daemon {
    /// A daemon whose configuration file lies in `directory` of the guest, where `nf_conf` is put beside it, and whose
    /// part of the script is `own`.
    pub const fn new(directory: &'static str, own: &'static str) -> Self {
        Self { directory, own }
    }

    /// Before every start: the script, as the guest's first process.
    ///
    /// # Errors
    /// What the handle refuses.
    pub fn prepare(&self, vnf: &Vnf<'_>) -> Result<()> {
        vnf.put_file(SCRIPT, 0o755, format!("{}{COMMON}", self.own).as_bytes())?;
        vnf.set_command(&["sh", SCRIPT, "supervise"])
    }

    /// Gives the daemon a configuration, or the image's own where it is empty, and starts it where it was not yet
    /// running. It is in force when this returns.
    ///
    /// # Errors
    /// VNFConfigurationError with the daemon's own words; what was in force before still is.
    pub fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        let which = if nf_conf.is_empty() { "image" } else { "nf_conf" };
        if !nf_conf.is_empty() {
            vnf.put_file(&format!("{}/nf_conf", self.directory), 0o644, nf_conf)?;
        }
        let output = execute(vnf, &["apply", which])?;
        match output.exit_code {
            0 => Ok(()),
            REFUSED => Err(NfioError::configuration(format!("config/nf_conf: {}", output.words()))),
            _ => Err(failed("apply", &output)),
        }
    }

    /// Runs a word of the script.
    ///
    /// # Errors
    /// VNFCommandExecutionError with its words.
    pub fn command(&self, vnf: &Vnf<'_>, word: &str) -> Result<()> {
        let output = execute(vnf, &[word])?;
        if output.success() { Ok(()) } else { Err(failed(word, &output)) }
    }
}

/// The access log among what the guest has printed: whole lines.
///
/// # Errors
/// What the handle refuses.
pub fn access_log(vnf: &Vnf<'_>) -> Result<Vec<u8>> {
    let printed = vnf.guest_log()?;
    let lines = printed.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    Ok(lines.filter_map(|line| line.strip_prefix(MARK)).collect::<Vec<_>>().concat())
}

fn execute(vnf: &Vnf<'_>, words: &[&str]) -> Result<Output> {
    vnf.execute_in_guest(&[&["sh", SCRIPT], words].concat(), b"")
}

fn failed(word: &str, output: &Output) -> NfioError {
    match output.words() {
        words if words.is_empty() => {
            NfioError::command(format!("{word} ended with exit code {} and said nothing", output.exit_code))
        }
        words => NfioError::command(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use middlebox_sdk::testing::{Call, Guest};

    const DAEMON: Daemon = Daemon::new("/etc/some", "name=some\n");

    fn exits(exit_code: i32, words: &'static str) -> Guest {
        let answer = move |_: &_| Output { exit_code, stderr: words.into(), ..Output::default() };
        Guest::new("some", "a").on_execute(answer)
    }

    #[test]
    fn the_first_process_is_the_script_with_the_types_part_first() {
        let guest = Guest::new("some", "a");
        DAEMON.prepare(&guest.during(Call::Prepare)).unwrap();
        let script = &guest.put_files()[0];
        assert_eq!((script.path.as_str(), script.mode), (SCRIPT, 0o755));
        assert!(script.data.starts_with(b"name=some\n") && script.data.ends_with(COMMON.as_bytes()));
        assert_eq!(guest.command().unwrap(), ["sh", SCRIPT, "supervise"]);
    }

    #[test]
    fn nf_conf_is_put_aside_and_the_guest_does_the_rest() {
        let guest = Guest::new("some", "a");
        DAEMON.configure(&guest.during(Call::Configure), b"x").unwrap();
        assert_eq!(guest.put_files()[0].path, "/etc/some/nf_conf");
        assert_eq!(guest.commands()[0].argv, ["sh", SCRIPT, "apply", "nf_conf"]);
        let guest = Guest::new("some", "a");
        DAEMON.configure(&guest.during(Call::Configure), b"").unwrap();
        assert!(guest.put_files().is_empty());
        assert_eq!(guest.commands()[0].argv, ["sh", SCRIPT, "apply", "image"]);
    }

    #[test]
    fn what_is_wrong_with_nf_conf_is_told_from_what_else_fails() {
        let error = DAEMON.configure(&exits(2, "line 1: no\n").vnf(), b"x").unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (720, "config/nf_conf: line 1: no"));
        let error = DAEMON.configure(&exits(1, "").vnf(), b"x").unwrap_err();
        assert_eq!(error.code(), 703);
        assert!(error.to_string().contains("exit code 1"), "{error}");
        assert_eq!(DAEMON.command(&exits(2, "no").vnf(), "start").unwrap_err().code(), 703);
    }

    #[test]
    fn the_access_log_is_the_marked_whole_lines() {
        assert!(COMMON.contains(&format!("mark='{}'", str::from_utf8(MARK).unwrap())));
        let guest = Guest::new("some", "a").with_log("access: one\nan error\naccess: \u{ff}\naccess: tw");
        assert_eq!(access_log(&guest.during(Call::Getattr)).unwrap(), "one\n\u{ff}\n".as_bytes());
    }
}
