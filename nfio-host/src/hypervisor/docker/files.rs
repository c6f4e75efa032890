//! Files for a guest, running or not: an archive that the engine unpacks, which never leaves the guest's root.

use bollard::query_parameters::{ContainerArchiveInfoOptionsBuilder, UploadToContainerOptionsBuilder};
use std::path::Path;

use super::engine::{Engine, SLOW};
use super::failure::Failure;
use crate::error::HypervisorError;
use crate::hypervisor::PutFile;
use crate::hypervisor::container::check::{self, parts};

/// Mode of directories that are made on the way.
const DIRECTORY: u32 = 0o755;

/// Writes a file into a container; directories on the way are made.
///
/// # Errors
/// VNFConfigurationError for what is no path of a file; what the engine says of others.
pub(super) async fn put(engine: &Engine, container: &str, file: &PutFile) -> crate::error::Result<()> {
    check::target(&file.path)?;
    let place = format!("{} in the guest", file.path);
    upload(engine, container, file)
        .await
        .map_err(|failure| failure.of(HypervisorError::CommandExecution, &place, &engine.address))
}

async fn upload(engine: &Engine, container: &str, file: &PutFile) -> Result<(), Failure> {
    let refused = |message: String| Failure::Refused { status: 400, message };
    let names = parts(Path::new(&file.path)).map_err(|e| refused(e.to_string()))?;
    let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
    let Some((_, directories)) = names.split_last() else {
        return Err(refused(format!("{:?} is no path of a file", file.path)));
    };
    // The directory is nearly always there; the engine says so with 404 where it is not.
    let mut there = directories.len();
    loop {
        match unpack(engine, container, &names, there, file).await {
            Err(failure) if failure.is_not_found() && there > 0 && exists(engine, container).await? => {
                there -= 1
            }
            outcome => return outcome,
        }
    }
}

/// Unpacks what lies below the first `there` directories into the last of these.
async fn unpack(
    engine: &Engine,
    container: &str,
    names: &[&str],
    there: usize,
    file: &PutFile,
) -> Result<(), Failure> {
    let archive = archive(&names[there..], file)
        .map_err(|e| Failure::Refused { status: 400, message: format!("{}: {e}", file.path) })?;
    let at = format!("/{}", names[..there].join("/"));
    let options = UploadToContainerOptionsBuilder::new().path(&at).no_overwrite_dir_non_dir("true").build();
    let upload = async |docker: bollard::Docker| {
        docker.upload_to_container(container, Some(options), bollard::body_full(archive.into())).await
    };
    engine.call(SLOW, upload).await
}

/// Whether it was the directory that was not found, and not the container.
async fn exists(engine: &Engine, container: &str) -> Result<bool, Failure> {
    let options = ContainerArchiveInfoOptionsBuilder::new().path("/").build();
    let look =
        async |docker: bollard::Docker| docker.get_container_archive_info(container, Some(options)).await;
    match engine.call(SLOW, look).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is_not_found() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A tar archive of directories and, in the last of them, the file.
fn archive(names: &[&str], file: &PutFile) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for depth in 1..names.len() {
        let mut directory = header(tar::EntryType::Directory, DIRECTORY, 0);
        archive.append_data(&mut directory, names[..depth].join("/"), std::io::empty())?;
    }
    let mut entry = header(tar::EntryType::Regular, file.mode & 0o7777, file.data.len() as u64);
    archive.append_data(&mut entry, names.join("/"), file.data.as_slice())?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_directories_on_the_way_and_the_file_with_its_mode() {
        let file = PutFile { path: "/etc/a/b".into(), mode: 0o600, data: b"hello".to_vec() };
        let bytes = archive(&["a", "b"], &file).unwrap();
        let mut read = tar::Archive::new(bytes.as_slice());
        let entries: Vec<(String, u32)> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(entries, [("a".to_owned(), 0o755), ("a/b".to_owned(), 0o600)]);
    }
}
