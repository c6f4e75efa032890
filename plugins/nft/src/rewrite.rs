//! Makes a ruleset count what its type wants to know: nft counts only where a `counter` stands.
//!
//! Translations: a rule that ends in `masquerade`, `snat`, `dnat` or `redirect` without a counter of its own gets one
//! right before that. Where the new address comes from a map, what the map does not hold is counted too: nft takes
//! no counter between the two.
//!
//! Drops:
//! - A rule that ends in `drop` or `reject` without a counter of its own gets one right before its verdict.
//! - A verdict map cannot count (nft takes counters for elements of sets, not of verdict maps), so `: drop` becomes
//!   `: goto nfio_drop`, a chain of the same table that counts and drops.
//! - A chain with `policy drop` gets a last rule that counts what reaches the policy. A `return` in such a chain leads
//!   to the policy as well, past the last rule: it gets a counter of its own. What reaches the policy from the end of
//!   a chain entered by `goto`, or by `return` in a verdict map, is dropped but not counted. Nor is what somebody adds
//!   by hand in the guest without a counter.
//!
//! Nothing moves to another line, so nft's line numbers stay the user's.

use std::collections::{BTreeMap, BTreeSet};

use crate::count::Count;
use crate::rule::Counted;
use crate::syntax::{Chain, Item, Table, of_family};

/// The chain that counts and drops for a table's verdict maps.
const DROP_CHAIN: &str = "nfio_drop";

/// The comment of the rule that counts what a policy drops.
pub(crate) const POLICY_COMMENT: &str = "nfio: dropped by policy";

/// A text put in place of some bytes.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

impl Edit {
    fn insert(at: usize, text: impl Into<String>) -> Self {
        Self { start: at, end: at, text: text.into() }
    }
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.start);
    let mut made = String::with_capacity(text.len() + 64 * edits.len());
    let mut at = 0;
    for edit in edits {
        made += &text[at..edit.start];
        made += &edit.text;
        at = edit.end;
    }
    made + &text[at..]
}

