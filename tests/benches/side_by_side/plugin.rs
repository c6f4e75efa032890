//! Plugins: what a call across the ABI costs over a plain one, and what loading costs.

use middlebox_sdk::{Host, Level, Output};
use nfio_host::config::{Deadlines, Modules};
use nfio_host::modules::{Loader, Registry};
use nfio_tests::built;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use crate::table::{Table, Work, micros, millis};

/// Calls in a batch.
const CALLS: u32 = 20_000;
/// What a call may cost over a plain one, in microseconds.
const LIMIT: f64 = 0.1;

/// A call that asks nothing back.
pub(crate) fn calls(table: &mut Table) {
    let directory = tempfile::tempdir_in("/run").expect("a directory");
    let (modules, private) = (directory.path().join("modules"), directory.path().join("private"));
    [&modules, &private].into_iter().for_each(|path| fs::create_dir(path).expect("mkdir"));
    let loader = Loader::new(&private, &Modules::default()).expect("a loader");
    let load = || {
        fs::copy(built("libodd.so"), modules.join("libodd.so")).expect("the fixture");
        Registry::load(&modules, &private, &loader, Deadlines::default()).expect("a registry")
    };
    // A registry with the plugin, and one without: what is between them is the plugin.
    let mut loads = Vec::new();
    for _ in 0..10 {
        let with = millis(1, || drop(load()));
        fs::remove_file(modules.join("libodd.so")).expect("unlink");
        let without = millis(1, || {
            drop(Registry::load(&modules, &private, &loader, Deadlines::default()).expect("a registry"));
        });
        loads.push(with - without);
    }
    table.alone(Work::new("loading a plugin, with its trial", "ms", 10), loads);

    let registry = load();
    let module = registry.module("odd").expect("the module");
    let plain: Box<dyn Plain> = Box::new(Answers);
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        through.push(micros(CALLS, || {
            black_box(module.read(black_box(&Nobody), black_box("odd/build"))).expect("an answer");
        }));
        direct.push(micros(CALLS, || drop(black_box(plain.read(&Nobody, black_box("odd/build"))))));
    }
    let middle = |figures: &[f64]| {
        let mut figures = figures.to_vec();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let over: Vec<f64> = through.iter().zip(&direct).map(|(a, b)| a - b).collect();
    println!("a call: {:.3} us into a plugin, {:.3} us by dyn", middle(&through), middle(&direct));
    table.pair(
        Work::new("a call into a plugin, over dyn", "us", 60).at_most(1.0),
        ("ABI less dyn", over),
        ("limit", vec![LIMIT]),
    );
}

/// What the plugin's answer is compared to.
trait Plain {
    fn read(&self, host: &dyn Host, file: &str) -> middlebox_sdk::Result<Vec<u8>>;
}

struct Answers;

impl Plain for Answers {
    fn read(&self, _: &dyn Host, file: &str) -> middlebox_sdk::Result<Vec<u8>> {
        match file {
            "odd/build" => Ok(black_box("the build of odd that is number 0000").into()),
            _ => Ok(Vec::new()),
        }
    }
}

/// A host that is not asked.
struct Nobody;

impl Nobody {
    fn unasked<T>(&self) -> middlebox_sdk::Result<T> {
        panic!("the call measured asks nothing back")
    }
}

impl Host for Nobody {
    fn identity(&self, _: &str) -> middlebox_sdk::Result<String> {
        self.unasked()
    }
    fn read_file(&self, _: &str) -> middlebox_sdk::Result<Vec<u8>> {
        self.unasked()
    }
    fn write_file(&self, _: &str, _: &[u8]) -> middlebox_sdk::Result<()> {
        self.unasked()
    }
    fn value(&self, _: &str) -> middlebox_sdk::Result<Vec<u8>> {
        self.unasked()
    }
    fn put_file(&self, _: &str, _: u32, _: &[u8]) -> middlebox_sdk::Result<()> {
        self.unasked()
    }
    fn set_env(&self, _: &str, _: &str) -> middlebox_sdk::Result<()> {
        self.unasked()
    }
    fn set_command(&self, _: &[&str]) -> middlebox_sdk::Result<()> {
        self.unasked()
    }
    fn operate(&self, _: &str, _: &str) -> middlebox_sdk::Result<String> {
        self.unasked()
    }
    fn execute(&self, _: &[&str], _: &[u8]) -> middlebox_sdk::Result<Output> {
        self.unasked()
    }
    fn log(&self, _: Level, _: &str) {}
}

/// The fixture that has an own file which asks nothing.
pub(crate) fn install_odd(module_root: &Path) {
    fs::copy(built("libodd.so"), module_root.join("libodd.so")).expect("the fixture");
}
