//! Every call that nfio makes of a plugin, once, on a guest that is not there, in a process of its own.

use middlebox_sdk::testing::{Call, Guest};
use middlebox_sdk::{File, Handler, Kind};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

use super::abi::Module;
use super::crash::Origin;
use super::load;
use super::table::Table;
use crate::error::{HostError, NfioError, Result};

/// What is written to own files that can be written. The guest is not there, so it can do no harm in one.
const WORD: &[u8] = b"nfio-plugin-check\n";

/// What the child says, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    /// Begins a step.
    Begins(String),
    /// The step under way showed a fault of the plugin.
    Fault(String),
    /// All steps have been done.
    Done,
}

enum Step<'a> {
    Mkdir,
    Getattr(&'a File),
    Read(&'a File),
    Write(&'a File),
    Prepare,
    Configure,
}

impl Step<'_> {
    fn words(&self) -> String {
        match self {
            Self::Mkdir => "mkdir".into(),
            Self::Getattr(file) => format!("getattr of {}", file.path),
            Self::Read(file) => format!("read of {}", file.path),
            Self::Write(file) => format!("write to {}", file.path),
            Self::Prepare => "prepare".into(),
            Self::Configure => "configure".into(),
        }
    }

    /// Does it; the error is the plugin's fault where [`is_fault`] says so.
    fn run(&self, module: &Module, guest: &Guest) -> Result<()> {
        // What a handle allows depends on the call that it is lent for.
        let lent = |call| {
            let _ = guest.during(call);
        };
        match self {
            Self::Mkdir => {
                lent(Call::Mkdir);
                module.mkdir(guest)
            }
            Self::Getattr(file) => {
                lent(Call::Getattr);
                module.getattr(guest, &file.path).map(drop)
            }
            Self::Read(file) => {
                lent(Call::Read);
                match module.read(guest, &file.path) {
                    Ok(data) if file.kind == Kind::Value && std::str::from_utf8(&data).is_err() => {
                        Err(HostError::ModuleFault("its answer is no text (not UTF-8)".into()).into())
                    }
                    Err(e) if e.errno() == libc::EOPNOTSUPP && file.kind != Kind::Verb => {
                        let message = format!("it is declared readable, but read does not answer it: {e}");
                        Err(HostError::ModuleFault(message).into())
                    }
                    answer => answer.map(drop),
                }
            }
            Self::Write(file) => {
                lent(if file.kind == Kind::Verb { Call::Verb } else { Call::Read });
                match module.write(guest, &file.path, WORD) {
                    Err(e) if e.errno() == libc::EOPNOTSUPP => {
                        let message = format!("it is declared writable, but write does not answer it: {e}");
                        Err(HostError::ModuleFault(message).into())
                    }
                    answer => answer,
                }
            }
            Self::Prepare => {
                lent(Call::Prepare);
                module.prepare(guest, b"")
            }
            Self::Configure => {
                lent(Call::Configure);
                module.configure(guest, b"")
            }
        }
    }
}

/// A life: made, prepared, configured, looked at, acted upon.
fn steps(table: &Table) -> Vec<Step<'_>> {
    let own = || {
        table.files().map(|file| &**file).filter(|f| f.handler == Handler::Own && f.kind != Kind::Ordinary)
    };
    let mut steps = vec![Step::Mkdir, Step::Prepare, Step::Configure];
    steps.extend(own().filter(|file| file.sized).map(Step::Getattr));
    steps.extend(own().filter(|file| file.mode & 0o444 != 0).map(Step::Read));
    steps.extend(own().filter(|file| file.mode & 0o222 != 0).map(Step::Write));
    steps
}

/// Whether it is the plugin's own fault. Most errors only say that there is nothing sensible in a guest that is not
/// there.
fn fault(module: &Module, outcome: Result<()>) -> Option<String> {
    let errno = module.take_odd_errno();
    match outcome {
        Err(e) if errno != 0 => Some(format!("it answered errno {errno}, which does not exist: {e}")),
        Err(NfioError::Host(e @ HostError::ModuleFault(_))) => Some(e.to_string()),
        _ => None,
    }
}

/// `nfio module exercise COPY FIRST`: does all steps from `first` on.
pub(super) fn main(copy: &Path, first: usize, mut pipe: impl Write) -> io::Result<()> {
    let mut say = |said: &Said| {
        let mut line = serde_json::to_vec(said)?;
        line.push(b'\n');
        pipe.write_all(&line)
    };
    let module = match load::open(copy, Origin::default()) {
        Ok(module) => module,
        // The probe has just loaded it.
        Err(why) => return say(&Said::Fault(format!("it is loaded at one time and not at another: {why}"))),
    };
    let guest = Guest::new(&module.describe().name, "nfio-plugin-check");
    let table = Table::of(module.describe());
    for step in steps(&table).iter().skip(first) {
        say(&Said::Begins(step.words()))?;
        let outcome = step.run(&module, &guest);
        if let Some(why) = fault(&module, outcome) {
            say(&Said::Fault(why))?;
        }
    }
    drop(module);
    say(&Said::Done)
}
