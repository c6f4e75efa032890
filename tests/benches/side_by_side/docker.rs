//! activate on Docker against the bare API, one and 32 at once, and on Oci against Docker.
//!
//! The engine's data and nfio's ROOT over it both lie on tmpfs, so neither side waits for a disk. ROOT of the guests on Oci
//! lies on a real one: that row has nfio's syncs on one side alone, Oci's.

use nfio_tests::{Engine, Instance, Mounted};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use crate::table::{Table, Work, millis};

const AT_ONCE: usize = 32;

/// The engine's API, spoken by hand: one connection a request.
struct Api(PathBuf);

impl Api {
    /// A request that must succeed; its answer, empty where there is none.
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = UnixStream::connect(&self.0).expect("the engine");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).expect("a status code");
        assert!(code.starts_with('2') || code == "304", "{method} {path}: {answer}");
        serde_json::from_str(text).unwrap_or(Value::Null)
    }

    fn activate(&self, name: &str, body: &str) {
        self.ask("POST", &format!("/containers/create?name={name}"), body);
        self.ask("POST", &format!("/containers/{name}/start"), "");
    }

    fn stop(&self, name: &str) {
        self.ask("POST", &format!("/containers/{name}/stop"), "");
    }

    fn destroy(&self, name: &str) {
        self.ask("DELETE", &format!("/containers/{name}?force=1"), "");
    }
}

/// All rows of Docker. `oci`: milliseconds of an activate on Oci.
pub(crate) fn docker(table: &mut Table, oci: Vec<f64>) {
    let engine = Engine::start();
    let mounted = Mounted::on(engine.by_socket());
    let api = Api(engine.socket());
    let fw = mounted.firewall("fw");
    fw.act("activate");
    let twin = twin(&api);
    fw.act("destroy");

    let mut ours: [Vec<f64>; 3] = Default::default();
    let mut theirs: [Vec<f64>; 3] = Default::default();
    for _ in 0..12 {
        for (verb, figures) in ["activate", "stop", "destroy"].into_iter().zip(&mut ours) {
            figures.push(millis(1, || fw.act(verb)));
        }
        theirs[0].push(millis(1, || api.activate("twin", &twin)));
        theirs[1].push(millis(1, || api.stop("twin")));
        theirs[2].push(millis(1, || api.destroy("twin")));
    }
    let ([activate, stop, destroy], [create, api_stop, remove]) = (ours, theirs);
    let row = |name| Work::new(name, "ms", 12);
    let work = row("activate on Docker, empty nf_conf").at_most(1.05);
    table.pair(work, ("mount", activate.clone()), ("API", create));
    table.pair(row("stop on Docker"), ("mount", stop), ("API", api_stop));
    table.pair(row("destroy on Docker"), ("mount", destroy), ("API", remove));
    table.pair(row("activate on Oci").at_most(0.3), ("Oci", oci), ("Docker", activate));

    let many: Vec<_> = (0..AT_ONCE).map(|n| mounted.firewall(&format!("at-once-{n}"))).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        ours.push(millis(1, || at_once(&many, |fw| fw.act("activate"))));
        at_once(&many, |fw| fw.act("destroy"));
        let names: Vec<_> = (0..AT_ONCE).map(|n| format!("twin-{n}")).collect();
        theirs.push(millis(1, || at_once(&names, |name| api.activate(name, &twin))));
        at_once(&names, |name| api.destroy(name));
    }
    let work = Work::new("activate on Docker, 32 at once", "ms", 2).at_most(1.0);
    table.pair(work, ("mount", ours), ("API", theirs));
}

/// 32 at once on Oci.
pub(crate) fn many_on_oci(table: &mut Table, mounted: &Mounted) {
    let many: Vec<Instance> = (0..AT_ONCE).map(|n| mounted.firewall(&format!("at-once-{n}"))).collect();
    let mut all = Vec::new();
    for _ in 0..2 {
        all.push(millis(1, || at_once(&many, |fw| fw.act("activate"))));
        at_once(&many, |fw| fw.act("destroy"));
    }
    many.iter().for_each(|fw| fs::remove_dir(fw.path()).expect("rmdir"));
    table.alone(Work::new("activate on Oci, 32 at once", "ms", 2), all);
}

/// What the API is to be asked for the only container that there is, under another name.
fn twin(api: &Api) -> String {
    let all = api.ask("GET", "/containers/json", "");
    let id = all[0]["Id"].as_str().expect("the container").to_owned();
    let known = api.ask("GET", &format!("/containers/{id}/json"), "");
    let mut twin = known["Config"].clone();
    twin["HostConfig"] = known["HostConfig"].clone();
    // Without its labels nfio does not take it for its own.
    twin["Labels"] = Value::Null;
    twin.to_string()
}

fn at_once<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let work = &work;
    thread::scope(|scope| all.iter().for_each(|one| drop(scope.spawn(move || work(one)))));
}
