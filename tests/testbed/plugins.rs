//! Plugins that come, go and are replaced while mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::{Crate, Mounted, checkout, eventually};

impl Mounted {
    /// A file of module_root.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.module_root().join(name)
    }

    /// Puts a file into module_root whole: written aside and moved into place.
    #[track_caller]
    pub fn drop_in(&self, name: &str, data: &[u8]) {
        let aside = self.module_root().join(format!(".{name}.new"));
        fs::write(&aside, data).expect("a file in module_root");
        fs::rename(&aside, self.plugin(name)).expect("rename");
    }

    /// Puts a built plugin into module_root whole, as [`drop_in`](Self::drop_in) does.
    #[track_caller]
    pub fn install(&self, plugin: &Path) {
        let name = plugin.file_name().and_then(|name| name.to_str()).expect("a plugin's name");
        self.drop_in(name, &fs::read(plugin).unwrap_or_else(|e| panic!("read of {}: {e}", plugin.display())));
    }

    /// Text of `modules/NAME/FILE` without its final newline; empty where there is none.
    pub fn module(&self, name: &str, file: &str) -> String {
        let path = self.path().join("modules").join(name).join(file);
        fs::read_to_string(path).unwrap_or_default().trim_end_matches('\n').to_owned()
    }

    /// Waits until `modules/NAME/` shows this state and a sentence with these words; none: no sentence at all.
    #[track_caller]
    pub fn await_module(&self, name: &str, state: &str, words: &str) {
        let told = || (self.module(name, "state"), self.module(name, "error"));
        let fits = |(now, error): &(String, String)| {
            now == state && error.contains(words) && (words.is_empty() == error.is_empty())
        };
        let mut last = None;
        eventually(&format!("modules/{name} is {state}: {words:?}"), || {
            let now = told();
            if last.as_ref() != Some(&now) {
                eprintln!("modules/{name}: {now:?}");
                last = Some(now.clone());
            }
            fits(&now)
        });
    }
}

/// The fixture `odd` as a plugin is installed: a release build.
pub fn odd_plugin() -> Vec<u8> {
    static PLUGIN: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || {
        let odd = Crate::within(&checkout());
        odd.cargo(&["build", "--release", "-p", "odd"]);
        fs::read(odd.built("release", "libodd.so")).expect("the built fixture")
    };
    PLUGIN.get_or_init(build).clone()
}

/// Another build of the fixture `odd`: its file `odd/build` answers [`build_name`] of this number. It is the built one
/// with four digits changed in its bytes, so that fifty of them cost no fifty compilations; its code is its own copy in
/// memory all the same, and no other can give its answer.
pub fn odd_build(plugin: &[u8], number: u32) -> Vec<u8> {
    let (old, new) = (build_name(0), build_name(number));
    let places: Vec<usize> =
        (0..plugin.len()).filter(|at| plugin[*at..].starts_with(old.as_bytes())).collect();
    assert_eq!(places.len(), 1, "the name of the build stands in the fixture once");
    let mut patched = plugin.to_vec();
    patched[places[0]..places[0] + new.len()].copy_from_slice(new.as_bytes());
    patched
}

/// What `odd/build` answers in the build of this number.
pub fn build_name(number: u32) -> String {
    format!("the build of odd that is number {number:04}")
}
