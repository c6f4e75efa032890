//! Reads and writes: ordinary files are POSIX's, special ones nfio's own.

use super::{
    Answer, At, Errno, Expected, Id, Kind, Model, Outcome, Pattern, Place, Shape, Spot, State, place, special,
};
use crate::operation::How;
use crate::skeleton::{Special, is_verb};

impl Model {
    /// What a special file is, at a spot where a regular file is.
    fn special_file(&self, spot: &Spot, id: Id) -> Option<(At, String, Special)> {
        let Place::Within(ty, name, path) = place(&spot.names) else { return None };
        let is_file = matches!(self.files.node(id).kind, Kind::File(_));
        let special = special(ty, &path).filter(|_| is_file)?;
        Some(((ty.to_owned(), name.to_owned()), path, special))
    }

    pub(super) fn read(&self, path: &str) -> Answer<Expected> {
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        if let Some((at, path, special)) = self.special_file(&spot, id) {
            return self.read_special(&at, &path, special);
        }
        match &self.files.node(id).kind {
            Kind::Directory(_) => Err(Errno::EISDIR),
            Kind::File(_) if matches!(place(&spot.names), Place::Modules) && spot.name() != "state" => {
                Ok(Expected::Like(Pattern::Anything))
            }
            Kind::File(text) => Ok(Expected::text(text)),
            Kind::Link(_) => Err(Errno::ELOOP),
        }
    }

    pub(super) fn read_special(&self, at: &At, path: &str, special: Special) -> Answer<Expected> {
        let instance = &self.instances[at];
        if special == Special::Own && !self.loaded.contains(at.0.as_str()) {
            return Err(Errno::ENOPKG);
        }
        let state = instance.guest.as_ref().map(|guest| guest.state);
        let asked = |pattern: Pattern| match state {
            None => Err(Errno::ENXIO),
            Some(State::Exited) => Err(Errno::EHOSTDOWN),
            // A command in the guest, which is frozen.
            Some(State::Paused) if special == Special::Own => Err(Errno::EHOSTDOWN),
            Some(_) => Ok(Expected::Like(pattern)),
        };
        match path {
            "action" => {
                let last = instance.last_verb.unwrap_or("none");
                Ok(Expected::Like(Pattern::Prefix(format!("# last: {last}\n#"))))
            }
            "command" => Ok(Expected::Like(Pattern::Prefix("#".into()))),
            "output" => Ok(Expected::text(&instance.output)),
            "status" => Ok(Expected::text(state.map_or("undeployed", State::word).to_owned() + "\n")),
            "last_error" => Ok(match instance.last_error {
                None => Expected::text(""),
                Some(((code, errno), operation)) => {
                    Expected::Like(Pattern::LastError { code, errno, operation })
                }
            }),
            "log" => Ok(match self.nature.greeting {
                Some(_) => Expected::text(&instance.log),
                None => Expected::Like(Pattern::Anything),
            }),
            "machine/vm.ip" => asked(Pattern::Address),
            "stats/rules" => {
                let rules = instance.guest.as_ref().map(|guest| guest.rules.clone());
                asked(Pattern::Drops(rules.unwrap_or_default()))
            }
            _ => asked(Pattern::Number),
        }
    }

    /// One write(2), as `echo TEXT > PATH` or `>> PATH` does it.
    pub(super) fn put(&mut self, path: &str, text: &str, how: How) -> Answer<usize> {
        let spot = self.files.walk(path, true)?;
        if spot.node.is_some_and(|id| self.files.is_directory(id)) {
            return Err(Errno::EISDIR);
        }
        match place(&spot.names) {
            Place::Modules if spot.node.is_some() => return Err(Errno::EACCES),
            Place::Within(ty, _, path) if special(ty, &path).is_some() && !is_verb(&path) => {
                return Err(Errno::EACCES);
            }
            Place::Within(..) => {}
            _ => return Err(Errno::EPERM),
        }
        let id = spot
            .node
            .unwrap_or_else(|| self.files.make(spot.parent(), spot.name(), Kind::File(String::new()), 0o644));
        if let Some((at, path, _)) = self.special_file(&spot, id) {
            let count = match path.as_str() {
                _ if text.is_empty() => Ok(0),
                "action" => self.act(&at, text),
                _ => self.command(&at, text).0,
            };
            // Whoever does not wait hears of no failure.
            return if how == How::Nonblock { Ok(text.len()) } else { count };
        }
        if let Kind::File(content) = &mut self.files.node_mut(id).kind {
            match how {
                How::Truncate => content.clear(),
                How::Append => {}
                How::Nonblock => *content = content.get(text.len()..).unwrap_or_default().to_owned(),
            }
            match how {
                How::Nonblock => content.insert_str(0, text),
                _ => content.push_str(text),
            }
        }
        Ok(text.len())
    }

