//! Counters of guests on other machines. The engine measures a guest once a second as long as somebody listens: so
//! nfio listens from the first read on, answers from memory, and stops when nobody has asked for a while.

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

use super::engine::{Engine, QUICK};
use super::failure::Failure;
use super::memory::Known;
use crate::hypervisor::Counters;

/// Nobody has asked for so long: nobody listens any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The last measurements, by container and run.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<HashMap<(String, String), Sample>>);

#[derive(Debug)]
struct Sample {
    asked: Instant,
    counters: watch::Receiver<Option<Counters>>,
}

impl Samples {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of a guest, at most a second old while it runs; those of a paused one are its last.
    pub(super) async fn of(&self, engine: &Arc<Engine>, known: &Known) -> Result<Counters, Failure> {
        let key = (known.container.clone(), known.started.clone());
        let mut counters = {
            let mut samples = self.lock();
            let now = Instant::now();
            let sample = samples.entry(key.clone()).or_insert_with(|| {
                let (sender, counters) = watch::channel(None);
                tokio::spawn(listen(Arc::clone(engine), key, sender));
                Sample { asked: now, counters }
            });
            sample.asked = now;
            sample.counters.clone()
        };
        let answer = match timeout(QUICK, counters.wait_for(Option::is_some)).await {
            Ok(Ok(counters)) => *counters,
            _ => None,
        };
        answer.ok_or_else(|| Failure::Unreachable("it does not tell the counters of the guest".into()))
    }

    fn forgotten(&self, key: &(String, String)) -> bool {
        self.lock().get(key).is_none_or(|sample| sample.asked.elapsed() > FORGOTTEN)
    }
}

async fn listen(engine: Arc<Engine>, key: (String, String), sender: watch::Sender<Option<Counters>>) {
    if let Ok(docker) = engine.client().await {
        let options = StatsOptionsBuilder::new().stream(true).build();
        let mut samples = pin!(docker.stats(&key.0, Some(options)));
        while let Some(Ok(sample)) = samples.next().await {
            if engine.samples.forgotten(&key) {
                break;
            }
            // A guest that is ending is measured without its interfaces.
            if let Some(counters) = sum(&sample) {
                sender.send_replace(Some(counters));
            }
        }
    }
    // Whoever asks next listens anew.
    engine.samples.lock().remove(&key);
}

/// All interfaces of the guest; the engine leaves lo out.
fn sum(sample: &ContainerStatsResponse) -> Option<Counters> {
    let mut sum = Counters::default();
    for network in sample.networks.as_ref()?.values() {
        sum.rx_bytes += network.rx_bytes.unwrap_or(0);
        sum.tx_bytes += network.tx_bytes.unwrap_or(0);
        sum.pkt_drops += network.rx_dropped.unwrap_or(0) + network.tx_dropped.unwrap_or(0);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_interfaces_are_added_up() {
        let sample = json!({"networks": {
            "eth0": {"rx_bytes": 100, "tx_bytes": 50, "rx_dropped": 3, "tx_dropped": 4},
            "eth1": {"rx_bytes": 1, "tx_bytes": 1, "rx_dropped": 1, "tx_dropped": 1},
        }});
        let sample: ContainerStatsResponse = serde_json::from_value(sample).unwrap();
        assert_eq!(sum(&sample), Some(Counters { rx_bytes: 101, tx_bytes: 51, pkt_drops: 9 }));
        assert_eq!(sum(&ContainerStatsResponse::default()), None);
    }
}
