//! Gives nf_conf to the guest: checked first, then in one transaction that replaces what the last one made.

use middlebox_sdk::{Level, NfioError, Result, Vnf};

use crate::count::Count;
use crate::lexer::line_of;
use crate::record::{self, Live, RECORD};
use crate::syntax::{Item, Table, made, parse};
use crate::{include, nft, rewrite};

/// Lists all tables with their chains, but no rules and no elements: short, however long the ruleset.
const TABLES: &[&str] = &["list", "chains"];

/// Gives `nf_conf`, an nft ruleset, to the guest, with counters for what is to be counted.
///
/// # Errors
/// VNFConfigurationError where nf_conf is refused; the guest's rules are then as they were. Otherwise what the guest
/// or its nft could not do.
pub fn configure(vnf: &Vnf<'_>, nf_conf: &[u8], count: Count) -> Result<()> {
    let text = text(nf_conf)?;
    if text.trim().is_empty() {
        return take_away(vnf);
    }
    let live = Live::read(&nft::list(vnf, TABLES)?)?;
    let deletion = live.deletion();
    // Text that this module cannot follow, nft will not either, and says it better.
    let items = match parse(text) {
        Ok(items) => items,
        Err(why) => {
            nft::give(vnf, true, &deletion, text)?;
            return Err(NfioError::configuration(format!("nf_conf: {why}")));
        }
    };
    refused(&items, |line| format!("nf_conf:{line}"))?;
    foreign(&items, &live)?;
    let plain = rewrite::without_flush(text, &items);
    nft::give(vnf, true, &deletion, &plain)?;

    let whole = include::expand(vnf, text)?;
    let items = parse(&whole).map_err(NfioError::configuration)?;
    refused(&items, |_| "a file that nf_conf includes".into())?;
    foreign(&items, &live)?;
    let record = record::entry(&made(&items));
    let counting = rewrite::with_counters(&whole, &items, count);
    nft::give(vnf, false, &deletion, &format!("{counting}{record}")).or_else(|error| {
        // A ruleset that nft takes must not fail for the sake of counting.
        vnf.log(
            Level::Warn,
            &format!("nft does not take nf_conf with counters, so {} go uncounted: {error}", count.plural()),
        );
        nft::give(vnf, false, &deletion, &format!("{plain}{record}"))
    })
}

/// An empty nf_conf leaves alone what the image brought, and takes away what an earlier nf_conf made.
fn take_away(vnf: &Vnf<'_>) -> Result<()> {
    // The kernel's rules end with the guest's run.
    if vnf.is_new_run() {
        return Ok(());
    }
    let Some(listing) = nft::list_if_there(vnf, TABLES)? else { return Ok(()) };
    let live = Live::read(&listing)?;
    if live.is_mine_empty() { Ok(()) } else { nft::give(vnf, false, &live.deletion(), "") }
}

fn text(nf_conf: &[u8]) -> Result<&str> {
    std::str::from_utf8(nf_conf).map_err(|e| {
        let line = line_of(&String::from_utf8_lossy(&nf_conf[..e.valid_up_to()]), e.valid_up_to());
        NfioError::configuration(format!("nf_conf:{line}: not UTF-8"))
    })
}

