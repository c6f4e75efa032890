//! The file system's questions, answered.

use middlebox_sdk::{File, Handler, Kind};
use std::sync::Arc;
use std::time::SystemTime;

use super::handle::{Handle, Scope};
use super::instance::Instance;
use super::{VnfsOperations, call, instance, last_error, spec, standard, verb};
use crate::error::{HostError, HypervisorError, NfioError, Result};
use crate::fs::operations::{Access, Caller, Lane, OnChange, OnDiskChange, Operations, TypeState, Written};
use crate::hypervisor::Execution;
use crate::modules::{self, Module};
use crate::tree;

/// Longest command for a guest's shell, in bytes.
const COMMAND_LIMIT: usize = 128 << 10;

impl Operations for VnfsOperations {
    fn types(&self) -> Vec<String> {
        self.registry.types()
    }

    fn type_state(&self, ty: &str) -> TypeState {
        if self.registry.is_loaded(ty) { TypeState::Loaded } else { TypeState::Missing }
    }

    fn special(&self, ty: &str, path: &str) -> Option<Arc<File>> {
        self.registry.table(ty)?.special(path).cloned()
    }

    fn is_skeleton(&self, ty: &str, path: &str) -> bool {
        self.registry.table(ty).is_some_and(|table| table.special(path).is_some() || table.is_directory(path))
    }

    fn is_deployed(&self, at: tree::Instance<'_>) -> bool {
        // An instance whose record cannot be read may have a guest: it is treated as if it had.
        self.instance(at).map_or(true, |instance| instance.record().is_some() || instance.try_busy().is_err())
    }

    fn create_instance(&self, at: tree::Instance<'_>, mode: u32, caller: Caller) -> Result<()> {
        self.vnfs_create_vnf_instance(&at.path(), mode, caller)
    }

    fn remove_instance(&self, at: tree::Instance<'_>) -> Result<()> {
        self.remove(at)
    }

    fn rename_instance(&self, from: tree::Instance<'_>, to: tree::Instance<'_>, flags: u32) -> Result<()> {
        self.rename(from, to, flags)
    }

    fn lane(&self, at: tree::Instance<'_>, file: &File, access: Access) -> Lane {
        let bounded = |what: &str, width, queue, deadline, overdue| Lane::Bounded {
            key: format!("{what} {}/{}", at.ty, at.name),
            width,
            queue,
            deadline,
            overdue,
        };
        match (&file.handler, file.kind, access) {
            (Handler::Standard(name), Kind::Verb, Access::Write) if name == "command" => {
                bounded("command", 4, 16, self.deadlines.verb, libc::EBUSY)
            }
            // Verbs on one instance run one after the other.
            (_, Kind::Verb, Access::Write) => bounded("verbs", 1, 16, self.deadlines.activate, libc::EBUSY),
            (Handler::Standard(name), _, _) if Self::answered_from_memory(name) => Lane::Inline,
            (Handler::Standard(name), _, _) if self.counts_at_once(at, name) => Lane::Inline,
            (Handler::Standard(_), _, _) => bounded("values", 4, 64, self.deadlines.read, libc::EAGAIN),
            (Handler::Own, _, _) => Lane::Bounded {
                // A plugin that replaces another does not wait behind calls that the other never answers, nor one
                // instance behind another whose guest does not: how many calls a type has in all, it bounds itself.
                key: format!("module {}/{} {}", at.ty, at.name, self.registry.loads(at.ty)),
                width: modules::LANE_WIDTH,
                queue: 256,
                deadline: self.deadlines.read,
                overdue: libc::EAGAIN,
            },
        }
    }

