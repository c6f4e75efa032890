//! The life cycle: the table of verbs and states, the order of steps, roll-back. The same for every driver.

use middlebox_sdk::Host;

use super::handle::{Handle, Lease, Scope};
use super::instance::Instance;
use super::record::{Record, Wanted};
use super::turns::Busy;
use super::{Verb, VnfsOperations, call, last_error, spec, standard};
use crate::beneath;
use crate::error::{HostError, HypervisorError, NfioError, Result, is_of_the_disk};
use crate::fault::{self, Step};
use crate::hypervisor::{Guest, Prepared, Status};
use crate::modules::Module;
use std::sync::Arc;

/// How much of the guest's log goes into a message, in bytes.
const LOG_TAIL: u64 = 4096;

/// The class that a failure of a verb has.
type Class = fn(String) -> HypervisorError;

impl VnfsOperations {
    /// Runs a verb when its turn has come, and notes its outcome in `last_error`.
    pub(super) fn run(&self, instance: &Arc<Instance>, verb: Verb) -> Result<()> {
        let busy = instance.busy()?;
        self.run_in_turn(instance, verb, &busy)
    }

    /// Runs a verb for whoever has the turn already.
    pub(super) fn run_in_turn(&self, instance: &Arc<Instance>, verb: Verb, _turn: &Busy) -> Result<()> {
        let _watch = fault::watch(instance.at());
        instance.note_verb(verb);
        fault::at(Step::TurnTaken);
        self.tell_changed(instance);
        let outcome = self.admit(instance, verb).and_then(|()| self.dispatch(instance, verb));
        if outcome.is_ok() {
            tracing::info!("{verb} of {instance} done");
        }
        fault::at(Step::VerbDone);
        let outcome = last_error::note(instance, verb.word(), outcome);
        fault::at(Step::OutcomeNoted);
        self.tell_changed(instance);
        outcome
    }

    /// Without a module, only what gets rid of a guest works.
    fn admit(&self, instance: &Instance, verb: Verb) -> Result<()> {
        if verb.works_without_module() { Ok(()) } else { self.registry.module(&instance.ty).map(drop) }
    }

    /// Section 4's table: a row a verb, the states in its arms.
    fn dispatch(&self, instance: &Arc<Instance>, verb: Verb) -> Result<()> {
        use Status::{Created, Dead, Exited, Paused, Running, Undeployed};
        if verb == Verb::Forget {
            return self.forget(instance);
        }
        // What removes a guest asks for no state: none may stand in its way, not even an unreadable one.
        if matches!(verb, Verb::Destroy | Verb::Undeployed) && instance.record().is_some() {
            return self.destroy(instance);
        }
        let status = self.status(instance)?;
        match (verb, status) {
            (Verb::Activate | Verb::Running, Undeployed) => self.activate(instance),
            (Verb::Activate, _) => {
                let message = format!("{instance} is deployed already ({status}); write start or destroy");
                Err(HostError::AlreadyDeployed(message).into())
            }
            (Verb::Exited | Verb::Undeployed, Undeployed) => Ok(()),
            (_, Undeployed) => Err(not_deployed(instance)),

            (_, Dead) => {
                let message = format!("the guest of {instance} is gone; write destroy, then activate");
                Err(HypervisorError::NotFound(message).into())
            }

            (Verb::Start | Verb::Running, Running) => self.want(instance, Wanted::Running),
            (Verb::Start, Paused) => {
                let message = format!("{instance} is paused; write unpause");
                Err(HypervisorError::Start(message).into())
            }
            (Verb::Running, Paused) => self.unpause(instance),
            (Verb::Start | Verb::Running, _) => self.start(instance, HypervisorError::Start),

            (Verb::Stop | Verb::Exited, Created | Exited) => self.want(instance, Wanted::Exited),
            (Verb::Stop | Verb::Exited, _) => self.stop(instance),

            (Verb::Restart, Created | Exited) => self.start(instance, HypervisorError::Restart),
            (Verb::Restart, _) => instance.while_shown(Status::Restarting, || {
                // Wanted running all the while: a crash of nfio in between leaves no guest down for good.
                self.want(instance, Wanted::Running)?;
                self.halt(instance, HypervisorError::Restart)?;
                self.start(instance, HypervisorError::Restart)
            }),

            (Verb::Pause, Paused) | (Verb::Unpause, Running) => Ok(()),
            (Verb::Pause, Running) => {
                self.hypervisor
                    .pause(&self.guest(instance)?)
                    .map_err(|e| recast(e, HypervisorError::Pause))?;
                fault::at(Step::GuestPaused);
                Ok(())
            }
            (Verb::Unpause, Paused) => self.unpause(instance),
            (Verb::Reload, Running) => self.configure(instance, false),
            (Verb::Pause | Verb::Unpause | Verb::Reload, _) => {
                Err(HypervisorError::NotRunning(format!("{instance} is {status}, so it cannot {verb}"))
                    .into())
            }
            (Verb::Destroy | Verb::Undeployed | Verb::Forget, _) => unreachable!("answered above"),
        }
    }

