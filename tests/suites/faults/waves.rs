//! The matrix of verbs and steps. First one instance runs every verb undisturbed: that tells the points. Then, verb by
//! verb, instances run it side by side, each held at another of its points; when all are, one blow hits them all.
//! Afterwards each must have recovered.

use nfio_tests::{Engine, Instance, Mounted, errno, eventually};
use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::points::{Points, step};
use super::table::Table;

/// Longest time until a guest is what its status says.
const SETTLING: Duration = Duration::from_secs(60);

/// A verb of the matrix.
pub(super) struct Turn {
    /// Its column.
    pub(super) name: &'static str,
    /// The state to begin with.
    pub(super) from: &'static str,
    pub(super) verb: &'static str,
    /// The state that it leads to.
    pub(super) to: &'static str,
}

const fn turn(name: &'static str, from: &'static str, verb: &'static str, to: &'static str) -> Turn {
    Turn { name, from, verb, to }
}

/// Every verb that changes something; one whose way depends on the state stands here twice.
pub(super) const TURNS: [Turn; 10] = [
    turn("activate", "undeployed", "activate", "running"),
    turn("reload", "running", "reload", "running"),
    turn("pause", "running", "pause", "paused"),
    turn("unpause", "paused", "unpause", "running"),
    turn("restart", "running", "restart", "running"),
    turn("stop", "running", "stop", "exited"),
    turn("start", "exited", "start", "running"),
    turn("stop (p.)", "paused", "stop", "exited"),
    turn("destroy", "running", "destroy", "undeployed"),
    turn("forget", "exited", "forget", "undeployed"),
];

/// What hits nfio.
pub(super) enum Blow<'a> {
    /// SIGKILL; then it is mounted again.
    Kill,
    /// The engine is ended in good order, as its service would; the verbs go on without it, then it comes back.
    Stop(&'a Engine),
}

/// What the machine says of the guests, past nfio.
pub(super) trait Machine: Sync {
    /// Whether it agrees with a status; else where not.
    fn agrees(&self, mounted: &Mounted, instance: &Instance, status: &str) -> Result<(), String>;

    /// Clears away the guest that a `forget` left behind, which is nobody's now.
    fn clear_forgotten(&self, mounted: &Mounted);

    /// Called before each verb.
    fn before(&self, _instance: &Instance) {}
}

/// Runs the matrix on instances of this mount that `make` makes, at most `width` at a time.
pub(super) fn run(
    mounted: &Mounted,
    points: &Points,
    machine: &dyn Machine,
    blow: &Blow<'_>,
    width: usize,
    make: &dyn Fn(&str) -> Instance,
) -> Table {
    let first = make("first");
    let mut cells: Vec<Vec<String>> =
        TURNS.iter().map(|turn| record(&first, points, machine, turn)).collect();
    cells.iter_mut().for_each(|points| points.retain(|point| blow.tells_apart(step(point))));
    machine.clear_forgotten(mounted);
    let width = cells.iter().map(Vec::len).max().unwrap_or_default().min(width);
    let instances: Vec<_> = (0..width).map(|number| make(&format!("v-{number}"))).collect();
    let mut table = Table::default();
    let waves =
        TURNS.iter().zip(&cells).flat_map(|(turn, all)| all.chunks(width).map(move |some| (turn, some)));
    for (turn, points_of_wave) in waves {
        let work: Vec<_> = instances.iter().zip(points_of_wave).collect();
        side_by_side(&work, |(instance, point)| {
            bring(instance, turn.from);
            machine.before(instance);
            points.hold(instance, point);
        });
        let outcomes = strike(mounted, points, blow, turn, &work);
        let judged = Mutex::new(Vec::new());
        side_by_side(&work, |(instance, point)| {
            let outcome = recovered(mounted, machine, blow, turn, instance);
            judged.lock().expect("no panic").push(((*point).clone(), outcome));
        });
        for (point, outcome) in judged.into_inner().expect("no panic") {
            table.note(turn.name, &point, outcome);
        }
        for (instance, point, outcome) in outcomes {
            if let Some(odd) = blow.oddity(outcome) {
                table.note(turn.name, point, Err(format!("{}: {odd}", instance.path().display())));
            }
        }
        machine.clear_forgotten(mounted);
    }
    for instance in instances.iter().chain([&first]) {
        // An engine that has come back is heard of in a moment.
        eventually("every instance can be got rid of", || instance.try_act("undeployed").is_ok());
        std::fs::remove_dir(instance.path()).expect("rmdir of an undeployed instance");
    }
    table
}

/// Runs a verb undisturbed and tells its points.
fn record(instance: &Instance, points: &Points, machine: &dyn Machine, turn: &Turn) -> Vec<String> {
    bring(instance, turn.from);
    machine.before(instance);
    points.reached(instance);
    instance.act(turn.verb);
    assert_eq!(instance.status(), turn.to, "{} undisturbed", turn.name);
    points.reached(instance)
}

/// Brings an instance into a state. An engine may not answer yet, and one that was ended in the middle of a start may
/// not start that container any more: then another one is made.
fn bring(instance: &Instance, state: &str) {
    let reach = || {
        let undeployed = instance.try_get("status").is_ok_and(|status| status == "undeployed\n");
        let goals: &[&str] = match state {
            "paused" => &["running", "pause"],
            "running" => &["running"],
            "exited" if undeployed => &["activate", "stop"],
            "exited" => &["exited"],
            _ => &["undeployed"],
        };
        // `exited` is content with a guest that was never started.
        goals.iter().all(|goal| instance.try_act(goal).is_ok())
            && instance.try_get("status").is_ok_and(|status| status.trim() == state)
    };
    if !reach() {
        let what = format!("{} can be brought to {state}", instance.path().display());
        eventually(&what, || instance.try_act("undeployed").is_ok() && reach());
    }
}

