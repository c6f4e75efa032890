//! Puts the guest's own files in place of `include "…"`, so that their tables and drops are seen too.

use middlebox_sdk::{NfioError, Result, Vnf};

use crate::syntax::{Item, parse};

/// nft's own limit.
const DEEPEST: usize = 16;

/// What a command in a guest takes at most: a text that includes itself twice grows fast.
const LONGEST: usize = 2 << 20;

/// `text` with every included file in its place.
pub(crate) fn expand(vnf: &Vnf<'_>, text: &str) -> Result<String> {
    expand_to(vnf, text, 0)
}

fn expand_to(vnf: &Vnf<'_>, text: &str, depth: usize) -> Result<String> {
    let mut made = String::new();
    let mut at = 0;
    for item in parse(text).map_err(NfioError::configuration)? {
        let Item::Include { path, start, end } = item else { continue };
        if depth == DEEPEST {
            return Err(NfioError::configuration(format!("include {path:?}: too many files in one another")));
        }
        made += &text[at..start];
        made += &expand_to(vnf, &read(vnf, path)?, depth + 1)?;
        if made.len() > LONGEST {
            return Err(NfioError::configuration("with all included files, nf_conf is longer than 2 MiB"));
        }
        // The file may end in a comment.
        made.push('\n');
        at = end;
    }
    Ok(made + &text[at..])
}

fn read(vnf: &Vnf<'_>, path: &str) -> Result<String> {
    if path.contains(['*', '?', '[']) {
        return Err(NfioError::configuration(format!(
            "include {path:?}: name each file, nfio reads no patterns"
        )));
    }
    // As nft looks for it: what is neither absolute nor relative in so many words is in /etc.
    let plain = ["/", "./", "../"].iter().any(|start| path.starts_with(start));
    let path = if plain { path.into() } else { format!("/etc/{path}") };
    let output = vnf.execute_in_guest(&["cat", &path], b"")?;
    if !output.success() {
        return Err(NfioError::configuration(format!(
            "include {path:?} cannot be read in the guest: {}",
            output.words()
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| NfioError::configuration(format!("include {path:?} is not UTF-8")))
}
