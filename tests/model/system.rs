//! Operations on a mount, by system calls as tools make them.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::ground::{Ground, Kind, set_plugin};
use crate::life::State;
use crate::model::{At, Model};
use crate::operation::{self, How, Operation};
use crate::outcome::{Outcome, Shape};
use crate::xattr;

/// Between two looks at what comes by itself.
const PAUSE: Duration = Duration::from_millis(10);

/// A mount that operations are done on.
pub(crate) struct System {
    ground: Box<dyn Ground>,
    mountpoint: PathBuf,
    /// How long what comes by itself may take: a plugin that is found, a guest that is started again.
    patience: Duration,
    /// The file that is kept open.
    kept: Option<File>,
}

fn failed(error: &io::Error) -> Outcome {
    Outcome::Failed(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

fn done(outcome: io::Result<()>) -> Outcome {
    outcome.map_or_else(|e| failed(&e), |()| Outcome::Done)
}

fn on_names(mountpoint: &Path, operation: &Operation) -> io::Result<()> {
    match *operation {
        Operation::Mkdir(path) => fs::create_dir(mountpoint.join(path)),
        Operation::Rmdir(path) => fs::remove_dir(mountpoint.join(path)),
        Operation::Unlink(path) => fs::remove_file(mountpoint.join(path)),
        Operation::Rename(from, to) => fs::rename(mountpoint.join(from), mountpoint.join(to)),
        ref other => unreachable!("{other:?} is not on names"),
    }
}

impl System {
    pub(crate) fn new(kind: Kind) -> Self {
        let ground = kind.ground();
        let mountpoint = ground.mountpoint();
        let patience = match kind {
            // It is found to be broken, or will be.
            Kind::Paper(Some(_)) => Duration::from_secs(3),
            _ => Duration::from_secs(60),
        };
        Self { ground, mountpoint, patience, kept: None }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mountpoint.join(path)
    }

    /// Does an operation. `model` is what should be there before it.
    pub(crate) fn apply(&mut self, operation: &Operation, model: &Model) -> Outcome {
        match *operation {
            Operation::Mkdir(_) | Operation::Rmdir(_) | Operation::Unlink(_) | Operation::Rename(..) => {
                done(on_names(&self.mountpoint, operation))
            }
            Operation::RenameFree(from, to) => self.rename_as(from, to, RenameFlags::RENAME_NOREPLACE),
            Operation::Exchange(from, to) => self.rename_as(from, to, RenameFlags::RENAME_EXCHANGE),
            Operation::Truncate(path, size) => {
                done(nix::unistd::truncate(&self.path(path), size.cast_signed()).map_err(io::Error::from))
            }
            Operation::Label(path, text) => done(xattr::set(&self.path(path), text)),
            Operation::ReadLabel(path) => {
                xattr::get(&self.path(path)).map_or_else(|e| failed(&e), Outcome::Text)
            }
            Operation::Keep(path) => self.keep(&self.path(path), OpenOptions::new().read(true).write(true)),
            Operation::KeepReading(path) => self.keep(&self.path(path), OpenOptions::new().read(true)),
            Operation::ReadKept => self.read_kept(),
            Operation::WriteKept(text) => self.write_kept(text),
            Operation::Link(from, to) => done(fs::hard_link(self.path(from), self.path(to))),
            Operation::Symlink(target, path) => done(symlink(target, self.path(path))),
            Operation::Chmod(path, mode) => {
                done(fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)))
            }
            Operation::Put(path, text, how) => self.put(path, text, how),
            Operation::Run(instance, script) => self.run(instance, script),
            Operation::Read(path) => match fs::read_to_string(self.path(path)) {
                Ok(text) => Outcome::Text(text),
                Err(e) => failed(&e),
            },
            Operation::List(path) => self.list(path),
            Operation::Stat(path) => self.stat(&self.path(path)),
            Operation::End(instance) => {
                let lives = |at: &At| model.guest(at).is_some_and(|guest| guest.state != State::Exited);
                if let Some(at) = model.named(instance).filter(lives) {
                    self.ground.end(&at);
                }
                Outcome::Done
            }
            Operation::StartByHand(instance) => {
                let stands = |at: &At| model.guest(at).is_some_and(|guest| guest.state == State::Exited);
                match model.named(instance).filter(stands) {
                    Some(at) => {
                        let before = self.ground.log().len();
                        self.ground.start(&at);
                        self.await_care(before, &at, "was started by somebody else")
                    }
                    None => Outcome::Done,
                }
            }
            Operation::Plugin(ty, there) => {
                set_plugin(&self.ground.module_root(), ty, there);
                Outcome::Done
            }
            Operation::Remount => {
                self.kept = None;
                self.ground.umount();
                self.mount(model)
            }
            Operation::Kill => {
                self.kept = None;
                self.ground.kill();
                self.mount(model)
            }
            Operation::KillDuring(ref during, after) => {
                self.kept = None;
                let during = (**during).clone();
                let (path, begun) = (self.mountpoint.clone(), Barrier::new(2));
                thread::scope(|scope| {
                    scope.spawn(|| {
                        begun.wait();
                        // Whether it was done, the next mount tells.
                        let _ = on_names(&path, &during);
                    });
                    begun.wait();
                    thread::park_timeout(Duration::from_micros(after));
                    self.ground.kill();
                });
                self.mount(model)
            }
        }
    }

    fn rename_as(&self, from: &str, to: &str, flags: RenameFlags) -> Outcome {
        let renamed = renameat2(AT_FDCWD, &self.path(from), AT_FDCWD, &self.path(to), flags);
        done(renamed.map_err(io::Error::from))
    }

    fn keep(&mut self, path: &Path, options: &OpenOptions) -> Outcome {
        self.kept = None;
        match options.open(path) {
            Ok(file) => {
                self.kept = Some(file);
                Outcome::Done
            }
            Err(e) => failed(&e),
        }
    }

    fn read_kept(&self) -> Outcome {
        let Some(mut file) = self.kept.as_ref() else { return Outcome::Failed(Errno::EBADF) };
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        read.map_or_else(|e| failed(&e), |_| Outcome::Text(text))
    }

    fn write_kept(&self, text: &str) -> Outcome {
        let Some(file) = self.kept.as_ref() else { return Outcome::Failed(Errno::EBADF) };
        file.write_at(text.as_bytes(), 0).map_or_else(|e| failed(&e), Outcome::Count)
    }

    fn put(&self, path: &str, text: &str, how: How) -> Outcome {
        let mut options = OpenOptions::new();
        match how {
            How::Truncate => options.write(true).truncate(true),
            How::Append => options.append(true),
            How::Nonblock => options.write(true).custom_flags(libc::O_NONBLOCK),
        };
        let opened = options.create(true).open(self.path(path));
        let mut file = match opened {
            Ok(file) => file,
            Err(e) => return failed(&e),
        };
        let written = if text.is_empty() { Ok(0) } else { file.write(text.as_bytes()) };
        // A comment waits for the verb before it.
        if how == How::Nonblock && path.ends_with("/action") && written.is_ok() {
            drop(file);
            fs::write(self.path(path), "#\n").expect("a comment");
        }
        written.map_or_else(|e| failed(&e), Outcome::Count)
    }

    fn run(&self, instance: &str, script: &str) -> Outcome {
        let path = self.path(&format!("{instance}/command"));
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) => return failed(&e),
        };
        let written = file.write(script.as_bytes());
        let count = written.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)));
        let mut text = String::new();
        match file.read_to_string(&mut text) {
            Ok(_) => Outcome::Answered(count, text),
            Err(e) => failed(&e),
        }
    }

    fn list(&self, path: &str) -> Outcome {
        let names = || -> io::Result<Vec<String>> {
            let entries = fs::read_dir(self.path(path))?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        match names() {
            Ok(mut names) => {
                names.sort();
                Outcome::Names(names)
            }
            Err(e) => failed(&e),
        }
    }

    fn stat(&self, path: &Path) -> Outcome {
        let stat = match fs::symlink_metadata(path) {
            Ok(stat) => stat,
            Err(e) => return failed(&e),
        };
        let kind = match stat.file_type() {
            kind if kind.is_dir() => 'd',
            kind if kind.is_symlink() => 'l',
            _ => 'f',
        };
        let mode = stat.mode() & 0o7777;
        Outcome::Stat(Shape { kind, mode, links: Some(stat.nlink()), size: Some(stat.len()) })
    }

    /// Mounts again, and waits for what a mount does by itself.
    fn mount(&mut self, model: &Model) -> Outcome {
        let before = self.ground.log().len();
        self.ground.mount();
        for at in model.started_at_mount() {
            match self.await_care(before, &at, "is exited and wanted running") {
                Outcome::Done => {}
                late => return late,
            }
        }
        Outcome::Done
    }

    /// Waits until nfio has seen to an instance by itself, which it begins with these words behind `before` in its log.
    fn await_care(&self, before: usize, (ty, name): &At, words: &str) -> Outcome {
        let start = Instant::now();
        let words = format!("{ty}/{name} {words}");
        while !self.ground.log()[before..].contains(&words) {
            if start.elapsed() > self.patience {
                return Outcome::Failed(Errno::ETIMEDOUT);
            }
            thread::park_timeout(PAUSE);
        }
        // It has its turn: a comment waits for it.
        fs::write(self.path(&format!("nf-types/{ty}/{name}/action")), "#\n").expect("a comment");
        Outcome::Done
    }

    /// Compares everything that can be seen with what must be seen.
    pub(crate) fn audit(&mut self, model: &Model) -> Result<(), String> {
        let paths = model.paths();
        let looks = [String::new()].into_iter().chain(paths).flat_map(|path| {
            let path = operation::path(path);
            [Operation::Stat(path), Operation::List(path), Operation::Read(path)]
        });
        for look in looks.filter(|look| *look != Operation::Stat("")) {
            let (expected, outcome) = (model.look(&look), self.apply(&look, model));
            if !expected.fits(&outcome) {
                return Err(format!("{look:?} is {outcome:?}, and not {expected:?}"));
            }
        }
        Ok(())
    }

    /// The same after something that takes effect by itself.
    pub(crate) fn audit_soon(&mut self, model: &Model) -> Result<(), String> {
        let start = Instant::now();
        loop {
            match self.audit(model) {
                Err(_) if start.elapsed() < self.patience => thread::park_timeout(PAUSE),
                outcome => return outcome,
            }
        }
    }

    /// What nfio has logged.
    pub(crate) fn log(&self) -> String {
        self.ground.log()
    }
}
