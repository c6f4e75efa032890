//! What a plugin replies with. Nothing of it is believed: neither its length nor that a text is one.

use abi_stable::std_types::{RString, RVec};
use middlebox_sdk::abi::{Answer, BoxedMiddlebox, Fault};

use crate::error::{HostError, NfioError, Result};

/// The longest reply that is taken from a plugin, in bytes.
pub(super) const REPLY_LIMIT: usize = 16 << 20;

/// A reply on its way across.
pub(super) trait Reply {
    /// What becomes of it here.
    type Taken;
    /// Its length in bytes.
    fn length(&self) -> usize;
    /// None where it is no text but should be.
    fn take(self) -> Option<Self::Taken>;
}

impl Reply for () {
    type Taken = ();
    fn length(&self) -> usize {
        0
    }
    fn take(self) -> Option<()> {
        Some(())
    }
}

impl Reply for RVec<u8> {
    type Taken = Vec<u8>;
    fn length(&self) -> usize {
        self.len()
    }
    fn take(self) -> Option<Vec<u8>> {
        Some(self.into())
    }
}

impl Reply for RString {
    type Taken = String;
    fn length(&self) -> usize {
        self.len()
    }
    fn take(self) -> Option<String> {
        String::from_utf8(self.into_bytes().into()).ok()
    }
}

impl Reply for BoxedMiddlebox {
    type Taken = Self;
    fn length(&self) -> usize {
        0
    }
    fn take(self) -> Option<Self> {
        Some(self)
    }
}

/// Takes a plugin's answer: its length and text are judged here, its errno is clamped by [`NfioError::from_code`].
pub(super) fn taken<T: Reply>(what: &str, answer: Answer<T>) -> Result<T::Taken> {
    match answer.into_result() {
        Ok(reply) => limited(what, reply),
        Err(Fault { code, errno, message }) => {
            Err(NfioError::from_code(code, errno, limited(what, message)?))
        }
    }
}

fn limited<T: Reply>(what: &str, reply: T) -> Result<T::Taken> {
    let length = reply.length();
    if length > REPLY_LIMIT {
        let message = format!("the module answered {length} bytes to {what}; the limit is {REPLY_LIMIT}");
        return Err(HostError::ModuleFault(message).into());
    }
    reply.take().ok_or_else(|| {
        let message = format!("the module answered {what} with a text that is not UTF-8");
        HostError::ModuleFault(message).into()
    })
}
