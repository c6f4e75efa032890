//! `nfio plugin`: what is in module_root, as a table; what is wrong with a plugin, in ten lines.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

use super::mount::find_module_root;
use crate::config::Modules;
use crate::error::{Result, one_line};
use crate::modules::{self, Loader, Row};

/// `nfio plugin list`.
pub(super) fn list(module_root: &Path, allowed: &Modules) -> Result<()> {
    let module_root = find_module_root(module_root)?;
    let rows = with_loader(allowed, |loader| modules::list(&module_root, loader))??;
    // A reader that has gone away (`| head`) is no failure.
    let _ = std::io::stdout().write_all(table(&rows).as_bytes());
    Ok(())
}

/// `nfio plugin check`: exit status 1 for a bad plugin.
pub(super) fn check(file: &Path) -> Result<ExitCode> {
    let verdict = with_loader(&Modules::default(), |loader| modules::check(file, loader))?;
    let _ = std::io::stdout().write_all(verdict.report(file).as_bytes());
    Ok(if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A loader with a directory of its own for what a mount keeps below ROOT.
fn with_loader<T>(allowed: &Modules, work: impl FnOnce(&Loader) -> T) -> Result<T> {
    let name = format!("nfio-plugin-{}", std::process::id());
    let private = std::path::absolute(std::env::temp_dir().join(name))?;
    std::fs::DirBuilder::new().mode(0o700).create(&private)?;
    let done = Loader::new(&private, allowed).map(|loader| work(&loader));
    std::fs::remove_dir_all(&private)?;
    done
}

/// The rows below a heading, in columns; an error stands below its row.
pub(super) fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no plugins\n".into();
    }
    let cells = |row: &Row| -> [String; 5] {
        let path = row.path.to_string_lossy();
        [&row.name, &row.version, &row.sdk_version, row.state, &path].map(|cell| match one_line(cell) {
            empty if empty.is_empty() => "-".into(),
            cell => cell,
        })
    };
    let heading = ["TYPE", "VERSION", "SDK", "STATE", "FILE"].map(String::from);
    let lines: Vec<[String; 5]> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&line[4]);
        text.push('\n');
        // The heading is line 0.
        if let Some(row) = number.checked_sub(1).map(|n| &rows[n])
            && !row.error.is_empty()
        {
            text.push_str(&format!("    {}\n", one_line(&row.error)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_stand_in_columns_with_the_reason_below_a_failed_one() {
        let row = |name: &str, version: &str, state: &'static str, error: &str| Row {
            name: name.into(),
            version: version.into(),
            sdk_version: version.into(),
            state,
            path: format!("/p/lib{name}.so").into(),
            error: error.into(),
        };
        let text = table(&[
            row("firewall", "1.0.0", "loaded", ""),
            row("odd", "", "failed", "not a plugin:\n\u{1b}[31mno header\n"),
        ]);
        assert_eq!(
            text,
            "TYPE      VERSION  SDK    STATE   FILE\n\
             firewall  1.0.0    1.0.0  loaded  /p/libfirewall.so\n\
             odd       -        -      failed  /p/libodd.so\n\
             \x20   not a plugin:  [31mno header\n"
        );
    }

    #[test]
    fn an_empty_directory_is_said_in_words() {
        assert_eq!(table(&[]), "no plugins\n");
    }
}
