//! The tables of the page.

/// A table: its columns' heads but the first, and its rows.
pub(super) struct Table {
    pub(super) nodes: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// An operation and what it does on each node.
pub(super) struct Row {
    pub(super) operation: String,
    pub(super) outcomes: Vec<String>,
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

/// The table below the heading `## title`.
#[track_caller]
pub(super) fn table(title: &str) -> Table {
    let page = include_str!("../../../nfio-host/SEMANTICS.md");
    let heading = format!("\n## {title}\n");
    let section = page.split_once(&heading).unwrap_or_else(|| panic!("no {heading:?}")).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let mut lines = section.lines().filter(|line| line.starts_with('|'));
    let nodes: Vec<_> = cells(lines.next().expect("a head")).into_iter().skip(1).collect();
    let rows: Vec<_> = lines
        .skip(1)
        .map(|line| {
            let mut cells = cells(line).into_iter();
            Row { operation: cells.next().expect("an operation"), outcomes: cells.collect() }
        })
        .collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.outcomes.len() == nodes.len()), "{title}");
    Table { nodes, rows }
}
