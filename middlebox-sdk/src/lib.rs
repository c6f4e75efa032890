#![doc = include_str!("../README.md")]

pub mod abi;
pub mod error;
pub mod export;
pub mod layout;
mod middlebox;
pub mod testing;
mod vnf;

pub use error::{NfioError, Result};
pub use layout::{File, Handler, Kind, Layout, Needs, Type};
pub use middlebox::{Attributes, Middlebox};
pub use vnf::{Counters, Host, Level, Output, Vnf};
