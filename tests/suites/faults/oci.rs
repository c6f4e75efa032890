//! nfio killed at each step of each verb over the embedded driver.

use nfio_tests::{Instance, Mounted, Place};
use std::fs;
use std::path::{Path, PathBuf};

use super::RULES;
use super::points::Points;
use super::waves::{self, Blow, Machine, guest_id, nothing_left};

/// How many guests at a time.
const SIDE_BY_SIDE: usize = 12;

/// What this machine says of guests.
struct Here;

fn guests(mounted: &Mounted) -> PathBuf {
    mounted.root().join(".nfio/oci/guests")
}

/// A guest's name in control groups and interfaces.
fn short(id: &str) -> String {
    id.chars().filter(char::is_ascii_hexdigit).take(12).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Control groups of a guest or its monitor.
fn groups(short: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut below = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = below.pop() {
        for name in names(&directory) {
            let path = directory.join(&name);
            if !path.is_dir() || path.is_symlink() {
                continue;
            }
            if name.contains(short) {
                found.push(path.display().to_string());
            }
            // Controllers, then ours.
            if directory.components().count() < 5 || name == "nfio" {
                below.push(path);
            }
        }
    }
    found
}

/// Command lines of the processes that work in a directory.
fn processes(directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy().into_owned();
    let all = names(Path::new("/proc")).into_iter().filter_map(|pid| {
        let line = fs::read(Path::new("/proc").join(pid).join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    all.filter(|line| line.contains(&directory)).collect()
}

fn link(short: &str) -> Option<String> {
    let name = format!("nfv{short}");
    nix::net::if_::if_nametoindex(name.as_str()).is_ok().then(|| format!("the link {name}"))
}

/// What there is of a guest that runs, beside its directory.
fn traces(mounted: &Mounted, id: &str) -> Vec<String> {
    let short = short(id);
    let mut traces = processes(&guests(mounted).join(id));
    traces.extend(groups(&short));
    traces.extend(link(&short));
    traces
}

/// The addresses that a guest holds; those of all guests of the mount where no guest is named.
fn leases(mounted: &Mounted, id: &str) -> Vec<PathBuf> {
    let (leases, holder) = (Path::new("/run/nfio/leases"), guests(mounted).join(id).display().to_string());
    let all = names(leases).into_iter().map(|lease| leases.join(lease));
    all.filter(|lease| fs::read_to_string(lease).is_ok_and(|text| text.starts_with(&holder))).collect()
}

/// Something that must hold.
fn holds(what: &str, sound: bool) -> Result<(), String> {
    if sound { Ok(()) } else { Err(format!("it is not so that {what}")) }
}

/// What begins with a dot in nfio's private directory of an instance.
fn half_written(private: &Path) -> Vec<String> {
    names(private).into_iter().filter(|name| name.starts_with('.')).collect()
}

impl Machine for Here {
    fn agrees(&self, mounted: &Mounted, instance: &Instance, status: &str) -> Result<(), String> {
        let (private, id) = (mounted.private(instance), guest_id(mounted, instance));
        let guest = guests(mounted).join(&id);
        let deployed = status != "undeployed";
        // One that is gone, and its record not yet: destroy takes that too.
        let there = deployed && status != "dead";
        holds(
            &format!("a record means deployed, at {status}"),
            private.join("record.toml").exists() == deployed,
        )?;
        holds(&format!("a guest means deployed, at {status}"), guest.join("spec.json").exists() == there)?;
        holds(&format!("{:?} are whole", half_written(&private)), half_written(&private).is_empty())?;
        let traces = traces(mounted, &id);
        if !matches!(status, "running" | "paused") {
            holds(
                &format!("it is {status}, with {traces:?}"),
                traces.is_empty() && !guest.join("run.json").exists(),
            )?;
            return holds(
                &format!("{status} is one of the states"),
                ["undeployed", "dead", "created", "exited"].contains(&status),
            );
        }
        holds(&format!("a process, control groups and a link are there: {traces:?}"), {
            link(&short(&id)).is_some() && !groups(&short(&id)).is_empty() && !processes(&guest).is_empty()
        })?;
        if status == "running" {
            // Never without its rules, and it forwards because it has them.
            let rules = instance.try_get("stats/rules").map_err(|e| format!("its rules: {e}"))?;
            holds(&format!("its rules are in force: {rules}"), rules.contains("echo-request"))?;
            let forwards = "cat /proc/sys/net/ipv4/ip_forward";
            instance.try_write("command", forwards).map_err(|e| format!("{forwards}: {e}"))?;
            holds("it forwards", instance.try_get("output").is_ok_and(|on| on == "1\n"))?;
        }
        Ok(())
    }

    fn clear_forgotten(&self, mounted: &Mounted) {
        let known: Vec<_> = names(&mounted.root().join(".nfio/instances/firewall"))
            .into_iter()
            .map(|name| mounted.id(&mounted.instance("firewall", &name)))
            .collect();
        for id in names(&guests(mounted)).into_iter().filter(|id| !known.contains(id)) {
            assert_eq!(traces(mounted, &id), [""; 0], "the guest that was forgotten had been stopped");
            for lease in leases(mounted, &id) {
                fs::remove_file(lease).expect("a lease");
            }
            fs::remove_dir_all(guests(mounted).join(id)).expect("rm -r");
        }
    }
}

#[test]
fn killed_at_each_step_of_each_verb_nfio_recovers() {
    let points = Points::new();
    let mounted = points.mounted(Place::default(), &["firewall"]);
    let make = |name: &str| {
        let fw = mounted.firewall(name);
        fw.put("config/nf_conf", RULES);
        fw
    };
    let table = waves::run(&mounted, &points, &Here, &Blow::Kill, SIDE_BY_SIDE, &make);
    table.judge("nfio killed, over Oci");
    nothing_left("no guest, lease, process or file is left", || {
        let mut left = names(&guests(&mounted));
        left.extend(names(&mounted.root().join(".nfio/instances/firewall")));
        left.extend(names(&mounted.root().join("nf-types/firewall")));
        left.extend(processes(&guests(&mounted)));
        left.extend(leases(&mounted, "").into_iter().map(|lease| lease.display().to_string()));
        left
    });
    let elsewhere =
        |step: &String| ["Docker:", "Tree:", "Chain:"].iter().any(|begin| step.starts_with(begin));
    let missed: Vec<_> =
        points.all().into_iter().filter(|step| !elsewhere(step) && !table.steps().contains(step)).collect();
    assert!(missed.is_empty(), "no blow fell at these points: {missed:?}");
}
