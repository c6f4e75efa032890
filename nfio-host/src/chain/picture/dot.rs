//! The picture in the language of graphviz(7).

use std::fmt::Write;

use super::{Card, Ending, Picture, counted, human};

/// Text within a quoted string. A backslash would begin one of graphviz's escapes.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            c if c.is_control() => " ".into(),
            c => c.to_string(),
        })
        .collect()
}

fn card(card: &Card) -> String {
    quoted(&format!("{} ({}) {}", card.name, card.ty, card.status))
        + "\\n"
        + &format!(
            "rx {} tx {} drops {}",
            counted(card.rx_bytes, human),
            counted(card.tx_bytes, human),
            counted(card.drops, |drops| drops.to_string())
        )
}

fn ending(end: &Ending) -> String {
    let bytes = end.bytes.map(|bytes| format!("\\n{}", human(bytes))).unwrap_or_default();
    quoted(&end.name) + &bytes
}

impl Picture {
    /// The text of `topology.dot`.
    pub(in crate::chain) fn dot(&self) -> String {
        let mut dot = format!(
            "digraph \"{0}\" {{\n  rankdir=LR;\n  label=\"{0}: {1}\";\n  node [shape=box, fontname=\"sans-serif\"];\n",
            quoted(&self.title),
            quoted(&self.status)
        );
        // Writing to a string does not fail.
        for (name, end) in [("ingress", &self.ingress), ("egress", &self.egress)] {
            let _ = writeln!(dot, "  {name} [shape=ellipse, label=\"{}\"];", ending(end));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let cards: Vec<String> = node.cards.iter().map(card).collect();
            let _ = writeln!(dot, "  n{number} [label=\"{}\\n{}\"];", quoted(&node.name), cards.join("\\n"));
        }
        for start in &self.start {
            let _ = writeln!(dot, "  ingress -> n{start};");
        }
        for (number, node) in self.nodes.iter().enumerate() {
            if node.next.is_empty() {
                let _ = writeln!(dot, "  n{number} -> egress;");
            }
            for next in &node.next {
                let _ = writeln!(dot, "  n{number} -> n{next};");
            }
        }
        dot + "}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;

    #[test]
    fn every_node_and_edge_is_there_and_texts_stay_texts() {
        let dot = example().dot();
        for line in [
            "  label=\"edge: degraded: <b> \\\"x\\\"\";",
            "  ingress [shape=ellipse, label=\"netns:client\\n5.0 GB\"];",
            "  egress [shape=ellipse, label=\"a&b\\\\\"];",
            "  n0 [label=\"fw\\nfw-a (firewall) running\\nrx 1.2 MB tx 999 B drops 7\\nfw-b (firewall) exited\\nrx 1.2 MB tx 999 B drops –\"];",
            "  ingress -> n0;",
            "  n0 -> n1;",
            "  n1 -> egress;",
        ] {
            assert!(dot.lines().any(|told| told == line), "{line} in {dot}");
        }
    }
}
