//! Verbs: what each does in each state.

use super::{Answer, At, Errno, Failure, Guest, Kind, Model, State};
use crate::life::{Found, Settings, Step, row, rules, step};

impl Model {
    /// A write to `action`: a verb a line, until one fails.
    pub(super) fn act(&mut self, at: &At, text: &str) -> Answer<usize> {
        let mut done = 0;
        for line in text.split_inclusive('\n') {
            let word = line.trim();
            if !word.is_empty() && !word.starts_with('#') {
                match self.verb(at, word) {
                    Ok(()) => {}
                    Err((_, errno)) if done == 0 => return Err(errno),
                    Err(_) => return Ok(done),
                }
            }
            done += line.len();
        }
        Ok(done)
    }

    fn verb(&mut self, at: &At, word: &str) -> Result<(), Failure> {
        let (operation, outcome) = match row(word) {
            None => ("action", Err((721, Errno::EINVAL))),
            Some(row) => {
                self.instance(at).last_verb = Some(row.0);
                let served = row.1 || self.loaded.contains(at.0.as_str());
                let step = step(row, self.guest(at));
                (row.0, if served { self.take(at, step) } else { Err((724, Errno::ENOPKG)) })
            }
        };
        self.instance(at).last_error = outcome.err().map(|failure| (failure, operation));
        outcome
    }

    /// nfio starts a guest again by itself.
    pub(super) fn start_again(&mut self, at: &At) {
        let served = self.loaded.contains(at.0.as_str());
        let outcome = if served { self.take(at, Step::Start) } else { Err((724, Errno::ENOPKG)) };
        self.instance(at).last_error = outcome.err().map(|failure| (failure, "start"));
    }

    /// nfio configures a guest that somebody else has started, or stops it.
    pub(super) fn take_in(&mut self, at: &At) {
        let served = self.loaded.contains(at.0.as_str());
        let outcome =
            if served { rules(self.setting(at, "config/nf_conf")) } else { Err((724, Errno::ENOPKG)) };
        self.instance(at).last_error = outcome.as_ref().err().map(|failure| (*failure, "configure"));
        if let Ok(rules) = outcome {
            self.change(at, |guest| {
                guest.state = State::Running;
                guest.rules = rules;
            });
        }
    }

    fn take(&mut self, at: &At, step: Step) -> Result<(), Failure> {
        match step {
            Step::Nothing => Ok(()),
            Step::Refuse(code, errno) => Err((code, errno)),
            Step::Deploy => self.deploy(at),
            Step::Start | Step::Restart => self.start(at),
            Step::Configure => {
                let rules = rules(self.setting(at, "config/nf_conf"))?;
                self.change(at, |guest| guest.rules = rules);
                Ok(())
            }
            Step::Remove => {
                self.instance(at).guest = None;
                Ok(())
            }
            Step::Stop => {
                self.change(at, |guest| {
                    guest.state = State::Exited;
                    guest.wanted = false;
                });
                Ok(())
            }
            Step::Pause => {
                self.change(at, |guest| guest.state = State::Paused);
                Ok(())
            }
            Step::Unpause => {
                self.change(at, |guest| guest.state = State::Running);
                Ok(())
            }
        }
    }

    fn deploy(&mut self, at: &At) -> Result<(), Failure> {
        let settings = Settings {
            image: self.setting(at, "machine/vm.image"),
            host: self.setting(at, "machine/ip"),
            boot: self.setting(at, "config/boot.conf"),
            vcpu: self.setting(at, "machine/vm.vcpu"),
            memory: self.setting(at, "machine/vm.memory"),
        };
        let again = settings.judge(self.nature.image)?;
        let instance = self.instance(at);
        instance.log.clear();
        instance.guest = Some(Guest { state: State::Exited, wanted: true, again, rules: Vec::new() });
        let started = self.start(at);
        if started.is_err() {
            self.instance(at).guest = None;
        }
        started
    }

    /// prepare, start, configure; where that fails, stop.
    fn start(&mut self, at: &At) -> Result<(), Failure> {
        self.change(at, |guest| {
            guest.state = State::Exited;
            guest.wanted = true;
        });
        let nf_conf = self.setting(at, "config/nf_conf");
        let (readable, rules) = (nf_conf.is_some(), rules(nf_conf));
        if readable {
            let greeting = self.nature.greeting.unwrap_or_default();
            self.instance(at).log.push_str(greeting);
        }
        let rules = rules?;
        self.change(at, |guest| {
            guest.state = State::Running;
            guest.rules = rules;
        });
        Ok(())
    }

    fn instance(&mut self, at: &At) -> &mut super::Instance {
        self.instances.get_mut(at).expect("an instance")
    }

    fn change(&mut self, at: &At, change: impl FnOnce(&mut Guest)) {
        change(self.instance(at).guest.as_mut().expect("a guest"));
    }

    /// An ordinary file as nfio reads it: no link is followed, and what is missing is empty.
    fn setting(&self, at: &At, path: &str) -> Found<'_> {
        let (directory, file) = path.split_once('/').expect("a file in a directory");
        let Some(above) = self.files.at(&["nf-types", &at.0, &at.1, directory]) else { return Some("") };
        match self.files.children(above)?.get(file).map(|id| &self.files.node(*id).kind) {
            None => Some(""),
            Some(Kind::File(text)) => Some(text),
            Some(_) => None,
        }
    }
}
