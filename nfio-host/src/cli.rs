//! The command line: words to calls. Its one definition is here; what a command does stands in the file of its
//! name (of `completions` and `man`: `manual.rs`). A wrong use ends with 2 and clap's help; everything else that fails with 1 and one sentence on stderr.

mod daemon;
mod doctor;
mod manual;
mod memory;
mod mount;
mod mountpoint;
mod plugin;
mod plugin_new;
mod serve;
mod signals;
mod umount;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, LogLevel};
use crate::error::NfioError;
use crate::root::Relocation;

/// The Linux file system as the interface for orchestrating virtual network functions
///
/// mkdir makes one, `echo activate > action` deploys it, `cat stats/rx_bytes` reads it, rmdir removes it.
#[derive(Debug, Parser)]
#[command(name = "nfio", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Mount ROOT at MOUNTPOINT; returns when the file system is ready
    Mount(MountArgs),
    /// Unmount MOUNTPOINT; guests go on
    Umount {
        /// Where the file system is mounted
        mountpoint: PathBuf,
    },
    /// Look at plugins, or begin one
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Tell what this machine can run, and how to mend what is missing
    Doctor {
        /// Directory of the plugins [default: as in nfio.toml, or plugins]
        #[arg(long, value_name = "DIR")]
        module_root: Option<PathBuf>,
        /// The nfio.toml to read
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print what a shell completes nfio's words with
    Completions {
        /// For bash: nfio completions bash > /etc/bash_completion.d/nfio
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory: nfio.1, nfio-mount.1 and so on
    Man {
        /// An existing directory, for example /usr/local/share/man/man1
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Judge a plugin without a mount: what it is, and whether it answers every call as it should
    Check {
        /// The plugin's shared object
        #[arg(value_name = "FILE.so")]
        file: PathBuf,
    },
    /// List the plugins of module_root with type, version and state
    List {
        /// Directory of the plugins [default: as in nfio.toml, or plugins]
        #[arg(long, value_name = "DIR")]
        module_root: Option<PathBuf>,
        /// The nfio.toml to read
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Write a crate for a type of your own, which builds, passes its tests and loads
    New {
        /// Its name and its new directory, for example demo-box; the type is then demo_box
        name: String,
        /// Directory of middlebox-sdk [default: that of the checkout this nfio was built from, or the repository's]
        #[arg(long, value_name = "PATH")]
        sdk: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct MountArgs {
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    foreground: bool,
    /// What runs the guests: Oci, Docker or Libvirt [default: Docker]
    #[arg(long, value_name = "TYPE")]
    hypervisor: Option<String>,
    /// Directory of the plugins [default: plugins]
    #[arg(long, value_name = "DIR")]
    module_root: Option<PathBuf>,
    /// The nfio.toml to read [default: /etc/nfio/nfio.toml, where it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Mount options, for example allow_other
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    options: Vec<String>,
    /// ROOT was moved here from another path or machine
    #[arg(long, conflicts_with = "root_copied")]
    root_moved: bool,
    /// ROOT is a copy whose original goes on: it gets a UUID of its own and no guests
    #[arg(long)]
    root_copied: bool,
    /// We are the background process: the mount command waits at our stdout.
    #[arg(long = daemon::FLAG, hide = true)]
    background: bool,
    /// Backing directory with all persistent state
    root: PathBuf,
    /// Empty directory where the file system appears
    mountpoint: PathBuf,
}

impl MountArgs {
    /// Why ROOT is not where it was last.
    fn relocation(&self) -> Relocation {
        match (self.root_moved, self.root_copied) {
            (true, _) => Relocation::Moved,
            (_, true) => Relocation::Copied,
            _ => Relocation::None,
        }
    }

    /// The configuration of this mount: the file's, overruled by the command line.
    fn config(&self) -> crate::error::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        config.foreground |= self.foreground;
        if let Some(hypervisor) = &self.hypervisor {
            config.hypervisor.clone_from(hypervisor);
        }
        if let Some(module_root) = &self.module_root {
            config.module_root.clone_from(module_root);
        }
        if let Some(level) = self.log_level {
            config.log_level = level;
        }
        crate::config::check_options(&self.options)?;
        config.options.extend(self.options.iter().cloned());
        Ok(config)
    }
}

/// Does what the command line (with the program's name first) says.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(usage) => {
            // A reader that has gone away cannot be told anything.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Mount(args) if args.background => return mount::background(&args),
        Command::Mount(args) => mount::run(&args),
        Command::Umount { mountpoint } => umount::run(&mountpoint),
        // All of nfio.toml counts here: a mount would go by its allow-list.
        Command::Plugin(PluginCommand::List { module_root, config }) => Config::load(config.as_deref())
            .and_then(|config| plugin::list(&module_root.unwrap_or(config.module_root), &config.modules)),
        Command::Plugin(PluginCommand::Check { file }) => match plugin::check(&file) {
            Ok(code) => return code,
            Err(e) => Err(e),
        },
        Command::Plugin(PluginCommand::New { name, sdk }) => plugin_new::run(&name, sdk.as_deref()),
        Command::Doctor { module_root, config } => match module_root_of(module_root, config) {
            Ok(dir) => return doctor::run(&dir),
            Err(e) => Err(e),
        },
        Command::Completions { shell } => {
            manual::completions(shell);
            Ok(())
        }
        Command::Man { directory } => manual::pages(&directory),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "nfio: {}", sentence(&e));
            ExitCode::FAILURE
        }
    }
}

/// An error as one line.
fn sentence(error: &NfioError) -> String {
    error
        .to_string()
        .split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn module_root_of(given: Option<PathBuf>, config: Option<PathBuf>) -> crate::error::Result<PathBuf> {
    // What the command line says is enough: a nfio.toml that is broken elsewhere need not stand in the way.
    match (given, config) {
        (Some(dir), None) => Ok(dir),
        (given, config) => {
            let config = Config::load(config.as_deref())?;
            Ok(given.unwrap_or(config.module_root))
        }
    }
}

/// Sends log lines of `level` and above to stderr, wherever that leads.
fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    // Details of our own crates only: those of libraries are not the operator's.
    let others = level.min(tracing::Level::WARN);
    let filter = tracing_subscriber::EnvFilter::new(format!("{others},nfio_host={level}"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn mount_args(line: &str) -> MountArgs {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Mount(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "hypervisor = \"Libvirt\"\nmodule_root = \"/a\"\nlog_level = \"warn\"\noptions = [\"allow_other\"]\n",
        )
        .unwrap();
        let path = file.path().display();
        let read = mount_args(&format!("nfio mount --config {path} /r /m")).config().unwrap();
        assert_eq!((read.hypervisor.as_str(), read.log_level), ("Libvirt", LogLevel::Warn));
        let line = format!(
            "nfio mount -f --config {path} --hypervisor Oci --module-root /b --log-level debug -o ro,noatime /r /m"
        );
        let config = mount_args(&line).config().unwrap();
        assert!(config.foreground);
        assert_eq!((config.hypervisor.as_str(), config.log_level), ("Oci", LogLevel::Debug));
        assert_eq!(config.module_root, PathBuf::from("/b"));
        assert_eq!(config.options, ["allow_other", "ro", "noatime"]);
    }

    #[test]
    fn an_error_of_several_lines_becomes_one() {
        assert_eq!(sentence(&NfioError::posix(5, "a\n  b\n\nc\n")), "a; b; c");
    }
}
