//! Asks the running Suricata, by suricatasc.

use middlebox_sdk::{NfioError, Output, Result, Vnf};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{ENGINE_LOG, LOOK_AGAIN, SOCKET};

/// How long a start may take until Suricata captures: within a verb's deadline of 60 s.
const START: Duration = Duration::from_secs(45);
/// How long Suricata may take until its first statistics, which come a second after its start: within a read's
/// deadline of 5 s.
const STATISTICS: Duration = Duration::from_secs(3);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a program of the image.
pub(crate) fn run(vnf: &Vnf<'_>, argv: &[&str]) -> Result<Output> {
    let output = vnf.execute_in_guest(argv, b"")?;
    if output.not_found() {
        return Err(NfioError::command(format!(
            "the image {} has no {} that runs ({}): name one in machine/vm.image that examples/images/suricata.sh made",
            vnf.image().unwrap_or_default(),
            argv.first().unwrap_or(&""),
            output.words()
        )));
    }
    Ok(output)
}

/// What Suricata answers to a command, or why it does not.
fn answer(vnf: &Vnf<'_>, command: &str) -> Result<std::result::Result<Value, String>> {
    let output = run(vnf, &["suricatasc", "-c", command, SOCKET])?;
    if !output.success() {
        return Ok(Err(output.words()));
    }
    Ok(match serde_json::from_slice::<Value>(&output.stdout) {
        Ok(mut answer) if answer["return"] == "OK" => Ok(answer["message"].take()),
        Ok(answer) => Err(answer["message"].as_str().unwrap_or("it refuses, without a word").to_owned()),
        Err(_) => Err(output.words()),
    })
}

/// What Suricata answers to a command.
fn ask(vnf: &Vnf<'_>, command: &str) -> Result<Value> {
    answer(vnf, command)?.map_err(|why| NfioError::command(format!("Suricata, asked for {command}: {why}")))
}

/// Waits until Suricata captures on all interfaces.
pub(crate) fn wait(vnf: &Vnf<'_>) -> Result<()> {
    // Its socket answers earlier. Asked for in this order: the launcher has taken both files away before Suricata
    // opens the socket, so what the log says then is said by this run.
    let script =
        format!("test -S {SOCKET} && suricatasc -c uptime {SOCKET} && grep -q 'Engine started' {ENGINE_LOG}");
    let start = Instant::now();
    loop {
        let output = run(vnf, &["sh", "-c", &script])?;
        if output.success() {
            return Ok(());
        }
        if start.elapsed() > START {
            return Err(NfioError::command(format!(
                "Suricata does not capture {START:?} after its start: see log for what it says"
            )));
        }
        thread::sleep(PAUSE);
    }
}

/// Has Suricata started again where the guest's interfaces are others than those that it watches: a chain has given it
/// links. Answers whether that was so.
pub(crate) fn watches_anew(vnf: &Vnf<'_>) -> Result<bool> {
    let output = run(vnf, &["sh", "-c", LOOK_AGAIN])?;
    if !output.success() {
        return Err(NfioError::command(format!(
            "the guest's interfaces cannot be listed: {}",
            output.words()
        )));
    }
    Ok(output.stdout.starts_with(b"again"))
}

/// Whether rules were refused when they were loaded.
pub(crate) fn has_failed_rules(vnf: &Vnf<'_>) -> Result<bool> {
    let failed = ask(vnf, "ruleset-failed-rules")?;
    Ok(failed.as_array().is_none_or(|rules| !rules.is_empty()))
}

/// Has Suricata load its rules anew. Packets are watched by the old ones until the new ones are in force.
pub(crate) fn reload(vnf: &Vnf<'_>) -> Result<()> {
    // Suricata answers "done" also when it went on with the old ones; the time of loading tells.
    let before = ask(vnf, "ruleset-reload-time")?;
    ask(vnf, "reload-rules")?;
    if ask(vnf, "ruleset-reload-time")? == before {
        return Err(NfioError::command("Suricata did not load its rules anew: see log for what it says"));
    }
    Ok(())
}

/// Alerts since Suricata's start.
pub(crate) fn alerts(vnf: &Vnf<'_>) -> Result<u64> {
    let start = Instant::now();
    loop {
        match answer(vnf, "dump-counters")? {
            Ok(counters) => {
                return counters["detect"]["alert"].as_u64().ok_or_else(|| {
                    NfioError::command("Suricata's counters hold no detect.alert: the image needs Suricata 7")
                });
            }
            Err(why) if start.elapsed() > STATISTICS => {
                return Err(NfioError::command(format!("Suricata does not tell its counters: {why}")));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