    fn attributes(&self, at: tree::Instance<'_>, file: &File) -> Result<Option<(u64, SystemTime)>> {
        match &file.handler {
            // Whoever lists ten thousand instances asks about as many logs: nothing is kept of an instance for that.
            Handler::Standard(_) if file.kind == Kind::Log => {
                standard::log_attributes(&instance::private_file(&self.root, at, "log")?).map(Some)
            }
            Handler::Own if file.sized => {
                let instance = self.instance(at)?;
                let module = self.own(&instance, file)?;
                let handle = self.lend(&instance, Scope::Getattr)?;
                let attributes = module.getattr(&handle, &file.path)?;
                Ok(attributes
                    .length
                    .map(|length| (length, attributes.modified.unwrap_or_else(SystemTime::now))))
            }
            _ => Ok(None),
        }
    }

    fn read(&self, at: tree::Instance<'_>, file: &File) -> Result<Vec<u8>> {
        let instance = self.instance(at)?;
        match &file.handler {
            Handler::Standard(name) => self.read_standard(&instance, name),
            Handler::Own => self.read_own(&instance, file),
        }
    }

    fn read_log(&self, at: tree::Instance<'_>, file: &File, offset: u64, length: usize) -> Result<Vec<u8>> {
        match &file.handler {
            Handler::Standard(_) => standard::read_log(&*self.instance(at)?, offset, length),
            Handler::Own => {
                let whole = self.read(at, file)?;
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
                let end = start.saturating_add(length).min(whole.len());
                Ok(whole[start..end].to_vec())
            }
        }
    }

    fn write(&self, at: tree::Instance<'_>, file: &File, data: &[u8], _caller: Caller) -> Written {
        let instance = match self.instance(at) {
            Ok(instance) => instance,
            Err(e) => return Written { count: Err(e), answer: None },
        };
        match &file.handler {
            Handler::Standard(name) if name == "command" => self.command(&instance, data),
            Handler::Standard(name) if name == "action" => {
                Written { count: self.verbs(&instance, data), answer: None }
            }
            Handler::Standard(name) => Written {
                count: Err(NfioError::posix(libc::EACCES, format!("{name} cannot be written"))),
                answer: None,
            },
            Handler::Own => Written { count: self.write_own(&instance, file, data), answer: None },
        }
    }

    fn on_change(&self, changed: OnChange) {
        // Set once, before anything can change.
        let _ = self.changed.set(changed);
    }

    fn on_disk_change(&self, changed: OnDiskChange) {
        // Set once, before anything can change.
        let _ = self.changed_on_disk.set(changed);
    }

    fn modules_changed(&self) -> SystemTime {
        self.registry.changed()
    }

    fn modules(&self) -> Vec<String> {
        self.registry.names()
    }

    fn module_files(&self) -> &'static [&'static str] {
        &modules::FILES
    }

    fn module_file(&self, module: &str, file: &str) -> Option<Vec<u8>> {
        self.registry.file(module, file)
    }
}

impl VnfsOperations {
    /// Whether a standard file is a counter that its driver answers without waiting.
    fn counts_at_once(&self, at: tree::Instance<'_>, name: &str) -> bool {
        let guest = || self.instance(at).and_then(|instance| self.guest(&instance));
        name.starts_with("stats/") && guest().is_ok_and(|guest| self.hypervisor.counts_at_once(&guest))
    }

    /// The module that answers an own file. A file that was opened under a table that is no more may mean nothing to
    /// the plugin that serves now, or something else.
    fn own(&self, instance: &Instance, file: &File) -> Result<Arc<Module>> {
        let (module, table) = self.registry.served(&instance.ty)?;
        match table.special(&file.path) {
            Some(now) if now.kind == file.kind && now.handler == file.handler => Ok(module),
            _ => {
                let message =
                    format!("the module of {instance} has another {} now, or none; open it again", file.path);
                Err(HostError::ModuleMissing(message).into())
            }
        }
    }

    /// A handle for a module's quick calls.
    fn lend(&self, instance: &Arc<Instance>, scope: Scope) -> Result<Handle> {
        let directory = spec::directory(&self.root, instance)?;
        Ok(Handle::new(self.own.clone(), instance, scope, directory, self.deadlines.read))
    }

