//! Judges one rule: does it drop or translate, and is what it does so counted?

use crate::count::Count;
use crate::lexer::{Kind, Token};
use crate::syntax::Rule;

/// The counter that stands right before a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// None does, or one that counts other packets too.
    No,
    /// One that has counted this many.
    Packets(u64),
}

/// A rule's verdict and its counter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict<'a> {
    /// One of the words of what is to be counted: `drop`, `masquerade` …
    pub(crate) word: &'a str,
    /// The byte that it begins at.
    pub(crate) at: usize,
    pub(crate) counted: Counted,
}

impl<'a> Rule<'a> {
    /// The verdict, where it is one of those to be counted.
    pub(crate) fn verdict(&self, count: Count) -> Option<Verdict<'a>> {
        let place = (0..self.tokens.len()).find(|place| {
            let before = place.checked_sub(1).map(|before| self.tokens[before]);
            count.words().iter().any(|word| self.tokens[*place].is(word))
                && !before.is_some_and(expects_value)
        })?;
        let Token { text: word, at, .. } = self.tokens[place];
        Some(Verdict { word, at, counted: counter(&self.tokens[..place]) })
    }

    /// The rule's comment; empty where it has none.
    pub(crate) fn comment(&self) -> &'a str {
        match &self.tokens[..] {
            [.., word, text] if word.is("comment") => text.text,
            _ => "",
        }
    }

    /// What the rule's first nameless counter has counted.
    pub(crate) fn packets(&self) -> u64 {
        let place = self.tokens.iter().position(|token| token.is("counter"));
        place.map_or(0, |place| state(&self.tokens[place + 1..]).0)
    }
}

/// Whether what follows is a value, which may be a verdict's word: `ct status snat,dnat`, `icmp type redirect`.
fn expects_value(before: Token<'_>) -> bool {
    before.is("status")
        || before.is("type")
        || (before.kind == Kind::Sign && matches!(before.text, "," | "=" | "!" | "|" | "&" | "^" | "("))
}

/// The last nameless counter of `before`, if nothing between it and the end chooses among packets. A named one is
/// shared with other rules, so it does not tell what this one dropped.
fn counter(before: &[Token<'_>]) -> Counted {
    let is_counter = |(_, two): &(usize, &[Token<'_>])| two[0].is("counter") && !two[1].is("name");
    let last = match before {
        [.., last] if last.is("counter") => Some(before.len() - 1),
        _ => before.windows(2).enumerate().filter(is_counter).map(|(place, _)| place).next_back(),
    };
    let Some(place) = last else { return Counted::No };
    let (packets, rest) = state(&before[place + 1..]);
    if only_logs(rest) { Counted::Packets(packets) } else { Counted::No }
}

/// `packets N bytes N` behind the word `counter`, and what follows.
fn state<'t, 'a>(behind: &'t [Token<'a>]) -> (u64, &'t [Token<'a>]) {
    match behind {
        [packets, n, bytes, _, rest @ ..] if packets.is("packets") && bytes.is("bytes") => {
            (n.text.parse().unwrap_or(0), rest)
        }
        rest => (0, rest),
    }
}

/// Whether these tokens log, and do nothing else: each packet passes them.
fn only_logs(mut tokens: &[Token<'_>]) -> bool {
    while let [first, rest @ ..] = tokens {
        if !first.is("log") {
            return false;
        }
        tokens = rest;
        while let [option, value, rest @ ..] = tokens {
            let plain = matches!(option.text, "prefix" | "level" | "group" | "snaplen" | "queue-threshold");
            let flags = option.text == "flags" && matches!(value.text, "all" | "skuid" | "ether");
            if option.kind != Kind::Word || !(plain || flags) {
                break;
            }
            tokens = rest;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{Item, parse};

    fn judged(rule: &str) -> Option<(String, Counted)> {
        judged_for(Count::Drops, rule)
    }

    fn judged_for(count: Count, rule: &str) -> Option<(String, Counted)> {
        let text = format!("add rule t c {rule}");
        let items = parse(&text).unwrap();
        let Some(Item::Rule(rule)) = items.last() else { panic!("{items:?}") };
        rule.verdict(count).map(|verdict| (verdict.word.into(), verdict.counted))
    }

    #[test]
    fn a_counter_counts_the_drop_only_where_nothing_chooses_behind_it() {
        use Counted::{No, Packets};
        for (rule, counted) in [
            ("drop", No),
            ("counter drop", Packets(0)),
            ("counter packets 7 bytes 9 drop comment \"x\"", Packets(7)),
            ("counter log prefix \"drop\" level warn drop", Packets(0)),
            ("counter log log group 2 reject with tcp reset", Packets(0)),
            ("log prefix \"counter\" drop", No),
            ("counter tcp dport 22 drop", No),
            ("counter limit rate over 5/second drop", No),
            ("counter ip saddr { 1.1.1.1 } drop", No),
            ("counter packets 3 bytes 4 tcp dport 22 counter packets 5 bytes 6 drop", Packets(5)),
            ("counter name \"all\" drop", No),
            ("counter name all counter drop", Packets(0)),
            ("ct state { new, invalid } drop", No),
        ] {
            assert_eq!(judged(rule).unwrap().1, counted, "{rule}");
        }
    }

    #[test]
    fn only_the_word_itself_is_a_verdict() {
        for rule in [
            "accept comment \"drop\"",
            "iifname \"drop\" accept",
            "log prefix \"drop \" accept # drop",
            "tcp dport vmap { 22 : drop }",
            "jump drop-them",
            "jump { drop; }",
        ] {
            assert_eq!(judged(rule), None, "{rule}");
        }
    }

    #[test]
    fn a_translation_is_told_from_a_value_of_the_same_word() {
        use Counted::{No, Packets};
        for (rule, word, counted) in [
            ("masquerade", "masquerade", No),
            ("ct status dnat masquerade random", "masquerade", No),
            ("ct status snat,dnat counter dnat to 1.2.3.4", "dnat", Packets(0)),
            ("ct status & (snat|dnat) == 0 snat to 1.2.3.4", "snat", No),
            ("tcp flags & (fin|syn) == (fin|syn) redirect to :80", "redirect", No),
            ("ip6 saddr fe80:: counter packets 3 bytes 4 masquerade", "masquerade", Packets(3)),
            ("tcp dport 80 dnat ip to 1.2.3.4:80", "dnat", No),
        ] {
            assert_eq!(judged_for(Count::Translations, rule), Some((word.into(), counted)), "{rule}");
        }
        for rule in
            ["ct status dnat accept", "icmp type redirect drop", "icmp type != redirect accept", "drop"]
        {
            assert_eq!(judged_for(Count::Translations, rule), None, "{rule}");
        }
    }
}
