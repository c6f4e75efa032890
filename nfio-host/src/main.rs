//! The binary `nfio`: a thin door to the library.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // The embedded runtime forks, and plugins are tried before they are believed, so both work in processes of their
    // own: this same binary. They take neither the command line's definition nor its messages, so they are told apart
    // before anything else happens.
    match args.get(1).and_then(|word| word.to_str()) {
        Some("oci") => nfio_host::hypervisor::oci::helper_main(&args[2..]),
        Some("module") => nfio_host::modules::helper_main(&args[2..]),
        _ => nfio_host::cli::run(args),
    }
}
