//! The words of a chain's `action`: everything is judged before anything is made, and what was made is taken away again
//! where the rest fails.

use std::fmt;

use super::end::End;
use super::graph::{Graph, Member};
use super::plan;
use super::record::{Parameter, Record};
use super::rights;
use super::{Chain, Chains, Place, lock};
use crate::error::{HostError, HypervisorError, NfioError, Result};
use crate::fault::{self, Step};
use crate::hypervisor::Status;
use crate::hypervisor::oci::lease;
use crate::tree::Instance;
use crate::vnf::last_error;
use crate::vnf::turns::Busy;
use crate::vnf::verb;

/// A verb, or a goal for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Activate,
    Destroy,
    /// Goal: whatever it takes to be active.
    Running,
    /// Goal: not active.
    Undeployed,
}

impl Verb {
    pub(super) const ALL: [Self; 4] = [Self::Activate, Self::Destroy, Self::Running, Self::Undeployed];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Destroy => "destroy",
            Self::Running => "running",
            Self::Undeployed => "undeployed",
        }
    }

    pub(super) fn words() -> String {
        Self::ALL.map(Self::word).join(" ")
    }

    /// Reads a word.
    ///
    /// # Errors
    /// UnknownVerb that lists the known ones.
    pub(super) fn parse(word: &str) -> Result<Self> {
        verb::find(word, &Self::ALL, Self::word, "verb of a chain")
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Chains {
    /// Runs a verb for whoever has the turn, and notes its outcome in `last_error`.
    pub(super) fn run(&self, chain: &Chain, verb: Verb, _turn: &Busy) -> Result<()> {
        let _watch = fault::watch(Instance::chain(&chain.name));
        chain.now().last_verb = Some(verb);
        let outcome = match (verb, chain.record()) {
            (Verb::Activate, Some(record)) if record.complete => {
                let message = format!("{chain} is active already; write destroy first");
                Err(HostError::AlreadyDeployed(message).into())
            }
            (Verb::Running, Some(record)) if record.complete => Ok(()),
            // What an activate that was interrupted has left goes first.
            (Verb::Activate | Verb::Running, Some(_)) => {
                self.destroy(chain).and_then(|()| self.activate(chain))
            }
            (Verb::Activate | Verb::Running, None) => self.activate(chain),
            (Verb::Undeployed, None) => Ok(()),
            (Verb::Destroy | Verb::Undeployed, _) => self.destroy(chain),
        };
        if outcome.is_ok() {
            tracing::info!("{verb} of {chain} done");
        }
        let outcome = last_error::note(chain, verb.word(), outcome);
        fault::at(Step::ChainNotedOutcome);
        self.tell_changed(chain);
        outcome
    }

    fn activate(&self, chain: &Chain) -> Result<()> {
        let mut record = self.judged(chain)?;
        {
            let _claim = lock(&self.claiming);
            self.refuse_taken(&record)?;
            let _wiring = lock(&chain.wiring);
            let count = plan::count(&record.graph);
            // From here on everything that is made is in the record or goes with it.
            chain.set_record(record.clone())?;
            fault::at(Step::ChainBegun);
            let run = &self.config.run;
            let made = lease::acquire_pairs(run, self.subnet, &chain.private, count)
                .map_err(NfioError::from)
                .and_then(|addresses| {
                    fault::at(Step::ChainLeased);
                    record.addresses = addresses;
                    record.before = self.before(&record)?;
                    chain.set_record(record.clone())?;
                    fault::at(Step::ChainNoted);
                    let wiring = self.wiring(&record)?;
                    wiring.wire()?;
                    let made = wiring.made(&wiring.look()?);
                    let mut now = chain.now();
                    (now.wired, now.looked) = (true, true);
                    (now.made, now.held) = (Some(made), wiring.held());
                    Ok(())
                });
            if let Err(e) = made {
                return Err(self.undone(chain, e));
            }
        }
        // Not with the wiring held: an instance's verb under way may be waiting for it.
        let configured = self.configure_members(&record.graph).and_then(|()| {
            let _wiring = lock(&chain.wiring);
            chain.set_record(Record { complete: true, ..record })?;
            fault::at(Step::ChainComplete);
            Ok(())
        });
        configured.map_err(|e| {
            let _claim = lock(&self.claiming);
            let _wiring = lock(&chain.wiring);
            self.undone(chain, e)
        })
    }

    /// Takes away what a failed activate has made, and answers why it failed.
    fn undone(&self, chain: &Chain, error: NfioError) -> NfioError {
        let error = match error {
            e @ (NfioError::Configuration(_) | NfioError::Host(_)) => e,
            e => HypervisorError::Deploy(format!("{chain}: {e}")).into(),
        };
        chain.now().wired = false;
        match self.take_away(chain) {
            Ok(()) => error,
            Err(left) => HypervisorError::InconsistentState(format!(
                "{error}; and what had been made could not be removed: {left}; write destroy when that is mended"
            ))
            .into(),
        }
    }

    /// What the chain's files say, judged; nothing is made yet.
    fn judged(&self, chain: &Chain) -> Result<Record> {
        let read = self.read(chain)?;
        let mut graph = read.drawing.graph(&chain.name)?;
        let ingress = End::parse("ingress", &read.ends[0])?;
        let egress = End::parse("egress", &read.ends[1])?;
        if ingress == egress {
            return Err(NfioError::configuration(format!(
                "ingress and egress are both {ingress}: traffic would end where it began; name two"
            )));
        }
        let actions = graph.members().map(|(_, member)| Ok((member.to_string(), self.action_of(member)?)));
        let actions = actions.collect::<Result<Vec<_>>>()?;
        let ends = [("ingress", ingress.to_string()), ("egress", egress.to_string())];
        rights::judge(&read.judged, ends, &actions, &self.config.policy)?;
        let ingress_shape = ingress.shape("ingress", self.subnet)?;
        let egress_shape = egress.shape("egress", self.subnet)?;
        for node in &mut graph.nodes {
            for member in &mut node.members {
                member.id = self.running(&node.name, member)?;
                self.vnfs.member_await(member.at(), &member.id)?;
            }
        }
        let mut record = Record {
            id: self.id(chain)?,
            complete: false,
            leaving: false,
            addresses: Vec::new(),
            machines: Vec::new(),
            before: Vec::new(),
            ingress,
            egress,
            ingress_shape,
            egress_shape,
            graph,
        };
        // The driver may have nothing to connect; and a guest that does not forward is the end of a chain.
        let wiring = self.wiring(&record)?;
        let (machines, deaf) = (wiring.machines(), wiring.first_deaf()?);
        record.machines = machines;
        if let Some(deaf) = deaf {
            return Err(NfioError::configuration(format!(
                "{deaf} does not forward packets: write sysctls = {{ \"net.ipv4.ip_forward\" = \"1\" }} into its \
                 config/boot.conf, then destroy and activate it"
            )));
        }
        self.refuse_overlaps(&record)?;
        Ok(record)
    }

    /// The id of a member that runs.
    ///
    /// # Errors
    /// The instance's own: ENXIO where it is not deployed, EHOSTDOWN where it does not run.
    fn running(&self, node: &str, member: &Member) -> Result<String> {
        match self.vnfs.member_status(member.at())? {
            Status::Running => self.vnfs.member_id(member.at()),
            Status::Undeployed => {
                let message =
                    format!("{member} at the node {node} is not deployed; write activate to its action");
                Err(HypervisorError::NotFound(message).into())
            }
            status => {
                let message = format!("{member} at the node {node} is {status}: it has to run");
                Err(HypervisorError::NotRunning(message).into())
            }
        }
    }

    /// An instance has one ingress side and one egress side, and both are taken in a chain; what comes in by an end goes
    /// one way.
    fn refuse_taken(&self, record: &Record) -> Result<()> {
        for (other, theirs) in self.all_active() {
            for (file, end) in [("ingress", &record.ingress), ("egress", &record.egress)] {
                if *end == theirs.ingress || *end == theirs.egress {
                    return Err(NfioError::configuration(format!(
                        "{file} names {end}, which is an end of the active chain {other} already; destroy that chain, \
                         or name another"
                    )));
                }
            }
            let taken =
                |member: &Member| theirs.graph.members().any(|(_, theirs)| theirs.at() == member.at());
            if let Some((_, member)) = record.graph.members().find(|(_, member)| taken(member)) {
                return Err(NfioError::configuration(format!(
                    "{member} is in the active chain {other} already, on both of its sides; destroy that chain, or use \
                     another instance"
                )));
            }
        }
        Ok(())
    }

    /// Kernel parameters as they were before any chain changed them.
    fn before(&self, record: &Record) -> Result<Vec<Parameter>> {
        let mut before = self.wiring(record)?.parameters()?;
        for (place, end) in [(Place::Ingress, &record.ingress), (Place::Egress, &record.egress)] {
            for (_, other) in self.all_active() {
                for theirs in other.at_end(end) {
                    before.retain(|ours| ours.place != place || ours.key != theirs.key);
                    before.push(Parameter { place, ..theirs.clone() });
                }
            }
        }
        Ok(before)
    }

    /// Gives every member its configuration again: the links that it speaks of are there now, and a function may have to
    /// learn of them.
    fn configure_members(&self, graph: &Graph) -> Result<()> {
        for (_, member) in graph.members() {
            self.vnfs.member_configure(member.at()).map_err(|e| match e {
                NfioError::Configuration(_) => NfioError::configuration(format!("{member}: {e}")),
                e => NfioError::posix(e.errno(), format!("{member} cannot be configured for the chain: {e}")),
            })?;
            fault::at(Step::ChainMember);
        }
        Ok(())
    }

    fn destroy(&self, chain: &Chain) -> Result<()> {
        chain.active()?;
        let _claim = lock(&self.claiming);
        let _wiring = lock(&chain.wiring);
        self.take_away(chain).map_err(|e| match e {
            e @ (NfioError::Host(_) | NfioError::Hypervisor(HypervisorError::Connection(_))) => e,
            e => HypervisorError::Destroy(format!("{chain}: {e}")).into(),
        })
    }

    /// Takes away what is made, then the record. Whoever calls it holds the claim and the wiring: which parameters other
    /// chains need is true until the record is gone.
    fn take_away(&self, chain: &Chain) -> Result<()> {
        let record = chain.active()?;
        let others: Vec<_> =
            self.all_active().into_iter().filter(|(other, _)| other.name != chain.name).collect();
        let end = |place| match place {
            Place::Ingress => Some(&record.ingress),
            Place::Egress => Some(&record.egress),
            Place::Member(_) => None,
        };
        let needed = |parameter: &Parameter| {
            let end = end(parameter.place);
            end.is_some_and(|end| {
                others.iter().any(|(_, other)| other.at_end(end).any(|p| p.key == parameter.key))
            })
        };
        let wiring = self.wiring(&record)?;
        wiring.check()?;
        // Whoever finds half of it is not to mend it.
        let leaving = Record { complete: false, leaving: true, ..Record::clone(&record) };
        if let Err(e) = chain.set_record(leaving) {
            // A full disk keeps nobody from taking a chain away.
            tracing::warn!("{chain} is taken away without a note of it: {e}");
        }
        fault::at(Step::ChainLeaving);
        wiring.take_away(needed)?;
        lease::release(&self.config.run, &chain.private)?;
        fault::at(Step::ChainReleased);
        chain.clear_record()?;
        fault::at(Step::ChainCleared);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_its_own_words_and_an_instances_are_none_of_them() {
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.word()).unwrap(), verb);
        }
        let told = Verb::parse("pause").unwrap_err().to_string();
        let words = "\"pause\" is no verb of a chain; use one of: activate destroy running undeployed";
        assert!(told.contains(words), "{told}");
    }
}
