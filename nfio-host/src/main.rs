//! The binary `nfio`: a thin door to the library.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // The embedded runtime forks, so it works in processes of its own: this same binary. They take neither the
    // command line's definition nor its messages, so they are told apart before anything else happens.
    if args.get(1).is_some_and(|word| word == "oci") {
        return nfio_host::hypervisor::oci::helper_main(&args[2..]);
    }
    nfio_host::cli::run(args)
}
