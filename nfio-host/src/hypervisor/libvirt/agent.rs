//! Commands and files in a guest, through the QEMU guest agent (qemu-ga, its protocol: docs/interop/qemu-ga-ref).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

use super::failure;
use crate::hypervisor::{Execution, Output, PutFile};

/// The most that is kept of either stream, in bytes.
const LIMIT: usize = middlebox_sdk::Output::LIMIT;
/// Pieces that a file is written in: a request to libvirt has at most 4 MiB, in Base64.
const PIECE: usize = 1 << 20;
/// How long the agent may take for one answer, in whole seconds.
const ANSWER: i32 = 5;
/// From one question to the next, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Why the agent did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    /// libvirt's own error.
    Libvirt(Error),
    /// Nobody answers for the guest.
    Silent(String),
    /// It answered, with a refusal or with what cannot be understood.
    Refused(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.message().to_owned();
        match () {
            () if failure::is_agent(&error) => Self::Silent(message),
            // libvirt tells a refusal of the agent's as an error of its own.
            () if failure::is(&error, ErrorNumber::InternalError) && message.contains("agent command") => {
                Self::Refused(message)
            }
            () => Self::Libvirt(error),
        }
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    #[serde(rename = "return")]
    value: T,
}

#[derive(Deserialize)]
struct Started {
    pid: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ended {
    exited: bool,
    #[serde(rename = "exitcode")]
    exit_code: Option<i32>,
    signal: Option<i32>,
    #[serde(default)]
    out_data: String,
    #[serde(default)]
    err_data: String,
}

fn ask<T: DeserializeOwned>(domain: &Domain, command: &Value) -> Result<T, Failure> {
    let text = domain.qemu_agent_command(&command.to_string(), ANSWER, 0)?;
    let answer: Answer<T> = serde_json::from_str(&text)
        .map_err(|e| Failure::Refused(format!("the guest agent's answer is not understood: {e}")))?;
    Ok(answer.value)
}

/// Waits until the agent answers, at most until `until`: it is one of the last things that a guest starts.
pub(super) fn wait(domain: &Domain, until: Instant) -> Result<(), Failure> {
    let mut pause = PAUSE.0;
    loop {
        match ask::<Value>(domain, &json!({"execute": "guest-ping"})) {
            Ok(_) => return Ok(()),
            Err(Failure::Silent(_)) if Instant::now() < until => {}
            Err(failure) => return Err(failure),
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Runs a command and waits for it, at most for `limit`; then it is killed.
pub(super) fn execute(domain: &Domain, execution: &Execution, limit: Duration) -> Result<Output, Failure> {
    let Some((program, arguments)) = execution.argv.split_first() else {
        return Err(Failure::Refused("a command needs at least a program".into()));
    };
    let command = json!({"execute": "guest-exec", "arguments": {
        "path": program,
        "arg": arguments,
        "input-data": BASE64.encode(&execution.stdin),
        "capture-output": true,
    }});
    let started: Started = match ask(domain, &command) {
        Err(Failure::Refused(words)) if words.contains("Failed to execute child process") => {
            return Ok(not_run(&words));
        }
        other => other?,
    };
    let (until, mut pause) = (Instant::now() + limit, PAUSE.0);
    loop {
        let status = json!({"execute": "guest-exec-status", "arguments": {"pid": started.pid}});
        let ended: Ended = ask(domain, &status)?;
        if ended.exited {
            return output(ended);
        }
        if Instant::now() >= until {
            kill(domain, started.pid);
            let words = format!("the command did not end within {} s; it was killed", limit.as_secs());
            return Err(Failure::Refused(words));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// As a shell does: 127 for a program that is not there, 126 for one that cannot be run.
fn not_run(words: &str) -> Output {
    let missing = words.contains("No such file or directory");
    let stderr = words.as_bytes().to_vec();
    Output { exit_code: if missing { 127 } else { 126 }, stdout: Vec::new(), stderr }
}

fn output(ended: Ended) -> Result<Output, Failure> {
    let decode = |text: &str| {
        let mut data = BASE64
            .decode(text)
            .map_err(|e| Failure::Refused(format!("the guest agent's answer is no Base64: {e}")))?;
        data.truncate(LIMIT);
        Ok::<_, Failure>(data)
    };
    let exit_code = ended.exit_code.unwrap_or_else(|| 128 + ended.signal.unwrap_or(0));
    Ok(Output { exit_code, stdout: decode(&ended.out_data)?, stderr: decode(&ended.err_data)? })
}

/// The failure to tell is that the command did not end.
fn kill(domain: &Domain, pid: i64) {
    let kill =
        json!({"execute": "guest-exec", "arguments": {"path": "kill", "arg": ["-9", pid.to_string()]}});
    let _ = ask::<Started>(domain, &kill);
}

/// Writes a file; directories on the way are made (0755).
pub(super) fn put(domain: &Domain, file: &PutFile, limit: Duration) -> Result<(), Failure> {
    // What a user wrote reaches the shell as words and on stdin, never as script.
    const BEGIN: &str = "mkdir -p -m 755 -- \"${1%/*}/\" && umask 077 && cat > \"$1\"";
    const MORE: &str = "cat >> \"$1\"";
    const END: &str = "chmod -- \"$2\" \"$1\"";
    let mode = format!("{:o}", file.mode & 0o7777);
    let run = |script: &str, piece: &[u8]| {
        let argv = ["sh", "-c", script, "sh", &file.path, &mode].map(str::to_owned).to_vec();
        let done = execute(domain, &Execution { argv, stdin: piece.to_vec() }, limit)?;
        if done.exit_code == 0 {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Err(Failure::Refused(format!("{} cannot be written: {words}", file.path)))
    };
    let mut pieces = file.data.chunks(PIECE);
    run(BEGIN, pieces.next().unwrap_or_default())?;
    pieces.try_for_each(|piece| run(MORE, piece))?;
    run(END, b"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_and_more_and_both_streams_are_told_apart() {
        let text = r#"{"return": {"exited": true, "signal": 9, "out-data": "b3V0", "err-data": "ZXJy"}}"#;
        let answer: Answer<Ended> = serde_json::from_str(text).unwrap();
        let output = output(answer.value).unwrap();
        assert_eq!(output, Output { exit_code: 137, stdout: b"out".to_vec(), stderr: b"err".to_vec() });
    }

    #[test]
    fn a_program_that_is_not_there_is_127() {
        assert_eq!(not_run("Failed to execute child process “x” (No such file or directory)").exit_code, 127);
        assert_eq!(not_run("Failed to execute child process “x” (Permission denied)").exit_code, 126);
    }
}
