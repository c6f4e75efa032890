//! Runs nft in the guest.

use middlebox_sdk::{NfioError, Output, Result, Vnf};

use crate::lexer::line_of;

fn words(output: &Output) -> String {
    match output.words() {
        words if !words.is_empty() => words,
        _ if output.exit_code >= 128 => format!("nft itself crashed on it (exit code {})", output.exit_code),
        _ => format!("exit code {}, without a word", output.exit_code),
    }
}

fn run(vnf: &Vnf<'_>, argv: &[&str], stdin: &str) -> Result<Output> {
    let output = vnf.execute_in_guest(argv, stdin.as_bytes())?;
    if output.not_found() {
        return Err(NfioError::command(format!(
            "the image {} has no nft that runs ({}): install nftables in the image, or name one that has it in \
             machine/vm.image",
            vnf.image().unwrap_or_default(),
            words(&output)
        )));
    }
    Ok(output)
}

/// What `nft ARGS` prints.
pub(crate) fn list(vnf: &Vnf<'_>, args: &[&str]) -> Result<String> {
    let argv = [&["nft"], args].concat();
    printed(&argv, run(vnf, &argv, "")?)
}

/// As [`list`], but nothing where the image has no nft: what has no nft, has made no tables with it.
pub(crate) fn list_if_there(vnf: &Vnf<'_>, args: &[&str]) -> Result<Option<String>> {
    let argv = [&["nft"], args].concat();
    let output = vnf.execute_in_guest(&argv, b"")?;
    if output.not_found() { Ok(None) } else { printed(&argv, output).map(Some) }
}

fn printed(argv: &[&str], output: Output) -> Result<String> {
    if !output.success() {
        return Err(NfioError::command(format!("{}: {}", argv.join(" "), words(&output))));
    }
    if output.stdout.len() >= Output::LIMIT {
        return Err(NfioError::command(format!(
            "{} prints more than a command in a guest may",
            argv.join(" ")
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| NfioError::command(format!("{} printed what is not UTF-8", argv.join(" "))))
}

/// Gives `before`, whole lines of ours, and `text` to nft in one transaction; with `check` to its judgement alone.
///
/// # Errors
/// VNFConfigurationError with nft's own words, its lines those of `text`.
pub(crate) fn give(vnf: &Vnf<'_>, check: bool, before: &str, text: &str) -> Result<()> {
    let argv: &[&str] = if check { &["nft", "-c", "-f", "-"] } else { &["nft", "-f", "-"] };
    // nft wants a last newline, and would count a second one as a line.
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let output = run(vnf, argv, &format!("{before}{text}{end}"))?;
    if output.success() {
        return Ok(());
    }
    let lines = line_of(before, before.len()) - 1;
    Err(NfioError::configuration(as_the_users(&words(&output), lines)))
}

/// nft's words with the name and the lines of the user's file in place of those of what it read.
fn as_the_users(words: &str, lines_before: usize) -> String {
    const READ: &str = "/dev/stdin:";
    let mut told = String::new();
    let mut rest = words;
    while let Some(at) = rest.find(READ) {
        let (before, behind) = (&rest[..at], &rest[at + READ.len()..]);
        let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let line = behind[..digits].parse::<usize>().unwrap_or(0).saturating_sub(lines_before);
        told += &format!("{before}nf_conf:{line}");
        rest = &behind[digits..];
    }
    told + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_user() {
        let words =
            "In file included from /dev/stdin:5:1-20:\n/etc/x:5:1-2: Error: a\n/dev/stdin:12:3-4: Error: b";
        assert_eq!(
            as_the_users(words, 2),
            "In file included from nf_conf:3:1-20:\n/etc/x:5:1-2: Error: a\nnf_conf:10:3-4: Error: b"
        );
    }
}
