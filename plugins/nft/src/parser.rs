//! Finds in nft's text what [`Item`] tells. It is lenient: whether the text is right, nft itself has judged or will
//! judge.

use crate::lexer::{Kind, Token, lex, line_of};
use crate::syntax::{Chain, Item, Rule, Table};

const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

/// What `text` does.
///
/// # Errors
/// A sentence with the line where a string or a brace has no end.
pub(crate) fn parse(text: &str) -> Result<Vec<Item<'_>>, String> {
    let mut parser =
        Parser { text, tokens: lex(text)?, at: 0, depth: 0, items: Vec::new(), words: Vec::new() };
    parser.block(Parser::command)?;
    match parser.here() {
        None => Ok(parser.items),
        Some(token) => Err(format!("line {}: a }} too many", line_of(text, token.at))),
    }
}

/// How deep braces may stand in one another; nft's own limit is lower.
const DEEPEST: usize = 64;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
    items: Vec<Item<'a>>,
    /// Names that `define` gave to one word, newest last.
    words: Vec<(&'a str, &'a str)>,
}

impl<'a> Parser<'a> {
    fn here(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn is(&self, word: &str) -> bool {
        self.here().is_some_and(|token| token.is(word))
    }

    fn is_kind(&self, kind: Kind) -> bool {
        self.here().is_some_and(|token| token.kind == kind)
    }

    fn take_word(&mut self) -> Option<&'a str> {
        let token = self.here().filter(|token| token.kind == Kind::Word)?;
        self.at += 1;
        Some(token.text)
    }

    /// The byte behind the last token that was taken.
    fn behind(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |last| self.tokens[last].end())
    }

    /// Statements up to a closing brace or the end of the text, neither of which it takes.
    fn block(&mut self, statement: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        while let Some(token) = self.here() {
            match token.kind {
                Kind::Newline | Kind::Semicolon => self.at += 1,
                Kind::Close => break,
                _ if self.common()? => {}
                _ => statement(self)?,
            }
        }
        Ok(())
    }

    /// `{`, what `inner` makes of what it holds, `}`.
    fn braces(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let open = self.at;
        let line = |parser: &Self| line_of(parser.text, parser.tokens[open].at);
        if self.depth == DEEPEST {
            return Err(format!("line {}: too many braces within braces", line(self)));
        }
        self.at += 1;
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        if !self.is_kind(Kind::Close) {
            return Err(format!("line {}: a {{ has no }}", line(self)));
        }
        self.at += 1;
        Ok(())
    }

    /// What may stand in any block.
    fn common(&mut self) -> Result<bool, String> {
        let Some(token) = self.here() else { return Ok(false) };
        if token.is("include") {
            self.at += 1;
            if let Some(path) = self.here().filter(|path| path.kind == Kind::Text) {
                self.items.push(Item::Include { path: path.text, start: token.at, end: path.end() });
            }
        } else if token.is("define") || token.is("redefine") {
            if let [name, equals, value, ..] = self.tokens[self.at + 1..]
                && equals.text == "="
            {
                self.words.push((name.text, value.text));
            }
        } else if !token.is("undefine") {
            return Ok(false);
        }
        self.statement(None, None)?;
        Ok(true)
    }

    /// Takes what is left of a statement; answers its tokens outside of braces.
    fn statement(&mut self, table: Option<&Table>, chain: Option<&Chain>) -> Result<Vec<Token<'a>>, String> {
        let mut outside = Vec::new();
        while let Some(token) = self.here() {
            match token.kind {
                Kind::Newline | Kind::Semicolon | Kind::Close => break,
                Kind::Open => {
                    outside.push(token);
                    self.braced_part(table, chain)?;
                }
                _ => {
                    outside.push(token);
                    self.at += 1;
                }
            }
        }
        Ok(outside)
    }

    /// The braces within a statement: a nameless chain behind `jump` or `goto`, else elements of a set or map, where
    /// a line's end means nothing.
    fn braced_part(&mut self, table: Option<&Table>, chain: Option<&Chain>) -> Result<(), String> {
        let before = self.at.checked_sub(1).map(|at| self.tokens[at]);
        if let Some(chain) = chain
            && before.is_some_and(|word| word.is("jump") || word.is("goto"))
        {
            return self.braces(|p| p.block(|p| p.in_chain(chain, true)));
        }
        self.braces(|p| {
            while let Some(token) = p.here() {
                match token.kind {
                    Kind::Close => break,
                    Kind::Open => p.braced_part(table, chain)?,
                    _ => {
                        if token.is("drop") && p.tokens[p.at - 1].text == ":" {
                            let (start, end) = (token.at, token.end());
                            p.items.push(Item::DropElement { table: table.cloned(), start, end });
                        }
                        p.at += 1;
                    }
                }
            }
            Ok(())
        })
    }
}

