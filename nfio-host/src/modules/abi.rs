//! The host's side of the ABI: lends a handle, calls a plugin, and believes nothing of what comes back.

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use middlebox_sdk::abi::{Answer, BoxedMiddlebox, Executed, Fault, HostAbi, HostAbi_TO, Lent};
use middlebox_sdk::{Attributes, Host, Kind, Level, Type};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use super::crash::{self, Origin};
use super::health::{Health, Patient};
use super::reply::{Reply, taken};
use crate::config::Deadlines;
use crate::error::{HostError, NfioError, Result};

/// A loaded plugin. It is never unloaded: values of it may live on in threads that still run its code.
pub struct Module {
    boxed: ManuallyDrop<BoxedMiddlebox>,
    ty: Type,
    sdk_version: String,
    calls: Arc<AtomicU64>,
    deadlines: Deadlines,
    health: Health,
    odd_errno: AtomicI32,
    origin: Origin,
}

impl Module {
    /// Asks the plugin what it is.
    pub(super) fn new(boxed: BoxedMiddlebox, sdk_version: String) -> Result<Self> {
        let ty = Type::from_text(&taken("describe", boxed.describe())?)?;
        Ok(Self {
            boxed: ManuallyDrop::new(boxed),
            ty,
            sdk_version,
            calls: Arc::default(),
            deadlines: Deadlines::default(),
            health: Health::default(),
            odd_errno: AtomicI32::new(0),
            origin: Origin::default(),
        })
    }

    /// The same module, whose crashes are marked as those of its file.
    pub(super) fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// The same module, its calls counted with those of whoever served its type before, and held to deadlines.
    pub(super) fn in_service(mut self, calls: Arc<AtomicU64>, deadlines: Deadlines) -> Self {
        (self.calls, self.deadlines) = (calls, deadlines);
        self
    }

    /// Why it gets no more calls, where it has ceased to answer.
    pub(super) fn wedged(&self) -> Option<String> {
        self.health.wedged()
    }

