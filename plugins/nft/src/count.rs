//! What a type wants counted of a ruleset.

/// What a ruleset is made to count, where it does not by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Packets that rules, policies and verdict maps drop.
    Drops,
    /// Connections whose address or port a rule translates: nft shows a NAT chain the first packet of each.
    Translations,
}

impl Count {
    /// The statements that end a rule so.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Drops => &["drop", "reject", "return"],
            Self::Translations => &["masquerade", "snat", "dnat", "redirect"],
        }
    }

    /// The same, for a sentence.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Drops => "drops",
            Self::Translations => "translations",
        }
    }
}
