//! What an attacker may write into any field: it is refused with the right errno and one plain sentence, or it is used
//! as it stands. Nothing of it is run, followed or expanded outside the guest, and none of it reaches a terminal raw.
//! What drivers read or pass on is written over each of them.

use nfio_tests::{Engine, Instance, Libvirtd, Mounted, Place, errno, eventually};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where the strings try to leave a trace.
const TRACE: &str = "/run/attacked";

/// Lines that a shell, a format, a path, a URL, an XML document or a terminal would make something of.
const STRINGS: [&str; 25] = [
    "../../../../run/attacked",
    "/run/attacked",
    "$(touch /run/attacked)",
    "`touch /run/attacked`",
    "x; touch /run/attacked",
    "x | tee /run/attacked",
    "x && touch /run/attacked #",
    "x > /run/attacked",
    "' ; touch /run/attacked ; '",
    "\" ; touch /run/attacked ; \"",
    "-rf",
    "--help",
    "%s%n%s%n",
    "{0}{}",
    "${HOME}",
    "*",
    "~root",
    "<x/>&amp;]]>",
    "a\"<&'>",
    "'/><x y='",
    "..",
    "a@b:c/../d?e#f",
    "\\",
    "nfio0\u{202e}txt.exe",
    "\u{1f600}",
];

/// Bytes that are no line of text.
const BYTES: [&[u8]; 6] =
    [b"a\nb", b"a\0b", b"\xff\xfe", b"\x1b]0;owned\x07\x1b[31m", b"a\rb", b"\xc2\x9b31m"];

/// Whether a terminal or a log would show this as it is, on one line.
#[track_caller]
fn plain(text: &str, about: &str) {
    let raw = |c: &char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let raw = text.chars().find(raw);
    assert!(!text.is_empty() && raw.is_none(), "{about}: {raw:?} in {:?}", text.get(..200).unwrap_or(text));
    assert!(text.len() < 20_000, "{about}: {} bytes", text.len());
}

/// The drivers, each with a place of its own: guests that must not be made are the same everywhere.
#[derive(Clone, Copy)]
enum Driver {
    Oci,
    Docker,
    Libvirt,
}

impl Driver {
    fn mounted(self) -> Mounted {
        Mounted::on(match self {
            Self::Oci => Place::default(),
            Self::Docker => Engine::local().by_socket(),
            Self::Libvirt => Libvirtd::local().place(),
        })
    }
}

/// One test for each driver.
macro_rules! over_drivers {
    ($($test:ident)+) => {
        $(mod $test {
            #[test]
            fn on_oci() {
                super::$test(super::Driver::Oci);
            }
            #[test]
            fn on_docker() {
                super::$test(super::Driver::Docker);
            }
            #[test]
            fn on_libvirt() {
                super::$test(super::Driver::Libvirt);
            }
        })+
    };
}

over_drivers! {
    the_files_of_machine_take_one_plain_value
    keys_of_boot_conf_with_a_form_refuse_what_has_not_got_it
    names_of_environment_variables_that_exec_cannot_carry_are_refused
    names_that_are_none_make_no_instance
}

/// Looks at a refusal: its errno, and one plain sentence in `last_error`.
#[track_caller]
fn refused(fw: &Instance, answer: i32, allowed: &[i32], about: &str) {
    assert!(allowed.contains(&answer), "{about}: errno {answer}");
    let error = fw.try_get("last_error").expect("last_error");
    let message = error.split_once("\nmessage: ").expect("a message").1;
    plain(message.strip_suffix('\n').expect("a final newline"), about);
    assert_eq!(fw.status(), "undeployed", "{about}");
}

/// An activate that is refused. A libvirt of a loaded machine may have to be asked again: it is failed fast while it is
/// silent.
#[track_caller]
fn not_deployed(fw: &Instance, allowed: &[i32], about: &str) {
    let mut answer = 0;
    eventually("the host answers", || {
        answer = errno(fw.try_act("activate"));
        answer != libc::ECONNREFUSED || allowed.contains(&answer)
    });
    refused(fw, answer, allowed, about);
}

/// What must hold in the end: no trace, and a log of plain lines that only nfio wrote.
#[track_caller]
fn unharmed(mounted: &Mounted) {
    assert!(!Path::new(TRACE).exists(), "{TRACE} is there");
    let mut names: Vec<_> = fs::read_dir(mounted.root().parent().expect("its directory"))
        .expect("ls")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["mnt", "nfio.toml", "plugins", "root"]);
    for line in mounted.log().lines() {
        plain(line, "the log");
        assert!(line.starts_with("20") && line.contains("Z "), "a line that nfio did not begin: {line:?}");
    }
}

