use super::*;
use middlebox_sdk::testing::Guest;
use middlebox_sdk::{File, Middlebox, Type, Vnf};
use std::fs;

fn room() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (root, private) = (dir.path().join("plugins"), dir.path().join("private"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&private).unwrap();
    (dir, root, private)
}

#[test]
fn whatever_lies_in_module_root_is_listed_with_the_reason_and_stops_nobody() {
    let (_dir, root, private) = room();
    fs::write(root.join("libtext.so"), "no plugin\n").unwrap();
    fs::write(root.join("text.so"), "no plugin either\n").unwrap();
    fs::write(root.join("notes.txt"), "").unwrap();
    fs::create_dir(root.join("directory.so")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo.so"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("link.so")).unwrap();
    let registry = Registry::load(
        &root,
        &private,
        &Loader::new(&private, &Default::default()).unwrap(),
        Deadlines::default(),
    )
    .unwrap();
    assert_eq!(registry.names(), ["directory", "fifo", "link", "text", "text.so"]);
    assert!(registry.types().is_empty());
    for row in registry.rows() {
        assert!(row.state == "failed" && row.error.starts_with("it "), "{row:?}");
    }
    assert!(registry.module("fifo").err().unwrap().to_string().contains("not a regular file"));
}

#[test]
fn a_type_whose_plugin_is_gone_keeps_its_table() {
    let (_dir, root, private) = room();
    fs::create_dir(private.join("types")).unwrap();
    let ty = Type::new("firewall", "1.2").file(middlebox_sdk::File::value("stats/rules"));
    fs::write(private.join("types/firewall.toml"), ty.to_text().unwrap()).unwrap();
    fs::write(private.join("types/odd.toml"), "name = ").unwrap();
    let registry = Registry::load(
        &root,
        &private,
        &Loader::new(&private, &Default::default()).unwrap(),
        Deadlines::default(),
    )
    .unwrap();
    assert_eq!(registry.names(), ["firewall"]);
    assert!(
        !registry.is_loaded("firewall")
            && registry.table("firewall").unwrap().special("stats/rules").is_some()
    );
    assert_eq!(registry.file("firewall", "state").unwrap(), b"missing\n");
    let error = registry.module("firewall").err().unwrap();
    assert_eq!((error.code(), error.errno()), (724, libc::ENOPKG));
}

#[test]
fn copies_that_a_crash_left_are_cleared_and_hinder_none() {
    let (_dir, root, private) = room();
    fs::create_dir(private.join("modules")).unwrap();
    fs::write(private.join("modules/7-0.so"), "").unwrap();
    Registry::load(
        &root,
        &private,
        &Loader::new(&private, &Default::default()).unwrap(),
        Deadlines::default(),
    )
    .unwrap();
    assert_eq!(fs::read_dir(private.join("modules")).unwrap().count(), 0);
}

/// Of this type and version; its file `version` answers the latter.
struct Versioned(&'static str, &'static str);

impl Middlebox for Versioned {
    fn describe(&self) -> Type {
        Type::new(self.0, self.1).file(File::value("version"))
    }

    fn read(&self, _: &Vnf<'_>, _: &str) -> Result<Vec<u8>> {
        Ok(self.1.into())
    }
}

/// A registry of no files, and what puts one there or judges it anew.
struct Bench {
    _dir: tempfile::TempDir,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        let (dir, root, private) = room();
        let loader = Loader::new(&private, &Default::default()).unwrap();
        Self { _dir: dir, registry: Registry::load(&root, &private, &loader, Deadlines::default()).unwrap() }
    }

    fn good(&self, file: &str, ty: &'static str, version: &'static str) {
        let boxed = middlebox_sdk::export::construct(|| Versioned(ty, version)).into_result().expect("one");
        let module = Module::new(boxed, "1.0.0".into()).unwrap();
        self.registry.judged(Path::new(file), (None, Ok(module)));
    }

    fn bad(&self, file: &str) {
        self.registry.judged(Path::new(file), (None, Err("it is not whole".into())));
    }

    fn gone(&self, file: &str) {
        self.registry.removed(Path::new(file));
    }

    /// State, version that answers, number of reloads and error of an entry.
    fn told(&self, name: &str) -> (String, String, String, String) {
        let file = |file: &str| {
            let text = self.registry.file(name, file).unwrap_or_else(|| panic!("no {name}/{file}"));
            String::from_utf8(text).unwrap().trim_end().to_owned()
        };
        let answer =
            self.registry.module(name).and_then(|module| module.read(&Guest::new(name, "a"), "version"));
        let answer = answer.map_or_else(|e| e.name().to_owned(), |text| String::from_utf8(text).unwrap());
        (file("state"), answer, file("reloads"), file("error"))
    }

    #[track_caller]
    fn expect(&self, name: &str, state: &str, answer: &str, reloads: u32, error: &str) {
        let told = self.told(name);
        assert_eq!((told.0.as_str(), told.1.as_str()), (state, answer), "{told:?}");
        assert_eq!(told.2, reloads.to_string());
        assert!(told.3.contains(error) && told.3.is_empty() == error.is_empty(), "{told:?}");
    }
}

#[test]
fn a_file_that_is_replaced_serves_at_once_and_a_bad_one_leaves_the_last_good_one_serving() {
    let bench = Bench::new();
    bench.good("a.so", "box", "1");
    bench.expect("box", "loaded", "1", 0, "");
    bench.good("a.so", "box", "2");
    bench.expect("box", "loaded", "2", 1, "");
    bench.bad("a.so");
    bench.expect("box", "loaded", "2", 1, "not whole");
    assert_eq!(bench.registry.names(), ["box"]);
    bench.good("a.so", "box", "3");
    bench.expect("box", "loaded", "3", 2, "");
    assert_eq!(bench.registry.file("box", "calls").unwrap(), b"4\n", "of all that have served");
}

#[test]
fn a_type_whose_file_goes_is_missing_and_comes_back_with_it() {
    let bench = Bench::new();
    bench.good("libbox.so", "box", "1");
    bench.bad("libbox.so");
    bench.gone("libbox.so");
    bench.expect("box", "missing", "ModuleMissingError", 0, "");
    assert!(bench.registry.table("box").unwrap().special("version").is_some());
    bench.bad("libbox.so");
    bench.expect("box", "failed", "ModuleMissingError", 0, "not whole");
    bench.good("libbox.so", "box", "2");
    bench.expect("box", "loaded", "2", 1, "");
    assert_eq!(bench.registry.names(), ["box"]);
}

#[test]
fn of_two_files_that_claim_a_type_the_first_stays_and_the_second_takes_over_when_it_goes() {
    let bench = Bench::new();
    bench.good("z.so", "box", "1");
    bench.good("a.so", "box", "2");
    bench.expect("box", "loaded", "1", 0, "");
    bench.expect("a", "failed", "ModuleMissingError", 0, "served by z.so already");
    bench.bad("z.so");
    bench.expect("box", "loaded", "1", 0, "not whole");
    bench.gone("z.so");
    bench.expect("box", "loaded", "2", 1, "");
    assert_eq!(bench.registry.names(), ["box"]);
}

#[test]
fn a_file_that_changes_its_type_leaves_the_old_one_missing() {
    let bench = Bench::new();
    bench.good("a.so", "box", "1");
    bench.good("a.so", "bag", "2");
    bench.expect("box", "missing", "ModuleMissingError", 0, "");
    bench.expect("bag", "loaded", "2", 0, "");
}
