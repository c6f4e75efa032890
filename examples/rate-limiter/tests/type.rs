//! The type against a guest that is not there.

use middlebox_sdk::testing::{Call, Guest};
use middlebox_sdk::{Middlebox, Output};
use rate_limiter::RateLimiter;

fn failing(exit_code: i32, words: &str) -> Output {
    Output { exit_code, stderr: words.into(), ..Output::default() }
}

#[test]
fn limits_are_checked_and_then_applied_in_one_transaction() {
    let guest = Guest::new("rate_limiter", "a");
    RateLimiter.configure(&guest.during(Call::Configure), b"limit tcp 5/second\n").unwrap();
    let commands = guest.commands();
    assert_eq!(commands[0].argv, ["nft", "-c", "-f", "-"]);
    assert_eq!(commands[1].argv, ["nft", "-f", "-"]);
    assert_eq!(commands[0].stdin, commands[1].stdin);
    assert!(String::from_utf8_lossy(&commands[1].stdin).contains("tcp limit rate over 5/second"));
}

#[test]
fn what_is_refused_changes_nothing() {
    let guest = Guest::new("rate_limiter", "a").on_execute(|_| failing(1, "Value too large"));
    let error = RateLimiter.configure(&guest.during(Call::Configure), b"limit any 9/day\n").unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (720, "nft: Value too large"));
    assert_eq!(guest.commands().len(), 1);
    let error = RateLimiter.configure(&guest.during(Call::Configure), b"limit").unwrap_err();
    assert_eq!((error.code(), guest.commands().len()), (720, 1));
    let bare = Guest::new("rate_limiter", "b").on_execute(|_| failing(127, "nft: not found"));
    assert_eq!(RateLimiter.configure(&bare.during(Call::Configure), b"").unwrap_err().code(), 703);
}

#[test]
fn limited_is_nfts_counter_and_reset_clears_it() {
    let listing = "table inet rate_limiter {\n\tcounter limited {\n\t\tpackets 45 bytes 3780\n\t}\n}\n";
    let guest = Guest::new("rate_limiter", "a")
        .on_execute(move |_| Output { stdout: listing.into(), ..Output::default() });
    assert_eq!(RateLimiter.read(&guest.during(Call::Read), "stats/limited").unwrap(), b"45\n");
    RateLimiter.write(&guest.during(Call::Verb), "reset", b"now\n").unwrap();
    assert_eq!(guest.commands()[1].argv[1], "reset");
    let stopped = Guest::new("rate_limiter", "b").with_status("exited");
    assert_eq!(RateLimiter.read(&stopped.during(Call::Read), "stats/limited").unwrap_err().code(), 716);
}
