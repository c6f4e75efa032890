//! `config/nf_conf` of the types of nftables, on the way to a guest that takes whatever it is given: what is looked at
//! is what it would be given.

use middlebox_sdk::Middlebox;
use middlebox_sdk::testing::{Call, Guest};
use middlebox_sdk::{Result, Vnf};
use nat::Nat;
use nft::Count;

use crate::{examples, plain};

/// What reaches the guest's `nft -f -` in the end; None: nf_conf was refused, in plain words.
fn given(configure: impl Fn(&Vnf<'_>, &[u8]) -> Result<()>, nf_conf: &[u8]) -> Option<String> {
    let guest = Guest::new("fuzzed", "fuzzed-a");
    if let Err(error) = configure(&guest.during(Call::Configure), nf_conf) {
        plain::refused(&error, 720);
        return None;
    }
    // Nothing of nf_conf becomes a word of a command line.
    for command in guest.commands() {
        let words: Vec<_> = command.argv.iter().map(String::as_str).collect();
        let known = matches!(words[..], ["nft", "-f", "-"] | ["nft", "-c", "-f", "-"] | ["nft", "list", ..]);
        assert!(known || words[0] == "cat", "{words:?}");
    }
    let last = guest.commands().into_iter().rfind(|command| command.argv == ["nft", "-f", "-"])?;
    Some(String::from_utf8(last.stdin).expect("UTF-8"))
}

/// nft names lines, and they are to be the user's: each stands where it stood, with what is added to it; more lines come
/// behind the last. What is replaced (`flush ruleset`, `drop` in a verdict map) stays on its line too.
fn keeps_lines(nf_conf: &str, given: &str) {
    if nf_conf.contains("include") || nf_conf.contains("flush") {
        return;
    }
    let mut lines = given.split('\n');
    for line in nf_conf.split('\n') {
        let now = lines.next().unwrap_or_else(|| panic!("{nf_conf:?} is given as {given:?}"));
        let mut rest = now.chars();
        let kept = line.contains("drop") || line.chars().all(|c| rest.any(|other| other == c));
        assert!(kept, "{line:?} is given as {now:?}");
    }
}

pub(crate) fn nat(data: &[u8]) {
    let (Some(given), Ok(text)) =
        (given(|vnf, text| Nat.configure(vnf, text), data), std::str::from_utf8(data))
    else {
        return;
    };
    let mut words = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    if matches!(words.next(), Some("masquerade" | "forward")) {
        // Only words that the parser has understood: no quote but around names, no escape, nothing beyond ASCII.
        let plain = |c: char| c.is_ascii_alphanumeric() || " \n\"{}[]:;,._-!=/".contains(c);
        let odd = given.chars().find(|c| !plain(*c));
        assert!(odd.is_none(), "{odd:?} in {given:?}");
        assert_eq!(given.matches('"').count() % 2, 0, "{given:?}");
        return;
    }
    keeps_lines(text, &given);
}

pub(crate) fn nat_seeds() -> Vec<Vec<u8>> {
    let page = include_str!("../../../plugins/nat/src/lib.rs").replace("//! ", "");
    let mut seeds = examples(&page, "```text\n", "```");
    seeds.push(b"masquerade out eth0 from 10.0.0.0/24\nforward tcp 8080 to 10.0.0.5:80\n".to_vec());
    seeds.push(b"forward udp 53 on eth0 to [2001:db8::53]:5353\nmasquerade\n".to_vec());
    seeds.push(
        b"flush ruleset\ntable ip n {\n chain c { type nat hook postrouting priority 100; masquerade; }\n}\n"
            .to_vec(),
    );
    seeds
}

pub(crate) fn nft(data: &[u8]) {
    let (Some(given), Ok(text)) =
        (given(|vnf, text| nft::configure(vnf, text, Count::Drops), data), std::str::from_utf8(data))
    else {
        return;
    };
    if !text.trim().is_empty() {
        keeps_lines(text, &given);
    }
}

pub(crate) fn nft_seeds() -> Vec<Vec<u8>> {
    let mut seeds = examples(include_str!("../../../README.md"), "# cat > config/nf_conf\n", "# echo");
    seeds.push(
        b"define bad = { 192.0.2.1, 192.0.2.2 }\ntable inet f {\n set s { type ipv4_addr; elements = { $bad } }\n \
          map m { type inet_service : verdict; elements = { 22 : drop, 80 : accept } }\n chain c {\n  type filter hook \
          input priority 0; policy drop;\n  ip saddr @s counter drop comment \"a # b\"\n  tcp dport vmap @m\n  ct \
          state invalid return\n }\n}\nadd rule inet f c reject with icmp type port-unreachable\n"
            .to_vec(),
    );
    seeds.push(b"flush ruleset\ninclude \"/etc/nft/x\"\ndelete table ip t\n".to_vec());
    seeds
}
