//! What happens to chains without a verb. A guest that comes back gets its links before it is configured and so before it
//! forwards; whatever else takes links away (an end that was made anew, somebody's `ip link del`) is seen twice a second
//! and mended. Whoever polls `status` hears of every change.

use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::plan::Place;
use super::record::Record;
use super::wiring::Seen;
use super::{Chain, Chains, lock};
use crate::error::{NfioError, Result, one_line};
use crate::tree::Instance;

/// Longest time that a mount waits for the first look at all chains.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// From one look at all chains to the next.
const TICK: Duration = Duration::from_millis(500);
/// From a failure with virtual machines to the next try: each asks their agents.
const AGAIN: Duration = Duration::from_secs(2);

impl Chains {
    /// Begins to look after active chains, until the last reference to `self` goes. Comes back when all have been looked at
    /// once, or after [`FIRST_LOOK`]: from then on status knows of them.
    ///
    /// # Errors
    /// EAGAIN where no thread can be made.
    pub fn observe(self: &Arc<Self>) -> Result<()> {
        let chains: Weak<Self> = Arc::downgrade(self);
        let (looked, first) = mpsc::channel();
        thread::Builder::new().name("nfio-chains".into()).spawn(move || {
            while let Some(chains) = chains.upgrade() {
                for (chain, _) in chains.all_active() {
                    if chain.now().not_before.is_none_or(|moment| moment <= Instant::now()) {
                        chains.look_after(&chain);
                    }
                }
                drop(chains);
                // Nobody waits any more after the first one.
                let _ = looked.send(());
                thread::sleep(TICK);
            }
        })?;
        if first.recv_timeout(FIRST_LOOK).is_err() {
            tracing::warn!(
                "not all chains have been looked at within {FIRST_LOOK:?}: those that have not say so"
            );
        }
        Ok(())
    }

    /// Gives a guest that has just been started, and does not forward yet, its links. Where that fails the guest still
    /// starts: its chain tells, and it is tried again.
    pub(super) fn relink(&self, at: Instance<'_>) {
        for (chain, record) in self.all_active() {
            if let Some((_, member)) = record.graph.members().find(|(_, member)| member.at() == at) {
                if let Err(e) = self.vnfs.member_await(at, &member.id) {
                    tracing::warn!("{chain}: {member} is not up, and has no links yet: {e}");
                }
                self.look_after(&chain);
            }
        }
    }

    /// Looks at one chain, and mends what can be mended.
    fn look_after(&self, chain: &Chain) {
        {
            let _wiring = lock(&chain.wiring);
            let wired = chain.now().wired;
            let is_whole = |record: &Arc<Record>| record.complete || wired && !record.leaving;
            let Some(record) = chain.record().filter(is_whole) else { return };
            let mended = self.mended(chain, &record);
            let waits = mended.is_err() && !record.machines.is_empty();
            let gaps = mended.unwrap_or_else(|e| vec![one_line(&e.to_string())]);
            let mut now = chain.now();
            now.not_before = waits.then(|| Instant::now() + AGAIN);
            if now.gaps != gaps && !gaps.is_empty() {
                tracing::warn!("{chain} is degraded: {}", gaps.join(", "));
            }
            (now.looked, now.gaps) = (true, gaps);
        }
        let status = self.status(chain);
        self.notice(chain, &status);
    }

    /// Makes what is missing and can be made, and tells what cannot.
    fn mended(&self, chain: &Chain, record: &Record) -> Result<Vec<String>> {
        // Asked first: what runs and is configured now forwards already, unless somebody has switched it off.
        let configured = record.graph.members().all(|(_, member)| self.amiss("", member).is_none());
        let wiring = self.wiring(record)?;
        let seen = wiring.look()?;
        chain.now().meters.note(wiring.hops(), &seen);
        let mut gaps = Vec::new();
        if configured && let Some(deaf) = wiring.first_deaf_namespace()? {
            gaps.push(format!("{deaf} does not forward packets"));
        }
        for (place, file, end) in
            [(Place::Ingress, "ingress", &record.ingress), (Place::Egress, "egress", &record.egress)]
        {
            if self.stack(record, place)?.is_none() {
                gaps.push(format!("{file} ({end} is not there)"));
            }
        }
        let broken = |seen: &Seen| seen.possible != seen.linked;
        // Another set of links or runs than the routes were made for, one that can be mended, or parameters that were set back.
        let made = wiring.made(&seen);
        if chain.now().made.as_ref() != Some(&made) || seen.iter().any(broken) || wiring.has_drifted()? {
            wiring.wire()?;
            let made = wiring.made(&wiring.look()?);
            let mut now = chain.now();
            // Those that are held no more have no links any more.
            (now.made, now.held) = (Some(made), wiring.held());
            drop(now);
            tracing::info!("{chain}: its links are as its guests are");
        }
        Ok(gaps)
    }

    /// What each hop is now, for counters.
    pub(super) fn measure(&self, chain: &Chain) -> Result<()> {
        let record = chain.active()?;
        let wiring = self.wiring(&record)?;
        let seen = wiring.look().map_err(|e| NfioError::posix(libc::EIO, e.to_string()))?;
        chain.now().meters.note(wiring.hops(), &seen);
        Ok(())
    }
}