fn put(fw: &Instance, file: &str, data: &[u8]) {
    fs::write(fw.file(file), data).expect("an ordinary file takes any bytes");
}

fn the_files_of_machine_take_one_plain_value(driver: Driver) {
    let mounted = driver.mounted();
    let fw = mounted.firewall("machine");
    let inval = libc::EINVAL;
    for (file, errnos) in [
        ("machine/ip", [inval, libc::ECONNREFUSED]),
        ("machine/vm.image", [inval, libc::EIO]),
        ("machine/vm.vcpu", [inval, inval]),
        ("machine/vm.memory", [inval, inval]),
    ] {
        let right = fs::read(fw.file(file)).expect("a file");
        for string in STRINGS {
            put(&fw, file, format!("{string}\n").as_bytes());
            not_deployed(&fw, &errnos, &format!("{file}: {string}"));
        }
        for bytes in BYTES.into_iter().chain([&[b'x'; 1 << 20][..], &[b'9'; 1 << 20][..]]) {
            put(&fw, file, bytes);
            let shown = &bytes[..bytes.len().min(20)];
            not_deployed(&fw, &[inval], &format!("{file}: {shown:?}"));
        }
        put(&fw, file, &right);
    }
    // What was right is right again; a virtual machine would take its time to say so.
    if !matches!(driver, Driver::Libvirt) {
        fw.act("activate");
        fw.act("destroy");
    }
    unharmed(&mounted);
}

/// A string as TOML text.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn keys_of_boot_conf_with_a_form_refuse_what_has_not_got_it(driver: Driver) {
    let mounted = driver.mounted();
    let fw = mounted.firewall("fw-a");
    let long = "x".repeat(1 << 20);
    let raw = ["a\nb", "a\0b", "\u{1b}[31m", "a\rb", "\u{9b}31m", &long];
    for form in [
        "hostname = @",
        "user = @",
        "dns = [@]",
        "restart = @",
        "stop_timeout = @",
        "sysctls = { @ = \"1\" }",
        "@ = 1",
        "privileged = @",
        "[capabilities]\nadd = [@]",
        "[capabilities]\ndrop = [@]",
        "[[file]]\nsource = @\ntarget = \"/x\"",
        "[[interface]]\nbridge = @",
        "[[interface]]\nnetwork = @",
        "[[port]]\nhost = 1\nguest = 2\nprotocol = @",
        "[vm]\nkernel = @",
        "[vm]\ninitrd = @",
        "[vm]\nformat = @",
    ] {
        // What has a plain name may be there or not: that is for the engine to know.
        let named = ["bridge", "network", "kernel", "initrd"].iter().any(|key| form.contains(key));
        let allowed: &[i32] = if named { &[libc::EINVAL, libc::EIO] } else { &[libc::EINVAL] };
        for string in STRINGS.into_iter().chain(raw) {
            let shown = string.chars().take(40).collect::<String>();
            // What happens to be a name that a machine may have.
            if form.starts_with("hostname") && ["-rf", "--help", ".."].contains(&string) {
                continue;
            }
            put(&fw, "config/boot.conf", format!("{}\n", form.replace('@', &quoted(string))).as_bytes());
            let about = format!("{form:?} with {shown:?}");
            not_deployed(&fw, allowed, &about);
        }
    }
    for target in ["../../etc/x", "etc/x", "", "/", "/..", "/a/../../x", "/etc/\0x", "/a/..", "."] {
        let conf = format!("[[file]]\nsource = \"boot.conf\"\ntarget = {}\n", quoted(target));
        put(&fw, "config/boot.conf", conf.as_bytes());
        not_deployed(&fw, &[libc::EINVAL], target);
    }
    for bytes in BYTES {
        put(&fw, "config/boot.conf", bytes);
        not_deployed(&fw, &[libc::EINVAL], &format!("{bytes:?}"));
    }
    put(&fw, "config/boot.conf", &vec![b'#'; 5 << 20]);
    not_deployed(&fw, &[libc::EINVAL], "5 MiB");
    unharmed(&mounted);
}

