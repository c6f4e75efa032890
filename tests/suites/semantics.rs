//! `nfio-host/SEMANTICS.md` says what each operation does on each kind of node. Every cell of its tables is tried here on
//! a mount, so the page cannot lie; what the page does not speak of is a failure too.

mod deployed;
mod directories;
mod files;
mod outcome;
mod page;

use nfio_tests::Mounted;

/// What is tried: operations by the name that they have on the page.
type Operations<T> = &'static [(&'static str, fn(&T) -> String)];

/// Tries each operation of a table on each of its nodes and holds the answers against the page.
fn hold<T>(mounted: &Mounted, title: &str, operations: Operations<T>, made: fn(&Mounted, &str) -> T) {
    let table = page::table(title);
    let said: Vec<_> = table.rows.iter().map(|row| row.operation.as_str()).collect();
    let tried: Vec<_> = operations.iter().map(|(name, _)| *name).collect();
    assert_eq!(said, tried, "operations of the table {title:?}, and those that are tried");
    let mut wrong = Vec::new();
    let mut is_so = String::new();
    for (row, (name, operation)) in table.rows.iter().zip(operations) {
        is_so += &format!("| {name} |");
        for (node, says) in table.nodes.iter().zip(&row.outcomes) {
            // Each on a node of its own: operations change what they are tried on.
            let is = operation(&made(mounted, node));
            is_so += &format!(" {is} |");
            if is != *says {
                wrong.push(format!("{name} of {node}: the page says {says:?}, it is {is:?}"));
            }
        }
        is_so.push('\n');
    }
    assert!(wrong.is_empty(), "{title}\n{}\n\nas it is:\n{is_so}", wrong.join("\n"));
}

#[test]
fn operations_on_directories_do_what_the_page_says() {
    hold(&Mounted::new(), "Directories", directories::OPERATIONS, directories::make);
}

#[test]
fn operations_on_files_do_what_the_page_says() {
    hold(&Mounted::new(), "Files", files::OPERATIONS, files::make);
}

#[test]
fn operations_on_a_deployed_instance_do_what_the_page_says() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    hold(&mounted, "While a guest is deployed", deployed::OPERATIONS, deployed::make);
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}
