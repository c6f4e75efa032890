//! The embedded OCI runtime.