/// The id of a guest's first process.
fn first_process(driver: Driver, mounted: &Mounted, fw: &Instance) -> String {
    if matches!(driver, Driver::Docker) {
        let filter = format!("label=io.nfio.root={}", mounted.uuid());
        let id = Engine::local().docker(&["ps", "-q", "--filter", &filter]);
        return Engine::local().docker(&["inspect", "-f", "{{.State.Pid}}", &id]);
    }
    let run = fs::read_to_string(mounted.guest(fw).join("run.json")).expect("a guest that runs");
    let pid = run.split("\"pid\":").nth(1).and_then(|rest| rest.split(',').next());
    pid.expect("its pid").trim().to_owned()
}

/// Whether a file can have this name.
fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.contains('/') && word != ".."
}

#[test]
fn words_for_a_guest_of_oci_arrive_as_they_stand() {
    words_arrive_as_they_stand(Driver::Oci);
}

#[test]
fn words_for_a_guest_of_docker_arrive_as_they_stand() {
    words_arrive_as_they_stand(Driver::Docker);
}

/// What the guest's first process was given; a virtual machine has none that is ours.
fn words_arrive_as_they_stand(driver: Driver) {
    let mounted = driver.mounted();
    let fw = mounted.firewall("words");
    // Text of any kind may be an argument, a variable's value or the name of a file in the guest.
    let words: Vec<_> = STRINGS.into_iter().chain(["\u{1b}[31m", "a\nb", "a\tb", ""]).collect();
    let mut conf = format!(
        "command = [\"sh\", \"-c\", \"sleep 100000; true\", {}]\n",
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ")
    );
    conf += "[env]\n";
    for (number, word) in words.iter().enumerate() {
        conf += &format!("V{number} = {}\n", quoted(word));
    }
    let paths: Vec<_> = words.iter().filter(|word| is_name(word)).collect();
    for path in &paths {
        conf += &format!("[[file]]\nsource = \"payload\"\ntarget = {}\n", quoted(&format!("/opt/{path}")));
    }
    put(&fw, "config/boot.conf", conf.as_bytes());
    put(&fw, "config/payload", b"payload\n");
    fw.act("activate");
    let pid = first_process(driver, &mounted, &fw);
    let line = fs::read(format!("/proc/{pid}/cmdline")).expect("its arguments");
    // An engine may put an init of its own before the command.
    let behind = line.split(|byte| *byte == 0).skip_while(|word| *word != b"-c").skip(2);
    let arguments: Vec<_> = behind.take(words.len()).collect();
    assert_eq!(arguments, words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    let variables: Vec<_> = environment.split(|byte| *byte == 0).collect();
    for (number, word) in words.iter().enumerate() {
        let variable = format!("V{number}={word}");
        assert!(variables.contains(&variable.as_bytes()), "{variable:?}");
    }
    for path in paths {
        let file = Path::new(&format!("/proc/{pid}/root/opt")).join(path);
        assert_eq!(fs::read(&file).expect("a file in the guest"), b"payload\n", "{path:?}");
    }
    fw.act("destroy");
    unharmed(&mounted);
}

fn names_of_environment_variables_that_exec_cannot_carry_are_refused(driver: Driver) {
    let mounted = driver.mounted();
    let fw = mounted.firewall("fw-a");
    for (key, value) in [("", "x"), ("A=B", "x"), ("A\0B", "x"), ("A", "x\0y")] {
        put(&fw, "config/boot.conf", format!("[env]\n{} = {}\n", quoted(key), quoted(value)).as_bytes());
        not_deployed(&fw, &[libc::EINVAL], &format!("{key:?} = {value:?}"));
    }
    unharmed(&mounted);
}

fn names_that_are_none_make_no_instance(driver: Driver) {
    let mounted = driver.mounted();
    let ty = mounted.path().join("nf-types/firewall");
    let strings = STRINGS.into_iter().filter(|name| is_name(name)).map(str::as_bytes);
    let bytes = BYTES.into_iter().filter(|name| !name.contains(&0));
    for name in strings.chain(bytes) {
        assert_eq!(errno(fs::create_dir(ty.join(OsStr::from_bytes(name)))), libc::EINVAL, "{name:?}");
    }
    // Longer than the kernel takes on any file system.
    assert_ne!(errno(fs::create_dir(ty.join("x".repeat(2000)))), 0);
    assert_eq!(fs::read_dir(&ty).expect("ls").count(), 0);
    let fw = mounted.firewall("fw-a");
    for name in ["$(touch x)", "-rf", "a\nb", "\u{1b}[31m"] {
        assert_eq!(errno(fs::rename(fw.path(), ty.join(name))), libc::EINVAL, "{name:?}");
    }
    // Below an instance names are the user's; they are shown to nobody but whoever looks for them.
    for name in STRINGS.into_iter().filter(|name| is_name(name)) {
        fs::write(fw.file("config").join(name), "x").expect("a file of any name");
    }
    fw.put("machine/vm.memory", "none");
    not_deployed(&fw, &[libc::EINVAL], "beside files of any name");
    unharmed(&mounted);
}

#[test]
fn words_that_are_no_verbs_are_told_in_plain_text() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let write = |data: &[u8]| {
        let file = fs::OpenOptions::new().write(true).open(fw.file("action"));
        errno(file.and_then(|mut file| file.write(data)))
    };
    let long = vec![b'x'; 1 << 20];
    let strings = STRINGS.into_iter().map(str::as_bytes);
    let near: [&[u8]; 3] = [b"Activate", b"activate stop", &long];
    for data in strings.chain(BYTES).chain(near) {
        let shown = &data[..data.len().min(20)];
        refused(&fw, write(data), &[libc::EINVAL], &format!("{shown:?}"));
    }
    // A carriage return is white space, as whoever edits on another system expects.
    assert_eq!(write(b"undeployed\r\n"), 0);
    unharmed(&mounted);
}

