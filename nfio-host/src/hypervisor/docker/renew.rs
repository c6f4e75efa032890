//! A container cannot change its environment or command. Where a type's `prepare` asks for others than the container was
//! made with, another one takes its place: with the same name and labels, over what the old one's layer holds.
//!
//! At no moment is the guest gone: the new container is made beside the old one, which it names by a label, and gets
//! its name once that is removed. Ended in between, the next start begins anew. A variable that is not asked for any
//! more stays in a layer that has been used.

use bollard::models::{ContainerConfig, ContainerCreateBody, ContainerInspectResponse, NetworkingConfig};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions,
    RenameContainerOptionsBuilder,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::create::{ID, Process, ROOT};
use super::engine::{Engine, SLOW};
use super::failure::Failure;
use super::memory::Known;
use crate::fault::{self, Step};
use crate::hypervisor::{Guest, GuestSpec, Prepared, Status};

/// Label of a container that takes another's place: the other's id.
pub(super) const REPLACES: &str = "io.nfio.replaces";
/// Label that tells what boot.conf says of the process, and what the container was made with.
pub(super) const PROCESS: &str = "io.nfio.process";

/// The content of the label [`PROCESS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    image: String,
    env: BTreeMap<String, String>,
    command: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    made: Process,
}

/// The label for a container that is made with this process.
pub(super) fn label(spec: &GuestSpec, made: &Process) -> String {
    let origin = Origin {
        image: spec.image.clone(),
        env: spec.boot.env.clone(),
        command: spec.boot.command.clone(),
        entrypoint: spec.boot.entrypoint.clone(),
        made: made.clone(),
    };
    origin.text()
}

impl Origin {
    fn text(&self) -> String {
        serde_json::to_string(self).expect("text and lists of text are always JSON")
    }
}

/// Sees to it that the guest's container has the environment and command that are wanted now; answers its id.
pub(super) async fn renew(
    engine: &Arc<Engine>,
    guest: &Guest,
    known: &Known,
    prepared: &Prepared,
) -> Result<String, Failure> {
    let old = known.container.as_str();
    let aside = format!("{}.new", guest.name);
    let process = |origin: &Origin| Process::of(&origin.env, origin.command.as_ref(), prepared);
    let is_as_wanted = |origin: &Arc<Origin>| process(origin) == origin.made;
    if known.name != aside && known.origin.as_ref().is_some_and(is_as_wanted) {
        return Ok(known.container.clone());
    }
    let inspected = engine.call(SLOW, async |docker| docker.inspect_container(old, None).await).await?;
    let origin = origin(&inspected).ok_or_else(|| Failure::Refused {
        status: 500,
        message: format!(
            "it has no label {PROCESS}: it is not of this nfio's making; destroy and activate it"
        ),
    })?;
    if inspected.name.as_deref().is_some_and(|name| name.trim_start_matches('/') == aside) {
        // A start was ended before the last step: the guest is this one, so it must not be taken for what such a start
        // left beside it.
        rename(engine, old, &guest.name).await?;
    }
    let wanted = process(&origin);
    if wanted == origin.made {
        return Ok(known.container.clone());
    }
    // Of a start that was ended in between.
    remove(engine, &aside).await?;
    let used = known.status != Status::Created;
    let image = if used { commit(engine, guest, old).await? } else { origin.image.clone() };
    fault::at(Step::DockerCommitted);
    let body = body(engine, inspected, &origin, wanted, image, used).await?;
    let options = CreateContainerOptionsBuilder::new().name(&aside).build();
    let made = engine.call(SLOW, async |docker| docker.create_container(Some(options), body).await).await?.id;
    fault::at(Step::DockerBeside);
    remove(engine, old).await?;
    fault::at(Step::DockerReplaced);
    rename(engine, &made, &guest.name).await?;
    fault::at(Step::DockerRenamed);
    engine.look(old).await?;
    engine.look(&made).await?;
    Ok(made)
}

async fn rename(engine: &Engine, container: &str, name: &str) -> Result<(), Failure> {
    let options = RenameContainerOptionsBuilder::new().name(name).build();
    engine.call(SLOW, async |docker| docker.rename_container(container, options).await).await
}

fn origin(inspected: &ContainerInspectResponse) -> Option<Origin> {
    let labels = inspected.config.as_ref()?.labels.as_ref()?;
    serde_json::from_str(labels.get(PROCESS)?).ok()
}

