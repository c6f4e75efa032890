//! What types of nftables have in common: this is a library, no type. `firewall` and `nat` are
//! thin on top of it. A type of your
//! own may use it, or look.
//!
//! - [`configure`]: nf_conf, an nft ruleset, is checked by the guest's own nft and applied in one transaction that
//!   replaces the tables that the last nf_conf made, and no others. A refused one leaves the running one as it was;
//!   nft's words name the lines of nf_conf. Empty, it leaves the image's own rules alone.
//! - `flush ruleset`, as many rulesets begin, means "replace mine": tables of others stay (Docker's name service
//!   lives in one). A table that others made is refused; nf_conf never changes it.
//! - `include` reads files of the guest; patterns (`*.nft`) are refused.
//! - Every drop or every translation ([`Count`]) is made to count: what is inserted for that stands in the live ruleset,
//!   not in nf_conf. `rewrite` says what, and where it is not exact. Counters start anew at every configure.
//! - [`dropped`], [`translated`] and [`rules`] read the live ruleset.
//! - [`forwarding`] is the [`Type`](middlebox_sdk::Type) to begin with.
//!
//! The guest needs NET_ADMIN and an `nft`; nothing here opens a file or starts a process of the host.

#![forbid(unsafe_code)]

mod configure;
mod count;
mod forwarding;
mod include;
mod lexer;
mod nft;
mod parser;
mod record;
mod rewrite;
mod rule;
mod stats;
mod syntax;
#[cfg(feature = "testbed")]
pub mod testbed;

pub use configure::configure;
pub use count::Count;
pub use forwarding::{RULES, forwarding};
pub use stats::{dropped, rules, translated};
