//! nfio killed at each step of mkdir, rmdir and rename: an instance is there whole or not at all.

use nfio_tests::{Instance, Mounted, Place, errno};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use super::points::Points;
use super::table::Table;

/// What is done to the tree.
struct Operation {
    name: &'static str,
    act: fn(&Instance, &Instance) -> io::Result<()>,
    /// Whether the instance `a` is there before.
    before: bool,
    /// The instances that are there after.
    after: &'static [&'static str],
}

const OPERATIONS: [Operation; 3] = [
    Operation { name: "mkdir", act: |a, _| fs::create_dir(a.path()), before: false, after: &["a"] },
    Operation { name: "rmdir", act: |a, _| fs::remove_dir(a.path()), before: true, after: &[] },
    Operation { name: "rename", act: |a, b| fs::rename(a.path(), b.path()), before: true, after: &["b"] },
];

fn below(directory: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            let path = entry.path();
            all.insert(path.strip_prefix(directory).expect("below").display().to_string());
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    all
}

/// The instances that there are, each whole, with nothing beside them in ROOT.
fn whole(mounted: &Mounted, skeleton: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let place = |path: &str| mounted.root().join(path).join("firewall");
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != "whole")
            .collect();
        names.sort();
        names
    };
    let shown = names(&mounted.path().join("nf-types/firewall"));
    if shown != names(&place("nf-types")) {
        return Err(format!("ROOT holds {:?}, MOUNT shows {shown:?}", names(&place("nf-types"))));
    }
    let kept = names(&place(".nfio/instances"));
    if let Some(orphan) = kept.iter().find(|name| !shown.contains(name)) {
        return Err(format!("something is kept of {orphan}, which is not there"));
    }
    for name in &shown {
        let found = below(mounted.instance("firewall", name).path());
        if found != *skeleton {
            return Err(format!("{name} is not whole: {:?}", found.symmetric_difference(skeleton)));
        }
    }
    Ok(shown)
}

/// Kills nfio at one point of an operation.
fn blow(mounted: &Mounted, points: &Points, operation: &Operation, point: &str) -> Result<(), String> {
    let (a, b) = (mounted.instance("firewall", "a"), mounted.instance("firewall", "b"));
    let skeleton = below(mounted.instance("firewall", "whole").path());
    points.hold(&a, point);
    let answer = thread::scope(|scope| {
        let act = scope.spawn(|| (operation.act)(&a, &b));
        points.await_held(&a, point);
        mounted.kill();
        act.join().expect("a system call")
    });
    points.release(&a);
    mounted.mount();
    if ![libc::ECONNABORTED, libc::ENOTCONN].contains(&errno(answer)) {
        return Err("the call was answered".into());
    }
    let found = whole(mounted, &skeleton)?;
    if found != operation.after {
        let before: &[&str] = if operation.before { &["a"] } else { &[] };
        if found != before {
            return Err(format!("there is {found:?}"));
        }
        (operation.act)(&a, &b).map_err(|e| format!("once more: {e}"))?;
    }
    let after = whole(mounted, &skeleton)?;
    if after != operation.after {
        return Err(format!("done once more, there is {after:?}"));
    }
    for name in operation.after {
        let instance = mounted.instance("firewall", name);
        if operation.before && instance.get("config/nf_conf") != "kept" {
            return Err("what was written is lost".into());
        }
        if instance.status() != "undeployed" {
            return Err(format!("{name} is {}", instance.status()));
        }
        fs::remove_dir(instance.path()).map_err(|e| format!("rmdir of {name}: {e}"))?;
    }
    whole(mounted, &skeleton).map(drop)
}

fn prepare(mounted: &Mounted, operation: &Operation) {
    let a = mounted.instance("firewall", "a");
    if operation.before {
        fs::create_dir(a.path()).expect("mkdir");
        a.put("config/nf_conf", "kept\n");
    }
}

#[test]
fn killed_at_each_step_of_mkdir_rmdir_and_rename_an_instance_is_whole_or_not_there() {
    let all = Mutex::new((Table::default(), BTreeSet::new()));
    thread::scope(|scope| {
        for operation in &OPERATIONS {
            let all = &all;
            scope.spawn(move || {
                let points = Points::new();
                let mounted = points.mounted(Place::default(), &["firewall"]);
                fs::create_dir(mounted.instance("firewall", "whole").path()).expect("mkdir");
                let (a, b) = (mounted.instance("firewall", "a"), mounted.instance("firewall", "b"));
                prepare(&mounted, operation);
                points.reached(&a);
                (operation.act)(&a, &b).expect("undisturbed");
                let reached = points.reached(&a);
                for name in operation.after {
                    fs::remove_dir(mounted.instance("firewall", name).path()).expect("rmdir");
                }
                for point in reached {
                    prepare(&mounted, operation);
                    let outcome = blow(&mounted, &points, operation, &point);
                    all.lock().expect("no panic").0.note(operation.name, &point, outcome);
                }
                all.lock().expect("no panic").1.extend(points.all());
            });
        }
    });
    let (table, steps) = all.into_inner().expect("no panic");
    table.judge("nfio killed, in the tree");
    let missed: Vec<_> =
        steps.into_iter().filter(|step| step.starts_with("Tree:") && !table.steps().contains(step)).collect();
    assert!(missed.is_empty(), "no blow fell at these points: {missed:?}");
}
