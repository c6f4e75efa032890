//! The type `odd`, which misbehaves on purpose (`tests/odd`).

use std::fs;

use crate::{Instance, Mounted, Options, built};

impl Mounted {
    /// Mounts a new ROOT with all built plugins and the type `odd`.
    #[track_caller]
    pub fn with_odd(options: Options) -> Self {
        let mounted = Self::unmounted(options);
        fs::copy(built("libodd.so"), mounted.module_root().join("libodd.so")).expect("the built fixture");
        mounted.mount();
        mounted
    }

    /// Makes an instance of type `odd` whose host and image are set.
    #[track_caller]
    pub fn odd(&self, name: &str) -> Instance {
        self.made("odd", name)
    }
}