    /// How long a call may take: as long as the lane that it runs in has patience.
    fn patience(&self, what: &str, file: &str) -> Duration {
        let is_verb = || self.ty.files.iter().any(|known| known.path == file && known.kind == Kind::Verb);
        match what {
            "mkdir" | "getattr" | "read" => self.deadlines.read,
            "write" if !is_verb() => self.deadlines.read,
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

    /// The last errno that it answered and that does not exist; 0: none since this was asked last.
    pub(super) fn take_odd_errno(&self) -> i32 {
        self.odd_errno.swap(0, Ordering::Relaxed)
    }

    /// See [`middlebox_sdk::Middlebox::mkdir`].
    pub fn mkdir(&self, host: &dyn Host) -> Result<()> {
        self.call("mkdir", "", |lent| self.boxed.mkdir(lent), host)
    }

    /// See [`middlebox_sdk::Middlebox::getattr`].
    pub fn getattr(&self, host: &dyn Host, file: &str) -> Result<Attributes> {
        let text = self.call("getattr", file, |lent| self.boxed.getattr(lent, file.into()), host)?;
        Attributes::from_text(&text)
    }

    /// See [`middlebox_sdk::Middlebox::read`].
    pub fn read(&self, host: &dyn Host, file: &str) -> Result<Vec<u8>> {
        self.call("read", file, |lent| self.boxed.read(lent, file.into()), host)
    }

    /// See [`middlebox_sdk::Middlebox::write`].
    pub fn write(&self, host: &dyn Host, file: &str, data: &[u8]) -> Result<()> {
        self.call("write", file, |lent| self.boxed.write(lent, file.into(), data.into()), host)
    }

    /// See [`middlebox_sdk::Middlebox::prepare`].
    pub fn prepare(&self, host: &dyn Host, nf_conf: &[u8]) -> Result<()> {
        self.call("prepare", "", |lent| self.boxed.prepare(lent, nf_conf.into()), host)
    }

    /// See [`middlebox_sdk::Middlebox::configure`].
    pub fn configure(&self, host: &dyn Host, nf_conf: &[u8]) -> Result<()> {
        self.call("configure", "", |lent| self.boxed.configure(lent, nf_conf.into()), host)
    }

    fn call<T: Reply>(
        &self,
        what: &'static str,
        file: &str,
        call: impl FnOnce(Lent<'_>) -> Answer<T>,
        host: &dyn Host,
    ) -> Result<T::Taken> {
        if matches!(what, "read" | "getattr") && self.health.is_full() {
            return Err(NfioError::posix(libc::EAGAIN, "its type has as many calls under way as it may"));
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let under_way = self.health.begin(what, self.patience(what, file));
        let patient = Patient { host, call: &under_way };
        let lender = Lender(&patient);
        let lent = HostAbi_TO::from_ptr(&lender, TD_Opaque);
        let answer = crash::during(&self.origin, what, file, || call(lent));
        drop(under_way);
        if let RResult::RErr(fault) = &answer
            && fault.code == 0
            && !(1..=511).contains(&fault.errno)
        {
            self.odd_errno.store(fault.errno, Ordering::Relaxed);
        }
        taken(what, answer)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let boxed = &mut self.boxed;
        // SAFETY: it is dropped once, here, and not used again.
        crash::during(&self.origin, "its drop", "", || unsafe { ManuallyDrop::drop(boxed) });
    }
}

/// Lends a [`Host`] across the ABI. A panic of ours must not cross either.
struct Lender<'a>(&'a dyn Host);

fn guard<T, U>(call: impl FnOnce() -> Result<T>, convert: impl FnOnce(T) -> U) -> Answer<U> {
    match crash::outside(|| catch_unwind(AssertUnwindSafe(call))) {
        Ok(Ok(value)) => RResult::ROk(convert(value)),
        Ok(Err(error)) => RResult::RErr(error.into()),
        Err(_) => {
            RResult::RErr(Fault::from(NfioError::posix(libc::EIO, "nfio panicked in the module's handle")))
        }
    }
}

/// Text from a plugin, which need not be one.
fn text<'a>(text: &RStr<'a>) -> Result<&'a str> {
    std::str::from_utf8(text.as_rslice().as_slice())
        .map_err(|_| HostError::ModuleFault("the module asked with a text that is not UTF-8".into()).into())
}

fn words<'a>(argv: &'a RSlice<'_, RStr<'_>>) -> Result<Vec<&'a str>> {
    argv.iter().map(text).collect()
}

