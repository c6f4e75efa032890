//! How operations are drawn: from small pools, so that they meet each other, and weighed, so that guests run.

use proptest::prelude::*;
use proptest::sample::select;
use std::sync::LazyLock;

use crate::operation::{BARE, GUARD, How, Operation, path};

/// The verbs, and what else may stand in a line of `action`.
const LINES: [&str; 22] = [
    "activate\n",
    "activate\n",
    "start\n",
    "stop\n",
    "restart\n",
    "pause\n",
    "pause\n",
    "unpause\n",
    "reload\n",
    "reload\n",
    "reload\n",
    "reload",
    "destroy\n",
    "running\n",
    "running\n",
    "exited\n",
    "undeployed\n",
    "bad\n",
    "# a comment\n\n",
    "running\npause\n",
    "exited\nbad\nrunning\n",
    "running\n# again\nrestart\nactivate\nstop\n",
];

/// Rulesets.
const RULES: [&str; 6] = [
    "",
    "table inet t { chain c { tcp dport 22 drop; }; }\n",
    "table inet t { chain c { tcp dport 53 drop; }; }\n",
    "table inet t { chain c { tcp dport 80 drop; }; }\n",
    "table inet t { chain c { tcp dport 443 drop; }; }\n",
    "nonsense\n",
];

/// Scripts for guests, each understood by every guest of the suite.
pub(crate) const SCRIPTS: [&str; 4] = ["echo here\n", "exit 3\n", "echo lost >&2; exit 1\n", "# nothing\n"];

/// Where an instance's ordinary files, its own and others, may be.
const FILES: [&str; 6] =
    ["note", "config/note", "dir/note", "config/nf_conf", "machine/ip", "machine/vm.image"];
const SPECIAL: [&str; 13] = [
    "action",
    "command",
    "output",
    "status",
    "status",
    "last_error",
    "last_error",
    "log",
    "machine/vm.ip",
    "stats/rx_bytes",
    "stats/tx_bytes",
    "stats/pkt_drops",
    "stats/rules",
];
const SETTINGS: [&str; 6] = [
    "config/boot.conf",
    "config/nf_conf",
    "machine/ip",
    "machine/vm.image",
    "machine/vm.vcpu",
    "machine/vm.memory",
];
const DIRECTORIES: [&str; 5] = ["dir", "dir/below", "config", "machine", "stats"];
const LINKS: [&str; 3] = ["link", "config/link", "config/nf_conf"];
const TARGETS: [&str; 5] = ["note", "../note", "config/nf_conf", "nowhere", "dir"];

const INSTANCES: [&str; 2] = ["nf-types/firewall/a", "nf-types/firewall/b"];
const BARES: [&str; 1] = ["nf-types/random/r"];
/// What no instance can be.
const OUTSIDE: [&str; 14] = [
    "new",
    ".nfio",
    "nf-types/firewall/.aside-1",
    "nf-types/firewall/new",
    "nf-types",
    "nf-types/nat",
    "nf-types/nat/a",
    "nf-types/firewall",
    "nf-types/firewall/-a",
    "nf-types/Fire",
    "nf-types/random",
    "modules",
    "modules/firewall/state",
    "modules/new",
];

/// Every path that is drawn, made once.
fn joined(instances: &[&str], below: &[&str]) -> Vec<&'static str> {
    let below = |instance| below.iter().map(move |name| path(format!("{instance}/{name}")));
    instances.iter().flat_map(below).collect()
}

macro_rules! pool {
    ($name:ident, $instances:expr, $below:expr) => {
        static $name: LazyLock<Vec<&'static str>> = LazyLock::new(|| joined(&$instances, &$below));
    };
}
pool!(ORDINARY, INSTANCES, FILES);
pool!(SPECIALS, INSTANCES, SPECIAL);
pool!(SETTING, INSTANCES, SETTINGS);
pool!(INNER, INSTANCES, DIRECTORIES);
pool!(LINKED, INSTANCES, LINKS);
pool!(PLAIN, BARES, ["alpha", "note", "omega"]);

