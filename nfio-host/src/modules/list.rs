//! `nfio plugin list`: what a mount would make of module_root, judged without loading any of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files;
use super::load::Loader;
use super::registry::{Row, unreadable};
use crate::error::Result;

/// All plugins of `module_root`, in the order of their files.
///
/// # Errors
/// Only where `module_root` cannot be read; a bad plugin is a row.
pub fn list(module_root: &Path, loader: &Loader) -> Result<Vec<Row>> {
    let mut served: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut rows = Vec::new();
    for path in files::shared_objects(module_root).map_err(|e| unreadable(module_root, &e))? {
        let described = loader.describe(&path).and_then(|described| match served.get(&described.ty.name) {
            None => Ok(described),
            Some(first) => Err(format!(
                "type {} is served by {} already; remove one of the two files",
                described.ty.name,
                first.display()
            )),
        });
        rows.push(match described {
            Ok(described) => {
                served.insert(described.ty.name.clone(), path.clone());
                Row {
                    name: described.ty.name,
                    version: described.ty.version,
                    sdk_version: described.sdk_version,
                    state: "loaded",
                    path,
                    error: String::new(),
                }
            }
            Err(error) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let name = stem.strip_prefix("lib").unwrap_or(&stem).to_owned();
                Row { name, version: String::new(), sdk_version: String::new(), state: "failed", path, error }
            }
        });
    }
    Ok(rows)
}
