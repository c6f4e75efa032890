//! `nfio completions` and `nfio man`: the command line's definition once more, for shells and for man(1).

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::Path;

use super::Cli;
use crate::error::{NfioError, Result};

/// Prints what `shell` completes with.
pub(super) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "nfio", &mut script);
    // A reader that has gone away (`| head`) needs no more of it.
    let _ = std::io::stdout().write_all(&script);
}

/// Writes a page for nfio and one for each of its commands.
///
/// # Errors
/// A directory that is not there or cannot be written, by its name.
pub(super) fn pages(directory: &Path) -> Result<()> {
    clap_mangen::generate_to(Cli::command(), directory).map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        let text = format!("{}: no man pages can be written there: {e}", directory.display());
        NfioError::posix(errno, text)
    })
}

/// A command without what its help hides, which clap_complete would complete.
fn shown(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned())
        .disable_help_subcommand(true)
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommands(command.get_subcommands().map(self::shown));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    shown
}
