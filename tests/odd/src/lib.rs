//! The type `odd`: it misbehaves on purpose. The suites load it; it is never installed.
//!
//! The ordinary file `say` tells what each of the module's functions does, a line each, for example
//! `configure: panic`. `mkdir` runs before anybody can write that file, so there the instance's name tells it: what
//! stands before its first dot, as in `panic.a` or `raise-720.b`, with hyphens for blanks.
//!
//! Where there is no instance (`nfio plugin check`), and for what comes before one (`construct`, `describe`, `drop`),
//! the environment variable `NFIO_ODD` tells it in the same words.
//!
//! | words | what the function does |
//! |---|---|
//! | | succeeds; a read answers a short text |
//! | `panic` | panics |
//! | `errno N` | fails with that errno, possible or not |
//! | `raise CODE` | fails with the class of that code |
//! | `reply BYTES` | a read answers that many bytes, others fail with a sentence of that many |
//! | `hang` | never comes back |
//! | `wait` | comes back once the instance has an ordinary file `go` |
//! | `wait-fail` | the same, and fails |
//! | `outstay` | asks for a file again and again until its handle is worth nothing, then logs what all else answers |
//! | `crash` | writes where no memory is: SIGSEGV |
//! | `crash-in-nfio` | the same, but not in the process in which nfio tries a plugin first |
//! | `abort` | calls abort(3) |
//! | `exit` | ends the process with 0 |
//! | `overflow` | recurses until its stack is full |
//! | `hang` | never comes back |
//! | `garble` | fails with a message that is not UTF-8 |
//! | `bytes` | a read answers bytes that are not UTF-8 |
//! | `refuse` | fails with EOPNOTSUPP |
//! | `leak` | succeeds, and keeps a descriptor, a thread and 64 KiB of memory for good |
//! | `try` | asks for everything that a handle can, and writes the answers to the ordinary file `heard` |
//! | `env NAME VALUE` | sets a variable of the guest |
//! | `command WORDS` | sets the guest's command |
//! | `do OPERATION` | one operation of the driver: `deploy start restart stop pause unpause destroy destroy-force` |
//!
//! Own files: `odd/value` (rw), `odd/sized`, `odd/log`, and the verb `poke`. `odd/build` tells, without a look at `say`,
//! which build answers: a suite makes others of this one by changing the digits of `BUILD` in its bytes.

#![deny(unsafe_code)]

use middlebox_sdk::error::{EIO, EOPNOTSUPP};
use middlebox_sdk::{Attributes, File, Level, Middlebox, NfioError, Result, Type, Vnf, export_middlebox};
use std::hint::black_box;
use std::thread;
use std::time::Duration;

/// Names the build.
static BUILD: &str = "the build of odd that is number 0000";

/// The type.
struct Odd;

impl Odd {
    fn construct() -> Self {
        // Only its misbehaviour matters.
        let _ = misbehave(&told("construct"));
        Self
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        let _ = misbehave(&told("drop"));
    }
}

impl Middlebox for Odd {
    fn describe(&self) -> Type {
        let _ = misbehave(&told("describe"));
        Type::new("odd", env!("CARGO_PKG_VERSION"))
            .file(File::ordinary("say"))
            .file(File::value("odd/value").mode(0o644))
            .file(File::value("odd/sized").sized())
            .file(File::log("odd/log"))
            .file(File::value("odd/build"))
            .file(File::verb("poke"))
            .capability("NET_ADMIN")
            .sysctl("net.ipv4.ip_forward", "1")
    }

    fn mkdir(&self, vnf: &Vnf<'_>) -> Result<()> {
        let name = vnf.name()?;
        let words = name.split('.').next().unwrap_or_default().replacen('-', " ", 1);
        act(vnf, &words).and(act(vnf, &told("mkdir"))).map(drop)
    }

    fn getattr(&self, vnf: &Vnf<'_>, _: &str) -> Result<Attributes> {
        said(vnf, "getattr").map(|text| Attributes::new().length(text.len() as u64))
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            // Out of the compiler's sight, so that the text is in the file as it stands here.
            "odd/build" => Ok(black_box(BUILD).into()),
            _ => said(vnf, "read"),
        }
    }

    fn write(&self, vnf: &Vnf<'_>, _: &str, _: &[u8]) -> Result<()> {
        said(vnf, "write").map(drop)
    }

    fn prepare(&self, vnf: &Vnf<'_>, _: &[u8]) -> Result<()> {
        said(vnf, "prepare").map(drop)
    }

    fn configure(&self, vnf: &Vnf<'_>, _: &[u8]) -> Result<()> {
        said(vnf, "configure").map(drop)
    }
}

export_middlebox!(Odd::construct());

/// Does what `say` tells of this function.
fn said(vnf: &Vnf<'_>, function: &str) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(&vnf.read_file("say")?).into_owned();
    match words_for(function, &text) {
        Some(words) => act(vnf, words),
        None => act(vnf, &told(function)),
    }
}

/// What the environment tells of a function.
fn told(function: &str) -> String {
    let text = std::env::var("NFIO_ODD").unwrap_or_default();
    words_for(function, &text).unwrap_or_default().to_owned()
}

fn words_for<'a>(function: &str, text: &'a str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(function)?.strip_prefix(": "))
}

