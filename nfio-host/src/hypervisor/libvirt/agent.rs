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
/// The most of a stream in one answer: libvirt carries at most 4 MiB, in Base64.
const PIECE: usize = 1 << 20;
/// The most that goes to the guest at once: an agent without KVM does not take 1 MiB within 15 s.
const INPUT: usize = 64 << 10;
/// How long the agent may take for one answer, in whole seconds.
const ANSWER: i32 = 15;
/// How long it may take to say that it is there, in whole seconds.
const PING: i32 = 5;
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
    ask_within(domain, command, ANSWER)
}

fn ask_within<T: DeserializeOwned>(domain: &Domain, command: &Value, seconds: i32) -> Result<T, Failure> {
    let text = domain.qemu_agent_command(&command.to_string(), seconds, 0)?;
    let answer: Answer<T> = serde_json::from_str(&text)
        .map_err(|e| Failure::Refused(format!("the guest agent's answer is not understood: {e}")))?;
    Ok(answer.value)
}

/// Waits until the agent answers, at most until `until`: it is one of the last things that a guest starts.
pub(super) fn wait(domain: &Domain, until: Instant) -> Result<(), Failure> {
    let mut pause = PAUSE.0;
    loop {
        match ask_within::<Value>(domain, &json!({"execute": "guest-ping"}), PING) {
            Ok(_) => return Ok(()),
            Err(Failure::Silent(_)) if Instant::now() < until => {}
            Err(failure) => return Err(failure),
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Asks the guest to end. One that does gives no answer, and one that does not is seen to go on.
pub(super) fn shutdown(domain: &Domain) {
    if ask_within::<Value>(domain, &json!({"execute": "guest-ping"}), 1).is_ok() {
        let _ = ask_within::<Value>(domain, &json!({"execute": "guest-shutdown"}), 1);
    }
}

/// Runs a command and waits for it, at most for `limit`; then it is killed.
///
/// Its streams go to files of the guest first, a reader each keeps what there is room for: an answer of libvirt's has at
/// most 4 MiB, the agent would wait for children in the background that have the streams, and hold what nobody reads.
pub(super) fn execute(domain: &Domain, execution: &Execution, limit: Duration) -> Result<Output, Failure> {
    let place = format!("/tmp/.nfio-{}", uuid::Uuid::new_v4());
    let numbers = [LIMIT.to_string(), PIECE.to_string()];
    let mut argv = vec!["-c", RUN, "sh", &place, &numbers[0], &numbers[1]];
    argv.extend(execution.argv.iter().map(String::as_str));
    let begin = Instant::now();
    let short = execution.stdin.len() <= INPUT;
    if !short {
        let script = "umask 077; mkdir -p \"$1\" && cat >> \"$1/in\"";
        for piece in execution.stdin.chunks(INPUT) {
            let kept = plain(domain, &["-c", script, "sh", &place], piece, limit)?;
            if kept.is_none_or(|kept| kept.exit_code != 0) {
                return Err(Failure::Refused(
                    "the command's input cannot be kept in the guest's /tmp".into(),
                ));
            }
        }
    }
    let input = if short { &execution.stdin[..] } else { b"" };
    let Some(mut output) = plain(domain, &argv, input, limit)? else {
        kill(domain, &place);
        let words = format!("the command did not end within {} s; it was killed", limit.as_secs());
        return Err(Failure::Refused(words));
    };
    let full = |stream: &[u8]| stream.len() >= PIECE;
    if full(&output.stdout) || full(&output.stderr) {
        for (file, stream) in [("out", &mut output.stdout), ("err", &mut output.stderr)] {
            let script = "tail -c +$(($3 + 1)) \"$1/$2\" 2>/dev/null | head -c $(($4 - $3))";
            let argv = ["-c", script, "sh", &place, file, &numbers[1], &numbers[0]];
            let rest = plain(domain, &argv, b"", limit.saturating_sub(begin.elapsed()))?;
            stream.extend(rest.map(|rest| rest.stdout).unwrap_or_default());
        }
        plain(domain, &["-c", "rm -rf \"$1\"", "sh", &place], b"", limit)?;
    }
    Ok(output)
}

/// Words: a directory that is not there yet, the most that is kept of a stream, the most that is answered at once, and
/// the command. The exit code is the command's; files stay only where there is more to answer.
const RUN: &str = r#"d=$1 limit=$2 piece=$3
shift 3
[ ! -e "$d/in" ] || exec < "$d/in"
{ mkdir -p -m 700 "$d" && mkfifo "$d/o" "$d/e"; } 2>/dev/null || exec "$@"
keep() {
    exec > /dev/null 2>&1
    # Not head, which would hold back what it read until the stream ends.
    { (trap '' XFSZ; ulimit -f $((limit / 512)); exec cat > "$d/$2"); cat > /dev/null; } < "$d/$1"
    : > "$d/$2.end"
}
# Nothing but this shell holds the agent's own streams (a redirection without exec leaves copies of them); what it says of signals is nobody's.
keep o out &
keep e err &
exec 3>&2 2> /dev/null
sh -c 'echo $$ > "$0/pid"; exec "$@"' "$d" "$@" > "$d/o" 2> "$d/e" 3>&-
code=$?
# What it left in the background may hold the streams for ever.
tries=0
until { [ -e "$d/out.end" ] && [ -e "$d/err.end" ]; } || [ $tries -ge 20 ]; do
    tries=$((tries + 1))
    sleep 0.05 2>/dev/null || sleep 1
done
head -c "$piece" "$d/out"
head -c "$piece" "$d/err" >&3
if [ "$(wc -c < "$d/out")" -lt "$piece" ] && [ "$(wc -c < "$d/err")" -lt "$piece" ]; then rm -rf "$d"; fi
exit $code"#;

/// Runs `sh` with these words and waits for it; None: it did not end within `limit`.
fn plain(domain: &Domain, argv: &[&str], stdin: &[u8], limit: Duration) -> Result<Option<Output>, Failure> {
    let command = json!({"execute": "guest-exec", "arguments": {
        "path": "sh",
        "arg": argv,
        "input-data": BASE64.encode(stdin),
        "capture-output": true,
    }});
    let started: Started = ask(domain, &command)?;
    let (until, mut pause) = (Instant::now() + limit, PAUSE.0);
    loop {
        let status = json!({"execute": "guest-exec-status", "arguments": {"pid": started.pid}});
        let ended: Ended = ask(domain, &status)?;
        if ended.exited {
            return output(ended).map(Some);
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn output(ended: Ended) -> Result<Output, Failure> {
    let decode = |text: &str| {
        BASE64
            .decode(text)
            .map_err(|e| Failure::Refused(format!("the guest agent's answer is no Base64: {e}")))
    };
    let exit_code = ended.exit_code.unwrap_or_else(|| 128 + ended.signal.unwrap_or(0));
    Ok(Output { exit_code, stdout: decode(&ended.out_data)?, stderr: decode(&ended.err_data)? })
}

/// Kills the command in `place`. The failure to tell is that the command did not end.
fn kill(domain: &Domain, place: &str) {
    let script = "kill -9 \"$(cat \"$1/pid\")\"; rm -rf \"$1\"";
    let arguments = json!({"path": "sh", "arg": ["-c", script, "sh", place]});
    let _ = ask::<Started>(domain, &json!({"execute": "guest-exec", "arguments": arguments}));
}

/// Writes a file; directories on the way are made (0755).
pub(super) fn put(domain: &Domain, file: &PutFile, limit: Duration) -> Result<(), Failure> {
    // What a user wrote reaches the shell as words and on stdin, never as script.
    const BEGIN: &str = "umask 022; mkdir -p -- \"${1%/*}/\" && umask 077 && cat > \"$1\"";
    const MORE: &str = "cat >> \"$1\"";
    const END: &str = "chmod \"$2\" \"$1\"";
    let mode = format!("{:o}", file.mode & 0o7777);
    let run = |script: &str, piece: &[u8]| {
        let Some(done) = plain(domain, &["-c", script, "sh", &file.path, &mode], piece, limit)? else {
            let words = format!("{} was not written within {} s", file.path, limit.as_secs());
            return Err(Failure::Refused(words));
        };
        if done.exit_code == 0 {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Err(Failure::Refused(format!("{} cannot be written: {words}", file.path)))
    };
    let mut pieces = file.data.chunks(INPUT);
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
}
