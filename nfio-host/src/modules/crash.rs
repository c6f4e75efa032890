//! Crash marks: a plugin that ended nfio by a fault signal is not loaded again until its file changes. The fault's
//! handler writes a line of JSON to `crashes` in ROOT's private directory; the next mount reads it. A mark outlives
//! the process, not a loss of power.
//!
//! Marked is what faults on the thread of a call: a thread that a plugin started itself is nobody's.

use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::source::Content;
use crate::error::Result;

/// The file of the marks.
const FILE: &str = "crashes";
/// As much of it is read, in bytes: thousands of marks.
const LIMIT: u64 = 4 << 20;
/// What a plugin's fault, or its abort(3), raises.
const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// A crash, as a line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    path: String,
    sha256: String,
    modified: (i64, i64),
    /// The call that it happened in, for example `read of stats/rules`.
    call: String,
}

/// The marks of a ROOT.
pub(super) struct Marks {
    marks: Mutex<Vec<Mark>>,
    file: File,
}

impl Marks {
    /// Reads the marks in ROOT's private directory.
    pub(super) fn open(private: &Path) -> Result<Self> {
        let file = open(private)?;
        let mut text = Vec::new();
        (&file).take(LIMIT).read_to_end(&mut text)?;
        let mut marks = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            match serde_json::from_str(line) {
                Ok(mark) => marks.push(mark),
                Err(e) => tracing::warn!("{}: a mark is not understood: {e}", private.join(FILE).display()),
            }
        }
        Ok(Self { marks: Mutex::new(marks), file })
    }

    /// Refuses what has crashed before and is the same since.
    pub(super) fn judge(&self, content: &Content) -> std::result::Result<(), String> {
        let marks = self.marks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let same = |mark: &&Mark| mark.sha256 == content.sha256 && mark.modified == content.modified;
        match marks.iter().find(same) {
            None => Ok(()),
            Some(mark) => {
                Err(format!("crashed in {}; replace the file, or touch it to try it again", mark.call))
            }
        }
    }

    /// Drops the marks of a file that has changed and is loaded again.
    pub(super) fn forget(&self, path: &Path) {
        let mut marks = self.marks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (path, before) = (path.to_string_lossy(), marks.len());
        marks.retain(|mark| mark.path != path);
        if marks.len() == before {
            return;
        }
        // In place: the fault's handler holds this very file open for appending.
        let text: String = marks
            .iter()
            .filter_map(|mark| serde_json::to_string(mark).ok())
            .map(|line| line + "\n")
            .collect();
        if let Err(e) = self.file.set_len(0).and_then(|()| (&self.file).write_all(text.as_bytes())) {
            tracing::warn!("the crash marks cannot be written: {e}");
        }
    }
}

fn open(private: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(private.join(FILE))
}

/// The beginning of the line that marks a plugin; empty: its crashes are not marked.
#[derive(Default)]
pub(super) struct Origin(Vec<u8>);

impl Origin {
    /// A plugin loaded from `path`.
    pub(super) fn new(path: &Path, content: &Content) -> Self {
        let (path, sha256) = (path.to_string_lossy().into_owned(), content.sha256.clone());
        let mark = Mark { path, sha256, modified: content.modified, call: String::new() };
        let mut line = serde_json::to_vec(&mark).unwrap_or_default();
        // The handler goes on where `call` is empty.
        line.truncate(line.len().saturating_sub(END.len() - 1));
        Self(line)
    }
}

/// How a mark's line ends.
const END: &[u8] = b"\"}\n";

/// A call that is under way.
#[derive(Clone, Copy)]
struct Current<'a> {
    origin: &'a [u8],
    function: &'static str,
    file: &'a str,
}

thread_local! {
    /// The call that this thread is in, if any.
    static CURRENT: Cell<*const Current<'static>> = const { Cell::new(ptr::null()) };
}

/// Puts back what was current before, also past a panic.
struct Restore(*const Current<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Calls a plugin: a fault meanwhile is its own.
pub(super) fn during<T>(origin: &Origin, function: &'static str, file: &str, call: impl FnOnce() -> T) -> T {
    let current = Current { origin: &origin.0, function, file };
    let _restore = Restore(CURRENT.replace((&raw const current).cast()));
    call()
}

/// Answers what a plugin asks during its call: a fault meanwhile is ours.
pub(super) fn outside<T>(call: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT.replace(ptr::null()));
    call()
}

/// Where the handler writes.
static MARKS: AtomicI32 = AtomicI32::new(-1);
/// The thread that writes a mark: of several that fault at once the first.
static WRITER: AtomicI32 = AtomicI32::new(0);
/// What was there before us: the standard library's word on stack overflows, for one.
static PREVIOUS: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