fn below(instance: &str, file: &str) -> &'static str {
    path(format!("{instance}/{file}"))
}

fn instance() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => select(&INSTANCES[..]), 1 => select(&BARES[..])]
}

fn file() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => select(&ORDINARY[..]), 1 => select(&PLAIN[..]), 1 => select(&SPECIALS[..])]
}

fn directory() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => select(&INNER[..]), 3 => instance(), 1 => select(&OUTSIDE[..])]
}

fn any_path() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => file(), 3 => directory(), 4 => select(&SPECIALS[..]), 2 => select(&SETTING[..]), 1 => select(&LINKED[..])]
}

/// What may be kept open: what a verb's open file reads is told elsewhere.
fn kept() -> impl Strategy<Value = &'static str> {
    let path = prop_oneof![3 => file(), 1 => any_path()];
    path.prop_filter("no verb", |path| !path.ends_with("/action") && !path.ends_with("/command"))
}

/// What is written where, mostly something that has a meaning there.
fn put(image: &'static str) -> impl Strategy<Value = (&'static str, &'static str)> {
    let setting = select(&SETTING[..]).prop_flat_map(move |path| {
        let texts: Vec<&'static str> = match path.rsplit('/').next() {
            Some("boot.conf") => vec!["", "restart = \"no\"\n", "restart = \"mount\"\n", "wrong = 1\n"],
            Some("nf_conf") => RULES.to_vec(),
            Some("ip") => vec!["127.0.0.1\n", "127.0.0.1\n", "localhost", "192.0.2.9\n", "", "a\nb\n"],
            Some("vm.image") => vec![image, image, image, "nowhere\n", ""],
            Some("vm.vcpu") => vec!["", "0.5\n", "many\n"],
            _ => vec!["", "64M\n", "much\n"],
        };
        (Just(path), select(texts))
    });
    let nf_conf = select(&INSTANCES[..]).prop_map(|instance| below(instance, "config/nf_conf"));
    // No guest knows such a script.
    let prose = file().prop_filter("scripts are Run's", |path| !path.ends_with("/command"));
    let rules = (nf_conf, select(RULES.to_vec()));
    prop_oneof![5 => setting, 2 => rules, 3 => (prose, select(vec!["words\n", "more words\n", ""]))]
}

fn act(forget: bool) -> impl Strategy<Value = (&'static str, &'static str)> {
    let lines: Vec<&'static str> = LINES.into_iter().chain(forget.then_some("forget\n")).collect();
    let actions: Vec<&'static str> =
        SPECIALS.iter().copied().filter(|path| path.ends_with("/action")).collect();
    (select(actions), select(lines))
}

/// What differs from one kind of guest to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// What stands in `machine/vm.image` for an image that is there.
    pub(crate) image: &'static str,
    /// Whether guests are on paper: those that are real nobody removes who were forgotten, or starts by hand.
    pub(crate) on_paper: bool,
}

/// What somebody does who wants a guest: without it, few sequences would have one.
fn guest(image: &'static str) -> impl Strategy<Value = Vec<Operation>> {
    select(&INSTANCES[..]).prop_map(move |instance| {
        let put = |file: &str, text| Operation::Put(below(instance, file), text, How::Truncate);
        vec![
            Operation::Mkdir(instance),
            put("machine/ip", "127.0.0.1\n"),
            put("machine/vm.image", image),
            put("action", "running\n"),
        ]
    })
}

/// New rules for a guest that runs.
fn reload() -> impl Strategy<Value = Vec<Operation>> {
    (select(&INSTANCES[..]), select(&RULES[..])).prop_map(|(instance, rules)| {
        let put = |file: &str, text| Operation::Put(below(instance, file), text, How::Truncate);
        let read = Operation::Read(below(instance, "stats/rules"));
        vec![put("config/nf_conf", rules), put("action", "reload\n"), read]
    })
}

