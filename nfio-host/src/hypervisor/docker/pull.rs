//! Fetching a missing image, where boot.conf asks for it.

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

use super::engine::Engine;
use super::failure::Failure;

/// A registry that sends nothing for so long has been lost.
const SILENCE: Duration = Duration::from_secs(60);

/// Has the engine fetch an image; its progress goes to nfio's log.
pub(super) async fn pull(engine: &Engine, image: &str) -> Result<(), Failure> {
    let docker = engine.client().await?;
    // A name without a tag would fetch all tags.
    let last = image.rsplit('/').next().unwrap_or(image);
    let image = if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") };
    let options = CreateImageOptionsBuilder::new().from_image(&image).build();
    let mut steps = pin!(docker.create_image(Some(options), None, None));
    let mut told = String::new();
    loop {
        let step = match timeout(SILENCE, steps.next()).await {
            Ok(Some(step)) => step?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let message = format!("the pull of {image} has made no progress for {} s", SILENCE.as_secs());
                return Err(Failure::Refused { status: 500, message });
            }
        };
        if let Some(detail) = step.error_detail.and_then(|detail| detail.message) {
            return Err(Failure::Refused { status: 500, message: detail });
        }
        let state = [step.id, step.status].into_iter().flatten().collect::<Vec<_>>().join(" ");
        // Every layer says "Downloading" many times.
        if state != told {
            tracing::info!("pull of {image}: {state}");
            told = state;
        }
    }
}
