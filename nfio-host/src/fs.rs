//! The file system: the only room that knows fuser, and of it only `adapter` does.
//!
//! A request goes adapter → [`Nfio`] → one of two ways: ordinary files are system calls on ROOT (`ordinary`),
//! special files are questions to [`operations::Operations`] (`special`), asked in the FUSE thread or in a
//! bounded lane (`lanes`). `rules` says what is allowed where, `inodes` which path a node number stands for,
//! `handles` what is open.

mod adapter;
mod attributes;
mod directories;
mod files;
mod handles;
mod inodes;
mod kept;
mod lanes;
mod listings;
mod modules_dir;
mod names;
mod nfio;
pub mod operations;
mod ordinary;
mod passthrough;
mod polls;
mod rules;
mod special;
mod xattr;

pub use adapter::{MountConfig, Mounted, Unmounter, mount, try_passthrough};
pub use nfio::Nfio;

use nix::errno::Errno;

/// What an operation answers.
pub(crate) type Answer<T> = Result<T, Errno>;

/// The errno of an error class, as the kernel takes it.
fn errno(error: &crate::error::NfioError) -> Errno {
    Errno::from_raw(error.errno())
}
