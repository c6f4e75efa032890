//! Making a guest: a container and its networks, all or nothing.

use bollard::models::NetworkConnectRequest;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use std::sync::Arc;

use super::create::{self, Process};
use super::engine::{Engine, QUICK, SLOW};
use super::failure::Failure;
use super::memory::Known;
use super::{pull, renew};
use crate::error::{HypervisorError, NfioError, Result};
use crate::fault::{self, Step};
use crate::hypervisor::{GuestSpec, Prepared};

/// Makes the container of a guest and answers its id; nothing is left of one that cannot be made whole.
pub(super) async fn deploy(engine: &Arc<Engine>, spec: &GuestSpec) -> Result<String> {
    let known = match make(engine, spec).await {
        Ok(known) => known,
        Err(failure) if failure.is_conflict() => return Err(taken(engine, spec, failure).await),
        Err(failure) if failure.is_not_found() && !spec.boot.pull => {
            let hint = "docker pull or docker load it there, or set pull = true in config/boot.conf";
            return Err(match refused(engine, spec, failure) {
                NfioError::Hypervisor(HypervisorError::Deploy(words)) => {
                    HypervisorError::Deploy(format!("{words}; {hint}")).into()
                }
                other => other,
            });
        }
        Err(failure @ Failure::Unreachable(_)) => {
            let why = refused(engine, spec, failure);
            let message = format!("{why}; it may have made the container: write destroy once it answers");
            return Err(HypervisorError::InconsistentState(message).into());
        }
        Err(failure) => return Err(refused(engine, spec, failure)),
    };
    fault::at(Step::DockerCreated);
    let container = known.container.clone();
    let Err(error) = complete(engine, spec, &container).await else {
        // Nothing is to be asked: it was made a moment ago, and whatever happens to it is told by an event.
        engine.memory.put_new(&spec.labels.id, known);
        return Ok(container);
    };
    Err(match renew::remove(engine, &container).await {
        Ok(()) => error,
        Err(left) => {
            let left = refused(engine, spec, left);
            let message = format!(
                "{error}; and the container {container}, half-made, could not be removed: {left}; write \
                         destroy when that is mended"
            );
            HypervisorError::InconsistentState(message).into()
        }
    })
}

fn refused(engine: &Engine, spec: &GuestSpec, failure: Failure) -> NfioError {
    failure.of(HypervisorError::Deploy, &spec.name, &engine.address)
}

async fn make(engine: &Engine, spec: &GuestSpec) -> std::result::Result<Known, Failure> {
    let process = Process::of(&spec.boot.env, spec.boot.command.as_ref(), &Prepared::default());
    let local = engine.address.is_local();
    let body = create::body(spec, process, local)
        .map_err(|e| Failure::Refused { status: 400, message: e.to_string() })?;
    let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
    let create =
        async |docker: bollard::Docker| docker.create_container(Some(options.clone()), body.clone()).await;
    let made = match engine.call(SLOW, create).await {
        Err(failure) if spec.boot.pull && failure.is_not_found() => {
            pull::pull(engine, &spec.image).await?;
            engine.call(SLOW, create).await?
        }
        made => made?,
    };
    let labels = body.labels.unwrap_or_default();
    Ok(Known::created(made.id, spec.name.clone(), &labels, local))
}

/// Connects the further networks.
async fn complete(engine: &Arc<Engine>, spec: &GuestSpec, container: &str) -> Result<()> {
    for interface in spec.boot.interfaces.iter().skip(1) {
        let network = create::network(interface);
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(create::endpoint(interface)?),
        };
        engine
            .call(SLOW, async |docker| docker.connect_network(network, request).await)
            .await
            .map_err(|failure| refused(engine, spec, failure))?;
    }
    Ok(())
}

/// That the name is taken, and by whom.
async fn taken(engine: &Engine, spec: &GuestSpec, failure: Failure) -> NfioError {
    let refused = failure.clone().of(HypervisorError::Deploy, &spec.name, &engine.address);
    let look = async |docker: bollard::Docker| docker.inspect_container(&spec.name, None).await;
    // A conflict about something else than the name.
    let Ok(holder) = engine.call(QUICK, look).await else { return refused };
    let labels = holder.config.and_then(|config| config.labels).unwrap_or_default();
    let whose = match labels.get(create::ROOT) {
        Some(root) if *root == spec.labels.root => "a guest of this ROOT that no record knows".to_owned(),
        Some(root) => format!("a guest of another ROOT ({root})"),
        None => "nobody of nfio's: somebody made it by hand".to_owned(),
    };
    let id: String = holder.id.unwrap_or_default().chars().take(12).collect();
    HypervisorError::Deploy(format!(
        "the name {} is taken on {} by the container {id}, {whose}; rename or remove that (docker rename, docker rm), \
         or rename the instance",
        spec.name, engine.address
    ))
    .into()
}