#[test]
fn a_ruleset_is_data_for_the_guests_nft_alone() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let rules = fw.get("stats/rules");
    for string in STRINGS.into_iter().map(str::as_bytes).chain(BYTES) {
        // A comment, or nothing at all, is a ruleset.
        if string == b"*" || string == b"\\" {
            continue;
        }
        put(&fw, "config/nf_conf", string);
        let shown = String::from_utf8_lossy(string);
        assert_eq!(errno(fw.try_act("reload")), libc::EINVAL, "{shown:?}");
        let error = fw.get("last_error");
        assert!(error.starts_with("code: 720\n"), "{shown:?}: {error}");
        // The guest's nft shows the lines that it means, so there may be several; none of them is raw.
        error.lines().for_each(|line| plain(&format!("{line} "), &shown));
        assert_eq!(fw.get("stats/rules"), rules, "{shown:?}");
    }
    put(&fw, "config/nf_conf", b"include \"/etc/shadow\"\n");
    assert_ne!(errno(fw.try_act("reload")), 0);
    assert!(!fw.get("last_error").contains("root:"), "{}", fw.get("last_error"));
    fw.act("destroy");
    unharmed(&mounted);
}

#[test]
fn what_a_guest_says_is_shown_in_plain_text() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let script =
        "printf '\\033]0;owned\\007\\033[31mred\\r\\n2026-01-01T00:00:00Z ERROR forged\\n\\377' >&2; exit 3";
    assert_eq!(errno(fw.try_write("command", script)), libc::EREMOTEIO);
    let error = fw.get("last_error");
    assert!(error.contains("red") && error.contains("exit code 3"), "{error}");
    error.lines().for_each(|line| plain(line, "last_error"));
    // The command's own output is bytes.
    assert!(fs::read(fw.file("output")).expect("output").contains(&0x1b));
    assert_eq!(
        errno(fw.try_write("command", "head -c 1500000 /dev/zero | tr '\\0' x >&2; exit 1")),
        libc::EREMOTEIO
    );
    assert!(fw.get("last_error").len() < 20_000, "{}", fw.get("last_error").len());
    for script in ["true\0touch /run/attacked", "\u{1b}"] {
        assert_ne!(errno(fw.try_write("command", script)), 0, "{script:?}");
        fw.get("last_error").lines().for_each(|line| plain(line, script));
    }
    fw.act("destroy");

    fw.put(
        "config/boot.conf",
        "command = [\"sh\", \"-c\", \"printf '\\\\033[31mlast words\\\\n\\\\001'; exit 1\"]\n",
    );
    fw.put("config/nf_conf", "table inet filter {\n}\n");
    assert_ne!(errno(fw.try_act("activate")), 0);
    let error = fw.get("last_error");
    assert!(error.contains("last words"), "{error}");
    error.lines().for_each(|line| plain(line, "last words"));
    unharmed(&mounted);
}
