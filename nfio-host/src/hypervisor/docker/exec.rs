//! Commands in a guest.

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::engine::{Engine, QUICK};
use super::failure::Failure;
use super::held::hold;
use crate::hypervisor::{Execution, Output};

/// The most that is kept of either stream, in bytes.
const LIMIT: usize = middlebox_sdk::Output::LIMIT;
/// What runc says on stdout where it cannot run the program.
const NOT_RUN: &[u8] = b"OCI runtime exec failed";

/// Runs a command in a container and waits for it, at most for `limit`; then it is killed where that is possible.
pub(super) async fn execute(
    engine: &Engine,
    container: &str,
    execution: &Execution,
    limit: Duration,
) -> Result<Output, Failure> {
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(execution.argv.clone()),
        // Whoever the guest's own command runs as: nfio configures it.
        user: Some("0:0".into()),
        ..CreateExecOptions::default()
    };
    let made = engine.call(QUICK, async |docker| docker.create_exec(container, options).await).await?;
    let docker = engine.client().await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let talk = async {
        let start = StartExecOptions { output_capacity: Some(64 << 10), ..StartExecOptions::default() };
        let StartExecResults::Attached { mut output, mut input } =
            docker.start_exec(&made.id, Some(start)).await?
        else {
            return Ok(());
        };
        let write = async {
            // A command that ends without reading is none that failed.
            let _ = input.write_all(&execution.stdin).await;
            let _ = input.shutdown().await;
        };
        let read = async {
            while let Some(part) = output.next().await {
                match part? {
                    LogOutput::StdErr { message } => keep(&mut stderr, &message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } => {
                        keep(&mut stdout, &message);
                    }
                    LogOutput::StdIn { .. } => {}
                }
            }
            Ok(())
        };
        // Side by side: a command may fill its output before it reads on.
        tokio::join!(write, read).1
    };
    let talked: Result<Result<(), bollard::errors::Error>, _> = timeout(limit, talk).await;
    match talked {
        Ok(outcome) => outcome?,
        Err(_) => {
            let killed = kill(engine, container, &made.id).await;
            let end = if killed { "it was killed" } else { "it may still run in the guest" };
            return Err(Failure::Refused {
                status: 0,
                message: format!("the command did not end within {} s; {end}", limit.as_secs()),
            });
        }
    }
    let ended = engine.call(QUICK, async |docker| docker.inspect_exec(&made.id).await).await?;
    Ok(judge(ended.exit_code.unwrap_or(-1), stdout, stderr))
}

fn keep(kept: &mut Vec<u8>, part: &[u8]) {
    let room = LIMIT.saturating_sub(kept.len()).min(part.len());
    kept.extend_from_slice(&part[..room]);
}

/// A program that cannot be run is exit code 127 or 126 with the reason on stderr, as in a shell; the engine answers 126 or
/// 127 with the reason on stdout.
fn judge(exit_code: i64, stdout: Vec<u8>, stderr: Vec<u8>) -> Output {
    let not_run = matches!(exit_code, 126 | 127) && stderr.is_empty() && stdout.starts_with(NOT_RUN);
    if !not_run {
        return Output { exit_code: exit_code as i32, stdout, stderr };
    }
    let words = String::from_utf8_lossy(&stdout);
    let missing = words.contains("executable file not found") || words.contains("no such file or directory");
    Output { exit_code: if missing { 127 } else { 126 }, stdout: Vec::new(), stderr: stdout }
}

/// Kills the command, whose process the engine names: possible on this machine alone.
async fn kill(engine: &Engine, container: &str, exec: &str) -> bool {
    if !engine.address.is_local() {
        return false;
    }
    let Ok(running) = engine.call(QUICK, async |docker| docker.inspect_exec(exec).await).await else {
        return false;
    };
    let held = running.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(|pid| hold(pid, container));
    held.is_some_and(|held| held.signal(nix::sys::signal::Signal::SIGKILL).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_127_with_the_reason_on_stderr() {
        let words = b"OCI runtime exec failed: exec failed: unable to start container process: exec: \"x\": executable \
                      file not found in $PATH: unknown\r\n";
        let output = judge(126, words.to_vec(), Vec::new());
        assert_eq!((output.exit_code, output.stdout.len(), output.stderr.len()), (127, 0, words.len()));
        let own = judge(126, b"mine\n".to_vec(), Vec::new());
        assert_eq!((own.exit_code, own.stdout.as_slice()), (126, b"mine\n".as_slice()));
    }
}
