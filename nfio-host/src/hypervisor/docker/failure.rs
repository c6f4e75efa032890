//! How a call to an engine fails: either the engine said no, or nobody answered.

use bollard::errors::Error;

use super::address::Address;
use crate::error::{HypervisorError, NfioError, one_line};

/// What an engine says to a client that is too old or too new for it.
const OTHER_AGE: &str = "client version";

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The engine refused, with its HTTP status and its own words.
    Refused { status: u16, message: String },
    /// No engine answered, or not in its language.
    Unreachable(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: status_code, message: one_line(&message) }
            }
            Error::DockerStreamError { error } => Self::Refused { status: 500, message: error },
            // Its own words are about a library of ours.
            Error::HyperLegacyError { err } => Self::Unreachable(chain(&err)),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// An error with what caused it: the outermost words ("client error") say nothing by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

impl Failure {
    /// Whether the engine said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the engine said that the thing is in no state for that (or that a name is taken).
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// The error of an operation of `class` on the guest called `guest`.
    pub(super) fn of(
        self,
        class: fn(String) -> HypervisorError,
        guest: &str,
        address: &Address,
    ) -> NfioError {
        match self {
            // An engine too old or too new for us says so to every request.
            Self::Refused { status: 400, message } if message.contains(OTHER_AGE) => {
                unreachable(address, &message)
            }
            Self::Refused { message, .. } => class(format!("{guest}: {message}")).into(),
            Self::Unreachable(why) => unreachable(address, &why),
        }
    }
}

/// That an engine does not answer, or not in our language.
pub(super) fn unreachable(address: &Address, why: &str) -> NfioError {
    let message = match why.contains(OTHER_AGE) {
        true => format!(
            "{address} does not speak our version of its API: {why}; upgrade the older of it and nfio"
        ),
        false => format!("{address} does not answer: {why}; see that it runs and can be reached"),
    };
    HypervisorError::Connection(message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn what_the_engine_says_keeps_its_words_and_silence_is_a_connection_error() {
        let address = Address::of("127.0.0.1", Some(Path::new("/s")), &BTreeMap::new()).unwrap();
        let refused = |status_code, message: &str| {
            Failure::from(Error::DockerResponseServerError { status_code, message: message.into() })
        };
        let error = refused(500, "no space left on device").of(HypervisorError::Deploy, "g", &address);
        assert_eq!((error.code(), error.to_string().as_str()), (705, "g: no space left on device"));
        let error = refused(400, "client version 1.52 is too new").of(HypervisorError::Deploy, "g", &address);
        assert_eq!(error.code(), 701);
        let error = Failure::from(Error::RequestTimeoutError).of(HypervisorError::Deploy, "g", &address);
        assert!(error.code() == 701 && error.to_string().contains("/s"), "{error}");
    }
}
