//! The host's side of the ABI: lends a handle, calls a plugin, and believes nothing of what comes back.

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use middlebox_sdk::abi::{Answer, BoxedMiddlebox, Executed, Fault, HostAbi, HostAbi_TO, Lent};
use middlebox_sdk::{Attributes, Host, Kind, Level, Type};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::health::{Health, Patient};
use crate::config::Deadlines;
use crate::error::{HostError, NfioError, Result};

/// The longest reply that is taken from a plugin, in bytes.
const REPLY_LIMIT: usize = 16 << 20;

/// A loaded plugin. It is never unloaded: values of it may live on in threads that still run its code.
pub struct Module {
    boxed: BoxedMiddlebox,
    ty: Type,
    sdk_version: String,
    calls: Arc<AtomicU64>,
    deadlines: Deadlines,
    health: Health,
}

impl Module {
    /// Asks the plugin what it is.
    pub(super) fn new(boxed: BoxedMiddlebox, sdk_version: String) -> Result<Self> {
        let text: String = limited("describe", boxed.describe(), |text| text.len())?;
        let (ty, calls, deadlines) = (Type::from_text(&text)?, Arc::default(), Deadlines::default());
        Ok(Self { boxed, ty, sdk_version, calls, deadlines, health: Health::default() })
    }

    /// The same plugin, its calls counted with those of whoever served its type before, and held to deadlines.
    pub(super) fn in_service(self, calls: Arc<AtomicU64>, deadlines: Deadlines) -> Self {
        Self { calls, deadlines, ..self }
    }

    /// Why it gets no more calls, where it has ceased to answer.
    pub(super) fn wedged(&self) -> Option<String> {
        self.health.wedged()
    }

    /// How long a call may take: as long as the lane that it runs in has patience.
    fn patience(&self, what: &str) -> Duration {
        match what {
            "mkdir" | "getattr" | "read" | "write" => self.deadlines.read,
            _ => self.deadlines.activate,
        }
    }

    /// What the plugin said about itself.
    pub fn describe(&self) -> &Type {
        &self.ty
    }

    /// Version of the SDK that it was built with.
    pub fn sdk_version(&self) -> &str {
        &self.sdk_version
    }

    /// How many calls its type has had.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// See [`middlebox_sdk::Middlebox::mkdir`].
    pub fn mkdir(&self, host: &dyn Host) -> Result<()> {
        self.call("mkdir", |_| 0, |lent| self.boxed.mkdir(lent), host)
    }

    /// See [`middlebox_sdk::Middlebox::getattr`].
    pub fn getattr(&self, host: &dyn Host, file: &str) -> Result<Attributes> {
        let text: String = self.call(
            "getattr",
            |text: &RString| text.len(),
            |lent| self.boxed.getattr(lent, file.into()),
            host,
        )?;
        Attributes::from_text(&text)
    }

    /// See [`middlebox_sdk::Middlebox::read`].
    pub fn read(&self, host: &dyn Host, file: &str) -> Result<Vec<u8>> {
        self.call("read", |data: &RVec<u8>| data.len(), |lent| self.boxed.read(lent, file.into()), host)
    }

    /// See [`middlebox_sdk::Middlebox::write`].
    pub fn write(&self, host: &dyn Host, file: &str, data: &[u8]) -> Result<()> {
        let verb = self.ty.files.iter().any(|known| known.path == file && known.kind == Kind::Verb);
        let what = if verb { "write to a verb" } else { "write" };
        self.call(what, |_| 0, |lent| self.boxed.write(lent, file.into(), data.into()), host)
    }

    /// See [`middlebox_sdk::Middlebox::prepare`].
    pub fn prepare(&self, host: &dyn Host, nf_conf: &[u8]) -> Result<()> {
        self.call("prepare", |_| 0, |lent| self.boxed.prepare(lent, nf_conf.into()), host)
    }

    /// See [`middlebox_sdk::Middlebox::configure`].
    pub fn configure(&self, host: &dyn Host, nf_conf: &[u8]) -> Result<()> {
        self.call("configure", |_| 0, |lent| self.boxed.configure(lent, nf_conf.into()), host)
    }

    fn call<T, U: From<T>>(
        &self,
        what: &'static str,
        length: impl Fn(&T) -> usize,
        call: impl FnOnce(Lent<'_>) -> Answer<T>,
        host: &dyn Host,
    ) -> Result<U> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let under_way = self.health.begin(what, self.patience(what));
        let patient = Patient { host, call: &under_way };
        let lender = Lender(&patient);
        limited(what, call(HostAbi_TO::from_ptr(&lender, TD_Opaque)), length)
    }
}

/// Takes a plugin's answer: its errno is clamped by [`NfioError::from_code`], its length judged here.
fn limited<T, U: From<T>>(what: &str, answer: Answer<T>, length: impl Fn(&T) -> usize) -> Result<U> {
    let (answer, length) = match answer.into_result() {
        Ok(value) => {
            let length = length(&value);
            (Ok(value.into()), length)
        }
        Err(fault) => {
            let length = fault.message.len();
            (Err(NfioError::from(fault)), length)
        }
    };
    if length > REPLY_LIMIT {
        let message = format!("the module answered {length} bytes to {what}; the limit is {REPLY_LIMIT}");
        return Err(HostError::ModuleFault(message).into());
    }
    answer
}

/// Lends a [`Host`] across the ABI. A panic of ours must not cross either.
struct Lender<'a>(&'a dyn Host);

fn guard<T, U>(call: impl FnOnce() -> Result<T>, convert: impl FnOnce(T) -> U) -> Answer<U> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => RResult::ROk(convert(value)),
        Ok(Err(error)) => RResult::RErr(error.into()),
        Err(_) => {
            RResult::RErr(Fault::from(NfioError::posix(libc::EIO, "nfio panicked in the module's handle")))
        }
    }
}