impl HostAbi for Lender<'_> {
    fn identity(&self, what: RStr<'_>) -> Answer<RString> {
        guard(|| self.0.identity(text(&what)?), RString::from)
    }

    fn read_file(&self, path: RStr<'_>) -> Answer<RVec<u8>> {
        guard(|| self.0.read_file(text(&path)?), RVec::from)
    }

    fn write_file(&self, path: RStr<'_>, data: RSlice<'_, u8>) -> Answer<()> {
        guard(|| self.0.write_file(text(&path)?, data.as_slice()), |()| ())
    }

    fn value(&self, name: RStr<'_>) -> Answer<RVec<u8>> {
        guard(|| self.0.value(text(&name)?), RVec::from)
    }

    fn put_file(&self, path: RStr<'_>, mode: u32, data: RSlice<'_, u8>) -> Answer<()> {
        guard(|| self.0.put_file(text(&path)?, mode, data.as_slice()), |()| ())
    }

    fn set_env(&self, name: RStr<'_>, value: RStr<'_>) -> Answer<()> {
        guard(|| self.0.set_env(text(&name)?, text(&value)?), |()| ())
    }

    fn set_command(&self, argv: RSlice<'_, RStr<'_>>) -> Answer<()> {
        guard(|| self.0.set_command(&words(&argv)?), |()| ())
    }

    fn operate(&self, operation: RStr<'_>, argument: RStr<'_>) -> Answer<RString> {
        guard(|| self.0.operate(text(&operation)?, text(&argument)?), RString::from)
    }

    fn execute(&self, argv: RSlice<'_, RStr<'_>>, stdin: RSlice<'_, u8>) -> Answer<Executed> {
        guard(
            || self.0.execute(&words(&argv)?, stdin.as_slice()),
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
            self.0.log(level, text(&message)?);
            Ok(())
        };
        // There is nobody to tell of a log that failed.
        let _ = guard(logged, |()| ());
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::REPLY_LIMIT;
    use super::*;
    use middlebox_sdk::abi::{MiddleboxAbi, MiddleboxAbi_TO};
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
                Some(length) => {
                    let message = "x".repeat(length.parse().unwrap());
                    // Not by `posix`, which would make it a possible one.
                    Err(NfioError::Posix { errno: 600, message })
                }
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
        assert_eq!(module.take_odd_errno(), 600);
        assert_eq!(module.read(&guest, "error-3").unwrap_err().errno(), libc::EIO);
        assert_eq!((module.take_odd_errno(), module.take_odd_errno()), (600, 0));
        assert_eq!(module.calls(), 4);
    }

    /// Speaks the ABI itself, and texts that are not UTF-8.
    struct Garbled {
        describes_itself: bool,
    }

    fn garbled() -> RString {
        // SAFETY: deliberately broken, as a hostile plugin's would be. Nothing may use it as text.
        unsafe { RString::from_utf8_unchecked(RVec::from(b"length = 1\xff\xfe".to_vec())) }
    }

    impl MiddleboxAbi for Garbled {
        fn describe(&self) -> Answer<RString> {
            let text = || Type::new("garbled", "1").to_text().unwrap().into();
            RResult::ROk(if self.describes_itself { text() } else { garbled() })
        }
        fn mkdir(&self, _: Lent<'_>) -> Answer<()> {
            RResult::RErr(Fault { code: 0, errno: libc::EBUSY, message: garbled() })
        }
        fn getattr(&self, _: Lent<'_>, _: RStr<'_>) -> Answer<RString> {
            RResult::ROk(garbled())
        }
        fn read(&self, host: Lent<'_>, _: RStr<'_>) -> Answer<RVec<u8>> {
            // SAFETY: as above.
            let path = unsafe { RStr::from_raw_parts(b"\xff".as_ptr(), 1) };
            host.read_file(path)
        }
        fn write(&self, _: Lent<'_>, _: RStr<'_>, _: RSlice<'_, u8>) -> Answer<()> {
            RResult::ROk(())
        }
        fn prepare(&self, _: Lent<'_>, _: RSlice<'_, u8>) -> Answer<()> {
            RResult::ROk(())
        }
        fn configure(&self, _: Lent<'_>, _: RSlice<'_, u8>) -> Answer<()> {
            RResult::ROk(())
        }
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_the_modules_fault_wherever_it_comes_from() {
        let boxed = |describes_itself| MiddleboxAbi_TO::from_value(Garbled { describes_itself }, TD_Opaque);
        let error = Module::new(boxed(false), "1.0.0".into()).err().expect("no type");
        assert_eq!(error.code(), 726);
        let (module, guest) = (Module::new(boxed(true), "1.0.0".into()).unwrap(), Guest::new("garbled", "a"));
        for (outcome, words) in [
            (module.mkdir(&guest), "answered mkdir"),
            (module.getattr(&guest, "x").map(drop), "answered getattr"),
            (module.read(&guest, "x").map(drop), "asked with"),
        ] {
            let error = outcome.unwrap_err();
            assert_eq!((error.code(), error.errno()), (726, libc::EIO), "{error}");
            assert!(error.to_string().contains(words) && error.to_string().contains("UTF-8"), "{error}");
        }
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
