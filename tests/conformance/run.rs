//! Judging promises: several at a time, each on a stage of its own; every failure is told, by name.

use nfio_host::hypervisor::Hypervisor;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ground::Ground;
use crate::machines;
use crate::promises::{ALL, Promise};
use crate::stage::{Stage, Wrap, held};

/// How long anything may take that is waited for; slow machines need it, nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Fails with all promises that the ground's driver does not keep. A pattern in `NFIO_PROMISE` judges only those whose
/// name holds it.
pub(crate) fn judge_all(ground: &dyn Ground) {
    let pattern = std::env::var("NFIO_PROMISE").unwrap_or_default();
    let wanted: Vec<&Promise> = ALL.iter().filter(|promise| promise.name.contains(&pattern)).collect();
    assert!(!wanted.is_empty(), "no promise is called like {pattern:?}");
    let own = ground.driver();
    let broken: Vec<String> = side_by_side(ground.facts().at_a_time, wanted.len(), |n| {
        let why = judge(wanted[n], ground, &own, &|driver| driver, PATIENCE).err()?;
        Some(format!("{}\n    {why}", wanted[n].name))
    });
    let name = own.name();
    assert!(
        broken.is_empty(),
        "{name} breaks {} of {} promises:\n  {}",
        broken.len(),
        wanted.len(),
        broken.join("\n  ")
    );
    for (guest, _log) in ground.waiting().into_iter().flat_map(|waiting| std::mem::take(&mut *held(waiting)))
    {
        own.destroy(&guest, true).unwrap_or_else(|e| panic!("destroy: {e}"));
    }
    let left = ground.left();
    assert!(left.is_empty(), "{name} leaves something of guests that were destroyed: {left:?}");
}

/// Judges one promise; Err is how it is broken.
pub(crate) fn judge(
    promise: &Promise,
    ground: &dyn Ground,
    own: &Arc<dyn Hypervisor>,
    wrap: Wrap<'_>,
    patience: Duration,
) -> Result<(), String> {
    let mut stage = Stage::new(ground, own, wrap, patience);
    let form = stage.facts.machine.then(|| machines::form(promise.name)).flatten().unwrap_or(promise.judge);
    catch_unwind(AssertUnwindSafe(|| form(&stage))).map_err(|payload| words(&*payload))?;
    stage.hand_on();
    Ok(())
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// Runs `work` for 0, 1, … `count` - 1, `at_a_time` of them at once; answers what it told, in that order.
pub(crate) fn side_by_side<T: Send>(
    at_a_time: usize,
    count: usize,
    work: impl Fn(usize) -> Option<T> + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let told = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.min(count) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    if let Some(answer) = work(n) {
                        told.lock().unwrap_or_else(PoisonError::into_inner).push((n, answer));
                    }
                }
            });
        }
    });
    let mut told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    told.sort_by_key(|(n, _)| *n);
    told.into_iter().map(|(_, answer)| answer).collect()
}
