//! A driver whose guests are files: each tells its guest's state, and what a guest of the suite is asked for.

use nfio_host::error::{HypervisorError, NfioError, Result};
use nfio_host::hypervisor::{
    Counters, Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status,
};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::fault::Fault;

/// What a guest prints when it starts.
const GREETING: &str = "up\n";

/// A guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sheet {
    status: Status,
    runs: u32,
    /// Ports that are dropped.
    rules: Vec<u16>,
    log: PathBuf,
}

/// The driver.
pub(crate) struct Paper {
    directory: PathBuf,
    fault: Option<Fault>,
    last_output: Mutex<Vec<u8>>,
}

impl Paper {
    /// Takes up the guests of a directory.
    pub(crate) fn open(directory: &Path, fault: Option<Fault>) -> Result<Self> {
        let paper = Self { directory: directory.to_owned(), fault, last_output: Mutex::default() };
        if fault == Some(Fault::GuestsDieWithNfio) {
            for entry in fs::read_dir(directory)? {
                let id = entry?.file_name().to_string_lossy().into_owned();
                let sheet = paper.read(&id)?;
                paper.write(&id, &Sheet { status: Status::Exited, ..sheet })?;
            }
        }
        Ok(paper)
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn read(&self, id: &str) -> Result<Sheet> {
        let text = fs::read(self.directory.join(id))
            .map_err(|_| NfioError::from(HypervisorError::NotFound(format!("there is no guest {id}"))))?;
        Ok(serde_json::from_slice(&text).map_err(std::io::Error::from)?)
    }

    /// Written aside and moved into place: we may be killed at any moment.
    fn write(&self, id: &str, sheet: &Sheet) -> Result<()> {
        let aside = self.directory.join(format!(".{id}"));
        fs::write(&aside, serde_json::to_vec(sheet).map_err(std::io::Error::from)?)?;
        Ok(fs::rename(aside, self.directory.join(id))?)
    }

    fn change(&self, guest: &Guest, change: impl FnOnce(&mut Sheet) -> Result<()>) -> Result<()> {
        let mut sheet = self.read(&guest.labels.id)?;
        change(&mut sheet)?;
        self.write(&guest.labels.id, &sheet)
    }

    /// The guest's nft: it knows one table, with a rule that drops a port.
    fn nft(&self, guest: &Guest, words: &[&str], stdin: &str, sheet: &Sheet) -> Result<Output> {
        match words {
            ["list", "chains"] | ["list", "ruleset"] | ["-t", "list", "ruleset"] => {
                Ok(said(0, &listing(&sheet.rules), ""))
            }
            ["-c", "-f", "-"] | ["-f", "-"] => {
                let known = |line: &str| {
                    line.is_empty() || line.starts_with("table ") || line.starts_with("delete table ")
                };
                if !stdin.lines().all(known) {
                    return Ok(said(1, "", "/dev/stdin:1:1-8: Error: syntax error\n"));
                }
                let ports =
                    stdin.split("dport ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok());
                let lost = self.is(Fault::RulesAreLost) && !sheet.rules.is_empty();
                if words[0] != "-c" && !lost {
                    self.change(guest, |sheet| {
                        sheet.rules = ports.collect();
                        Ok(())
                    })?;
                }
                Ok(said(0, "", ""))
            }
            _ => Ok(said(1, "", "this nft does not know that\n")),
        }
    }

    /// The guest's shell: it knows the scripts of the suite.
    fn sh(&self, script: &str) -> Output {
        let mut output = match script {
            "echo here" => said(0, "here\n", ""),
            "exit 3" => said(3, "", ""),
            "echo lost >&2; exit 1" => said(1, "", "lost\n"),
            other => said(127, "", &format!("sh: {other}: not found\n")),
        };
        if self.is(Fault::OutputIsAnothers) {
            let mut last = self.last_output.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *last, &mut output.stdout);
        }
        output
    }
}

fn said(exit_code: i32, stdout: &str, stderr: &str) -> Output {
    Output { exit_code, stdout: stdout.into(), stderr: stderr.into() }
}

/// What nft lists: the table, and the one in which the plugin notes that it is its own.
fn listing(ports: &[u16]) -> String {
    if ports.is_empty() {
        return String::new();
    }
    let rule = |port: &u16| format!("\t\ttcp dport {port} counter packets 0 bytes 0 drop\n");
    let rules: String = ports.iter().map(rule).collect();
    format!(
        "table inet t {{\n\tchain c {{\n{rules}\t}}\n}}\ntable ip nfio_nf_conf {{\n\tchain inet/t {{\n\t}}\n}}\n"
    )
}

fn not_running(guest: &Guest, status: Status) -> NfioError {
    HypervisorError::NotRunning(format!("the guest of {} is {status}", guest.labels.instance)).into()
}

impl Hypervisor for Paper {
    fn name(&self) -> &'static str {
        "Paper"
    }