/// `text` as it is, but for `flush ruleset`: in a guest there are tables of others (Docker's name service lives in
/// one), so it takes away only what `text` itself has made so far. What the last nf_conf made, goes anyway.
pub(crate) fn without_flush(text: &str, items: &[Item<'_>]) -> String {
    apply(text, flushes(items))
}

fn flushes(items: &[Item<'_>]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (place, item) in items.iter().enumerate() {
        if let Item::Flush { family, start, end } = item {
            let so_far = crate::syntax::made(&items[..place]);
            let gone = so_far.iter().filter(|table| of_family(table, *family));
            let text = gone.map(|table| format!("delete table {table}")).collect::<Vec<_>>().join("; ");
            edits.push(Edit { start: *start, end: *end, text });
        }
    }
    edits
}

/// `text` with counters, and with what [`without_flush`] does.
pub(crate) fn with_counters(text: &str, items: &[Item<'_>], count: Count) -> String {
    match count {
        Count::Drops => with_drops_counted(text, items),
        Count::Translations => {
            let rules =
                items.iter().filter_map(|item| if let Item::Rule(rule) = item { Some(rule) } else { None });
            let bare =
                rules.filter_map(|rule| rule.verdict(count)).filter(|verdict| verdict.counted == Counted::No);
            let mut edits = flushes(items);
            edits.extend(bare.map(|verdict| Edit::insert(verdict.at, "counter ")));
            apply(text, edits)
        }
    }
}

fn with_drops_counted(text: &str, items: &[Item<'_>]) -> String {
    let dropping = policies(items);
    let in_define = items.iter().any(|item| matches!(item, Item::DropElement { table: None, .. }));
    let mapping: BTreeSet<&Table> = items
        .iter()
        .filter_map(|item| if let Item::DropElement { table, .. } = item { table.as_ref() } else { None })
        .collect();
    let mut edits = flushes(items);
    let mut helped = BTreeSet::new();
    let mut counted = BTreeSet::new();
    for item in items {
        match item {
            Item::Declared { table, inside, end, .. } => {
                let wanted = in_define || mapping.contains(table);
                if wanted && helped.insert(table) {
                    edits.push(match inside {
                        Some(at) => Edit::insert(*at, format!(" chain {DROP_CHAIN} {{ counter drop; }};")),
                        None => {
                            Edit::insert(*end, format!("; chain {table} {DROP_CHAIN} {{ counter drop; }}"))
                        }
                    });
                }
            }
            Item::Deleted(table) => {
                helped.remove(table);
            }
            Item::Flush { family, .. } => helped.retain(|table| !of_family(table, *family)),
            Item::DropElement { start, end, .. } => {
                edits.push(Edit { start: *start, end: *end, text: format!("goto {DROP_CHAIN}") });
            }
            Item::Rule(rule) => {
                if rule.comment() == POLICY_COMMENT {
                    counted.insert(&rule.chain);
                }
                if let Some(verdict) = rule.verdict(Count::Drops)
                    && verdict.counted == Counted::No
                    && (verdict.word != "return" || (!rule.nested && dropping.contains(&rule.chain)))
                {
                    edits.push(Edit::insert(verdict.at, "counter "));
                }
            }
            _ => {}
        }
    }
    let mut made = apply(text, edits);
    // A ruleset that was saved from a guest has these rules already.
    for chain in dropping.iter().filter(|chain| !counted.contains(chain)) {
        made += &format!("\nadd rule {} {} counter comment \"{POLICY_COMMENT}\"", chain.table, chain.name);
    }
    made
}

/// The chains whose policy is to drop, once `items` have been carried out.
pub(crate) fn policies(items: &[Item<'_>]) -> BTreeSet<Chain> {
    let mut policies: BTreeMap<Chain, bool> = BTreeMap::new();
    for item in items {
        match item {
            Item::Policy { chain, policy } => {
                policies.insert(chain.clone(), policy == "drop");
            }
            Item::ChainDeleted(chain) => {
                policies.remove(chain);
            }
            Item::Deleted(table) => policies.retain(|chain, _| chain.table != *table),
            Item::Flush { family, .. } => policies.retain(|chain, _| !of_family(&chain.table, *family)),
            _ => {}
        }
    }
    policies.into_iter().filter_map(|(chain, drops)| drops.then_some(chain)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    fn rewritten(text: &str) -> String {
        with_counters(text, &parse(text).unwrap(), Count::Drops)
    }

    #[test]
    fn a_bare_translation_gets_a_counter_and_a_drop_is_left_alone() {
        let text = "flush ruleset\ntable inet t { chain c { masquerade; counter dnat ip to 1.2.3.4; jump { redirect; }; \
                    ct status dnat drop; }; }\nadd rule t c snat to 1.2.3.4 comment \"dnat\"";
        let with = "\ntable inet t { chain c { counter masquerade; counter dnat ip to 1.2.3.4; jump { counter redirect; }; \
                    ct status dnat drop; }; }\nadd rule t c counter snat to 1.2.3.4 comment \"dnat\"";
        assert_eq!(with_counters(text, &parse(text).unwrap(), Count::Translations), with);
    }

    #[test]
    fn a_bare_verdict_gets_a_counter_and_nothing_else_changes() {
        let chain = |rule: &str| format!("table inet t {{\n chain c {{\n  {rule}\n }}\n}}\n");
        for (rule, with) in [
            ("drop", "counter drop"),
            ("ct state invalid drop # drop", "ct state invalid counter drop # drop"),
            ("drop comment \"drop\"", "counter drop comment \"drop\""),
            (
                "tcp dport { 22,\n 23 } reject with tcp reset",
                "tcp dport { 22,\n 23 } counter reject with tcp reset",
            ),
            ("log prefix \"drop \" drop", "log prefix \"drop \" counter drop"),
            ("jump { tcp dport 22 drop; }", "jump { tcp dport 22 counter drop; }"),
            ("tcp dport \\\n 22 drop; accept; drop", "tcp dport \\\n 22 counter drop; accept; counter drop"),
        ] {
            assert_eq!(rewritten(&chain(rule)), chain(with));
        }
        for rule in ["counter drop", "accept", "return", "comment \"drop\"", "log prefix \"drop\""] {
            assert_eq!(rewritten(&chain(rule)), chain(rule));
        }
    }

    #[test]
    fn flat_commands_are_rules_too() {
        for (text, with) in [
            ("add rule inet t c tcp dport 22 drop", "add rule inet t c tcp dport 22 counter drop"),
            ("insert rule t c index 0 drop", "insert rule t c index 0 counter drop"),
            (
                "rule t c drop; add t c drop; t c drop",
                "rule t c counter drop; add t c counter drop; t c counter drop",
            ),
            ("delete rule t c handle 3", "delete rule t c handle 3"),
        ] {
            assert_eq!(rewritten(text), with);
        }
    }

    #[test]
    fn a_policy_that_drops_is_counted_at_the_end() {
        let end = |text: &str| format!("{text}\nadd rule inet t c counter comment \"{POLICY_COMMENT}\"");
        for text in [
            "table inet t { chain c { type filter hook input priority 0; policy drop; }; }",
            "define p = \"drop\"\ntable inet t { chain c { type filter hook input priority 0; policy $p; }; }",
            "add chain inet t c { policy accept; }; chain inet t c { policy drop; }",
        ] {
            assert_eq!(rewritten(text), end(text));
            let saved = end(text);
            assert_eq!(rewritten(&saved), saved, "once is enough");
        }
        for text in [
            "table inet t { chain c { policy drop; }; }; chain inet t c { policy accept; }",
            "table inet t { chain c { policy drop; }; }; delete table inet t",
            "table inet t { chain c { policy drop; }; }; delete chain inet t c",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn a_return_to_a_policy_that_drops_is_counted() {
        let text = "table t { chain c { policy drop; tcp dport 22 return; jump { return; }; }; chain d { return; }; }";
        assert!(rewritten(text).starts_with(
            "table t { chain c { policy drop; tcp dport 22 counter return; jump { return; }; }; chain d { return; }; }"
        ));
    }

    #[test]
    fn a_drop_in_a_verdict_map_goes_to_a_chain_that_counts() {
        let help = "chain nfio_drop { counter drop; };";
        for (text, with) in [
            (
                "table t { chain c { tcp dport vmap { 22 : accept, 23:drop }; }; }",
                format!("table t {{ {help} chain c {{ tcp dport vmap {{ 22 : accept, 23:goto nfio_drop }}; }}; }}"),
            ),
            (
                "add table t; add map t m { type inet_service : verdict; }; add element t m { 22 : drop }",
                "add table t; chain ip t nfio_drop { counter drop; }; add map t m { type inet_service : verdict; }; \
                 add element t m { 22 : goto nfio_drop }"
                    .into(),
            ),
            (
                "table t; delete table t; table t { map m { elements = { 22 : drop } }; }",
                format!(
                    "table t; chain ip t nfio_drop {{ counter drop; }}; delete table t; \
                     table t {{ {help} map m {{ elements = {{ 22 : goto nfio_drop }} }}; }}"
                ),
            ),
        ] {
            assert_eq!(rewritten(text), with);
        }
    }

    #[test]
    fn flush_ruleset_takes_only_what_the_text_itself_has_made() {
        for (text, with) in [
            ("flush ruleset\ntable t { }", "\ntable t { }"),
            ("flush ruleset; table t { }", "; table t { }"),
            (
                "table t; table ip6 u; flush ruleset; table v",
                "table t; table ip6 u; delete table ip t; delete table ip6 u; table v",
            ),
            ("table t; table ip6 u; flush ruleset ip6", "table t; table ip6 u; delete table ip6 u"),
            (
                "flush table t; add rule t c log prefix \"flush ruleset\"",
                "flush table t; add rule t c log prefix \"flush ruleset\"",
            ),
        ] {
            assert_eq!(without_flush(text, &parse(text).unwrap()), with);
            assert_eq!(rewritten(text), with);
        }
    }
}
