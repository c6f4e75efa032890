//! Plugins that come and go while mounted. One thread looks at module_root when inotify(7) reports something there, and
//! every two seconds in any case: that finds what inotify does not tell (a full queue, module_root itself moved away
//! and back, a file system without it, a chmod of a directory above). Whatever is not what it was when it was last
//! judged is loaded, in a thread of its own, so that a file that takes its time holds no other up.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::files::{self, Identity};
use super::load::Loader;
use super::registry::{Judged, Registry, discard, judge};
use crate::error::Result;

/// From one look to the next where nothing is reported.
const TICK: Duration = Duration::from_secs(2);
/// For how long a file that has gone may come back as if it had never been away: install(1), make and package managers
/// remove the old one before they write the new.
const GRACE: Duration = Duration::from_millis(250);

/// The watch over module_root. Dropping it ends it.
pub struct Watch(Arc<Bell>);

/// Wakes the thread.
struct Bell {
    event: EventFd,
    ended: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        // It fails only where the thread has been rung for already, 2^64 times.
        let _ = self.event.write(1);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.ring();
    }
}

/// What was found out about a file, with the number of the question.
type Told = (u64, PathBuf, Judged);

/// The thread's memory.
struct Watcher {
    registry: Weak<Registry>,
    loader: Arc<Loader>,
    bell: Arc<Bell>,
    /// And the directory that it reports of.
    inotify: Option<(Inotify, (u64, u64))>,
    /// Which files are being judged: the number of the question, and the identity that the file had.
    judging: HashMap<PathBuf, (u64, Identity)>,
    asked: u64,
    tell: Sender<Told>,
    told: Receiver<Told>,
    /// Since when a file has been away.
    away: HashMap<PathBuf, Instant>,
    surroundings: Vec<Option<[u32; 3]>>,
    /// What was last said to be wrong with module_root.
    complaint: String,
}

impl Registry {
    /// Begins to watch module_root. `changed` is called, in the watching thread, after every change.
    ///
    /// # Errors
    /// EMFILE and the like, EAGAIN where no thread can be made.
    pub fn watch(
        self: &Arc<Self>,
        loader: Arc<Loader>,
        changed: impl Fn() + Send + 'static,
    ) -> Result<Watch> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let event = event.map_err(io::Error::from)?;
        let bell = Arc::new(Bell { event, ended: AtomicBool::new(false) });
        let (tell, told) = channel();
        let mut watcher = Watcher {
            registry: Arc::downgrade(self),
            loader,
            bell: Arc::clone(&bell),
            inotify: None,
            judging: HashMap::new(),
            asked: 0,
            tell,
            told,
            away: HashMap::new(),
            surroundings: files::surroundings(self.module_root()),
            complaint: String::new(),
        };
        thread::Builder::new().name("nfio-modules".into()).spawn(move || {
            while let Some(registry) = watcher.registry.upgrade().filter(|_| !watcher.has_ended()) {
                // Before the look: what happens during it is reported.
                watcher.listen(registry.module_root());
                if watcher.take_verdicts(&registry) | watcher.look(&registry) {
                    changed();
                }
                drop(registry);
                watcher.rest();
            }
        })?;
        Ok(Watch(bell))
    }
}

impl Watcher {
    fn has_ended(&self) -> bool {
        self.bell.ended.load(Ordering::Acquire)
    }

    /// Has inotify report of whatever directory is module_root now. Without it the next look comes with the next tick.
    fn listen(&mut self, module_root: &Path) {
        let place = files::place(module_root);
        if self.inotify.as_ref().map(|(_, place)| *place) == place {
            return;
        }
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF;
        self.inotify = place.and_then(|place| {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
            inotify.add_watch(module_root, events).ok()?;
            Some((inotify, place))
        });
    }

    /// Takes in what has been found out about files that are still the same. Whether there was any.
    fn take_verdicts(&mut self, registry: &Registry) -> bool {
        let mut any = false;
        while let Ok((number, file, judged)) = self.told.try_recv() {
            let expected = self.judging.get(&file).is_some_and(|(asked, _)| *asked == number);
            if expected {
                self.judging.remove(&file);
            }
            if expected && Identity::of(&file).ok() == judged.0 {
                registry.judged(&file, judged);
                any = true;
            } else {
                discard(judged);
            }
        }
        any
    }

