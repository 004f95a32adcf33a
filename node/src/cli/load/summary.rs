//! What a load created, by label and by type.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::table::Table;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// By the labels of a node together, `Message:Post`.
    nodes: BTreeMap<String, u64>,
    /// By type.
    edges: BTreeMap<String, u64>,
    pub skipped: u64,
    /// Of all nodes and relationships those that earlier runs of the same load created.
    pub earlier: u64,
}

impl Summary {
    pub(super) fn add_nodes(&mut self, counts: &BTreeMap<String, u64>) {
        add(&mut self.nodes, counts);
    }

    pub(super) fn add_edges(&mut self, counts: &BTreeMap<String, u64>) {
        add(&mut self.edges, counts);
    }

    pub(super) fn node_count(&self) -> u64 {
        self.nodes.values().sum()
    }

    pub(super) fn edge_count(&self) -> u64 {
        self.edges.values().sum()
    }

    /// `34,735 nodes, 70,842 relationships`.
    pub(super) fn totals(&self) -> String {
        let (nodes, edges) = (grouped(self.node_count()), grouped(self.edge_count()));
        format!("{nodes} nodes, {edges} relationships")
    }

    pub(super) fn to_json(&self, took: Duration) -> Value {
        json!({
            "nodes": self.node_count(),
            "relationships": self.edge_count(),
            "labels": self.nodes,
            "types": self.edges,
            "skipped_rows": self.skipped,
            "created_earlier": self.earlier,
            "seconds": took.as_secs_f64(),
            "rows_per_second": self.rate(took),
        })
    }

    pub(super) fn to_text(&self, took: Duration) -> String {
        let mut table = Table::new(["kind", "name", "count"]);
        let of_kind = |kind: &'static str, counts: &BTreeMap<String, u64>| -> Vec<[String; 3]> {
            let row = |(name, count): (&String, &u64)| [kind.to_owned(), name.clone(), grouped(*count)];
            counts.iter().map(row).collect()
        };
        let rows = [of_kind("node", &self.nodes), of_kind("relationship", &self.edges)].concat();
        rows.into_iter().for_each(|row| table.push(row));
        let skipped = match self.skipped {
            0 => String::new(),
            count => format!(", {} rows left out", grouped(count)),
        };
        let earlier = match self.earlier {
            0 => String::new(),
            count => format!(", {} of them by earlier runs", grouped(count)),
        };
        let (totals, rate) = (self.totals(), grouped(self.rate(took)));
        format!(
            "{}\n{totals} in {:.1} s ({rate} a second){earlier}{skipped}\n",
            table.render(),
            took.as_secs_f64()
        )
    }

    fn rate(&self, took: Duration) -> u64 {
        let rows = (self.node_count() + self.edge_count()).saturating_sub(self.earlier) as f64;
        // A load of nothing in no time has no rate; `as` turns the NaN into 0.
        (rows / took.as_secs_f64()).round() as u64
    }
}

fn add(total: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (name, count) in counts {
        *total.entry(name.clone()).or_default() += count;
    }
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let mut summary = Summary::default();
        summary.add_nodes(&[("Person".to_owned(), 1200)].into());
        summary.add_nodes(&[("Person".to_owned(), 34), ("Message:Post".to_owned(), 1)].into());
        summary.add_edges(&[("KNOWS".to_owned(), 7)].into());
        summary
    }

    #[test]
    fn counts_are_summed_over_batches() {
        assert_eq!(summary().totals(), "1,235 nodes, 7 relationships");
    }

    #[test]
    fn people_get_a_table_and_one_line() {
        let expected = "\
KIND          NAME          COUNT
node          Message:Post  1
node          Person        1,234
relationship  KNOWS         7

1,235 nodes, 7 relationships in 2.0 s (621 a second)
";
        assert_eq!(summary().to_text(Duration::from_secs(2)), expected);
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let json = summary().to_json(Duration::from_secs(2));
        assert_eq!(json["labels"]["Person"], 1234);
        assert_eq!(json["rows_per_second"], 621);
    }

    #[test]
    fn digits_are_grouped_by_three() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
