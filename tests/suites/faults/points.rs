//! The test's side of nfio's fault points (`nfio-host/src/fault/hold.rs` tells the files that both use).

use nfio_tests::{Instance, Mounted, Options, Place, built, eventually};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The points of a mount.
pub(super) struct Points {
    directory: tempfile::TempDir,
}

impl Points {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir_in("/run").expect("a directory below /run") }
    }

    /// A mount with these points that knows these types alone: it is mounted often.
    #[track_caller]
    pub(super) fn mounted(&self, place: Place, types: &[&str]) -> Mounted {
        let mounted = Mounted::unmounted(Options { place: self.at(place), ..Options::default() });
        only(&mounted, types);
        mounted.mount();
        assert!(
            self.directory.path().join("steps").exists(),
            "this nfio has no fault points, as it was built without the tests: run `cargo build --workspace`"
        );
        mounted
    }

    /// A place whose nfio has these points.
    pub(super) fn at(&self, place: Place) -> Place {
        let mut place = place;
        place.environment.push(("NFIO_FAULTS", self.directory.path().display().to_string()));
        place
    }

    /// The names of all points of the built nfio.
    pub(super) fn all(&self) -> BTreeSet<String> {
        let names =
            fs::read_to_string(self.directory.path().join("steps")).expect("the names of a mount's points");
        names.lines().map(str::to_owned).collect()
    }

    /// The points that verbs on an instance have reached since this was last asked: `COUNT STEP`.
    pub(super) fn reached(&self, instance: &Instance) -> Vec<String> {
        let file = self.file(instance, "reached");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        text.lines().map(str::to_owned).collect()
    }

    /// Has the next verb on an instance wait at a point.
    pub(super) fn hold(&self, instance: &Instance, point: &str) {
        let _ = fs::remove_file(self.file(instance, "held"));
        fs::write(self.file(instance, "hold"), point).expect("a point to hold");
    }

    /// Waits until a verb on an instance waits at its point.
    #[track_caller]
    pub(super) fn await_held(&self, instance: &Instance, point: &str) {
        let what = format!("{} is held at {point}", instance.path().display());
        eventually(&what, || self.file(instance, "held").exists());
    }

    /// Lets a verb go on.
    pub(super) fn release(&self, instance: &Instance) {
        for extension in ["hold", "held"] {
            let _ = fs::remove_file(self.file(instance, extension));
        }
    }

    fn file(&self, instance: &Instance, extension: &str) -> PathBuf {
        let mut names = instance.path().components().rev().map(|name| name.as_os_str().to_string_lossy());
        let (name, ty) = (names.next().expect("a name"), names.next().expect("a type"));
        self.directory.path().join(format!("{ty}.{name}.{extension}"))
    }
}

/// Leaves these types alone in a module_root.
pub(super) fn only(mounted: &Mounted, types: &[&str]) {
    for plugin in fs::read_dir(mounted.module_root()).expect("module_root").flatten() {
        fs::remove_file(plugin.path()).expect("a plugin");
    }
    for name in types.iter().map(|ty| format!("lib{ty}.so")) {
        fs::copy(built(&name), mounted.module_root().join(&name)).expect("a built plugin");
    }
}

/// The step of a point.
pub(super) fn step(point: &str) -> &str {
    point.split_once(' ').expect("COUNT STEP").1
}
