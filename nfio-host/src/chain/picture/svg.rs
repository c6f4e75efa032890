//! The picture as SVG, for any browser: a column for each step of the way, a card for each instance.

use std::fmt::Write;

use super::{Card, Ending, Picture, counted, human};

/// Lengths in pixels.
const MARGIN: usize = 24;
const HEAD: usize = 56;
const CARD: (usize, usize) = (196, 82);
const PAD: usize = 12;
const NODE_HEAD: usize = 30;
const GAP: (usize, usize) = (64, 28);
const END: (usize, usize) = (150, 54);
/// Longest texts, in characters.
const CARD_TEXT: usize = 24;
const END_TEXT: usize = 18;

const STYLE: &str = "text{font-family:system-ui,sans-serif;font-size:13px;fill:#1f2933}\
.title{font-size:19px;font-weight:600}.sub{fill:#616e7c}.name{font-weight:600}.small{font-size:12px;fill:#616e7c}\
.node{fill:#f5f7fa;stroke:#cbd2d9}.card{fill:#fff;stroke:#cbd2d9}.end{fill:#e6f6ff;stroke:#7bc1f0}\
.edge{fill:none;stroke:#7b8794;stroke-width:2}.ok{fill:#3ebd93}.bad{fill:#e12d39}";

/// Text that is no markup, whoever wrote it.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            '\'' => "&#39;".into(),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => " ".into(),
            c => c.to_string(),
        })
        .collect()
}

/// The beginning of a text that has room for `most` characters.
fn cut(text: &str, most: usize) -> String {
    match text.chars().count() {
        length if length <= most => escaped(text),
        _ => escaped(&text.chars().take(most - 1).collect::<String>()) + "…",
    }
}

/// A rectangle.
#[derive(Clone, Copy)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Place {
    fn middle(&self) -> usize {
        self.y + self.height / 2
    }

    fn rectangle(&self, class: &str, round: usize) -> String {
        format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{round}\"/>\n",
            self.x, self.y, self.width, self.height
        )
    }
}

fn edge(from: Place, to: Place) -> String {
    let (x0, y0, x1, y1) = (from.x + from.width, from.middle(), to.x - 3, to.middle());
    let bend = (x1 - x0) / 2;
    format!(
        "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"M{x0} {y0} C{} {y0} {} {y1} {x1} {y1}\"/>\n",
        x0 + bend,
        x1 - bend
    )
}

fn card(card: &Card, at: Place) -> String {
    let mut svg = at.rectangle("card", 6);
    let state = if card.status == "running" { "ok" } else { "bad" };
    let (x, y) = (at.x + 12, at.y);
    let numbers = format!("rx {}  tx {}", counted(card.rx_bytes, human), counted(card.tx_bytes, human));
    let drops = format!("drops {}", counted(card.drops, |drops| drops.to_string()));
    let whole = format!("{}/{}: {}", card.ty, card.name, card.status);
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        "<g><title>{}</title><circle class=\"{state}\" cx=\"{}\" cy=\"{}\" r=\"5\"/>\n\
         <text class=\"name\" x=\"{x}\" y=\"{}\">{}</text>\n<text class=\"small\" x=\"{x}\" y=\"{}\">{}</text>\n\
         <text class=\"small\" x=\"{x}\" y=\"{}\">{}</text>\n<text class=\"small\" x=\"{x}\" y=\"{}\">{}</text></g>\n",
        escaped(&whole),
        at.x + at.width - 15,
        y + 16,
        y + 20,
        cut(&card.name, CARD_TEXT - 3),
        y + 38,
        cut(&format!("{}, {}", card.ty, card.status), CARD_TEXT),
        y + 56,
        escaped(&numbers),
        y + 73,
        escaped(&drops),
    );
    svg
}

fn ending(end: &Ending, what: &str, at: Place) -> String {
    let name = if end.name.is_empty() { "(not named yet)" } else { &end.name };
    let words = end.bytes.map_or_else(|| what.to_owned(), |bytes| format!("{what}: {}", human(bytes)));
    let middle = at.x + at.width / 2;
    at.rectangle("end", 27)
        + &format!(
            "<g text-anchor=\"middle\"><title>{}</title><text class=\"name\" x=\"{middle}\" y=\"{}\">{}</text>\n\
             <text class=\"small\" x=\"{middle}\" y=\"{}\">{}</text></g>\n",
            escaped(name),
            at.y + 24,
            cut(name, END_TEXT),
            at.y + 42,
            escaped(&words)
        )
}

