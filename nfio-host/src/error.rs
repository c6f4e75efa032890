//! Section 5's classes. They are defined once, in the SDK, so that a plugin raises the same ones; the host adds
//! none. `NfioError` is the root, `HypervisorError`, `VnfConfigurationError` and `HostError` its families.

pub use middlebox_sdk::error::{HostError, HypervisorError, NfioError, Result, VnfConfigurationError};
