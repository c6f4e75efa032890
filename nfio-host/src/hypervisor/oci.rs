//! The embedded OCI runtime.

use std::ffi::OsString;
use std::process::ExitCode;

/// What `nfio oci …` runs: the runtime's helper processes.
pub fn helper_main(_args: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}
