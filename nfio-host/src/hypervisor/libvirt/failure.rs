//! What libvirt's errors mean.

use virt::enumutil::Enum;
use virt::error::{Error, ErrorDomain, ErrorNumber};

use super::host::Host;
use crate::error::{HypervisorError, NfioError, one_line};

/// Whether an error has this number.
pub(super) fn is(error: &Error, number: ErrorNumber) -> bool {
    error.code() == Enum::Known(number)
}

/// Whether libvirt says that there is no such domain.
pub(super) fn is_gone(error: &Error) -> bool {
    is(error, ErrorNumber::NoDomain)
}

/// Whether the domain is in no state for that: it has ended, or runs already.
pub(super) fn is_wrong_state(error: &Error) -> bool {
    is(error, ErrorNumber::OperationInvalid)
}

/// Whether it is the guest's agent that does not answer, and not libvirt.
pub(super) fn is_agent(error: &Error) -> bool {
    is(error, ErrorNumber::AgentUnresponsive) || is(error, ErrorNumber::AgentUnsynced)
}

/// Whether the connection is gone. Its own errors are those of libvirt's RPC; one that the daemon answered is of what
/// the daemon did, also where that was refused by the daemon's system.
pub(super) fn is_lost(error: &Error) -> bool {
    is(error, ErrorNumber::NoConnect) || error.domain() == Enum::Known(ErrorDomain::Rpc)
}

/// The error of an operation of `class` on the guest called `guest`.
pub(super) fn of(error: &Error, class: fn(String) -> HypervisorError, guest: &str, host: &Host) -> NfioError {
    let message = &one_line(error.message());
    match () {
        () if is_gone(error) => not_found(guest),
        () if is_lost(error) => host.unreachable(message),
        () => class(format!("{guest}: {message}")).into(),
    }
}

/// That the domain is not there.
pub(super) fn not_found(guest: &str) -> NfioError {
    HypervisorError::NotFound(format!(
        "the guest {guest} is not there: it was removed, or never deployed; write destroy into action"
    ))
    .into()
}
