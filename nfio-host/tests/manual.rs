//! Completions and man pages say what the help says.

use std::fs;
use std::process::{Command, Output};

fn nfio(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nfio")).args(words).output().unwrap()
}

/// What it prints when it succeeds.
fn text(words: &[&str]) -> String {
    let output = nfio(words);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands below these words, as their help lists them.
fn commands(words: &[&str]) -> Vec<String> {
    let help = text(&[words, &["-h"]].concat());
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    listed.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// The long options of `nfio mount`, as its help lists them.
fn options_of_mount() -> Vec<String> {
    let help = text(&["mount", "-h"]);
    let words = help.split([' ', ',', '\n']).filter(|word| word.starts_with("--"));
    let options: Vec<String> = words.map(str::to_owned).collect();
    assert!(options.len() > 6 && !options.contains(&"--in-background".to_owned()), "{options:?}");
    options
}

/// What bash offers behind these words, the last of which is being typed.
fn completed(words: &[&str]) -> Vec<String> {
    let completions = tempfile::NamedTempFile::new().unwrap();
    fs::write(completions.path(), text(&["completions", "bash"])).unwrap();
    let script = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        _nfio nfio \"${@: -1}\" \"${@: -2:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script, "bash"]).arg(completions.path()).args(words);
    let output = bash.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_command_and_option_that_the_help_shows() {
    let offered = completed(&["nfio", ""]);
    assert!(commands(&[]).iter().all(|command| offered.contains(command)), "{offered:?}");
    assert_eq!(completed(&["nfio", "plugin", "c"]), ["check"]);
    let mut offered = completed(&["nfio", "mount", "--"]);
    let mut shown = options_of_mount();
    offered.sort();
    shown.sort();
    assert_eq!(offered, shown);
    assert_eq!(completed(&["nfio", "mount", "--log-level", "d"]), ["debug"]);
}

#[test]
fn every_shell_gets_a_script_that_names_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        assert!(commands(&[]).iter().all(|command| script.contains(command)), "{shell}");
        assert!(!script.contains("in-background"), "{shell} completes what the help hides");
    }
}

#[test]
fn there_is_a_man_page_of_every_command_with_all_its_options() {
    let directory = tempfile::tempdir().unwrap();
    text(&["man", directory.path().to_str().unwrap()]);
    let page = |name: &str| {
        let page = fs::read_to_string(directory.path().join(format!("{name}.1")));
        page.unwrap_or_else(|e| panic!("{name}: {e}")).replace("\\-", "-")
    };
    let top = commands(&[]);
    for name in &top {
        assert!(page("nfio").contains(&format!("nfio-{name}(1)")), "{name}");
        assert!(page(&format!("nfio-{name}")).contains(".SH NAME"), "{name}");
    }
    let below = commands(&["plugin"]);
    for name in &below {
        page(&format!("nfio-plugin-{name}"));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1 + top.len() + below.len());
    let mount = page("nfio-mount");
    for option in options_of_mount() {
        assert!(mount.contains(&format!("\\fB{option}\\fR")), "{option}");
    }
    assert!(!mount.contains("in-background"));
}

#[test]
fn a_directory_that_takes_no_man_pages_is_named() {
    let output = nfio(&["man", "/none"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.starts_with("nfio: /none: ") && told.lines().count() == 1, "{told}");
}