impl Picture {
    /// The text of `topology.svg`.
    pub(in crate::chain) fn svg(&self) -> String {
        let columns = self.last() + 1;
        let node_width = CARD.0 + 2 * PAD;
        let height_of = |cards: usize| NODE_HEAD + cards * (CARD.1 + PAD);
        let column_height = |depth: usize| {
            let heights =
                self.nodes.iter().filter(|node| node.depth == depth).map(|node| height_of(node.cards.len()));
            heights.map(|height| height + GAP.1).sum::<usize>().saturating_sub(GAP.1)
        };
        let inner = (0..columns).map(column_height).max().unwrap_or(0).max(END.1);
        let first = MARGIN + END.0 + GAP.0;
        let width = first + columns * (node_width + GAP.0) + END.0 + MARGIN;
        let height = HEAD + inner + 2 * MARGIN;
        let middle = HEAD + MARGIN + inner / 2;

        let mut next_y: Vec<usize> = (0..columns).map(|depth| middle - column_height(depth) / 2).collect();
        let mut places = Vec::new();
        for node in &self.nodes {
            let size = (node_width, height_of(node.cards.len()));
            let x = first + node.depth * (node_width + GAP.0);
            places.push(Place { x, y: next_y[node.depth], width: size.0, height: size.1 });
            next_y[node.depth] += size.1 + GAP.1;
        }
        let end = |x| Place { x, y: middle - END.1 / 2, width: END.0, height: END.1 };
        let (ingress, egress) = (end(MARGIN), end(width - MARGIN - END.0));

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<title>chain {0}: {1}</title>\n<style>{STYLE}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#7b8794\"/></marker></defs>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"34\">{0}</text>\n\
             <text class=\"sub\" x=\"{MARGIN}\" y=\"54\">{1}</text>\n",
            escaped(&self.title),
            cut(&self.status, width / 8)
        );
        for start in &self.start {
            svg += &edge(ingress, places[*start]);
        }
        for (node, place) in self.nodes.iter().zip(&places) {
            for next in &node.next {
                svg += &edge(*place, places[*next]);
            }
            if node.next.is_empty() {
                svg += &edge(*place, egress);
            }
        }
        svg += &ending(&self.ingress, "ingress", ingress);
        svg += &ending(&self.egress, "egress", egress);
        for (node, place) in self.nodes.iter().zip(&places) {
            svg += &place.rectangle("node", 10);
            let (x, y) = (place.x + PAD, place.y + 20);
            let _ = writeln!(
                svg,
                "<text class=\"name\" x=\"{x}\" y=\"{y}\">{}</text>",
                cut(&node.name, CARD_TEXT)
            );
            for (number, member) in node.cards.iter().enumerate() {
                let y = place.y + NODE_HEAD + number * (CARD.1 + PAD);
                svg += &card(member, Place { x, y, width: CARD.0, height: CARD.1 });
            }
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn everything_is_drawn_within_the_picture_and_texts_stay_texts() {
        let svg = example().svg();
        for text in [
            ">edge</text>",
            "degraded: &lt;b&gt; &quot;x&quot;",
            ">netns:client</text>",
            ">ingress: 5.0 GB</text>",
            ">a&amp;b\\</text>",
            ">fw-a</text>",
            ">firewall, exited</text>",
            ">rx 1.2 MB  tx 999 B</text>",
            ">drops 7</text>",
            ">drops –</text>",
            ">&lt;ids&gt;</text>",
        ] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("<b>") && !svg.contains("<ids>"));
        // ingress to fw, fw to ids, ids to egress.
        assert_eq!(svg.matches("class=\"edge\"").count(), 3);
        assert_eq!((svg.matches("class=\"ok\"").count(), svg.matches("class=\"bad\"").count()), (2, 1));
        let number = |text: &str| text.split('"').next().and_then(|n| n.parse::<usize>().ok());
        let width = number(svg.split(" width=\"").nth(1).unwrap()).unwrap();
        let rights = svg.split("<rect ").filter_map(|rect| {
            let of = |key: &str| rect.split(key).nth(1).and_then(number);
            Some(of(" x=\"")? + of(" width=\"")?)
        });
        assert!(rights.max().unwrap() <= width - MARGIN);
    }

    #[test]
    fn long_texts_are_cut_by_characters() {
        assert_eq!(cut("ääääää", 4), "äää…");
        assert_eq!(cut("<&>", 3), "&lt;&amp;&gt;");
    }
}
