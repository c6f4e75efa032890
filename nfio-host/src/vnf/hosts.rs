//! Hosts that do not answer. A question that a host leaves open past its deadline costs its asker that long; every
//! further one would too. So while one is overdue, others to the same host fail at once, until it is answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{HypervisorError, Result};

/// The questions under way, by host.
#[derive(Default)]
pub(super) struct Hosts(Mutex<HashMap<String, Vec<(u64, Instant)>>>);

impl Hosts {
    /// Asks `host` something that should take less than `limit`.
    ///
    /// # Errors
    /// HypervisorConnectionError (ECONNREFUSED) while an earlier question to it is overdue; else what `question`
    /// answers.
    pub(super) fn ask<T>(
        &self,
        host: &str,
        limit: Duration,
        question: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        let number = {
            let mut hosts = self.lock();
            let open = hosts.entry(host.to_owned()).or_default();
            if let Some((_, since)) = open.iter().find(|(_, since)| begun.duration_since(*since) >= limit) {
                let seconds = begun.duration_since(*since).as_secs();
                let message =
                    format!("host {host} has not answered for {seconds} s; it is asked again when it does");
                return Err(HypervisorError::Connection(message).into());
            }
            let number = open.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
            open.push((number, begun));
            number
        };
        let _answered = Answered { hosts: self, host, number };
        question()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<(u64, Instant)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question off the list, also when it panicked.
struct Answered<'a> {
    hosts: &'a Hosts,
    host: &'a str,
    number: u64,
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        let mut hosts = self.hosts.lock();
        if let Some(open) = hosts.get_mut(self.host) {
            open.retain(|(number, _)| *number != self.number);
            if open.is_empty() {
                hosts.remove(self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_host_that_missed_a_deadline_fails_fast_until_it_answers_and_others_do_not() {
        let hosts = Hosts::default();
        let limit = Duration::from_millis(20);
        let (begun, has_begun) = channel();
        let (answer, answered) = channel();
        thread::scope(|scope| {
            let hosts = &hosts;
            scope.spawn(move || {
                hosts.ask("slow", limit, || {
                    begun.send(Instant::now()).unwrap();
                    answered.recv().unwrap();
                    Ok(())
                })
            });
            let since: Instant = has_begun.recv().unwrap();
            while since.elapsed() < limit * 2 {
                thread::yield_now();
            }
            let error = hosts.ask("slow", limit, || Ok(())).unwrap_err();
            assert!(error.code() == 701 && error.to_string().contains("slow"), "{error}");
            hosts.ask("other", limit, || Ok(())).unwrap();
            answer.send(()).unwrap();
        });
        hosts.ask("slow", limit, || Ok(())).unwrap();
        assert!(hosts.lock().is_empty());
    }
}