/// From here on this process marks plugins that crash it. To be called once, before plugins are loaded.
///
/// # Errors
/// Where the file of the marks cannot be opened.
pub fn mark_crashes(private: &Path) -> Result<()> {
    MARKS.store(open(private)?.into_raw_fd(), Ordering::Relaxed);
    let previous = SIGNALS.map(|signal| {
        let mut action = MaybeUninit::zeroed();
        // SAFETY: only asks; a disposition of all zeros, the default one, is a valid one.
        unsafe {
            libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
            action.assume_init()
        }
    });
    if PREVIOUS.set(previous).is_err() {
        return Ok(());
    }
    for signal in SIGNALS {
        // SAFETY: all zeros is a valid sigaction; the handler has the signature of SA_SIGINFO and calls only what
        // signal-safety(7) allows.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, ptr::null_mut())
        };
        if set != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo_t to a handler with SA_SIGINFO; si_pid is only believed of a signal
    // that a process sent.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    let faulted = code > 0;
    // SAFETY: getpid(2) has no conditions.
    if faulted || sender == unsafe { libc::getpid() } {
        mark();
    }
    // A fault happens again on return, and then meets whoever was there before us with all its particulars. A signal
    // that was sent (abort(3) sends one) has to be sent again, and what it does is to end us.
    let place = SIGNALS.iter().position(|known| *known == signal);
    let before = PREVIOUS.get().zip(place).map(|(all, place)| all[place]).filter(|_| faulted);
    // SAFETY: both dispositions are valid (the default one is all zeros); sigaction(2) and raise(3) may be called in
    // a handler.
    unsafe {
        let before = before.unwrap_or_else(|| std::mem::zeroed());
        libc::sigaction(signal, &raw const before, ptr::null_mut());
        if !faulted {
            libc::raise(signal);
        }
    }
}

/// Writes the mark of the call that this thread is in.
fn mark() {
    // SAFETY: the pointer is null or leads to a value further up on this very thread's stack (`during`).
    let Some(current) = (unsafe { CURRENT.get().as_ref() }) else { return };
    if current.origin.is_empty() {
        return;
    }
    // SAFETY: gettid(2) has no conditions.
    let thread = unsafe { libc::gettid() };
    match WRITER.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        // Our own second signal, as that of the standard library about a stack overflow.
        Err(writer) if writer == thread => return,
        // The writer ends the process; going on would end it before it has written.
        Err(_) => loop {
            // SAFETY: pause(2) has no conditions.
            unsafe { libc::pause() };
        },
    }
    let separator = if current.file.is_empty() { "" } else { " of " };
    for part in [current.origin, current.function.as_bytes(), separator.as_bytes()] {
        write(part);
    }
    // A type's file names hold nothing that JSON would escape; whatever else is left out.
    for byte in current.file.as_bytes().iter().filter(|b| b.is_ascii_graphic() && !b"\"\\".contains(b)) {
        write(std::slice::from_ref(byte));
    }
    write(END);
}

fn write(mut data: &[u8]) {
    while !data.is_empty() {
        // SAFETY: write(2) reads the slice, which lives beyond the call.
        let count = unsafe { libc::write(MARKS.load(Ordering::Relaxed), data.as_ptr().cast(), data.len()) };
        match usize::try_from(count) {
            Ok(count) if count > 0 => data = &data[count..],
            // A full disk costs the mark; there is nobody to tell.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(sha256: &str, modified: i64) -> Content {
        Content { sha256: sha256.into(), modified: (modified, 5) }
    }

    #[test]
    fn a_mark_holds_over_mounts_until_its_file_changes_and_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = Path::new("/p/\"odd\\\n.so");
        let mut line = Origin::new(path, &content("aa", 7)).0;
        line.extend_from_slice(b"read of odd/value");
        line.extend_from_slice(END);
        std::fs::write(dir.path().join(FILE), [&line[..], b"half a line"].concat()).unwrap();
        for _ in 0..2 {
            let marks = Marks::open(dir.path()).unwrap();
            let why = marks.judge(&content("aa", 7)).unwrap_err();
            assert!(why.starts_with("crashed in read of odd/value; "), "{why}");
            // Touched, or replaced.
            marks.judge(&content("aa", 8)).unwrap();
            marks.judge(&content("bb", 7)).unwrap();
            marks.forget(Path::new("/p/other.so"));
        }
        Marks::open(dir.path()).unwrap().forget(path);
        Marks::open(dir.path()).unwrap().judge(&content("aa", 7)).unwrap();
    }

    #[test]
    fn what_is_current_is_the_innermost_call_and_nothing_while_the_host_answers() {
        let functions = || {
            // SAFETY: as in `mark`.
            unsafe { CURRENT.get().as_ref() }.map(|current| current.function)
        };
        let origin = Origin::default();
        during(&origin, "write", "", || {
            outside(|| {
                assert_eq!(functions(), None);
                during(&origin, "configure", "", || assert_eq!(functions(), Some("configure")));
            });
            assert_eq!(functions(), Some("write"));
        });
        assert_eq!(functions(), None);
    }
}