type Outcome<'a> = (&'a Instance, &'a str, io::Result<()>);

/// Has every instance held at its point, and strikes. Answers what the verbs answered.
fn strike<'a>(
    mounted: &Mounted,
    points: &Points,
    blow: &Blow<'_>,
    turn: &Turn,
    work: &[(&'a Instance, &'a String)],
) -> Vec<Outcome<'a>> {
    let outcomes = thread::scope(|scope| {
        let verbs: Vec<_> = work
            .iter()
            .map(|(instance, point)| {
                scope.spawn(move || (*instance, point.as_str(), instance.try_act(turn.verb)))
            })
            .collect();
        for (instance, point) in work {
            points.await_held(instance, point);
        }
        match blow {
            Blow::Kill => mounted.kill(),
            Blow::Stop(engine) => engine.end(),
        }
        for (instance, _) in work {
            points.release(instance);
        }
        verbs.into_iter().map(|verb| verb.join().expect("a write")).collect()
    });
    match blow {
        Blow::Kill => mounted.mount(),
        Blow::Stop(engine) => engine.run(),
    }
    outcomes
}

impl Blow<'_> {
    /// Whether the blow may do something else after this step than after the one before.
    fn tells_apart(&self, step: &str) -> bool {
        match self {
            Self::Kill => true,
            // The engine sees nothing of the others.
            Self::Stop(_) => ["turn ", "guest ", "Docker:"].iter().any(|begin| step.starts_with(begin)),
        }
    }

    /// What is wrong about a verb's answer.
    fn oddity(&self, outcome: io::Result<()>) -> Option<String> {
        let fine: &[i32] = match self {
            // Nobody is left to answer.
            Self::Kill => &[libc::ECONNABORTED, libc::ENOTCONN],
            // It may be done already, or need the engine no more; or that is what it tells. A guest that ended with
            // its engine, or an engine on the way down, is a failure of the verb.
            Self::Stop(_) => &[0, libc::ECONNREFUSED, libc::ENOTRECOVERABLE, libc::EIO, libc::EHOSTDOWN],
        };
        let error = errno(outcome);
        (!fine.contains(&error))
            .then(|| format!("the write answered {}", io::Error::from_raw_os_error(error)))
    }
}

/// Whether tree, record, guest and status agree; whether the verb can be had again (or, where an engine has lost its
/// way, destroy); and whether they agree then.
fn recovered(
    mounted: &Mounted,
    machine: &dyn Machine,
    blow: &Blow<'_>,
    turn: &Turn,
    instance: &Instance,
) -> Result<(), String> {
    let found = settled(mounted, machine, instance)?;
    let again = match (turn.verb, found.as_str()) {
        // It came through in spite of all.
        ("activate", status) if status != "undeployed" => "running",
        ("destroy" | "forget", "undeployed") => "undeployed",
        (verb, _) => verb,
    };
    let failed = |again: &str, e: io::Error| {
        format!("it was {found}; {again} then: {e}; {}", instance.try_get("last_error").unwrap_or_default())
    };
    match (instance.try_act(again), blow) {
        (Err(_), Blow::Stop(_)) => {
            bring(instance, "undeployed");
            let status = settled(mounted, machine, instance)?;
            return if status == "undeployed" {
                Ok(())
            } else {
                Err(format!("after destroy it is {status}"))
            };
        }
        (outcome, _) => outcome.map_err(|e| failed(again, e))?,
    }
    let status = instance.try_get("status").map_err(|e| format!("status after {again}: {e}"))?;
    if status.trim() != turn.to {
        return Err(format!("it was {found}, and after {again} it is {status}"));
    }
    settled(mounted, machine, instance).map(drop)
}

/// The id that an instance's guest has: the record knows it, also where `forget` has given the instance another.
pub(super) fn guest_id(mounted: &Mounted, instance: &Instance) -> String {
    let record = std::fs::read_to_string(mounted.private(instance).join("record.toml")).unwrap_or_default();
    let labels = record.split("[guest.labels]").nth(1).unwrap_or_default();
    let id = labels.lines().find_map(|line| line.strip_prefix("id = "));
    id.map_or_else(|| mounted.id(instance), |id| id.trim_matches('"').to_owned())
}

/// Waits until the machine agrees with the status, and answers that.
fn settled(mounted: &Mounted, machine: &dyn Machine, instance: &Instance) -> Result<String, String> {
    let start = Instant::now();
    loop {
        let status = instance.try_get("status").map_err(|e| format!("status: {e}"));
        let agrees = status.and_then(|status| {
            let status = status.trim().to_owned();
            machine.agrees(mounted, instance, &status).map(|()| status)
        });
        match agrees {
            Err(e) if start.elapsed() > SETTLING => return Err(format!("not within {SETTLING:?}: {e}")),
            Err(_) => thread::park_timeout(Duration::from_millis(50)),
            settled => return settled,
        }
    }
}

/// Does something for each item at the same time.
fn side_by_side<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for item in items {
            let work = &work;
            scope.spawn(move || work(item));
        }
    });
}

/// Waits until nothing is left of what a mount had, by what `left` still finds.
#[track_caller]
pub(super) fn nothing_left(what: &str, left: impl Fn() -> Vec<String>) {
    let mut last = Vec::new();
    let start = Instant::now();
    eventually(what, || {
        last = left();
        assert!(start.elapsed() < SETTLING / 2 || last.is_empty(), "{what}: {last:?}");
        last.is_empty()
    });
}
