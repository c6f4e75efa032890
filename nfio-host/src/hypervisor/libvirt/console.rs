//! The console of a virtual machine on another host, whose QEMU has no log of ours to write to: it comes by a stream of
//! libvirt's. What is said while nobody listens is lost.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use virt::connect::Connect;
use virt::error::Error;
use virt::stream::Stream;
use virt::sys;

use crate::hypervisor::container::log::{CAP, Log};

/// From a failure to the next try.
const AGAIN: Duration = Duration::from_secs(5);

/// Whose console is listened to, by id.
#[derive(Debug, Default)]
pub(super) struct Consoles(HashMap<String, JoinHandle<()>>);

impl Consoles {
    /// Has the console of a guest that runs written to its log, unless that is done already.
    pub(super) fn follow(&mut self, uri: &str, id: &str, log: &Path) -> io::Result<()> {
        if self.0.get(id).is_some_and(|listener| !listener.is_finished()) {
            return Ok(());
        }
        let (uri, guest, log): (String, String, PathBuf) = (uri.to_owned(), id.to_owned(), log.to_owned());
        let listener = thread::Builder::new().name("nfio-console".into()).spawn(move || {
            let heard = Log::open(&log, CAP).map(|mut log| listen(&uri, &guest, &mut log));
            let why = match heard {
                Ok(Ok(())) => return,
                Ok(Err(e)) => e.message().to_owned(),
                Err(e) => e.to_string(),
            };
            tracing::warn!("the console of the guest {guest} is not heard: {why}");
            // As long as this thread lasts, nobody else tries.
            thread::sleep(AGAIN);
        })?;
        self.0.insert(id.to_owned(), listener);
        Ok(())
    }

    /// Forgets listeners whose connection may hang: a new one takes the console from them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Listens until the guest or the connection ends. On a connection of its own, as it lasts.
fn listen(uri: &str, id: &str, log: &mut Log) -> Result<(), Error> {
    let connect = Connect::open(Some(uri))?;
    let domain = connect.lookup_domain_by_uuid_string(id)?;
    let stream = Stream::new(&connect, 0)?;
    domain.open_console(None, &stream, sys::VIR_DOMAIN_CONSOLE_FORCE)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.recv(&mut buffer)? {
            count @ 1.. => {
                if let Err(e) = log.append(&buffer[..count.unsigned_abs()]) {
                    tracing::warn!("the log of the guest {id} cannot be written: {e}");
                }
            }
            _ => return stream.finish(),
        }
    }
}
