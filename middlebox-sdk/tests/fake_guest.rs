//! The fake guest keeps the rules that nfio keeps.

use middlebox_sdk::error::EPERM;
use middlebox_sdk::testing::Call::{self, Configure, Getattr, Mkdir, Prepare, Read, Verb};
use middlebox_sdk::testing::Guest;
use middlebox_sdk::{Result, Vnf};

#[test]
fn a_handle_allows_what_its_call_may_do() {
    type Try = fn(&Vnf<'_>) -> Result<()>;
    let tries: [(Try, &[Call]); 10] = [
        (|vnf| vnf.write_file("x", b""), &[Mkdir, Getattr, Read, Verb, Prepare, Configure]),
        (|vnf| vnf.user().map(drop), &[Getattr, Read, Verb, Prepare, Configure]),
        (|vnf| vnf.value("stats/rx_bytes").map(drop), &[Read, Verb, Prepare, Configure]),
        (|vnf| vnf.guest_log().map(drop), &[Getattr, Read, Verb, Prepare, Configure]),
        (|vnf| vnf.counters().map(drop), &[Read, Verb, Prepare, Configure]),
        (|vnf| vnf.put_file("/x", 0o644, b""), &[Verb, Prepare, Configure]),
        (|vnf| vnf.run(&["true"], b"").map(drop), &[Read, Verb, Configure]),
        (|vnf| vnf.set_env("A", "b"), &[Prepare]),
        (|vnf| vnf.set_command(&["x"]), &[Prepare]),
        (|vnf| vnf.restart(), &[Verb]),
    ];
    let guest = Guest::new("x", "x-a");
    for (number, (attempt, allowed)) in tries.iter().enumerate() {
        for call in [Mkdir, Getattr, Read, Verb, Prepare, Configure] {
            let errno = attempt(&guest.during(call)).err().map(|error| error.errno());
            let expected = if allowed.contains(&call) { None } else { Some(EPERM) };
            assert_eq!(errno, expected, "try {number} in {call:?}");
        }
        attempt(&guest.vnf()).unwrap();
    }
}