/// Does what needs no instance; None: something else is meant.
fn misbehave(words: &str) -> Option<Result<Vec<u8>>> {
    match words {
        "panic" => panic!("as it was told"),
        "crash" => crash(),
        "crash-in-nfio" => match std::fs::read_to_string("/proc/self/comm").as_deref() {
            Ok("nfio-module\n") => None,
            _ => crash(),
        },
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        "overflow" => Some(Ok(vec![recurse(0); 1])),
        "hang" => loop {
            thread::park();
        },
        "garble" => Some(Err(NfioError::posix(EIO, garbled()))),
        "bytes" => Some(Ok(vec![0xff, 0xfe])),
        "refuse" => Some(Err(NfioError::posix(EOPNOTSUPP, "as it was told"))),
        _ => None,
    }
}

#[allow(unsafe_code)]
fn crash() -> ! {
    // SAFETY: none. There is no memory at this address, and that is the purpose.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
    unreachable!("there is memory at address 8");
}

#[allow(unsafe_code)]
fn garbled() -> String {
    // SAFETY: none. nfio has to find out; here nothing looks at it as text.
    unsafe { String::from_utf8_unchecked(b"as it was \xff\xfe told".to_vec()) }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u8) -> u8 {
    let room = std::hint::black_box([depth; 1024]);
    recurse(depth.wrapping_add(1)).wrapping_add(std::hint::black_box(room)[7])
}

fn act(vnf: &Vnf<'_>, words: &str) -> Result<Vec<u8>> {
    if let Some(outcome) = misbehave(words) {
        return outcome;
    }
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let number = || rest.parse().map_err(|_| NfioError::posix(EIO, format!("{words}: no number")));
    match word {
        // Not by `posix`, which would make it a possible one.
        "errno" => Err(NfioError::Posix { errno: number()?, message: "as it was told".into() }),
        "raise" => Err(NfioError::from_code(number()?, EIO, "as it was told".into())),
        "reply" => Ok(vec![b'x'; number()? as usize]),
        "hang" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        "wait" => await_go(vnf),
        "wait-fail" => await_go(vnf).and_then(|_| Err(NfioError::posix(EIO, "as it was told"))),
        "outstay" => outstay(vnf),
        "leak" => leak(),
        "try" => {
            let answers = answers(vnf);
            vnf.write_file("heard", answers.as_bytes())?;
            Ok(answers.into_bytes())
        }
        "env" => {
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            vnf.set_env(name, value).map(|()| b"set\n".into())
        }
        "command" => {
            let words: Vec<_> = rest.split(' ').collect();
            vnf.set_command(&words).map(|()| b"set\n".into())
        }
        "do" => operate(vnf, rest).map(|()| b"done\n".into()),
        _ => Ok(b"odd\n".into()),
    }
}

/// Whether it waits for others, so that no deadline but the test's own counts.
fn await_go(vnf: &Vnf<'_>) -> Result<Vec<u8>> {
    while vnf.read_file("go")?.is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(b"gone\n".into())
}

fn leak() -> Result<Vec<u8>> {
    std::mem::forget(std::fs::File::open("/dev/null")?);
    std::mem::forget(vec![1_u8; 64 << 10]);
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
    Ok(b"leaked\n".into())
}

fn outstay(vnf: &Vnf<'_>) -> Result<Vec<u8>> {
    while vnf.read_file("say").is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    // The caller's own deadline has passed as well, but on a busy machine its answer may take a moment.
    thread::sleep(Duration::from_secs(1));
    vnf.log(Level::Warn, &format!("past its deadline: {}", answers(vnf).trim_end().replace('\n', ", ")));
    Ok(b"too late\n".into())
}

fn operate(vnf: &Vnf<'_>, operation: &str) -> Result<()> {
    match operation {
        "deploy" => vnf.deploy(),
        "start" => vnf.start(),
        "restart" => vnf.restart(),
        "stop" => vnf.stop(),
        "pause" => vnf.pause(),
        "unpause" => vnf.unpause(),
        "destroy" => vnf.destroy(false),
        "destroy-force" => vnf.destroy(true),
        _ => Err(NfioError::posix(EIO, format!("{operation} is no operation"))),
    }
}

/// What each request answers, a line each: `NAME ok`, or `NAME` with code and errno.
fn answers(vnf: &Vnf<'_>) -> String {
    let mut lines = String::new();
    let mut note = |name: &str, outcome: Result<()>| {
        lines += &match outcome {
            Ok(()) => format!("{name} ok\n"),
            Err(e) => format!("{name} {} {}\n", e.code(), e.errno()),
        };
    };
    note("type_name", vnf.type_name().map(drop));
    note("name", vnf.name().map(drop));
    note("user", vnf.user().map(drop));
    note("host", vnf.host().map(drop));
    note("image", vnf.image().map(drop));
    note("driver", vnf.driver().map(drop));
    note("read_file", vnf.read_file("config/nf_conf").map(drop));
    note("write_file", vnf.write_file("heard", b"x"));
    note("value status", vnf.value("status").map(drop));
    note("value rx_bytes", vnf.value("stats/rx_bytes").map(drop));
    note("guest_log", vnf.guest_log().map(drop));
    note("guest_status", vnf.guest_status().map(drop));
    note("get_id", vnf.get_id().map(drop));
    note("get_ip", vnf.get_ip().map(drop));
    note("counters", vnf.counters().map(drop));
    note("execute", vnf.execute_in_guest(&["true"], b"").map(drop));
    note("put_file", vnf.put_file("/odd", 0o644, b"odd"));
    note("set_env", vnf.set_env("ODD", "1"));
    note("set_command", vnf.set_command(&["sleep", "100000"]));
    for operation in ["deploy", "start", "pause", "unpause", "restart", "stop", "destroy-force"] {
        note(operation, operate(vnf, operation));
    }
    lines
}