    fn check(&self, spec: &GuestSpec) -> Result<()> {
        match (spec.host.as_str(), spec.image.as_str()) {
            ("127.0.0.1" | "localhost", "box") => Ok(()),
            ("127.0.0.1" | "localhost", image) => {
                Err(HypervisorError::Deploy(format!("there is no image {image}; write box")).into())
            }
            (host, _) => {
                Err(HypervisorError::Connection(format!("{host} is not this machine; write 127.0.0.1"))
                    .into())
            }
        }
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        if self.read(&spec.labels.id).is_ok() {
            return Err(HypervisorError::Deploy("there is a guest already".into()).into());
        }
        let sheet = Sheet { status: Status::Created, runs: 0, rules: Vec::new(), log: spec.log.clone() };
        self.write(&spec.labels.id, &sheet)?;
        Ok(spec.labels.id.clone())
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        self.change(guest, |sheet| {
            match sheet.status {
                Status::Running => return Ok(()),
                Status::Created | Status::Exited => {}
                status => return Err(HypervisorError::Start(format!("the guest is {status}")).into()),
            }
            sheet.status = Status::Running;
            sheet.runs += 1;
            sheet.rules.clear();
            sheet.log = prepared.log.clone().unwrap_or_else(|| sheet.log.clone());
            let mut log = File::options().append(true).open(&sheet.log)?;
            Ok(log.write_all(GREETING.as_bytes())?)
        })
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        if self.is(Fault::StopForgets) {
            return Ok(());
        }
        self.change(guest, |sheet| {
            if sheet.status != Status::Created {
                sheet.status = Status::Exited;
            }
            Ok(())
        })
    }

    fn pause(&self, guest: &Guest) -> Result<()> {
        self.change(guest, |sheet| match sheet.status {
            Status::Running => {
                sheet.status = Status::Paused;
                Ok(())
            }
            status => Err(not_running(guest, status)),
        })
    }

    fn unpause(&self, guest: &Guest) -> Result<()> {
        self.change(guest, |sheet| match sheet.status {
            Status::Paused => {
                sheet.status = Status::Running;
                Ok(())
            }
            status => Err(not_running(guest, status)),
        })
    }

    fn destroy(&self, guest: &Guest, force: bool) -> Result<()> {
        match self.read(&guest.labels.id) {
            Ok(sheet) if sheet.status == Status::Running && !force => {
                Err(HypervisorError::Destroy("it runs".into()).into())
            }
            Ok(_) => Ok(fs::remove_file(self.directory.join(&guest.labels.id))?),
            Err(_) => Ok(()),
        }
    }

    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output> {
        let sheet = self.read(&guest.labels.id)?;
        if sheet.status != Status::Running {
            return Err(not_running(guest, sheet.status));
        }
        let words: Vec<&str> = execution.argv.iter().map(String::as_str).collect();
        match words[..] {
            ["sh", "-c", script] => Ok(self.sh(script)),
            ["nft", ref words @ ..] => {
                self.nft(guest, words, &String::from_utf8_lossy(&execution.stdin), &sheet)
            }
            _ => Ok(said(127, "", "not found\n")),
        }
    }

    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()> {
        Err(HypervisorError::CommandExecution(format!(
            "guests on paper like {} take no file: {}",
            guest.name, file.path
        ))
        .into())
    }

    fn guest_status(&self, guest: &Guest) -> Result<Status> {
        match self.read(&guest.labels.id)?.status {
            Status::Paused if self.is(Fault::StatusLies) => Ok(Status::Running),
            status => Ok(status),
        }
    }

    fn run_id(&self, guest: &Guest) -> Result<Option<String>> {
        let sheet = self.read(&guest.labels.id)?;
        let runs = matches!(sheet.status, Status::Running | Status::Paused);
        Ok(runs.then(|| sheet.runs.to_string()))
    }

    fn get_id(&self, guest: &Guest) -> Result<String> {
        self.read(&guest.labels.id).map(|_| guest.labels.id.clone())
    }

    fn get_ip(&self, guest: &Guest) -> Result<String> {
        match self.read(&guest.labels.id)?.status {
            Status::Running | Status::Paused => Ok("192.0.2.1".into()),
            status => Err(not_running(guest, status)),
        }
    }

    fn counters(&self, guest: &Guest) -> Result<Counters> {
        match self.read(&guest.labels.id)?.status {
            Status::Running | Status::Paused => Ok(Counters::default()),
            status => Err(not_running(guest, status)),
        }
    }

    fn set_forwarding(&self, guest: &Guest, _: bool) -> Result<()> {
        self.read(&guest.labels.id).map(drop)
    }

    fn adopt(&self, guest: &Guest, log: &Path) -> Result<Status> {
        self.change(guest, |sheet| {
            sheet.log = log.to_owned();
            Ok(())
        })?;
        self.guest_status(guest)
    }
}