    /// A write to `action`: a verb a line.
    fn verbs(&self, instance: &Arc<Instance>, data: &[u8]) -> Result<usize> {
        let turn = instance.busy()?;
        verb::run_lines(data, |word| {
            let verb = verb::Verb::parse(word);
            let verb = verb.or_else(|e| last_error::note(instance, "action", Err(e)))?;
            self.run_in_turn(instance, verb, &turn)
        })
    }

    /// The text of an own file. A value ends in a newline, and a verb can always be read, so that `grep -R`, `tar` and
    /// `cp -r` pass over it.
    fn read_own(&self, instance: &Arc<Instance>, file: &File) -> Result<Vec<u8>> {
        let module = self.own(instance, file)?;
        let answer = module.read(&self.lend(instance, Scope::Read)?, &file.path);
        match (file.kind, answer) {
            (Kind::Verb, Err(e)) if e.errno() == libc::EOPNOTSUPP => {
                Ok(format!("# {}: a verb of type {}\n", file.path, instance.ty).into_bytes())
            }
            (Kind::Value, Ok(mut text)) if text.last().is_some_and(|last| *last != b'\n') => {
                text.push(b'\n');
                Ok(text)
            }
            (_, answer) => answer,
        }
    }

    /// A write to an own file. One to a verb has the instance's turn, so it may do what the life cycle does; one that
    /// says nothing is answered here, so that copying or restoring a tree runs nothing.
    fn write_own(&self, instance: &Arc<Instance>, file: &File, data: &[u8]) -> Result<usize> {
        let module = self.own(instance, file)?;
        if file.kind != Kind::Verb {
            let handle = self.lend(instance, Scope::Read)?;
            return module.write(&handle, &file.path, data).map(|()| data.len());
        }
        if verb::says_nothing(data) {
            return Ok(data.len());
        }
        let turn = instance.busy()?;
        let directory = spec::directory(&self.root, instance)?;
        let deadline = self.deadlines.verb;
        let handle = Handle::new(self.own.clone(), instance, Scope::Verb, directory, deadline).in_turn(turn);
        let (path, text) = (file.path.clone(), data.to_owned());
        let (outcome, _turn) =
            call::within(deadline, handle, module, format!("write to {path}"), move |module, handle| {
                module.write(handle, &path, &text)
            });
        last_error::note(instance, &file.path, outcome).map(|()| data.len())
    }

    /// A write to `command`: a script for the guest's shell. Its output is the answer, also when it failed.
    fn command(&self, instance: &Instance, data: &[u8]) -> Written {
        if verb::says_nothing(data) {
            return Written { count: Ok(data.len()), answer: None };
        }
        let mut answer = None;
        let outcome = self.run_command(instance, data, &mut answer).map(|()| data.len());
        Written { count: last_error::note(instance, "command", outcome), answer }
    }

    fn run_command(&self, instance: &Instance, data: &[u8], answer: &mut Option<Vec<u8>>) -> Result<()> {
        if data.len() > COMMAND_LIMIT {
            let message =
                format!("a command has at most {COMMAND_LIMIT} bytes; put a script into the guest instead");
            return Err(NfioError::posix(libc::EINVAL, message));
        }
        let script = std::str::from_utf8(data)
            .map_err(|_| NfioError::posix(libc::EINVAL, "a command is UTF-8 text"))?
            .trim_end_matches('\n');
        let execution =
            Execution { argv: vec!["sh".into(), "-c".into(), script.to_owned()], stdin: Vec::new() };
        let output = self.hypervisor.execute_in_guest(&self.guest(instance)?, &execution)?;
        let mut text = output.stdout;
        text.extend_from_slice(&output.stderr);
        self.keep_output(instance, &text)?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        *answer = Some(text);
        match output.exit_code {
            0 => Ok(()),
            code => {
                let said = if said.is_empty() { "it said nothing on stderr" } else { said.as_str() };
                let message = format!("the command ended with exit code {code}: {said}");
                Err(HypervisorError::CommandExecution(message).into())
            }
        }
    }
}