/// Commands, as they stand outside of a table's braces.
impl<'a> Parser<'a> {
    fn command(&mut self) -> Result<(), String> {
        let start = self.here().map_or(0, |token| token.at);
        let verb = match self.here().map(|token| token.text) {
            Some(
                verb @ ("add" | "create" | "insert" | "replace" | "delete" | "destroy" | "flush" | "rename"),
            ) => {
                self.at += 1;
                verb
            }
            Some(verb @ ("list" | "reset" | "monitor" | "describe" | "import" | "export")) => {
                let line = line_of(self.text, start);
                let why = format!("`{verb}` has no place in a configuration");
                self.items.push(Item::Refused { line, why });
                "add"
            }
            _ => "add",
        };
        let object = self.here().map_or("", |token| token.text);
        match object {
            "ruleset" if verb == "flush" => {
                self.at += 1;
                let family = self.take_word();
                self.items.push(Item::Flush { family, start, end: self.behind() });
            }
            "table" => self.table(verb, start)?,
            "chain" => self.chain(verb)?,
            "rule" => {
                self.at += 1;
                self.flat_rule(verb)?;
            }
            "set" | "map" | "flowtable" | "element" | "counter" | "quota" | "limit" | "secmark"
            | "synproxy" | "meter" | "ct" => {
                self.at += if object == "ct" { 2 } else { 1 };
                let table = self.named_table();
                self.items.extend(table.clone().map(Item::Used));
                self.statement(table.as_ref(), None)?;
            }
            // `add inet filter input drop` is a rule, too.
            _ => self.flat_rule(verb)?,
        }
        self.statement(None, None).map(drop)
    }

    fn named_table(&mut self) -> Option<Table> {
        let first = self.take_word()?;
        if !FAMILIES.contains(&first) {
            return Some(Table::new("ip", first));
        }
        Some(Table::new(first, self.take_word()?))
    }

    fn table(&mut self, verb: &str, start: usize) -> Result<(), String> {
        self.at += 1;
        let Some(table) = self.named_table() else { return Ok(()) };
        match verb {
            "delete" | "destroy" if table.name == "handle" => {
                let why = "a table is deleted by its name, not by its handle".into();
                self.items.push(Item::Refused { line: line_of(self.text, start), why });
            }
            "delete" | "destroy" => self.items.push(Item::Deleted(table)),
            "add" | "create" => {
                let inside = self.here().filter(|token| token.kind == Kind::Open).map(|open| open.end());
                let place = self.items.len();
                if inside.is_some() {
                    self.braces(|p| p.block(|p| p.in_table(&table)))?;
                }
                let end = self.behind();
                self.items.insert(place, Item::Declared { table, inside, end, start });
            }
            _ => self.items.push(Item::Used(table)),
        }
        Ok(())
    }

    fn chain(&mut self, verb: &str) -> Result<(), String> {
        self.at += 1;
        let Some(table) = self.named_table() else { return Ok(()) };
        self.items.push(Item::Used(table.clone()));
        let Some(name) = self.take_word() else { return Ok(()) };
        let chain = Chain { table, name: name.into() };
        match verb {
            "delete" | "destroy" => self.items.push(Item::ChainDeleted(chain)),
            _ if self.is_kind(Kind::Open) => self.braces(|p| p.block(|p| p.in_chain(&chain, false)))?,
            _ => {}
        }
        Ok(())
    }

    fn flat_rule(&mut self, verb: &str) -> Result<(), String> {
        let Some(table) = self.named_table() else { return Ok(()) };
        self.items.push(Item::Used(table.clone()));
        let Some(name) = self.take_word() else { return Ok(()) };
        let chain = Chain { table, name: name.into() };
        if verb != "delete" && verb != "destroy" {
            self.rule(&chain, false)?;
        }
        Ok(())
    }
}

/// What stands in the braces of a table and of a chain.
impl<'a> Parser<'a> {
    fn in_table(&mut self, table: &Table) -> Result<(), String> {
        if self.is("chain") {
            self.at += 1;
            if let Some(name) = self.take_word()
                && self.is_kind(Kind::Open)
            {
                let chain = Chain { table: table.clone(), name: name.into() };
                self.braces(|p| p.block(|p| p.in_chain(&chain, false)))?;
            }
        }
        self.statement(Some(table), None).map(drop)
    }

    fn in_chain(&mut self, chain: &Chain, nested: bool) -> Result<(), String> {
        match self.here().map(|token| token.text) {
            Some("policy") => {
                let words = self.statement(None, None)?;
                let policy = match &words[1..] {
                    [dollar, name, ..] if dollar.text == "$" => {
                        self.words.iter().rev().find(|(known, _)| *known == name.text).map(|(_, word)| *word)
                    }
                    [policy, ..] => Some(policy.text),
                    [] => None,
                };
                let policy = policy.unwrap_or_default().into();
                self.items.push(Item::Policy { chain: chain.clone(), policy });
                Ok(())
            }
            Some("type" | "comment" | "flags" | "devices") => self.statement(None, None).map(drop),
            _ => self.rule(chain, nested),
        }
    }

    fn rule(&mut self, chain: &Chain, nested: bool) -> Result<(), String> {
        let tokens = self.statement(Some(&chain.table), Some(chain))?;
        self.items.push(Item::Rule(Rule { chain: chain.clone(), nested, tokens }));
        Ok(())
    }
}
