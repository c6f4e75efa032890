//! What crosses between nfio and a plugin. Settled with SDK 1.0: methods are only ever added at the end of the two
//! traits, with a default body, below `last_prefix_field`, which stays where 1.0 has it; structs passed by value never
//! change; only integers, bytes and text cross, and nothing is kept after a call has returned. Any 1.y plugin works in
//! any 1.z host.
//!
//! Authors do not use this module: [`export_middlebox!`](crate::export_middlebox) and nfio do.

// The macros of abi_stable write items and impls that these lints judge as ours.
#![allow(missing_docs, non_local_definitions, clippy::undocumented_unsafe_blocks)]

use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::{RRef, VersionStrings};
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RString, RVec};
use abi_stable::{StableAbi, sabi_trait};

use crate::error::{NfioError, Result};
use crate::vnf::{Host, Level, Output};

/// An error on its way across.
#[repr(C)]
#[derive(Debug, Clone, StableAbi)]
pub struct Fault {
    /// The class's code; 0: none.
    pub code: i32,
    /// POSIX errno; out of 1 … 511: EIO.
    pub errno: i32,
    /// The sentence.
    pub message: RString,
}

impl From<NfioError> for Fault {
    fn from(e: NfioError) -> Self {
        Self { code: e.code(), errno: e.errno(), message: e.to_string().into() }
    }
}

impl From<Fault> for NfioError {
    fn from(fault: Fault) -> Self {
        Self::from_code(fault.code, fault.errno, fault.message.into())
    }
}

/// What an answer is on its way across.
pub type Answer<T> = RResult<T, Fault>;

/// What a command in a guest answered.
#[repr(C)]
#[derive(Debug, Clone, StableAbi)]
pub struct Executed {
    /// Exit code.
    pub exit_code: i32,
    /// Its stdout.
    pub stdout: RVec<u8>,
    /// Its stderr.
    pub stderr: RVec<u8>,
}

/// The host's side of a handle ([`Host`]), lent for the length of one call.
#[sabi_trait]
pub trait HostAbi: Send + Sync {
    fn identity(&self, what: RStr<'_>) -> Answer<RString>;
    fn read_file(&self, path: RStr<'_>) -> Answer<RVec<u8>>;
    fn write_file(&self, path: RStr<'_>, data: RSlice<'_, u8>) -> Answer<()>;
    fn value(&self, name: RStr<'_>) -> Answer<RVec<u8>>;
    fn put_file(&self, path: RStr<'_>, mode: u32, data: RSlice<'_, u8>) -> Answer<()>;
    fn set_env(&self, name: RStr<'_>, value: RStr<'_>) -> Answer<()>;
    fn set_command(&self, argv: RSlice<'_, RStr<'_>>) -> Answer<()>;
    fn operate(&self, operation: RStr<'_>, argument: RStr<'_>) -> Answer<RString>;
    fn execute(&self, argv: RSlice<'_, RStr<'_>>, stdin: RSlice<'_, u8>) -> Answer<Executed>;
    #[sabi(last_prefix_field)]
    fn log(&self, level: u32, message: RStr<'_>);
}

/// A lent host.
pub type Lent<'a> = HostAbi_TO<'a, RRef<'a, ()>>;

/// The plugin's side: [`Middlebox`](crate::Middlebox).
#[sabi_trait]
pub trait MiddleboxAbi: Send + Sync {
    fn describe(&self) -> Answer<RString>;
    fn mkdir(&self, host: Lent<'_>) -> Answer<()>;
    fn getattr(&self, host: Lent<'_>, file: RStr<'_>) -> Answer<RString>;
    fn read(&self, host: Lent<'_>, file: RStr<'_>) -> Answer<RVec<u8>>;
    fn write(&self, host: Lent<'_>, file: RStr<'_>, data: RSlice<'_, u8>) -> Answer<()>;
    fn prepare(&self, host: Lent<'_>, nf_conf: RSlice<'_, u8>) -> Answer<()>;
    #[sabi(last_prefix_field)]
    fn configure(&self, host: Lent<'_>, nf_conf: RSlice<'_, u8>) -> Answer<()>;
}

/// A plugin's middlebox, owned by the host.
pub type BoxedMiddlebox = MiddleboxAbi_TO<'static, RBox<()>>;

/// What a plugin's shared object holds.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
pub struct Plugin {
    /// Makes the middlebox.
    #[sabi(last_prefix_field)]
    pub construct: extern "C" fn() -> Answer<BoxedMiddlebox>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "middlebox";
    const NAME: &'static str = "middlebox";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The handle's [`Host`] in a plugin: asks the lent one.
pub(crate) struct Borrowed<'a>(pub(crate) Lent<'a>);

fn answer<T, U: From<T>>(answer: Answer<T>) -> Result<U> {
    answer.into_result().map(U::from).map_err(NfioError::from)
}

fn nothing(answer: Answer<()>) -> Result<()> {
    answer.into_result().map_err(NfioError::from)
}

impl Host for Borrowed<'_> {
    fn identity(&self, what: &str) -> Result<String> {
        answer(self.0.identity(what.into()))
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        answer(self.0.read_file(path.into()))
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        nothing(self.0.write_file(path.into(), data.into()))
    }

    fn value(&self, name: &str) -> Result<Vec<u8>> {
        answer(self.0.value(name.into()))
    }

    fn put_file(&self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        nothing(self.0.put_file(path.into(), mode, data.into()))
    }

    fn set_env(&self, name: &str, value: &str) -> Result<()> {
        nothing(self.0.set_env(name.into(), value.into()))
    }

    fn set_command(&self, argv: &[&str]) -> Result<()> {
        let argv: Vec<RStr<'_>> = argv.iter().map(|word| RStr::from(*word)).collect();
        nothing(self.0.set_command(argv.as_slice().into()))
    }

    fn operate(&self, operation: &str, argument: &str) -> Result<String> {
        answer(self.0.operate(operation.into(), argument.into()))
    }

    fn execute(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        let argv: Vec<RStr<'_>> = argv.iter().map(|word| RStr::from(*word)).collect();
        let done =
            self.0.execute(argv.as_slice().into(), stdin.into()).into_result().map_err(NfioError::from)?;
        Ok(Output { exit_code: done.exit_code, stdout: done.stdout.into(), stderr: done.stderr.into() })
    }

    fn log(&self, level: Level, message: &str) {
        self.0.log(level as u32, message.into());
    }
}
