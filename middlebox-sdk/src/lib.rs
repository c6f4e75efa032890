//! The SDK of nfio's middlebox types.

pub mod error;
pub mod layout;

pub use error::{NfioError, Result};
pub use layout::{File, Handler, Kind, Layout, Needs, Type};
