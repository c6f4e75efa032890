//! Turns at looking. Looks at one container come one after the other, so that an old one never overwrites a newer one,
//! and who asks while another waits for its turn shares that one's look. Containers do not wait for one another: while
//! an engine starts one it answers for that one late.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{RwLock, RwLockWriteGuard};

/// All looks that are under way.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Held by who looks at all containers, shared by who looks at one.
    all: RwLock<()>,
    containers: Mutex<HashMap<String, Arc<Asked>>>,
}

/// How often a container was asked about, and up to which asking looks have answered.
#[derive(Debug, Default)]
struct Asked {
    count: AtomicU64,
    answered: tokio::sync::Mutex<u64>,
}

/// One that asks; its container is forgotten with the last of them, also where it is dropped in between.
struct Asking<'a> {
    looks: &'a Looks,
    container: &'a str,
    asked: Arc<Asked>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut containers = self.looks.lock();
        // The table's and this one.
        if Arc::strong_count(&self.asked) == 2 {
            containers.remove(self.container);
        }
    }
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Asked>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers once a look at the container that began after this call has ended well, by `look` or by another's.
    pub(super) async fn one<E>(
        &self,
        container: &str,
        look: impl AsyncFnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _shared = self.all.read().await;
        let asked = Arc::clone(self.lock().entry(container.to_owned()).or_default());
        let asking = Asking { looks: self, container, asked };
        let number = asking.asked.count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = asking.asked.answered.lock().await;
        if *answered >= number {
            return Ok(());
        }
        let so_far = asking.asked.count.load(Ordering::SeqCst);
        look().await?;
        *answered = so_far;
        Ok(())
    }

    /// The turn of who looks at all containers.
    pub(super) async fn all(&self) -> RwLockWriteGuard<'_, ()> {
        self.all.write().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn those_who_wait_share_a_look_that_begins_after_they_asked() {
        let (looks, begun, gate) = (Looks::default(), AtomicUsize::new(0), Semaphore::new(0));
        let look = async || {
            begun.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.expect("it stays open").forget();
            Ok::<(), ()>(())
        };
        // The first is under way when the others ask: it may have seen what was before.
        let all = join_all((0..5).map(|_| looks.one("a", look)));
        let (outcomes, ()) = tokio::join!(all, async { gate.add_permits(5) });
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(begun.into_inner(), 2);
        assert!(looks.lock().is_empty());
    }

    #[tokio::test]
    async fn a_container_that_is_answered_for_late_holds_up_no_other() {
        let (looks, gate) = (Looks::default(), Semaphore::new(0));
        let late = looks.one("late", async || {
            gate.acquire().await.expect("it stays open").forget();
            Ok::<(), ()>(())
        });
        let other = async {
            looks.one("other", async || Ok::<(), ()>(())).await.unwrap();
            gate.add_permits(1);
        };
        assert!(tokio::join!(late, other).0.is_ok());
    }

    #[tokio::test]
    async fn a_look_that_failed_answers_nobody_else() {
        let looks = Looks::default();
        let begun = AtomicUsize::new(0);
        let look = async || match begun.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(()),
            _ => Ok(()),
        };
        let outcomes = join_all((0..4).map(|_| looks.one("a", look))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 2);
        assert!(looks.lock().is_empty());
    }
}
