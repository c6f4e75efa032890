//! nfio killed, and the engine ended, at each step of each verb over the driver Docker. The type is one whose `prepare`
//! asks for another environment before each start: the container is made anew every time.

use nfio_tests::{Engine, Instance, Mounted, Place};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::points::Points;
use super::table::Table;
use super::waves::{self, Blow, Machine, guest_id, nothing_left};

/// How many guests at a time: more than this many starts at once can keep an engine from answering in time.
const SIDE_BY_SIDE: usize = 8;

/// What an engine says of guests.
struct There<'a> {
    engine: &'a Engine,
    count: AtomicUsize,
}

impl There<'_> {
    /// Containers with a label: their states and names.
    fn containers(&self, label: &str) -> Result<Vec<String>, String> {
        let filter = format!("label={label}");
        let listed =
            self.engine.try_docker(&["ps", "-a", "--filter", &filter, "--format", "{{.State}} {{.Names}}"]);
        match listed.status.success() {
            true => Ok(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()),
            false => Err(String::from_utf8_lossy(&listed.stderr).into_owned()),
        }
    }

    /// Images that were made of guests' layers.
    fn layers(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        let listed = self.engine.docker(&["images", "-a", "-q", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }
}

impl Machine for There<'_> {
    fn agrees(&self, mounted: &Mounted, instance: &Instance, status: &str) -> Result<(), String> {
        let deployed = status != "undeployed";
        // One that is gone, and its record not yet: destroy takes that too.
        let there = deployed && status != "dead";
        let id = guest_id(mounted, instance);
        let label = format!("io.nfio.id={id}");
        let found = self.containers(&label)?;
        let name = instance.path().file_name().expect("a name").to_string_lossy().into_owned();
        let expected = if there { vec![format!("{status} root-odd-{name}")] } else { Vec::new() };
        // A start that was cut off leaves the container that was to take the other's place, beside it or already alone;
        // the next start makes that good, and destroy takes both.
        let left = format!("created root-odd-{name}.new");
        let cut_off = matches!(status, "created" | "exited") && found.contains(&left);
        let beside = found.iter().filter(|found| **found != left).eq(&expected);
        let alone = status == "created" && found.len() == 1;
        if !(found == expected || cut_off && (beside || alone)) {
            return Err(format!("it is {status}, and the engine has {found:?}"));
        }
        if mounted.private(instance).join("record.toml").exists() != deployed {
            return Err(format!("it is {status}, and its record says otherwise"));
        }
        let files = mounted.root().join(".nfio/docker").join(format!("{id}.files"));
        if status != "dead" && files.exists() != deployed {
            return Err(format!("it is {status}, and {} says otherwise", files.display()));
        }
        if !deployed && !self.layers(&label).is_empty() {
            return Err("layers of it are left".into());
        }
        Ok(())
    }

    fn clear_forgotten(&self, mounted: &Mounted) {
        let known: Vec<_> = fs::read_dir(mounted.path().join("nf-types/odd"))
            .expect("instances")
            .flatten()
            .map(|entry| mounted.id(&mounted.instance("odd", &entry.file_name().to_string_lossy())))
            .collect();
        let label = format!("label=io.nfio.root={}", mounted.uuid());
        let listed =
            ["ps", "-a", "--filter", &label, "--format", "{{.ID}} {{.Label \"io.nfio.id\"}} {{.State}}"];
        for line in self.engine.docker(&listed).lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [container, id, state] = words[..] else { panic!("{line}") };
            if known.iter().any(|known| known == id) {
                continue;
            }
            assert_eq!(state, "exited", "the guest that was forgotten had been stopped");
            self.engine.docker(&["rm", container]);
            for layer in self.layers(&format!("io.nfio.id={id}")) {
                // One that another is built on goes with that.
                self.engine.try_docker(&["rmi", &layer]);
            }
            let files = mounted.root().join(".nfio/docker").join(format!("{id}.files"));
            fs::remove_file(files).expect("what was kept of the forgotten guest");
        }
    }

    fn before(&self, instance: &Instance) {
        // Another environment, so another container.
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        instance.put("say", &format!("prepare: env NUMBER {number}\n"));
    }
}

fn matrix(blow: &Blow<'_>, engine: &Engine, title: &str) -> (Table, Points) {
    let there = There { engine, count: AtomicUsize::new(0) };
    let points = Points::new();
    let place: Place = engine.by_socket();
    let mounted = points.mounted(place, &["odd"]);
    let make = |name: &str| {
        let odd = mounted.odd(name);
        odd.put("config/boot.conf", "[[file]]\nsource = \"boot.conf\"\ntarget = \"/etc/motd\"\n");
        odd
    };
    let table = waves::run(&mounted, &points, &there, blow, SIDE_BY_SIDE, &make);
    table.judge(title);
    let label = format!("io.nfio.root={}", mounted.uuid());
    nothing_left("no container, layer or file is left", || {
        let mut left = there.containers(&label).expect("docker ps");
        left.extend(there.layers("io.nfio.id"));
        let files = fs::read_dir(mounted.root().join(".nfio/docker")).expect("the driver's state").flatten();
        left.extend(files.map(|file| file.path().display().to_string()));
        left
    });
    drop(mounted);
    (table, points)
}

#[test]
fn killed_at_each_step_of_each_verb_nfio_recovers() {
    let engine = Engine::start();
    let (table, points) = matrix(&Blow::Kill, &engine, "nfio killed, over Docker");
    let steps = table.steps();
    let missed: Vec<_> = points
        .all()
        .into_iter()
        .filter(|step| step.starts_with("Docker:") && !steps.contains(step))
        .collect();
    assert!(missed.is_empty(), "no blow fell at these points: {missed:?}");
}

#[test]
fn an_engine_that_ends_at_each_step_of_each_verb_and_comes_back_finds_status_and_guests_agreed() {
    let engine = Engine::start();
    matrix(&Blow::Stop(&engine), &engine, "engine ended, over Docker");
}