    /// deploy, prepare, start, configure; on failure everything is rolled back.
    fn activate(&self, instance: &Arc<Instance>) -> Result<()> {
        // A record without a guest (nfio ended in the middle of an activate): what it left is cleared first.
        if instance.record().is_some() {
            self.destroy(instance)?;
        }
        let needs = self.registry.module(&instance.ty)?.describe().needs.clone();
        let spec = spec::guest_spec(&self.root, instance, needs, &self.policy)?;
        self.hypervisor.check(&spec)?;
        // That of the guest before; nothing is lost where a crash brings it back.
        beneath::write_whole(&spec.log, b"")?;
        let mut record = Record {
            driver: self.hypervisor.name().to_owned(),
            wanted: Wanted::Running,
            restart: spec.boot.restart,
            configured: None,
            guest: Guest::of(&spec),
        };
        // Before the driver is called: a guest that exists is always known.
        instance.set_record(record.clone())?;
        record.guest.id = match self.hypervisor.deploy(&spec) {
            Ok(id) => id,
            // Only then may something be left behind.
            Err(e @ NfioError::Hypervisor(HypervisorError::InconsistentState(_))) => return Err(e),
            Err(e) => {
                instance.clear_record()?;
                return Err(recast(e, HypervisorError::Deploy));
            }
        };
        fault::at(Step::GuestDeployed);
        // The id goes to the disk with what `take_in` notes. Until then the record there finds the guest by its label.
        instance.remember(record.clone());
        self.bring_up(instance, &record.guest).map_err(|e| {
            let error = recast(e, HypervisorError::Deploy);
            match self.destroy_guest(instance, &record.guest) {
                Ok(()) => error,
                Err(left) => HypervisorError::InconsistentState(format!(
                    "{error}; and what had been made could not be removed: {left}; write destroy when that is mended"
                ))
                .into(),
            }
        })
    }

    /// prepare, start, configure, forwarding. Whoever calls it undoes it.
    fn bring_up(&self, instance: &Arc<Instance>, guest: &Guest) -> Result<()> {
        let prepared = self.prepare(instance)?;
        fault::at(Step::ModulePrepared);
        self.hypervisor.start(guest, &prepared)?;
        fault::at(Step::GuestStarted);
        // A driver may have had to make the guest anew to start it as `prepare` asked.
        let id = self.hypervisor.get_id(guest)?;
        if id != guest.id {
            let mut record = instance.deployed()?;
            record.guest.id = id;
            instance.set_record(record)?;
        }
        self.take_in(instance, guest, true)
    }

    /// links of its chains, configure, then forwarding, of a guest that has just been started, by us or by anybody else. The
    /// run is noted as configured. Whoever calls it ends the guest where this fails. `new_run`: nothing was configured in
    /// this run.
    pub(super) fn take_in(&self, instance: &Arc<Instance>, guest: &Guest, new_run: bool) -> Result<()> {
        let run = self.hypervisor.run_id(guest);
        let configured = run.and_then(|run| {
            if let Some(relink) = self.relink.get() {
                relink(instance.at());
            }
            self.configure(instance, new_run)?;
            fault::at(Step::ModuleConfigured);
            match self.hypervisor.guest_status(guest)? {
                Status::Running => self.hypervisor.set_forwarding(guest, true)?,
                status => {
                    let message = format!("the guest is {status} right after its start");
                    return Err(NfioError::posix(libc::EIO, message));
                }
            }
            fault::at(Step::ForwardingOn);
            if let Some(relink) = self.relink.get() {
                // With forwarding come the guest's own kernel parameters, and chains may need others.
                relink(instance.at());
            }
            instance.note_record(Record { configured: run, ..instance.deployed()? })
        });
        configured.map_err(|e| self.with_last_words(instance, guest, e))
    }

    /// A guest that has ended says more in its log than in the error of whatever then failed.
    fn with_last_words(&self, instance: &Instance, guest: &Guest, error: NfioError) -> NfioError {
        match self.hypervisor.guest_status(guest) {
            Ok(Status::Exited | Status::Dead) | Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => {}
            _ => return error,
        }
        self.hypervisor.settle_log(guest);
        let words = match standard::log_tail(instance, LOG_TAIL) {
            words if words.is_empty() => "nothing".to_owned(),
            words => words,
        };
        NfioError::posix(libc::EIO, format!("{error}; the guest has ended; the last it said: {words}"))
    }

