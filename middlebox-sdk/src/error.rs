//! The error classes that a user, a script or a plugin author can meet: a class has a *code* (the
//! original's 701 … 716, continued), a POSIX *errno* that `read(2)` and `write(2)` report, and a
//! sentence that names the input and the way out.
//!
//! The kernel refuses errnos above 511, so a code never reaches a caller as an errno; it stands in the
//! instance's `last_error` instead.

use thiserror::Error;

/// What every operation of the SDK and of the host answers.
pub type Result<T, E = NfioError> = std::result::Result<T, E>;

// Values of Linux on every architecture that nfio runs on (asm-generic/errno-base.h, errno.h). They are
// written here once so that a plugin needs no crate but this one.
/// Operation not permitted.
pub const EPERM: i32 = 1;
/// No such file or directory.
pub const ENOENT: i32 = 2;
/// Input/output error.
pub const EIO: i32 = 5;
/// No such device or address: the guest is not deployed.
pub const ENXIO: i32 = 6;
/// Try again.
pub const EAGAIN: i32 = 11;
/// Permission denied.
pub const EACCES: i32 = 13;
/// Device or resource busy.
pub const EBUSY: i32 = 16;
/// File exists: already deployed.
pub const EEXIST: i32 = 17;
/// Invalid argument.
pub const EINVAL: i32 = 22;
/// Package not installed: the module is missing or failed.
pub const ENOPKG: i32 = 65;
/// Operation not supported.
pub const EOPNOTSUPP: i32 = 95;
/// Connection timed out: a deadline passed.
pub const ETIMEDOUT: i32 = 110;
/// Connection refused: the hypervisor does not answer.
pub const ECONNREFUSED: i32 = 111;
/// Host is down: the guest is deployed but does not run.
pub const EHOSTDOWN: i32 = 112;
/// Remote I/O error: a command in the guest failed.
pub const EREMOTEIO: i32 = 121;
/// State not recoverable.
pub const ENOTRECOVERABLE: i32 = 131;

