//! `nfio-host/THREAT_MODEL.md` names a test for each claim: the claim holds only as long as the test is there.

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../nfio-host/THREAT_MODEL.md");

/// The rows of the page's tables: claim and tests.
fn claims() -> Vec<(&'static str, &'static str)> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    rows.filter(|(claim, _)| *claim != "what is defended").collect()
}

/// Whether a source has a test of this name: a function with the attribute, or one that a macro makes one of for each
/// driver.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let begins = format!("fn {name}(");
    let attributed = lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&begins));
    let block = source.split_once("\nover_drivers! {").and_then(|(_, behind)| behind.split_once("\n}"));
    attributed || block.is_some_and(|(names, _)| names.split_whitespace().any(|word| word == name))
}

#[test]
fn every_claim_names_tests_that_there_are() {
    let claims = claims();
    assert!(claims.len() > 30, "{}", claims.len());
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    for (claim, tests) in claims {
        let named: Vec<_> = tests.split('`').filter(|word| !word.trim().is_empty()).collect();
        assert!(!named.is_empty(), "no test is named for: {claim}");
        for test in named {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} names no test"));
            let source = fs::read_to_string(top.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert!(has_test(&source, name), "{file} has no test {name}, which is to show: {claim}");
        }
    }
}

#[test]
fn a_test_that_is_gone_or_is_none_is_noticed() {
    let source =
        "#[test]\nfn there() {}\nfn helper() {}\nover_drivers! {\n    one\n    two\n}\n// fn gone()\n";
    for (name, is) in [("there", true), ("one", true), ("helper", false), ("gone", false), ("ther", false)] {
        assert_eq!(has_test(source, name), is, "{name}");
    }
}
