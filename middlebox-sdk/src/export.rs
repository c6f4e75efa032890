//! What [`export_middlebox!`](crate::export_middlebox) makes of a [`Middlebox`]: the header that nfio looks for, and
//! a guard around every call, construction and drop, since a panic that crosses the ABI would end the host.

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::abi::{
    Answer, Borrowed, BoxedMiddlebox, Fault, Lent, MiddleboxAbi, MiddleboxAbi_TO, Plugin, PluginRef,
};
use crate::error::{HostError, NfioError, Result};
use crate::middlebox::Middlebox;
use crate::vnf::Vnf;

#[doc(hidden)]
pub use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
#[doc(hidden)]
pub type Constructed = Answer<BoxedMiddlebox>;
#[doc(hidden)]
pub type Root = PluginRef;

/// Exports a middlebox from a `cdylib`: the one line that makes a shared object an nfio plugin. The expression is
/// evaluated once, when nfio loads the plugin.
///
/// ```
/// use middlebox_sdk::{Middlebox, Type, export_middlebox};
///
/// struct Bridge;
///
/// impl Middlebox for Bridge {
///     fn describe(&self) -> Type {
///         Type::new("bridge", env!("CARGO_PKG_VERSION"))
///     }
/// }
///
/// export_middlebox!(Bridge);
/// # fn main() {}
/// ```
///
/// A plugin that is built with `panic = "abort"` is refused at compile time: its first panic would end nfio.
#[macro_export]
macro_rules! export_middlebox {
    ($make:expr) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a middlebox is built with panic = \"unwind\": nfio answers a panic with EIO, an abort would end nfio"
        );

        const _: () = {
            extern "C" fn construct() -> $crate::export::Constructed {
                $crate::export::construct(|| $make)
            }

            fn root() -> $crate::export::Root {
                $crate::export::root(construct)
            }

            extern "C" fn load() -> $crate::export::RootModuleResult {
                $crate::export::__call_root_module_loader(root)
            }

            // The name that abi_stable looks for (`ROOT_MODULE_LOADER_NAME`).
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::export::LibHeader =
                // SAFETY: `load` answers the `PluginRef` that the type argument names.
                unsafe {
                    $crate::export::LibHeader::from_constructor::<$crate::export::Root>(
                        load,
                        $crate::export::CheckTypeLayout::Yes,
                    )
                };
        };
    };
}

#[doc(hidden)]
pub fn construct<M: Middlebox>(make: impl FnOnce() -> M) -> Constructed {
    guard("its construction", || {
        Ok(MiddleboxAbi_TO::from_value(Exported(ManuallyDrop::new(make())), TD_Opaque))
    })
}

#[doc(hidden)]
pub fn root(construct: extern "C" fn() -> Constructed) -> Root {
    Plugin { construct }.leak_into_prefix()
}

/// An author's middlebox behind the guards.
struct Exported<M>(ManuallyDrop<M>);

impl<M> Drop for Exported<M> {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the value out, and it is not touched again.
        let inner = unsafe { ManuallyDrop::take(&mut self.0) };
        // A panic in an author's drop has nobody left to report to; letting it cross would end the host.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(inner)));
    }
}

fn guard<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Answer<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(Fault::from).into(),
        Err(panic) => {
            let fault = HostError::ModuleFault(format!("the module panicked in {what}: {}", words(&*panic)));
            // The payload's own drop may panic as well.
            std::mem::forget(panic);
            RResult::RErr(NfioError::from(fault).into())
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

impl<M: Middlebox> MiddleboxAbi for Exported<M> {
    fn describe(&self) -> Answer<RString> {
        guard("describe", || self.0.describe().to_text().map(RString::from))
    }

    fn mkdir(&self, host: Lent<'_>) -> Answer<()> {
        guard("mkdir", || self.0.mkdir(&Vnf::new(&Borrowed(host))))
    }

    fn getattr(&self, host: Lent<'_>, file: RStr<'_>) -> Answer<RString> {
        guard("getattr", || {
            self.0
                .getattr(&Vnf::new(&Borrowed(host)), file.as_str())
                .map(|attributes| attributes.to_text().into())
        })
    }

    fn read(&self, host: Lent<'_>, file: RStr<'_>) -> Answer<RVec<u8>> {
        guard("read", || self.0.read(&Vnf::new(&Borrowed(host)), file.as_str()).map(RVec::from))
    }

    fn write(&self, host: Lent<'_>, file: RStr<'_>, data: RSlice<'_, u8>) -> Answer<()> {
        guard("write", || self.0.write(&Vnf::new(&Borrowed(host)), file.as_str(), data.as_slice()))
    }

    fn prepare(&self, host: Lent<'_>, nf_conf: RSlice<'_, u8>) -> Answer<()> {
        guard("prepare", || self.0.prepare(&Vnf::new(&Borrowed(host)), nf_conf.as_slice()))
    }

    fn configure(&self, host: Lent<'_>, nf_conf: RSlice<'_, u8>) -> Answer<()> {
        guard("configure", || self.0.configure(&Vnf::new(&Borrowed(host)), nf_conf.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Type;

    struct Grumpy;

    impl Middlebox for Grumpy {
        fn describe(&self) -> Type {
            Type::new("grumpy", "0.1.0")
        }

        fn read(&self, _: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
            panic!("no {file} today")
        }
    }

    impl Drop for Grumpy {
        fn drop(&mut self) {
            panic!("never")
        }
    }

    export_middlebox!(Grumpy);

    #[test]
    fn the_header_has_the_name_that_is_looked_for() {
        let source = include_str!("export.rs");
        assert!(source.contains(&format!("\"{}\"", abi_stable::library::ROOT_MODULE_LOADER_NAME)));
    }

    #[test]
    fn a_panic_in_a_call_is_a_module_fault() {
        let fault = guard::<()>("read", || panic!("no {} today", "rules")).into_result().unwrap_err();
        assert_eq!((fault.code, fault.errno), (726, crate::error::EIO));
        assert!(
            fault.message.contains("read") && fault.message.contains("no rules today"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn a_panic_in_construction_or_drop_does_not_cross() {
        assert!(construct::<Grumpy>(|| panic!("not yet")).into_result().is_err());
        let Ok(boxed) = construct(|| Grumpy).into_result() else { panic!("constructed") };
        assert!(boxed.describe().into_result().unwrap().contains("grumpy"));
        drop(boxed);
    }
}