    fn prepare(&self, instance: &Arc<Instance>) -> Result<Prepared> {
        let lease = self.call_module(instance, Scope::Prepare, "prepare", Module::prepare)?;
        Ok(Prepared { log: Some(instance.private("log")), ..lease.prepared })
    }

    /// Gives `config/nf_conf` to the running guest.
    pub(super) fn configure(&self, instance: &Arc<Instance>, new_run: bool) -> Result<()> {
        let scope = Scope::Configure { new_run };
        self.call_module(instance, scope, "configure", Module::configure).map(drop)
    }

    /// Calls a function of the instance's module that takes `config/nf_conf`.
    fn call_module(
        &self,
        instance: &Arc<Instance>,
        scope: Scope,
        function: &str,
        call: fn(&Module, &dyn Host, &[u8]) -> Result<()>,
    ) -> Result<Lease> {
        let module = self.registry.module(&instance.ty)?;
        let directory = spec::directory(&self.root, instance)?;
        let nf_conf = self.nf_conf(instance)?;
        let deadline = self.deadlines.verb;
        let handle = Handle::new(self.own.clone(), instance, scope, directory, deadline);
        let (outcome, lease) =
            call::within(deadline, handle, module, function.to_owned(), move |module, handle| {
                call(module, handle, &nf_conf)
            });
        outcome.map(|()| lease)
    }

    fn nf_conf(&self, instance: &Instance) -> Result<Vec<u8>> {
        use std::os::fd::AsFd;
        spec::file(spec::directory(&self.root, instance)?.as_fd(), "config/nf_conf")
    }

    pub(super) fn start(&self, instance: &Arc<Instance>, class: Class) -> Result<()> {
        self.want(instance, Wanted::Running)?;
        let guest = self.guest(instance)?;
        self.bring_up(instance, &guest).map_err(|e| {
            let error = recast(e, class);
            // A firewall never runs without its rules.
            match self.hypervisor.stop(&guest) {
                Ok(()) => error,
                Err(left) => {
                    class(format!("{error}; and the guest could not be stopped again: {left}")).into()
                }
            }
        })
    }

    fn stop(&self, instance: &Instance) -> Result<()> {
        self.want(instance, Wanted::Exited)?;
        self.halt(instance, HypervisorError::Stop)
    }

    /// Stops the guest, whatever it is wanted to be.
    fn halt(&self, instance: &Instance, class: Class) -> Result<()> {
        self.hypervisor.stop(&self.guest(instance)?).map_err(|e| recast(e, class))?;
        fault::at(Step::GuestStopped);
        Ok(())
    }

    fn unpause(&self, instance: &Instance) -> Result<()> {
        self.hypervisor.unpause(&self.guest(instance)?).map_err(|e| recast(e, HypervisorError::Unpause))?;
        fault::at(Step::GuestUnpaused);
        Ok(())
    }

    fn destroy(&self, instance: &Instance) -> Result<()> {
        let guest = self.guest(instance)?;
        instance
            .while_shown(Status::Removing, || self.destroy_guest(instance, &guest))
            .map_err(|e| recast(e, HypervisorError::Destroy))
    }

    /// Removes a guest, then its record.
    pub(super) fn destroy_guest(&self, instance: &Instance, guest: &Guest) -> Result<()> {
        self.hypervisor.destroy(guest, true)?;
        fault::at(Step::GuestDestroyed);
        instance.clear_record()
    }

    fn forget(&self, instance: &Instance) -> Result<()> {
        let record = instance.deployed()?;
        tracing::warn!("the guest {} of {instance} on {} is forgotten", record.guest.id, record.guest.host);
        // Should the guest still be there after all, the next one must not be mistaken for it.
        instance.renew_id()?;
        fault::at(Step::IdRenewed);
        instance.clear_record()
    }

    fn want(&self, instance: &Instance, wanted: Wanted) -> Result<()> {
        let record = instance.deployed()?;
        if record.wanted == wanted { Ok(()) } else { instance.set_record(Record { wanted, ..record }) }
    }
}

fn not_deployed(instance: &Instance) -> NfioError {
    HypervisorError::NotFound(format!("{instance} is not deployed; write activate")).into()
}

/// Gives a failure the class of its verb. A wrong configuration, an unreachable host, a disk that cannot be written and
/// what the host itself refuses keep theirs: they tell the user where to mend.
fn recast(error: NfioError, class: Class) -> NfioError {
    match error {
        NfioError::Configuration(_)
        | NfioError::Host(_)
        | NfioError::Hypervisor(HypervisorError::Connection(_) | HypervisorError::InconsistentState(_)) => {
            error
        }
        error if is_of_the_disk(&error) => error,
        other => class(other.to_string()).into(),
    }
}

#[cfg(test)]
mod tests;