fn words<'a>(argv: &'a RSlice<'_, RStr<'_>>) -> Vec<&'a str> {
    argv.iter().map(|word| word.as_str()).collect()
}

impl HostAbi for Lender<'_> {
    fn identity(&self, what: RStr<'_>) -> Answer<RString> {
        guard(|| self.0.identity(what.as_str()), RString::from)
    }

    fn read_file(&self, path: RStr<'_>) -> Answer<RVec<u8>> {
        guard(|| self.0.read_file(path.as_str()), RVec::from)
    }

    fn write_file(&self, path: RStr<'_>, data: RSlice<'_, u8>) -> Answer<()> {
        guard(|| self.0.write_file(path.as_str(), data.as_slice()), |()| ())
    }

    fn value(&self, name: RStr<'_>) -> Answer<RVec<u8>> {
        guard(|| self.0.value(name.as_str()), RVec::from)
    }

    fn put_file(&self, path: RStr<'_>, mode: u32, data: RSlice<'_, u8>) -> Answer<()> {
        guard(|| self.0.put_file(path.as_str(), mode, data.as_slice()), |()| ())
    }

    fn set_env(&self, name: RStr<'_>, value: RStr<'_>) -> Answer<()> {
        guard(|| self.0.set_env(name.as_str(), value.as_str()), |()| ())
    }

    fn set_command(&self, argv: RSlice<'_, RStr<'_>>) -> Answer<()> {
        guard(|| self.0.set_command(&words(&argv)), |()| ())
    }

    fn operate(&self, operation: RStr<'_>, argument: RStr<'_>) -> Answer<RString> {
        guard(|| self.0.operate(operation.as_str(), argument.as_str()), RString::from)
    }

    fn execute(&self, argv: RSlice<'_, RStr<'_>>, stdin: RSlice<'_, u8>) -> Answer<Executed> {
        guard(
            || self.0.execute(&words(&argv), stdin.as_slice()),
            |done| Executed {
                exit_code: done.exit_code,
                stdout: done.stdout.into(),
                stderr: done.stderr.into(),
            },
        )
    }

    fn log(&self, level: u32, message: RStr<'_>) {
        let level = match level {
            0 => Level::Error,
            1 => Level::Warn,
            2 => Level::Info,
            _ => Level::Debug,
        };
        let logged = || {
            self.0.log(level, message.as_str());
            Ok(())
        };
        // There is nobody to tell of a log that failed.
        let _ = guard(logged, |()| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use middlebox_sdk::testing::Guest;
    use middlebox_sdk::{Middlebox, Vnf};

    /// Answers as many bytes, or an error of as many, as the name of the file says.
    struct Chatty;

    impl Middlebox for Chatty {
        fn describe(&self) -> Type {
            Type::new("chatty", "1")
        }

        fn read(&self, _: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
            match file.strip_prefix("error-") {
                Some(length) => Err(NfioError::posix(600, "x".repeat(length.parse().unwrap()))),
                None => Ok(vec![b'x'; file.parse().unwrap()]),
            }
        }

        fn write(&self, vnf: &Vnf<'_>, _: &str, _: &[u8]) -> Result<()> {
            vnf.get_ip().map(drop)
        }
    }

    fn chatty() -> Module {
        let boxed = middlebox_sdk::export::construct(|| Chatty).into_result().expect("a middlebox");
        Module::new(boxed, "1.0.0".into()).unwrap()
    }

    #[test]
    fn a_reply_or_error_beyond_the_limit_is_the_modules_fault_and_an_odd_errno_is_eio() {
        let (module, guest) = (chatty(), Guest::new("chatty", "a"));
        assert_eq!(module.read(&guest, &REPLY_LIMIT.to_string()).unwrap().len(), REPLY_LIMIT);
        for file in [format!("{}", REPLY_LIMIT + 1), format!("error-{}", REPLY_LIMIT + 1)] {
            let error = module.read(&guest, &file).unwrap_err();
            assert_eq!((error.code(), error.errno()), (726, libc::EIO));
            assert!(error.to_string().len() < 200);
        }
        assert_eq!(module.read(&guest, "error-3").unwrap_err().errno(), libc::EIO);
        assert_eq!(module.calls(), 4);
    }

    #[test]
    fn a_panic_of_the_host_does_not_cross() {
        struct Grumpy;
        impl Host for Grumpy {
            fn identity(&self, _: &str) -> Result<String> {
                panic!("never")
            }
            fn read_file(&self, _: &str) -> Result<Vec<u8>> {
                panic!("never")
            }
            fn write_file(&self, _: &str, _: &[u8]) -> Result<()> {
                panic!("never")
            }
            fn value(&self, _: &str) -> Result<Vec<u8>> {
                panic!("never")
            }
            fn put_file(&self, _: &str, _: u32, _: &[u8]) -> Result<()> {
                panic!("never")
            }
            fn set_env(&self, _: &str, _: &str) -> Result<()> {
                panic!("never")
            }
            fn set_command(&self, _: &[&str]) -> Result<()> {
                panic!("never")
            }
            fn operate(&self, _: &str, _: &str) -> Result<String> {
                panic!("never")
            }
            fn execute(&self, _: &[&str], _: &[u8]) -> Result<middlebox_sdk::Output> {
                panic!("never")
            }
            fn log(&self, _: Level, _: &str) {
                panic!("never")
            }
        }
        let error = chatty().write(&Grumpy, "x", b"").unwrap_err();
        assert_eq!(error.errno(), libc::EIO);
    }
}
