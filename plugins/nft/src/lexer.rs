//! Splits nft's text into tokens, as far as this module must understand it: words, strings, signs and the ends of
//! statements. Comments and continued lines vanish here, so nobody behind this room is misled by a `drop` in one.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword, name, number or address; a `:` is never part of it.
    Word,
    /// A text in quotes, without them.
    Text,
    /// One character that is nothing else.
    Sign,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    Semicolon,
    /// The end of a line: of a statement too, but not within the braces of a set.
    Newline,
}

/// A token and the byte that it begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    /// The first byte behind it (of a text: behind its closing quote).
    pub(crate) fn end(&self) -> usize {
        self.at + self.text.len() + if self.kind == Kind::Text { 2 } else { 0 }
    }
}

/// All tokens of `text`.
///
/// # Errors
/// A sentence with the line where a string has no end.
pub(crate) fn lex(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = match c {
            '\n' => (Kind::Newline, 1),
            ';' => (Kind::Semicolon, 1),
            '{' => (Kind::Open, 1),
            '}' => (Kind::Close, 1),
            '#' => {
                // A backslash does not continue a comment.
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '\\' if rest.starts_with("\\\n") => {
                at += 2;
                continue;
            }
            '"' => {
                // nft knows no escapes in a string, and lets it run over several lines.
                let Some(length) = rest[1..].find('"') else {
                    return Err(format!("line {}: a string has no closing quote", line_of(text, at)));
                };
                tokens.push(Token { kind: Kind::Text, text: &rest[1..=length], at });
                at += length + 2;
                continue;
            }
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            c if in_word(c) => (Kind::Word, rest.find(|c| !in_word(c)).unwrap_or(rest.len())),
            c => (Kind::Sign, c.len_utf8()),
        };
        // A backslash belongs to a word (`eth\*`) unless the line ends behind it.
        let length = match rest[..length].strip_suffix('\\') {
            Some(word) if kind == Kind::Word && rest[length..].starts_with('\n') => word.len(),
            _ => length,
        };
        tokens.push(Token { kind, text: &rest[..length], at });
        at += length;
    }
    Ok(tokens)
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | '*' | '+' | '\\')
}

/// The line, from 1, that the byte `at` is in.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        lex(text).unwrap().iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_continued_lines_vanish() {
        assert_eq!(
            words("tcp dport \\\n22 drop # drop \\\naccept"),
            ["tcp", "dport", "22", "drop", "\n", "accept"]
        );
    }

    #[test]
    fn a_string_is_one_token_whatever_it_holds() {
        let tokens = lex("log prefix \"a # ; } drop\nb\" drop").unwrap();
        assert_eq!(tokens[2].kind, Kind::Text);
        assert_eq!(tokens[2].text, "a # ; } drop\nb");
        assert_eq!(tokens[2].end(), tokens[3].at - 1);
        assert!(tokens[3].is("drop") && !tokens[2].is("drop"));
    }

    #[test]
    fn an_unfinished_string_is_told_with_its_line() {
        assert!(lex("a\nb \"c").unwrap_err().starts_with("line 2:"));
    }

    #[test]
    fn a_colon_parts_words_and_a_backslash_joins_a_name() {
        assert_eq!(words("{22:drop,eth\\*}"), ["{", "22", ":", "drop", ",", "eth\\*", "}"]);
        assert_eq!(words("fe80::1 drop\\\n"), ["fe80", ":", ":", "1", "drop"]);
    }
}