async fn body(
    engine: &Engine,
    old: ContainerInspectResponse,
    origin: &Origin,
    wanted: Process,
    image: String,
    used: bool,
) -> Result<ContainerCreateBody, Failure> {
    let config = old.config.unwrap_or_default();
    let mut labels = config.labels.unwrap_or_default();
    labels.insert(REPLACES.into(), old.id.unwrap_or_default());
    labels.insert(PROCESS.into(), Origin { made: wanted.clone(), ..origin.clone() }.text());
    // An image that was made of a container has the container's command for its own.
    let command = match wanted.command {
        None if used => image_command(engine, &origin.image).await,
        command => command,
    };
    let networks = old.network_settings.and_then(|settings| settings.networks);
    Ok(ContainerCreateBody {
        hostname: config.hostname,
        user: config.user,
        env: Some(wanted.env),
        cmd: command,
        entrypoint: origin.entrypoint.clone(),
        image: Some(image),
        labels: Some(labels),
        stop_timeout: config.stop_timeout,
        exposed_ports: config.exposed_ports,
        host_config: old.host_config,
        networking_config: networks.map(|networks| NetworkingConfig { endpoints_config: Some(networks) }),
        ..ContainerCreateBody::default()
    })
}

async fn image_command(engine: &Engine, image: &str) -> Option<Vec<String>> {
    let inspected = engine.call(SLOW, async |docker| docker.inspect_image(image).await).await.ok()?;
    inspected.config?.cmd
}

/// Makes an image of what the container's layer holds; it goes with the guest ([`remove_images`]).
async fn commit(engine: &Engine, guest: &Guest, container: &str) -> Result<String, Failure> {
    let options = CommitContainerOptionsBuilder::new().container(container).pause(false).build();
    let labels = [(ID.to_owned(), guest.labels.id.clone())].into();
    let config = ContainerConfig { labels: Some(labels), ..ContainerConfig::default() };
    let made = engine.call(SLOW, async |docker| docker.commit_container(options, config).await).await?;
    Ok(made.id)
}

/// Removes the images that were made of a guest's layers, once no container uses them.
pub(super) async fn remove_images(engine: &Engine, guest: &Guest) -> Result<(), Failure> {
    let filters: HashMap<String, Vec<String>> =
        [("label".to_owned(), vec![format!("{ID}={}", guest.labels.id)])].into();
    let options = ListImagesOptionsBuilder::new().all(true).filters(&filters).build();
    let images = engine.call(SLOW, async |docker| docker.list_images(Some(options)).await).await?;
    for image in images {
        let remove = async |docker: bollard::Docker| {
            docker.remove_image(&image.id, None::<RemoveImageOptions>, None).await
        };
        match engine.call(SLOW, remove).await {
            Err(failure) if !failure.is_not_found() && !failure.is_conflict() => return Err(failure),
            // One that another is built on goes with that.
            _ => {}
        }
    }
    Ok(())
}

/// Removes the containers of a guest: the one, and where a start was ended in the middle the other that was to take its
/// place.
pub(super) async fn remove_guest(engine: &Arc<Engine>, guest: &Guest) -> Result<(), Failure> {
    // A copy of ROOT has guests of the same ids.
    let labels = vec![format!("{ID}={}", guest.labels.id), format!("{ROOT}={}", guest.labels.root)];
    let filters: HashMap<String, Vec<String>> = [("label".to_owned(), labels)].into();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = engine.call(SLOW, async |docker| docker.list_containers(Some(options)).await).await?;
    for container in listed.into_iter().filter_map(|summary| summary.id) {
        remove(engine, &container).await?;
        fault::at(Step::DockerRemoved);
        engine.look(&container).await?;
    }
    // Somebody may have removed it just when it was made, before it was known.
    if let Ok(Some(known)) = engine.memory.guest(&guest.labels.id) {
        engine.look(&known.container).await?;
    }
    Ok(())
}

/// Removes a container, by name or id; one that is not there is no error.
pub(super) async fn remove(engine: &Engine, container: &str) -> Result<(), Failure> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match engine.call(SLOW, async |docker| docker.remove_container(container, Some(options)).await).await {
        Err(failure) if !failure.is_not_found() => Err(failure),
        _ => Ok(()),
    }
}
