//! Helpers: our own binary, exec'd with the hidden subcommand `oci`. libcontainer forks, which a process with
//! threads must not, and a fork of the daemon would keep /dev/fuse open.
//!
//! | | stdin | stdout |
//! |---|---|---|
//! | `oci run DIR` | [`Prepared`] as JSON | one line: [`Started`] or [`Failed`] |
//! | `oci join SECONDS` | who is joined and argv as a line of JSON, then the command's stdin | as `exec` |
//! | `oci exec DIR SECONDS` | argv as a line of JSON, then the command's stdin | a line: [`Executed`] or [`Failed`], then the command's stdout and stderr |

use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::binary::Binary;
use super::state::GuestDir;
use super::{exec, join, monitor};
use crate::descriptors;
use crate::error::{HypervisorError, NfioError, Result};
use crate::fault::{self, Step};
#[cfg(feature = "libvirt")]
use crate::hypervisor::container::process::Identity;
use crate::hypervisor::{Execution, Output, Prepared};

/// A guest that has been started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) pid: i32,
}

/// A command that has been run, and how many bytes of its output follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Executed {
    pub(super) exit_code: i32,
    pub(super) stdout: usize,
    pub(super) stderr: usize,
}

/// What went wrong, with its class.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failed {
    code: i32,
    errno: i32,
    message: String,
}

#[derive(Serialize, Deserialize)]
enum Answer<T> {
    Done(T),
    Failed(Failed),
}

/// The hidden subcommand: what follows `oci` on the command line.
pub fn helper_main(args: &[OsString]) -> ExitCode {
    // SAFETY: closes descriptors that this program has not made and nothing in it refers to.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if let Err(e) = descriptors::limit_as_guest() {
        eprintln!("nfio oci: the limit of descriptors cannot be set: {e}");
        return ExitCode::FAILURE;
    }
    // Named after the descriptor that it was executed from, it would be a riddle in every list of processes.
    let _ = nix::sys::prctl::set_name(c"nfio-oci");
    let seconds = |text: &OsString| text.to_str()?.parse().ok().map(Duration::from_secs);
    match args {
        [what, dir] if what == "run" => monitor::main(GuestDir::new(dir)),
        [what, dir, limit] if what == "exec" && seconds(limit).is_some() => {
            exec::main(&GuestDir::new(dir), seconds(limit).unwrap_or_default())
        }
        [what, limit] if what == "join" && seconds(limit).is_some() => {
            join::main(seconds(limit).unwrap_or_default())
        }
        _ => {
            eprintln!("nfio oci is not for people: nfio calls it itself for its guests");
            ExitCode::from(2)
        }
    }
}

/// Starts a monitor and waits until its guest runs.
pub(super) fn run(helper: &Binary, dir: &GuestDir, prepared: &Prepared) -> Result<Started> {
    let input = serde_json::to_vec(prepared).map_err(|e| lost(&e.to_string()))?;
    let (started, _) =
        talk(helper, &["run".as_ref(), dir.path().as_ref()], &dir.join("helper.log"), &[&input])?;
    Ok(started)
}

/// Runs a command in a guest, for as long as `limit`.
pub(super) fn execute(
    helper: &Binary,
    dir: &GuestDir,
    execution: &Execution,
    limit: Duration,
) -> Result<Output> {
    let mut argv = serde_json::to_vec(&execution.argv).map_err(|e| lost(&e.to_string()))?;
    argv.push(b'\n');
    let limit = limit.as_secs().to_string();
    let words = ["exec".as_ref(), dir.path().as_ref(), limit.as_ref()];
    output(talk(helper, &words, &dir.join("helper.log"), &[&argv, &execution.stdin])?)
}

/// Runs a command beside `init`, the first process of a container that another engine runs, for as long as `limit`.
#[cfg(feature = "libvirt")]
pub(in crate::hypervisor) fn join(
    helper: &Binary,
    init: &Identity,
    log: &Path,
    execution: &Execution,
    limit: Duration,
) -> Result<Output> {
    let mut head = serde_json::to_vec(&(init, &execution.argv)).map_err(|e| lost(&e.to_string()))?;
    head.push(b'\n');
    let limit = limit.as_secs().to_string();
    output(talk(helper, &["join".as_ref(), limit.as_ref()], log, &[&head, &execution.stdin])?)
}

fn output((executed, mut rest): (Executed, Vec<u8>)) -> Result<Output> {
    if rest.len() != executed.stdout + executed.stderr {
        return Err(lost("its answer is cut off"));
    }
    let stderr = rest.split_off(executed.stdout);
    Ok(Output { exit_code: executed.exit_code, stdout: rest, stderr })
}

fn talk<T: for<'a> Deserialize<'a>>(
    helper: &Binary,
    words: &[&OsStr],
    log: &Path,
    input: &[&[u8]],
) -> Result<(T, Vec<u8>)> {
    // A disk that is full or read-only costs its complaints, not the guest.
    let complaints = OpenOptions::new().create(true).append(true).mode(0o600).open(log);
    let complaints = complaints.map_or_else(|_| Stdio::null(), Stdio::from);
    let helper = helper.path().map_err(|e| lost(&e.to_string()))?;
    let mut child = Command::new(&helper)
        .arg0("nfio")
        .arg("oci")
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(complaints)
        .spawn()
        .map_err(|e| lost(&format!("{} cannot be started: {e}", helper.display())))?;
    let mut answer = Vec::new();
    let result = (|| {
        // A helper reads all of its input before it answers, so one after the other is enough. One that does
        // not read says why in its answer, or has none.
        let mut stdin = child.stdin.take();
        for part in input {
            match stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(part)) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(e),
                _ => {}
            }
        }
        drop(stdin);
        fault::at(Step::OciAsked);
        child.stdout.take().map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut answer)).map(drop)
    })();
    // Reaps it also where it could not be talked to; a monitor has by now left this process behind.
    let status = child.wait();
    result.map_err(|e| lost(&e.to_string()))?;
    let Some(end) = answer.iter().position(|byte| *byte == b'\n') else {
        let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        return Err(lost(&format!("it ended without an answer ({status})")));
    };
    let rest = answer.split_off(end + 1);
    match serde_json::from_slice(&answer).map_err(|e| lost(&e.to_string()))? {
        Answer::Done(done) => Ok((done, rest)),
        Answer::Failed(failed) => Err(NfioError::from_code(failed.code, failed.errno, failed.message)),
    }
}

fn lost(why: &str) -> NfioError {
    HypervisorError::Connection(format!("nfio's helper process failed: {why}")).into()
}

/// The helper's side: the answer's line, then bytes.
pub(super) fn answer<T: Serialize>(result: Result<T>, bytes: &[&[u8]]) -> io::Result<()> {
    let answer = match result {
        Ok(done) => Answer::Done(done),
        Err(e) => Answer::Failed(Failed { code: e.code(), errno: e.errno(), message: e.to_string() }),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    bytes.iter().try_for_each(|part| stdout.write_all(part))?;
    stdout.flush()
}

/// A line for helper.log. What cannot be written there (a full disk) is lost: nothing may depend on it.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The sentence of an error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
