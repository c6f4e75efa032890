//! The one trait that a middlebox type implements.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{EOPNOTSUPP, NfioError, Result};
use crate::layout::Type;
use crate::vnf::Vnf;

/// A middlebox type: the manual's module with its `_mkdir`, `_getattr`, `_read` and `_write`, and three more.
///
/// Only [`describe`](Self::describe) has no default. Calls may come from several threads at once, for different
/// instances and for the same one; a handle is good for the length of its call. A panic in any of them is caught
/// and answered as ModuleFaultError (EIO).
///
/// Snapshots, offsets, lengths, verbs, locks, roll-back and `last_error` are the host's business.
pub trait Middlebox: Send + Sync + 'static {
    /// Name, version, files and needs of the type. Asked once, when the module is loaded.
    fn describe(&self) -> Type;

    /// A new instance's skeleton has been made, but nobody sees it yet: the place to fill ordinary files. An
    /// error makes the whole mkdir(2) fail and leaves nothing behind.
    fn mkdir(&self, vnf: &Vnf<'_>) -> Result<()> {
        let _ = vnf;
        Ok(())
    }

    /// Length and time of an own file declared [`sized`](crate::File::sized) or as a log. It must be quick: a
    /// handle refuses (EPERM) whatever would ask a driver here.
    fn getattr(&self, vnf: &Vnf<'_>, file: &str) -> Result<Attributes> {
        let _ = (vnf, file);
        Ok(Attributes::default())
    }

    /// The whole content of an own file; at most 16 MiB.
    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        let _ = vnf;
        Err(NfioError::posix(EOPNOTSUPP, format!("{file} cannot be read")))
    }

    /// One write(2) to an own file, complete in itself. For a verb the handle allows whatever changes the guest.
    fn write(&self, vnf: &Vnf<'_>, file: &str, data: &[u8]) -> Result<()> {
        let _ = (vnf, data);
        Err(NfioError::posix(EOPNOTSUPP, format!("{file} cannot be written")))
    }

    /// Before every start: the place for files that must be there before the guest's first process, for its
    /// environment and its command. `nf_conf` is the content of `config/nf_conf`, empty: leave the image's alone.
    fn prepare(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        let _ = (vnf, nf_conf);
        Ok(())
    }

    /// After every start, and at `reload`: gives `nf_conf` to the running guest, checked first, then all or
    /// nothing: a refused one leaves the running one as it was. The guest forwards packets only once this has
    /// succeeded. What is wrong with the text is a [`NfioError::configuration`].
    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        let _ = (vnf, nf_conf);
        Ok(())
    }
}

/// What [`Middlebox::getattr`] tells of a file; what is left out, the host fills in.
///
/// ```
/// use middlebox_sdk::Attributes;
///
/// assert_eq!(Attributes::new().length(7).length, Some(7));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// Length in bytes.
    pub length: Option<u64>,
    /// Time of the last change.
    pub modified: Option<SystemTime>,
}

impl Attributes {
    /// Nothing told.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the length in bytes.
    #[must_use]
    pub fn length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Tells the time of the last change.
    #[must_use]
    pub fn modified(mut self, modified: SystemTime) -> Self {
        self.modified = Some(modified);
        self
    }

    /// The text that crosses the ABI.
    pub(crate) fn to_text(self) -> String {
        let mut text = String::new();
        if let Some(length) = self.length {
            text += &format!("length = {length}\n");
        }
        if let Some(since) = self.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
            text += &format!("modified = {}\n", since.as_secs());
        }
        text
    }

    /// Reads what `getattr` answered across the ABI. A key that this SDK does not know is ignored.
    ///
    /// # Errors
    /// ModuleFaultError where the text is no TOML or a known key holds no whole number of at least 0.
    pub fn from_text(text: &str) -> Result<Self> {
        let fault =
            |why: String| crate::error::HostError::ModuleFault(format!("getattr answered {text:?}: {why}"));
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| fault(e.message().into()))?;
        let number = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_integer()
                .and_then(|n| u64::try_from(n).ok())
                .map(Some)
                .ok_or_else(|| fault(format!("{key} is no whole number of at least 0"))),
        };
        Ok(Self {
            length: number("length")?,
            modified: number("modified")?.map(|secs| UNIX_EPOCH + Duration::from_secs(secs)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_crossing() {
        let full = Attributes { length: Some(7), modified: Some(UNIX_EPOCH + Duration::from_secs(9)) };
        for attributes in [Attributes::default(), full] {
            assert_eq!(Attributes::from_text(&attributes.to_text()).unwrap(), attributes);
        }
        assert_eq!(Attributes::from_text("later = 1\n").unwrap(), Attributes::default());
        assert_eq!(Attributes::from_text("length = -1\n").unwrap_err().code(), 726);
    }
}
