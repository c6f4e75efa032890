//! Sequences at which a mount and the model once differed, as the suite printed them when it had made them short. They
//! are run on paper, each with a word on who was wrong.

use crate::ground::Kind;
use crate::operation::How::{Append, Truncate};
use crate::operation::Operation::{self, Mkdir, Put, Read};
use crate::run;

#[track_caller]
fn holds(operations: &[Operation]) {
    if let Err(difference) = run::run(Kind::Paper(None), operations) {
        panic!("operation {} differs again: {}", difference.done, difference.what);
    }
}

/// The model was: a ruleset may hold several declarations of one table, and nft takes them all.
#[test]
fn two_declarations_of_one_table_both_count() {
    holds(&[
        Mkdir("nf-types/firewall/b"),
        Put("nf-types/firewall/b/machine/ip", "127.0.0.1\n", Truncate),
        Put("nf-types/firewall/b/machine/vm.image", "box\n", Truncate),
        Put(
            "nf-types/firewall/b/config/nf_conf",
            "table inet t { chain c { tcp dport 443 drop; }; }\n",
            Append,
        ),
        Put(
            "nf-types/firewall/b/config/nf_conf",
            "table inet t { chain c { tcp dport 80 drop; }; }\n",
            Append,
        ),
        Put("nf-types/firewall/b/action", "running\n", Truncate),
        Read("nf-types/firewall/b/stats/rules"),
    ]);
}