    /// Compares what is there with what was judged. Whether a file has gone.
    fn look(&mut self, registry: &Registry) -> bool {
        let found = match files::shared_objects(registry.module_root()) {
            Ok(found) => found,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.complain(format!("module_root {} is gone: {e}", registry.module_root().display()));
                Vec::new()
            }
            // What cannot be read is not known to be gone.
            Err(e) => {
                self.away.clear();
                self.complain(format!(
                    "module_root {} cannot be read: {e}",
                    registry.module_root().display()
                ));
                return false;
            }
        };
        if !found.is_empty() {
            self.complaint.clear();
        }
        let surroundings = files::surroundings(registry.module_root());
        let elsewhere = surroundings != self.surroundings;
        self.surroundings = surroundings;
        if elsewhere {
            // What is being judged may have been looked at before: that verdict is not waited for.
            self.judging.clear();
        }
        let known = registry.judged_files();
        for file in &found {
            self.away.remove(file);
            // One that has gone since is found to be away by the next look.
            let Ok(identity) = Identity::of(file) else { continue };
            let judged = known.get(file).is_some_and(|(judged, bad)| {
                // A file may have been refused because of who else could have changed it.
                *judged == Some(identity) && !(*bad && elsewhere)
            });
            if judged {
                self.judging.remove(file);
            } else if self.judging.get(file).is_none_or(|(_, asked)| *asked != identity) {
                self.begin(file, identity);
            }
        }
        self.remove_absent(registry, &found, &known)
    }

    fn begin(&mut self, file: &Path, identity: Identity) {
        let (loader, bell, tell) = (Arc::clone(&self.loader), Arc::clone(&self.bell), self.tell.clone());
        let path = file.to_owned();
        self.asked += 1;
        let number = self.asked;
        let judging = move || {
            let (_, found) = judge(&loader, &path);
            // Without a watcher there is nobody left to serve.
            let _ = tell.send((number, path, (Some(identity), found)));
            bell.ring();
        };
        match thread::Builder::new().name("nfio-judge".into()).spawn(judging) {
            Ok(_) => {
                self.judging.insert(file.to_owned(), (number, identity));
            }
            Err(e) => self.complain(format!("no thread to load {} in: {e}; trying again", file.display())),
        }
    }

    fn remove_absent(
        &mut self,
        registry: &Registry,
        found: &[PathBuf],
        known: &BTreeMap<PathBuf, (Option<Identity>, bool)>,
    ) -> bool {
        let now = Instant::now();
        let mut any = false;
        for file in known.keys().filter(|file| found.binary_search(file).is_err()) {
            if now.duration_since(*self.away.entry(file.clone()).or_insert(now)) >= GRACE {
                registry.removed(file);
                self.away.remove(file);
                any = true;
            }
        }
        self.judging.retain(|file, _| found.binary_search(file).is_ok());
        any
    }

    fn complain(&mut self, complaint: String) {
        if self.complaint != complaint {
            tracing::warn!("{complaint}");
            self.complaint = complaint;
        }
    }

    /// Waits until something is reported, until a verdict is there, or for the next look's time.
    fn rest(&self) {
        let now = Instant::now();
        let soonest = self.away.values().map(|since| (*since + GRACE).saturating_duration_since(now)).min();
        let rest = soonest.map_or(TICK, |soonest| soonest.min(TICK)) + Duration::from_millis(1);
        let mut wake = vec![PollFd::new(self.bell.event.as_fd(), PollFlags::POLLIN)];
        if let Some((inotify, _)) = &self.inotify {
            wake.push(PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut wake, PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Never round and round without a pause.
            Err(_) => thread::sleep(rest),
        }
        // Both are emptied: the look that follows sees everything. Neither has anything where it did not wake us.
        let _ = self.bell.event.read();
        if let Some((inotify, _)) = &self.inotify {
            while inotify.read_events().is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Deadlines, Modules};
    use std::fs;
    use std::sync::atomic::AtomicU32;

    #[track_caller]
    fn eventually(mut check: impl FnMut() -> bool) {
        let start = Instant::now();
        while !check() {
            assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn files_that_come_and_go_are_seen_and_the_thread_ends_with_the_watch() {
        let room = tempfile::tempdir().unwrap();
        let (root, private) = (room.path().join("plugins"), room.path().join("private"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&private).unwrap();
        let loader = Arc::new(Loader::new(&private, &Modules::default()).unwrap());
        let registry = Arc::new(Registry::load(&root, &private, &loader, Deadlines::default()).unwrap());
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let changed = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let watch = registry.watch(loader, changed).unwrap();
        let bell = Arc::clone(&watch.0);
        fs::write(root.join("libtext.so"), "text").unwrap();
        eventually(|| registry.names() == ["text"] && calls.load(Ordering::SeqCst) > 0);
        fs::rename(root.join("libtext.so"), root.join("notes.so")).unwrap();
        eventually(|| registry.names() == ["notes"]);
        fs::rename(&root, room.path().join("elsewhere")).unwrap();
        eventually(|| registry.names().is_empty());
        fs::rename(room.path().join("elsewhere"), &root).unwrap();
        eventually(|| registry.names() == ["notes"]);
        drop(watch);
        let left = || (Arc::strong_count(&bell), Arc::strong_count(&registry), Arc::strong_count(&calls));
        eventually(|| left() == (1, 1, 1));
    }
}
