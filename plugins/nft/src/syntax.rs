//! What this module must know of a ruleset: which tables, chains and policies it names, its rules, the drops in its
//! verdict maps.

use std::collections::BTreeSet;
use std::fmt;

use crate::lexer::Token;
pub(crate) use crate::parser::parse;

/// A table's family and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Table {
    pub(crate) family: String,
    pub(crate) name: String,
}

impl Table {
    pub(crate) fn new(family: &str, name: &str) -> Self {
        Self { family: family.into(), name: name.into() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// A chain's table and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chain {
    pub(crate) table: Table,
    pub(crate) name: String,
}

/// One rule: its tokens outside of braces; an opening brace stands for what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Rule<'a> {
    pub(crate) chain: Chain,
    /// Whether it stands in a nameless chain (`jump { … }`) within `chain`.
    pub(crate) nested: bool,
    pub(crate) tokens: Vec<Token<'a>>,
}

/// What a text does, in its order.
#[derive(Debug, Clone)]
pub(crate) enum Item<'a> {
    /// A table is made, or added to. `inside`: the byte behind its opening brace. `end`: that behind the statement.
    Declared { table: Table, inside: Option<usize>, end: usize, start: usize },
    /// A table is deleted.
    Deleted(Table),
    /// A command names a table that it takes for granted.
    Used(Table),
    /// `flush ruleset`, of one family or of all.
    Flush { family: Option<&'a str>, start: usize, end: usize },
    /// `include "path"`.
    Include { path: &'a str, start: usize, end: usize },
    /// A chain's policy, as written or as a `$name` stood for it.
    Policy { chain: Chain, policy: String },
    /// A chain is deleted.
    ChainDeleted(Chain),
    /// A rule.
    Rule(Rule<'a>),
    /// `: drop` in braces: an element of a verdict map, in a table or (None) in a `define`.
    DropElement { table: Option<Table>, start: usize, end: usize },
    /// A command that has no place in a configuration, and why.
    Refused { line: usize, why: String },
}

/// The tables that exist once `items` have been carried out on an empty ruleset.
pub(crate) fn made(items: &[Item<'_>]) -> BTreeSet<Table> {
    let mut tables = BTreeSet::new();
    for item in items {
        match item {
            Item::Declared { table, .. } => {
                tables.insert(table.clone());
            }
            Item::Deleted(table) => {
                tables.remove(table);
            }
            Item::Flush { family, .. } => tables.retain(|table| !of_family(table, *family)),
            _ => {}
        }
    }
    tables
}

/// Whether `flush ruleset FAMILY` takes `table` away.
pub(crate) fn of_family(table: &Table, family: Option<&str>) -> bool {
    family.is_none_or(|family| table.family == family)
}
