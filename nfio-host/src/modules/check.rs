//! `nfio plugin check`: judges a plugin without a mount.

use middlebox_sdk::{Handler, Kind, Type};
use std::path::Path;

use super::child::{self, Ending};
use super::exercise::Said;
use super::load::{Copy, Loader};
use super::probe::{self, Described};
use super::source::Source;
use super::trust;
use crate::error::one_line;

/// After so many calls that crash or do not come back, the others are left out: each of these takes its time.
const ENDED: usize = 3;

/// What was found.
pub struct Verdict {
    described: Option<Described>,
    sha256: String,
    /// Why a mount would refuse the file where it lies.
    place: Option<String>,
    calls: usize,
    faults: Vec<String>,
}

/// Judges `file`: what it is, and what it answers on a guest that is not there.
pub fn check(file: &Path, loader: &Loader) -> Verdict {
    let mut verdict =
        Verdict { described: None, sha256: String::new(), place: None, calls: 0, faults: Vec::new() };
    if let Err(why) = verdict.judge(file, loader) {
        verdict.faults.insert(0, why);
    }
    verdict
}

impl Verdict {
    fn judge(&mut self, file: &Path, loader: &Loader) -> Result<(), String> {
        let source = Source::open(file)?;
        // Not even here is somebody else's code run. A developer's build may lie where it could not be loaded from.
        trust::judge_owner(&source)?;
        self.place = trust::judge(&source).err();
        let (copy, content) = loader.copy(source)?;
        self.sha256.clone_from(&content.sha256);
        copy.cut()?;
        self.described = Some(probe::probe(&copy.0)?);
        self.exercise(&copy)
    }

    /// Has all calls made in a process of its own; one that ends it is passed over in the next.
    fn exercise(&mut self, copy: &Copy) -> Result<(), String> {
        for _ in 0..ENDED {
            let (mut under_way, mut done) = (None, false);
            let first = self.calls.to_string();
            let words = ["exercise".as_ref(), copy.0.as_ref(), first.as_ref()];
            let ending = child::run(&words, true, |line| match serde_json::from_str(line) {
                Ok(Said::Begins(step)) => {
                    self.calls += 1;
                    under_way = Some(step);
                }
                Ok(Said::Fault(why)) => {
                    self.faults.push(match &under_way {
                        Some(step) => format!("{step}: {why}"),
                        None => why,
                    });
                }
                Ok(Said::Done) => done = true,
                Err(e) => {
                    self.faults.push(format!("the check's own process said what is not understood: {e}"))
                }
            })
            .map_err(|e| format!("it cannot be tried in a process of its own: {e}"))?;
            let well = matches!(ending, Ending::Exited(status) if status.success());
            match under_way {
                _ if done && well => return Ok(()),
                Some(step) if !done => self.faults.push(format!("{step}: it {}", ending.words())),
                _ if well => return Ok(()),
                _ => return Err(format!("at its end it {}", ending.words())),
            }
        }
        self.faults.push("further calls were not tried".into());
        Ok(())
    }

    /// Whether it is fit to be loaded.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// The report, at most ten lines.
    pub fn report(&self, file: &Path) -> String {
        let mut lines = vec![match self.faults.first() {
            None => format!("{}: good", file.display()),
            Some(why) => format!("{}: bad: {why}", file.display()),
        }];
        if let Some(Described { ty, sdk_version }) = &self.described {
            lines.push(format!("type: {} {}, middlebox-sdk {sdk_version}", ty.name, ty.version));
            lines.push(format!("needs: {}", needs(ty)));
            lines.push(format!("own files: {}", own_files(ty)));
            lines.push(format!("tried: {} calls on a guest that is not there", self.calls));
        }
        if !self.sha256.is_empty() {
            lines.push(format!("sha256: {}", self.sha256));
        }
        if let Some(why) = &self.place {
            lines.push(format!("warning: where it lies a mount refuses it: {why}"));
        }
        // The first one stands in the verdict.
        let others = self.faults.get(1..).unwrap_or_default();
        let room = 10 - lines.len();
        if others.len() <= room {
            lines.extend(others.iter().map(|why| format!("also: {why}")));
        } else {
            lines.extend(others[..room - 1].iter().map(|why| format!("also: {why}")));
            lines.push(format!("and {} more", others.len() - (room - 1)));
        }
        lines.iter().map(|line| one_line(line) + "\n").collect()
    }
}

fn needs(ty: &Type) -> String {
    let needs = &ty.needs;
    let sysctls: Vec<String> = needs.sysctls.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let all = [
        ("capabilities", needs.capabilities.clone()),
        ("sysctls", sysctls),
        ("devices", needs.devices.clone()),
        ("image", needs.image.iter().cloned().collect()),
    ];
    let told: Vec<String> = all
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(what, list)| format!("{what} {}", list.join(" ")))
        .collect();
    if told.is_empty() { "nothing".into() } else { told.join(", ") }
}

fn own_files(ty: &Type) -> String {
    let told: Vec<String> = ty
        .files
        .iter()
        .map(|file| {
            let kind = match (&file.handler, file.kind) {
                (_, Kind::Ordinary) => "ordinary".into(),
                (Handler::Standard(name), _) => format!("as {name}"),
                (Handler::Own, Kind::Value) => "value".into(),
                (Handler::Own, Kind::Log) => "log".into(),
                (Handler::Own, _) => "verb".to_owned(),
            };
            format!("{} {:04o} {kind}", file.path, file.mode)
        })
        .collect();
    if told.is_empty() { "none".into() } else { told.join(", ") }
}