fn refused(items: &[Item<'_>], place: impl Fn(usize) -> String) -> Result<()> {
    for item in items {
        if let Item::Refused { line, why } = item {
            return Err(NfioError::configuration(format!("{}: {why}", place(*line))));
        }
    }
    Ok(())
}

/// Refuses whatever would change a table that is not of nf_conf's making.
fn foreign(items: &[Item<'_>], live: &Live) -> Result<()> {
    let record = Table::new("ip", RECORD);
    for item in items {
        let (Item::Declared { table, .. } | Item::Deleted(table) | Item::Used(table)) = item else {
            continue;
        };
        if *table == record {
            return Err(NfioError::configuration(format!(
                "table {table} is nfio's own: give yours another name"
            )));
        }
        if live.others.contains(table) {
            return Err(NfioError::configuration(format!(
                "table {table} is in the guest already and was not made by nf_conf, which never changes what is \
                 not its own: give yours another name"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{Count, configure, dropped, rules};
    use middlebox_sdk::testing::{Command, Guest};
    use middlebox_sdk::{Level, Output};

    fn stdins(guest: &Guest) -> Vec<String> {
        guest.commands().iter().map(|c| String::from_utf8(c.stdin.clone()).unwrap()).collect()
    }

    fn failing(exit_code: i32, words: &str) -> Output {
        Output { exit_code, stderr: words.into(), ..Output::default() }
    }

    #[test]
    fn it_is_checked_as_it_is_and_applied_with_counters_in_one_transaction() {
        let guest = Guest::new("firewall", "fw-a").on_execute(|command: &Command| {
            let listing = "table inet old {\n}\ntable ip nfio_nf_conf {\n\tchain inet/old {\n\t}\n}\n";
            let list = command.argv == ["nft", "list", "chains"];
            Output { stdout: if list { listing.into() } else { Vec::new() }, ..Output::default() }
        });
        configure(&guest.vnf(), b"flush ruleset\ntable t { chain c { drop; }; }\n", Count::Drops).unwrap();
        let gone = "delete table inet old\ndelete table ip nfio_nf_conf\n";
        assert_eq!(guest.commands()[1].argv, ["nft", "-c", "-f", "-"]);
        assert_eq!(guest.commands()[2].argv, ["nft", "-f", "-"]);
        assert_eq!(
            stdins(&guest)[1..],
            [
                format!("{gone}\ntable t {{ chain c {{ drop; }}; }}\n"),
                format!(
                    "{gone}\ntable t {{ chain c {{ counter drop; }}; }}\n\ntable ip nfio_nf_conf {{ chain ip/t {{ }}; }}\n"
                ),
            ]
        );
    }

    #[test]
    fn a_ruleset_that_nft_takes_only_without_counters_is_applied_and_logged() {
        let guest = Guest::new("firewall", "fw-a").on_execute(|command: &Command| {
            let counts = String::from_utf8_lossy(&command.stdin).contains("counter");
            if counts { failing(1, "no counters today") } else { Output::default() }
        });
        configure(&guest.vnf(), b"table t { chain c { drop; }; }", Count::Drops).unwrap();
        assert!(stdins(&guest).last().unwrap().starts_with("table t { chain c { drop; }; }"));
        let (level, line) = &guest.log_lines()[0];
        assert!(*level == Level::Warn && line.contains("no counters today"), "{line}");
    }

    #[test]
    fn an_image_without_nft_is_told_so_and_is_fine_while_nf_conf_is_empty() {
        let guest = Guest::new("firewall", "fw-a").on_execute(|_| failing(127, "nft: not found"));
        let error = configure(&guest.vnf(), b"table t { }", Count::Drops).unwrap_err();
        assert_eq!(error.code(), 703);
        assert!(error.to_string().contains("install nftables"), "{error}");
        assert_eq!(rules(&guest.vnf()).unwrap_err().code(), 703);
        configure(&guest.vnf(), b"", Count::Drops).unwrap();
    }

    #[test]
    fn an_empty_nf_conf_asks_nothing_of_a_guest_that_has_just_started() {
        let guest = Guest::new("firewall", "fw-a").just_started();
        configure(&guest.vnf(), b" \n", Count::Drops).unwrap();
        assert!(guest.commands().is_empty());
        let guest = Guest::new("firewall", "fw-a");
        configure(&guest.vnf(), b" \n", Count::Drops).unwrap();
        assert_eq!(guest.commands().len(), 1);
    }

    #[test]
    fn errors_of_the_guest_pass_unchanged() {
        for (status, code) in [("undeployed", 702), ("exited", 716), ("paused", 716)] {
            let guest = Guest::new("firewall", "fw-a").with_status(status);
            assert_eq!(dropped(&guest.vnf()).unwrap_err().code(), code, "{status}");
            assert_eq!(rules(&guest.vnf()).unwrap_err().code(), code, "{status}");
            assert_eq!(configure(&guest.vnf(), b"table t { }", Count::Drops).unwrap_err().code(), code);
            assert_eq!(configure(&guest.vnf(), b"", Count::Drops).unwrap_err().code(), code);
        }
    }

    #[test]
    fn a_failure_of_nft_itself_is_no_fault_of_nf_conf() {
        let guest = Guest::new("firewall", "fw-a").on_execute(|_| failing(1, "Operation not permitted"));
        for nf_conf in ["", "table t { }"] {
            let error = configure(&guest.vnf(), nf_conf.as_bytes(), Count::Drops).unwrap_err();
            assert_eq!(error.code(), 703);
            assert!(error.to_string().contains("Operation not permitted"));
        }
    }
}