/// An operation on names that nfio does not survive.
fn killed() -> impl Strategy<Value = Vec<Operation>> {
    let on_names = prop_oneof![
        4 => instance().prop_map(Operation::Mkdir),
        4 => instance().prop_map(Operation::Rmdir),
        4 => (instance(), instance()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => (file(), file()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => file().prop_map(Operation::Unlink),
    ];
    (on_names, 0..3_000_u64)
        .prop_map(|(operation, after)| vec![Operation::KillDuring(Box::new(operation), after)])
}

/// Operations, mostly one.
pub(crate) fn operations(choice: Choice) -> impl Strategy<Value = Vec<Operation>> {
    let one = operation(choice).prop_map(|operation| vec![operation]);
    prop_oneof![40 => guest(choice.image), 20 => reload(), 3 => killed(), 420 => one]
}

/// One operation.
fn operation(choice: Choice) -> impl Strategy<Value = Operation> {
    use Operation::{
        Chmod, End, Exchange, Keep, KeepReading, Kill, Label, Link, List, Mkdir, Plugin, Put, Read, ReadKept,
        ReadLabel, Remount, Rename, RenameFree, Rmdir, Run, StartByHand, Stat, Symlink, Truncate, Unlink,
        WriteKept,
    };
    let how = || prop_oneof![6 => Just(How::Truncate), 1 => Just(How::Append), 1 => Just(How::Nonblock)];
    let by_hand = if choice.on_paper { StartByHand } else { End };
    prop_oneof![
        100 => prop_oneof![3 => instance(), 1 => directory()].prop_map(Mkdir),
        40 => prop_oneof![1 => instance(), 1 => directory()].prop_map(Rmdir),
        40 => any_path().prop_map(Unlink),
        60 => prop_oneof![4 => (any_path(), any_path()), 1 => (instance(), instance())]
            .prop_map(|(from, to)| Rename(from, to)),
        15 => prop_oneof![4 => (any_path(), any_path()), 1 => (instance(), instance())]
            .prop_map(|(from, to)| RenameFree(from, to)),
        20 => prop_oneof![4 => (any_path(), any_path()), 1 => (instance(), instance())]
            .prop_map(|(from, to)| Exchange(from, to)),
        25 => (any_path(), any_path()).prop_map(|(from, to)| Link(from, to)),
        15 => (any_path(), select(vec![0, 3, 5000])).prop_map(|(path, size)| Truncate(path, size)),
        15 => (any_path(), select(vec!["one", "two"])).prop_map(|(path, text)| Label(path, text)),
        15 => any_path().prop_map(ReadLabel),
        40 => kept().prop_map(Keep),
        40 => select(&SPECIALS[..]).prop_map(KeepReading),
        60 => Just(ReadKept),
        20 => select(vec!["w", "words\n"]).prop_map(WriteKept),
        15 => (select(&TARGETS[..]), prop_oneof![3 => select(&LINKED[..]), 1 => any_path()])
            .prop_map(|(target, path)| Symlink(target, path)),
        20 => (prop_oneof![3 => file(), 1 => select(&SPECIALS[..])], select(vec![0o600, 0o644, 0o755]))
            .prop_map(|(path, mode)| Chmod(path, mode)),
        220 => (put(choice.image), how()).prop_map(|((path, text), how)| Put(path, text, how)),
        220 => (act(choice.on_paper), how()).prop_map(|((path, text), how)| Put(path, text, how)),
        50 => (select(&INSTANCES[..]), select(&SCRIPTS[..])).prop_map(|(at, script)| Run(at, script)),
        120 => prop_oneof![3 => select(&SPECIALS[..]), 1 => any_path()].prop_map(Read),
        40 => directory().prop_map(List),
        40 => any_path().prop_map(Stat),
        15 => select(&INSTANCES[..]).prop_map(End),
        3 => select(&INSTANCES[..]).prop_map(by_hand),
        6 => (select(vec![GUARD, GUARD, BARE]), any::<bool>()).prop_map(|(ty, there)| Plugin(ty, there)),
        4 => Just(Remount),
        6 => Just(Kill),
    ]
}
