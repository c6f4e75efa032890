//! The probe: does with a plugin's copy all that loading does, in a process of its own.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::child::{self, Ending};
use super::crash::Origin;
use super::{exercise, load};
use middlebox_sdk::Type;

/// What a plugin says about itself.
pub(super) struct Described {
    pub(super) ty: Type,
    /// Version of the SDK that it was built with.
    pub(super) sdk_version: String,
}

/// The probe's answer, as a line of JSON.
#[derive(Serialize, Deserialize)]
enum Answer {
    Described { ty: String, sdk_version: String },
    Refused(String),
}

/// Tries the copy of a plugin.
pub(super) fn probe(copy: &Path) -> Result<Described, String> {
    let mut answer = None;
    let ending = child::run(&["probe".as_ref(), copy.as_ref()], false, |line| {
        answer = serde_json::from_str(line).ok();
    })
    .map_err(|e| format!("it cannot be tried in a process of its own: {e}"))?;
    match (answer, ending) {
        (Some(Answer::Refused(why)), _) => Err(why),
        (Some(Answer::Described { ty, sdk_version }), Ending::Exited(status)) if status.success() => {
            let ty = Type::from_text(&ty).map_err(|e| e.to_string())?;
            Ok(Described { ty, sdk_version })
        }
        (Some(_), ending) => Err(format!("it was loaded well, but at its end it {}", ending.words())),
        (None, ending) => Err(format!("while it was loaded it {}", ending.words())),
    }
}

/// The hidden subcommand: what follows `module` on the command line.
pub fn helper_main(args: &[OsString]) -> ExitCode {
    let pipe = || child::settle().map_err(|e| eprintln!("nfio module: {e}"));
    match args {
        [what, copy] if what == "probe" => {
            let Ok(mut pipe) = pipe() else { return ExitCode::FAILURE };
            let answer = answer(Path::new(copy));
            said(
                serde_json::to_writer(&pipe, &answer)
                    .map_err(Into::into)
                    .and_then(|()| pipe.write_all(b"\n")),
            )
        }
        [what, copy, first] if what == "exercise" => {
            let Ok(pipe) = pipe() else { return ExitCode::FAILURE };
            let first = first.to_str().and_then(|text| text.parse().ok()).unwrap_or(0);
            said(exercise::main(Path::new(copy), first, pipe))
        }
        _ => {
            eprintln!(
                "nfio module is not for people: nfio calls it itself to try plugins; see nfio plugin check"
            );
            ExitCode::from(2)
        }
    }
}

/// Who cannot say what it found has found nothing.
fn said(outcome: std::io::Result<()>) -> ExitCode {
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answer(copy: &Path) -> Answer {
    let described = load::open(copy, Origin::default()).and_then(|module| {
        let ty = module.describe().to_text().map_err(|e| e.to_string())?;
        Ok(Answer::Described { ty, sdk_version: module.sdk_version().to_owned() })
    });
    described.unwrap_or_else(Answer::Refused)
}