/// Declares a family of classes: `Variant(Name, code, errno)`, each holding its sentence.
macro_rules! family {
    (
        $(#[$meta:meta])* $family:ident {
            $( $(#[$doc:meta])* $variant:ident => $name:literal, $code:literal, $errno:ident; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Error)]
        #[non_exhaustive]
        pub enum $family {
            $( $(#[$doc])* #[error("{0}")] $variant(String), )+
        }

        impl $family {
            /// The manual's name of the class, as `last_error` shows it.
            pub fn name(&self) -> &'static str {
                match self { $( Self::$variant(_) => $name, )+ }
            }

            /// The class's code, 701 … 727.
            pub fn code(&self) -> i32 {
                match self { $( Self::$variant(_) => $code, )+ }
            }

            /// The errno that a failed read or write reports.
            pub fn errno(&self) -> i32 {
                match self { $( Self::$variant(_) => $errno, )+ }
            }

            fn from_code(code: i32, message: String) -> std::result::Result<Self, String> {
                match code { $( $code => Ok(Self::$variant(message)), )+ _ => Err(message) }
            }
        }
    };
}

family! {
    /// What a hypervisor, a guest or its deployment can answer wrongly (the manual's `HypervisorError`).
    HypervisorError {
        /// The engine, or the host named in `machine/ip`, cannot be reached.
        Connection => "HypervisorConnectionError", 701, ECONNREFUSED;
        /// The guest is not deployed, or has vanished.
        NotFound => "VNFNotFoundError", 702, ENXIO;
        /// A command in the guest could not be run or failed.
        CommandExecution => "VNFCommandExecutionError", 703, EREMOTEIO;
        /// The skeleton of an instance could not be made.
        Create => "VNFCreateError", 704, EIO;
        /// The guest could not be deployed.
        Deploy => "VNFDeployError", 705, EIO;
        /// The guest could not be destroyed.
        Destroy => "VNFDestroyError", 706, EIO;
        /// The guest could not be started.
        Start => "VNFStartError", 707, EIO;
        /// The guest could not be restarted.
        Restart => "VNFRestartError", 708, EIO;
        /// The guest could not be stopped.
        Stop => "VNFStopError", 709, EIO;
        /// The guest could not be paused.
        Pause => "VNFPauseError", 710, EIO;
        /// The guest could not be unpaused.
        Unpause => "VNFUnpauseError", 711, EIO;
        /// A failed deployment could not be rolled back.
        InconsistentState => "VNFDeployErrorWithInconsistentState", 712, ENOTRECOVERABLE;
        /// The guest is deployed but does not run.
        NotRunning => "VNFNotRunningError", 716, EHOSTDOWN;
    }
}

family! {
    /// What `machine/*`, `config/boot.conf` or `config/nf_conf` can say wrongly (the manual's
    /// `VNFConfigurationError`).
    VnfConfigurationError {
        /// `machine/vm.image` is empty.
        ImageNameIsEmpty => "VNFImageNameIsEmptyError", 713, EINVAL;
        /// `machine/ip` is empty.
        HostNameIsEmpty => "VNFHostNameIsEmptyError", 714, EINVAL;
        /// The name of the instance is empty.
        NameIsEmpty => "VNFNameIsEmptyError", 715, EINVAL;
        /// A configuration file holds something that cannot be used.
        Invalid => "VNFConfigurationError", 720, EINVAL;
    }
}

family! {
    /// What the host itself refuses.
    HostError {
        /// The word written to `action` is no verb.
        UnknownVerb => "UnknownVerbError", 721, EINVAL;
        /// The instance is deployed already.
        AlreadyDeployed => "VNFAlreadyDeployedError", 722, EEXIST;
        /// A deadline passed.
        Deadline => "DeadlineError", 723, ETIMEDOUT;
        /// The type's module is missing or failed to load.
        ModuleMissing => "ModuleMissingError", 724, ENOPKG;
        /// Something else is under way on the instance.
        Busy => "BusyError", 725, EBUSY;
        /// The type's module panicked, answered garbage or no longer answers.
        ModuleFault => "ModuleFaultError", 726, EIO;
        /// Policy does not grant this.
        Policy => "PolicyError", 727, EPERM;
    }
}

/// The root of all classes (the manual's `nfioError`).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NfioError {
    /// A hypervisor or guest failed.
    #[error(transparent)]
    Hypervisor(#[from] HypervisorError),
    /// A configuration file is wrong.
    #[error(transparent)]
    Configuration(#[from] VnfConfigurationError),
    /// The host refuses.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A plain POSIX error without a class of its own (code 0).
    #[error("{message}")]
    Posix {
        /// The errno, 1 … 511; anything else is reported as [`EIO`].
        errno: i32,
        /// The sentence.
        message: String,
    },
}

impl NfioError {
    /// A plain POSIX error; an `errno` outside 1 … 511 becomes [`EIO`], as the kernel would refuse it.
    pub fn posix(errno: i32, message: impl Into<String>) -> Self {
        let errno = if (1..=511).contains(&errno) { errno } else { EIO };
        Self::Posix { errno, message: message.into() }
    }

    /// The configuration given by the user is wrong ([`VnfConfigurationError::Invalid`], EINVAL).
    pub fn configuration(message: impl Into<String>) -> Self {
        VnfConfigurationError::Invalid(message.into()).into()
    }

    /// A command in the guest failed ([`HypervisorError::CommandExecution`], EREMOTEIO).
    pub fn command(message: impl Into<String>) -> Self {
        HypervisorError::CommandExecution(message.into()).into()
    }

    /// The manual's name of the class; `OSError` for a plain POSIX error.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hypervisor(e) => e.name(),
            Self::Configuration(e) => e.name(),
            Self::Host(e) => e.name(),
            Self::Posix { .. } => "OSError",
        }
    }

    /// The class's code; 0 for a plain POSIX error.
    pub fn code(&self) -> i32 {
        match self {
            Self::Hypervisor(e) => e.code(),
            Self::Configuration(e) => e.code(),
            Self::Host(e) => e.code(),
            Self::Posix { .. } => 0,
        }
    }

    /// The errno that a failed read or write reports, always within 1 … 511.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Hypervisor(e) => e.errno(),
            Self::Configuration(e) => e.errno(),
            Self::Host(e) => e.errno(),
            Self::Posix { errno, .. } => *errno,
        }
    }

    /// The class of `code` with this message; a code that no class has becomes a plain POSIX error.
    pub fn from_code(code: i32, errno: i32, message: String) -> Self {
        HypervisorError::from_code(code, message)
            .map(Self::from)
            .or_else(|message| VnfConfigurationError::from_code(code, message).map(Self::from))
            .or_else(|message| HostError::from_code(code, message).map(Self::from))
            .unwrap_or_else(|message| Self::posix(errno, message))
    }
}

impl From<std::io::Error> for NfioError {
    fn from(e: std::io::Error) -> Self {
        Self::posix(e.raw_os_error().unwrap_or(EIO), e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_comes_back_from_its_code() {
        for code in (701..=716).chain(720..=727) {
            let error = NfioError::from_code(code, EIO, "why".into());
            assert_eq!(error.code(), code, "{error:?}");
            assert!((1..=511).contains(&error.errno()));
            assert_eq!(error.to_string(), "why");
        }
    }

    #[test]
    fn an_unknown_code_keeps_its_errno_within_what_the_kernel_takes() {
        assert_eq!(NfioError::from_code(0, EBUSY, String::new()).errno(), EBUSY);
        assert_eq!(NfioError::from_code(900, 600, String::new()).errno(), EIO);
        assert_eq!(NfioError::from_code(900, -1, String::new()).errno(), EIO);
    }
}
