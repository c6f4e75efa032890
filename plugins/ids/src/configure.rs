//! Gives nf_conf to the running Suricata: judged first, then all of it or nothing.

use middlebox_sdk::{NfioError, Result, Vnf};

use crate::config::{self, CONFIGURED, NEW_RULES, NEW_YAML, RULES, YAML};
use crate::engine;

/// How many of Suricata's lines about wrong rules an error holds.
const TOLD: usize = 20;

pub(crate) fn configure(vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
    engine::wait(vnf)?;
    if engine::watches_anew(vnf)? {
        engine::wait(vnf)?;
    }
    vnf.put_file(NEW_RULES, 0o644, nf_conf)?;
    vnf.put_file(NEW_YAML, 0o644, config::yaml(nf_conf).as_bytes())?;
    if has_started_with_it(vnf)? {
        // Suricata starts without the rules that it does not understand.
        if !config::is_empty(nf_conf) && engine::has_failed_rules(vnf)? {
            judge(vnf)?;
            return Err(NfioError::configuration(
                "Suricata left rules of nf_conf out: see log for what it says",
            ));
        }
    } else {
        if !config::is_empty(nf_conf) {
            judge(vnf)?;
        }
        swap(vnf)?;
    }
    vnf.put_file(CONFIGURED, 0o644, b"")
}

/// Whether Suricata has just started and has loaded this very nf_conf: large rule sets take their time to load, which
/// is not spent twice.
fn has_started_with_it(vnf: &Vnf<'_>) -> Result<bool> {
    let script = format!("test ! -e {CONFIGURED} && cmp -s {NEW_RULES} {RULES} && cmp -s {NEW_YAML} {YAML}");
    Ok(engine::run(vnf, &["sh", "-c", &script])?.success())
}

/// Has a Suricata of its own judge the rules to come.
fn judge(vnf: &Vnf<'_>) -> Result<()> {
    let output = engine::run(vnf, &["suricata", "-T", "-c", NEW_YAML, "-S", NEW_RULES])?;
    if output.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(NfioError::configuration(as_the_users(&String::from_utf8_lossy(&said), output.exit_code)))
}

/// Suricata's words about what is wrong, with lines of nf_conf in place of those of the file that it read.
fn as_the_users(said: &str, exit_code: i32) -> String {
    let read = format!("from file {NEW_RULES} at line ");
    let errors: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("E: "))
        .map(|line| line.replace(&read, "at nf_conf:"))
        .collect();
    if errors.is_empty() {
        return format!("nf_conf: suricata -T ended with exit code {exit_code}: {}", said.trim());
    }
    let more = match errors.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("\nand {more} more lines"),
    };
    errors[..errors.len().min(TOLD)].join("\n") + &more
}

