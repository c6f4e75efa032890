//! For tests of types: a guest whose commands run for real, in a network namespace of its own that is gone when the
//! test ends. All of it panics where the machine cannot do it.

use middlebox_sdk::Output;
use middlebox_sdk::testing::{Command as GuestCommand, Guest};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A network namespace, held by a process that ends with it.
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// A fresh one, with lo up.
    pub fn new() -> Arc<Self> {
        for tool in ["unshare", "nsenter", "nft", "ip", "bash"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
            assert!(
                found.status.success(),
                "these tests need {tool}: apt install nftables iproute2 util-linux bash (`make test` does)"
            );
        }
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "unshare --net works for root alone: run these tests as root");
        Arc::new(Self { holder })
    }

    /// Runs a command in it.
    pub fn run(&self, argv: &[&str], stdin: &[u8]) -> Output {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg("--")
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        let done = child.wait_with_output().unwrap();
        Output {
            exit_code: done.status.code().unwrap_or_else(|| 128 + done.status.signal().unwrap_or(0)),
            stdout: done.stdout,
            stderr: done.stderr,
        }
    }

    /// Runs nft in it and answers what it printed; it must succeed.
    pub fn nft(&self, args: &[&str], stdin: &str) -> String {
        let output = self.run(&[&["nft"], args].concat(), stdin.as_bytes());
        assert_eq!(output.exit_code, 0, "nft {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The live ruleset.
    pub fn rules(&self) -> String {
        self.nft(&["list", "ruleset"], "")
    }

    /// Sends `count` datagrams to a port of lo.
    pub fn send(&self, port: u16, count: u32) {
        let script =
            format!("for i in $(seq {count}); do echo x > /dev/udp/127.0.0.1/{port}; done 2>/dev/null");
        self.run(&["bash", "-c", &script], b"");
    }

    /// A guest whose commands run here.
    pub fn guest(self: &Arc<Self>) -> Guest {
        let netns = Arc::clone(self);
        Guest::new("nft", "a").on_execute(move |command: &GuestCommand| {
            let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
            netns.run(&argv, &command.stdin)
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // `cat` ends with its stdin; waiting leaves no zombie.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
