//! `mkdir` of a module: a call for an instance that nobody sees yet.

use middlebox_sdk::{Host, Level, Output};
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::handle::{self, Files};
use crate::error::{HostError, NfioError, Result};
use crate::modules::Module;
use crate::tree;

/// The handle of `mkdir`: an instance that nobody sees yet has files and a name, and nothing else.
struct Unborn {
    files: Files,
    ty: String,
    name: String,
}

impl Unborn {
    fn refuse<T>(&self) -> Result<T> {
        Err(NfioError::posix(
            libc::EPERM,
            "in mkdir there is no guest yet; a module may read and write files",
        ))
    }
}

impl Host for Unborn {
    fn identity(&self, what: &str) -> Result<String> {
        match what {
            "type" => Ok(self.ty.clone()),
            "name" => Ok(self.name.clone()),
            _ => self.refuse(),
        }
    }

    fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        self.files.read(path)
    }

    fn write_file(&self, path: &str, data: &[u8]) -> Result<()> {
        self.files.write(path, data)
    }

    fn value(&self, _: &str) -> Result<Vec<u8>> {
        self.refuse()
    }

    fn put_file(&self, _: &str, _: u32, _: &[u8]) -> Result<()> {
        self.refuse()
    }

    fn set_env(&self, _: &str, _: &str) -> Result<()> {
        self.refuse()
    }

    fn set_command(&self, _: &[&str]) -> Result<()> {
        self.refuse()
    }

    fn operate(&self, _: &str, _: &str) -> Result<String> {
        self.refuse()
    }

    fn execute(&self, _: &[&str], _: &[u8]) -> Result<Output> {
        self.refuse()
    }

    fn log(&self, level: Level, message: &str) {
        handle::log(&format!("{}/{}", self.ty, self.name), level, message);
    }
}

/// Calls a module's `mkdir`. The kernel holds the lock of the type's directory meanwhile, so a module that does not
/// come back loses its handle and the caller gets ETIMEDOUT.
pub(super) fn call_mkdir(
    module: Arc<Module>,
    at: tree::Instance<'_>,
    directory: OwnedFd,
    deadline: Duration,
) -> Result<()> {
    let files = Files::until(directory, Instant::now() + deadline);
    let unborn = Unborn { files, ty: at.ty.to_owned(), name: at.name.to_owned() };
    let (done, outcome) = mpsc::channel();
    thread::Builder::new().name(format!("mkdir {}", at.ty)).spawn(move || {
        // Nobody waits any more once the deadline has passed.
        let _ = done.send(module.mkdir(&unborn));
    })?;
    outcome.recv_timeout(deadline).unwrap_or_else(|_| {
        let message = format!("the module of type {} did not answer mkdir within {deadline:?}", at.ty);
        Err(HostError::Deadline(message).into())
    })
}
