//! The tables of all types that ever served, kept in ROOT: instances of a type whose plugin is gone are still
//! understood.

use middlebox_sdk::Type;
use std::fs;
use std::path::{Path, PathBuf};

use crate::beneath;
use crate::error::Result;

/// Longest table that is read, in bytes.
const TABLE_LIMIT: usize = 1 << 20;

/// The directory of the tables.
pub(super) struct Kept(PathBuf);

impl Kept {
    /// Tables in `private`.
    pub(super) fn new(private: &Path) -> Result<Self> {
        let kept = private.join("types");
        fs::create_dir_all(&kept)?;
        beneath::clear_half_written(&kept)?;
        Ok(Self(kept))
    }

    /// All types. What cannot be read is told in the log and left out.
    pub(super) fn types(&self) -> Result<Vec<Type>> {
        let mut types = Vec::new();
        for file in fs::read_dir(&self.0)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "toml") {
                match read(&file) {
                    Ok(ty) => types.push(ty),
                    Err(e) => tracing::warn!("{} is not used: {e}", file.display()),
                }
            }
        }
        Ok(types)
    }

    /// Keeps a type's table in the place of its last.
    pub(super) fn keep(&self, ty: &Type) -> Result<()> {
        beneath::write_atomic(&self.0.join(format!("{}.toml", ty.name)), ty.to_text()?.as_bytes())
    }
}

fn read(file: &Path) -> Result<Type> {
    let text = beneath::read_own(file, TABLE_LIMIT)?.unwrap_or_default();
    Type::from_text(&String::from_utf8_lossy(&text))
}