/// Puts the new files in place and has Suricata load them; where that fails, the old ones are put back.
fn swap(vnf: &Vnf<'_>) -> Result<()> {
    let put = format!(
        "cp -p {RULES} {RULES}.old && cp -p {YAML} {YAML}.old && mv {NEW_RULES} {RULES} && mv {NEW_YAML} {YAML}"
    );
    let put_back = format!("mv {RULES}.old {RULES} && mv {YAML}.old {YAML}");
    vnf.run(&["sh", "-c", &put], b"")?;
    engine::reload(vnf).map_err(|error| match vnf.run(&["sh", "-c", &put_back], b"") {
        Ok(_) => error,
        Err(left) => NfioError::command(format!("{error}; and the old rules could not be put back: {left}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ids;
    use middlebox_sdk::testing::{Call, Command, Guest};
    use middlebox_sdk::{Middlebox, Output};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const RULE: &[u8] = b"alert icmp any any -> any any (sid:1;)\n";

    fn saying(text: &str) -> Output {
        Output { stdout: text.into(), ..Output::default() }
    }

    fn failing(exit_code: i32, text: &str) -> Output {
        Output { exit_code, stdout: text.into(), ..Output::default() }
    }

    /// What a guest answers that runs: `fresh`, with this nf_conf loaded, of which `failed` rules were refused.
    fn answers(fresh: bool, failed: bool, verdict: Output) -> impl Fn(&Command) -> Output + Send + Sync {
        let loadings = AtomicUsize::new(0);
        move |command| {
            let words: Vec<&str> = command.argv.iter().map(String::as_str).collect();
            match words[..] {
                ["sh", "-c", script] if script.contains("cmp") => failing(i32::from(!fresh), ""),
                ["suricata", "-T", ..] => verdict.clone(),
                ["suricatasc", "-c", "ruleset-failed-rules", _] => saying(if failed {
                    r#"{"message":[{"line":1}],"return":"OK"}"#
                } else {
                    r#"{"message":[],"return":"OK"}"#
                }),
                ["suricatasc", "-c", "ruleset-reload-time", _] => {
                    let at = loadings.fetch_add(1, Ordering::Relaxed);
                    saying(&format!(r#"{{"message":[{{"id":0,"last_reload":"{at}"}}],"return":"OK"}}"#))
                }
                ["suricatasc", ..] => saying(r#"{"message":"done","return":"OK"}"#),
                _ => Output::default(),
            }
        }
    }

    fn ran(guest: &Guest, word: &str) -> bool {
        guest.commands().iter().any(|command| command.argv.iter().any(|said| said.contains(word)))
    }

    #[test]
    fn a_start_has_its_rules_already_and_is_only_checked() {
        let guest = Guest::new("ids", "a").on_execute(answers(true, false, Output::default()));
        Ids.prepare(&guest.during(Call::Prepare), RULE).unwrap();
        assert_eq!(guest.put_files()[1].data, RULE);
        assert_eq!(guest.command().unwrap()[2], config::LAUNCHER);
        Ids.configure(&guest.during(Call::Configure), RULE).unwrap();
        assert!(!ran(&guest, "-T") && !ran(&guest, "reload-rules") && ran(&guest, "ruleset-failed-rules"));
        assert_eq!(guest.put_files().last().unwrap().path, CONFIGURED);
    }

    #[test]
    fn a_start_with_wrong_rules_is_refused_in_suricatas_words() {
        let said = format!(
            "i: x\nE: detect-parse: bogus\nE: detect: error parsing \"r\" from file {NEW_RULES} at line 3\n"
        );
        let guest = Guest::new("ids", "a").on_execute(answers(true, true, failing(1, &said)));
        let error = Ids.configure(&guest.during(Call::Configure), RULE).unwrap_err();
        assert_eq!(error.code(), 720);
        assert_eq!(error.to_string(), "detect-parse: bogus\ndetect: error parsing \"r\" at nf_conf:3");
        assert!(guest.put_files().iter().all(|file| file.path != CONFIGURED));
    }

    #[test]
    fn a_reload_is_judged_then_swapped_then_loaded() {
        let guest = Guest::new("ids", "a").on_execute(answers(false, false, Output::default()));
        Ids.configure(&guest.during(Call::Configure), RULE).unwrap();
        let at = |word: &str| {
            guest
                .commands()
                .iter()
                .position(|c| c.argv.iter().any(|said| said.contains(word)))
                .expect("it ran")
        };
        assert!(at("-T") < at("mv ") && at("mv ") < at("reload-rules"));
    }

    #[test]
    fn refused_rules_change_nothing() {
        let guest = Guest::new("ids", "a").on_execute(answers(false, false, failing(1, "E: no\n")));
        assert_eq!(Ids.configure(&guest.during(Call::Configure), RULE).unwrap_err().code(), 720);
        assert!(!ran(&guest, "mv ") && !ran(&guest, "reload-rules"));
        assert!(guest.put_files().iter().all(|file| file.path.ends_with(".new")));
    }

    #[test]
    fn an_empty_nf_conf_goes_back_to_the_images_rules_unjudged() {
        let guest = Guest::new("ids", "a").on_execute(answers(false, false, failing(1, "E: no\n")));
        Ids.configure(&guest.during(Call::Configure), b"\n").unwrap();
        assert!(!ran(&guest, "-T") && ran(&guest, "reload-rules"));
    }

    #[test]
    fn a_loading_that_did_not_happen_is_an_error_and_the_old_files_come_back() {
        let guest = Guest::new("ids", "a").on_execute(|command| match command.argv[0].as_str() {
            "sh" => failing(i32::from(command.argv[2].contains("cmp")), ""),
            _ => saying(r#"{"message":"the same","return":"OK"}"#),
        });
        let error = Ids.configure(&guest.during(Call::Configure), RULE).unwrap_err();
        assert_eq!(error.code(), 703);
        assert!(ran(&guest, &format!("mv {RULES}.old {RULES}")));
    }

    #[test]
    fn errors_of_the_guest_pass_unchanged_and_an_image_without_suricata_is_told_so() {
        for (status, code) in [("undeployed", 702), ("exited", 716)] {
            let guest = Guest::new("ids", "a").with_status(status);
            assert_eq!(Ids.configure(&guest.vnf(), RULE).unwrap_err().code(), code);
            assert_eq!(Ids.read(&guest.during(Call::Read), "stats/alerts").unwrap_err().code(), code);
            assert_eq!(Ids.read(&guest.during(Call::Read), "alerts").unwrap(), b"");
        }
        let bare = Guest::new("ids", "a").on_execute(|_| failing(127, "not found"));
        let error = Ids.read(&bare.during(Call::Read), "stats/alerts").unwrap_err();
        assert!(error.code() == 703 && error.to_string().contains("suricata.sh"), "{error}");
    }

    #[test]
    fn long_complaints_are_cut() {
        let told = as_the_users(&"E: no\n".repeat(50), 1);
        assert!(told.lines().count() == TOLD + 1 && told.ends_with("and 30 more lines"), "{told}");
        assert!(as_the_users("killed", 137).contains("137: killed"));
    }

    #[test]
    fn alerts_are_counted_by_suricata_and_listed_from_the_guests_log() {
        let line = "{\"timestamp\":\"2026-11-22T15:15:18.888576+0000\",\"event_type\":\"alert\"}\n";
        let guest = Guest::new("ids", "a")
            .with_log(format!("i: up\n{line}"))
            .on_execute(|_| saying(r#"{"message":{"detect":{"alert":7}},"return":"OK"}"#));
        assert_eq!(Ids.read(&guest.during(Call::Read), "stats/alerts").unwrap(), b"7\n");
        assert_eq!(Ids.read(&guest.during(Call::Read), "alerts").unwrap(), line.as_bytes());
        let told = Ids.getattr(&guest.during(Call::Getattr), "alerts").unwrap();
        assert_eq!(told.length, Some(line.len() as u64));
    }
}