    /// A script to `command`, and what the same open file then reads.
    pub(super) fn run(&mut self, instance: &str, script: &str) -> Expected {
        let found = self.files.walk(&format!("{instance}/command"), true);
        let at = found.and_then(|spot| {
            let id = spot.existing()?;
            Ok(self.special_file(&spot, id).expect("nothing else can be there").0)
        });
        match at {
            Err(errno) => Expected::Exactly(Outcome::Failed(errno)),
            Ok(at) => {
                let (count, output) = self.command(&at, script);
                Expected::Ran { count, output }
            }
        }
    }

    /// A write to `command`, and its output where there is one.
    fn command(&mut self, at: &At, script: &str) -> (Answer<usize>, Option<String>) {
        if script.starts_with('#') {
            return (Ok(script.len()), None);
        }
        let instance = self.instances.get_mut(at).expect("an instance");
        let failure = match instance.guest.as_ref().map(|guest| guest.state) {
            None => Some((702, Errno::ENXIO)),
            Some(State::Exited | State::Paused) => Some((716, Errno::EHOSTDOWN)),
            Some(State::Running) => None,
        };
        if let Some(failure) = failure {
            instance.last_error = Some((failure, "command"));
            return (Err(failure.1), None);
        }
        let (output, code) = match script.trim() {
            "echo here" => ("here\n", 0),
            "exit 3" => ("", 3),
            _ => ("lost\n", 1),
        };
        instance.output = output.to_owned();
        let failure = (703, Errno::EREMOTEIO);
        instance.last_error = (code != 0).then_some((failure, "command"));
        let count = if code == 0 { Ok(script.len()) } else { Err(failure.1) };
        (count, Some(output.to_owned()))
    }

    pub(super) fn chmod(&mut self, path: &str, mode: u32) -> Answer<()> {
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        match place(&spot.names) {
            Place::Modules => Err(Errno::EPERM),
            _ => {
                self.files.node_mut(id).mode = mode;
                Ok(())
            }
        }
    }

    pub(super) fn list(&self, path: &str) -> Answer<Vec<String>> {
        let id = self.files.walk(path, true)?.existing()?;
        let children = self.files.children(id).ok_or(Errno::ENOTDIR)?;
        Ok(children.keys().cloned().collect())
    }

    pub(super) fn stat(&self, path: &str) -> Answer<Shape> {
        let spot = self.files.walk(path, false)?;
        let id = spot.existing()?;
        let node = self.files.node(id);
        let (kind, links, size) = match &node.kind {
            Kind::Directory(_) => ('d', None, None),
            Kind::Link(target) => ('l', Some(self.files.links(id)), Some(target.len())),
            Kind::File(_) if matches!(place(&spot.names), Place::Modules) => ('f', None, None),
            Kind::File(text) => {
                let size = match self.special_file(&spot, id) {
                    None => Some(text.len()),
                    Some((at, path, _)) if path == "log" => {
                        self.nature.greeting.map(|_| self.instances[&at].log.len())
                    }
                    Some(_) => Some(1000),
                };
                ('f', Some(self.files.links(id)), size)
            }
        };
        Ok(Shape { kind, mode: node.mode, links, size: size.map(|size| size as u64) })
    }
}
