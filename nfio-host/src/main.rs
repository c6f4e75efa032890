//! The binary `nfio`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    // Before anything else: helpers of the driver Oci fork, and must have no threads.
    match args.split_first() {
        Some((first, rest)) if first == "oci" => nfio_host::hypervisor::oci::helper_main(rest),
        _ => ExitCode::from(2),
    }
}
