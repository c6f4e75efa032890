//! A container's console, which libvirt gives no file: nfio drains it into the instance's log.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

use crate::hypervisor::container::log::{CAP, Log};

/// Writes what comes from this terminal to the log, until the container ends.
pub(super) fn follow(terminal: &Path, log: &Path) -> io::Result<()> {
    let mut terminal = OpenOptions::new().read(true).custom_flags(libc::O_NOCTTY).open(terminal)?;
    let mut log = Log::open(log, CAP)?;
    thread::Builder::new().name("nfio-console".into()).spawn(move || {
        let mut buffer = [0; 4096];
        // It ends with an error (EIO) when the container's end is closed.
        while let Ok(n @ 1..) = terminal.read(&mut buffer) {
            // A terminal ends its lines with two characters.
            let text: Vec<u8> = buffer[..n].iter().copied().filter(|byte| *byte != b'\r').collect();
            // A container waits until its console is read, so this goes on where the log cannot be written.
            if let Err(e) = log.append(&text) {
                tracing::warn!("a container's log cannot be written: {e}");
            }
        }
    })?;
    Ok(())
}
