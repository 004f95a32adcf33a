//! Figures of one part, by a curve and a point on it, over all rounds.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cell::{median, spread};
use crate::plot::Lines;

pub struct Table {
    /// What the names of the curves are, and what the points on them.
    heads: [&'static str; 2],
    columns: &'static [&'static str],
    /// Of each point what each round measured, a value for each column.
    rows: BTreeMap<(String, u64), Vec<Vec<f64>>>,
}

impl Table {
    pub fn new(heads: [&'static str; 2], columns: &'static [&'static str]) -> Self {
        Table {
            heads,
            columns,
            rows: BTreeMap::new(),
        }
    }

    /// Takes in what one round measured.
    pub fn enter<const N: usize>(&mut self, curve: &str, point: u64, values: [f64; N]) {
        assert_eq!(N, self.columns.len(), "a value for each column");
        let rounds = self.rows.entry((curve.to_owned(), point)).or_default();
        rounds.push(values.to_vec());
    }

    /// The median over all rounds; none where the point was not measured.
    pub fn value(&self, curve: &str, point: u64, column: &str) -> Option<f64> {
        let rounds = self.rows.get(&(curve.to_owned(), point))?;
        Some(median(self.of_rounds(rounds, column)))
    }

    /// The largest median of all curves at a point.
    pub fn largest(&self, point: u64, column: &str) -> Option<f64> {
        let there = self.rows.iter().filter(|((_, at), _)| *at == point);
        there
            .map(|(_, rounds)| median(self.of_rounds(rounds, column)))
            .reduce(f64::max)
    }

    /// The medians of a column, to be drawn.
    pub fn lines(&self, column: &str) -> Lines {
        let mut lines = Lines::new();
        for ((curve, point), rounds) in &self.rows {
            let value = median(self.of_rounds(rounds, column));
            lines.entry(curve.clone()).or_default().push((*point as f64, value));
        }
        lines
    }

    fn of_rounds<'a>(&self, rounds: &'a [Vec<f64>], column: &str) -> impl Iterator<Item = f64> + Clone + use<'a> {
        let index = self.columns.iter().position(|name| *name == column);
        let index = index.expect("a column of this table");
        rounds.iter().map(move |values| values[index])
    }

    /// In Markdown: medians, ± half of the range where there are several rounds.
    pub fn text(&self) -> String {
        let heads: Vec<&str> = self.heads.iter().chain(self.columns).copied().collect();
        let mut text = format!("| {} |\n|---|{}\n", heads.join(" | "), "--:|".repeat(heads.len() - 1));
        for ((curve, point), rounds) in &self.rows {
            write!(text, "| {curve} | {point} |").expect("text takes all");
            for column in self.columns {
                write!(text, " {} |", cell(self.of_rounds(rounds, column))).expect("text takes all");
            }
            text.push('\n');
        }
        text
    }

    /// A line for each point, for programs.
    pub fn json(&self) -> impl Iterator<Item = serde_json::Value> {
        self.rows.iter().map(|((curve, point), rounds)| {
            serde_json::json!({
                (self.heads[0]): curve, (self.heads[1]): point, "columns": self.columns, "samples": rounds,
            })
        })
    }
}

fn cell(values: impl Iterator<Item = f64> + Clone) -> String {
    let middle = number(median(values.clone()));
    match values.clone().count() {
        ..=1 => middle,
        _ => match spread(values) {
            part if part.is_finite() => format!("{middle} ± {:.0} %", part * 100.0),
            _ => middle,
        },
    }
}

/// As many digits as say something.
pub fn number(value: f64) -> String {
    match value {
        nothing if nothing.is_nan() => "-".to_owned(),
        large if large >= 100.0 || large.fract() == 0.0 => format!("{large:.0}"),
        small => format!("{small:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["operation", "members"], &["p50 ms", "CPU µs"]);
        table.enter("read", 3, [2.0, 150.4]);
        table.enter("create", 9, [0.5, 7.25]);
        for p50 in [90.0, 110.0, 100.0] {
            table.enter("create", 3, [p50, f64::NAN]);
        }
        table
    }

    #[test]
    fn a_table_has_medians_and_the_spread_of_several_rounds() {
        let expected = "\
| operation | members | p50 ms | CPU µs |
|---|--:|--:|--:|
| create | 3 | 100 ± 10 % | - |
| create | 9 | 0.50 | 7.25 |
| read | 3 | 2 | 150 |
";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn values_are_found_by_their_place_and_lines_by_their_curve() {
        let table = table();
        assert_eq!(table.value("create", 3, "p50 ms"), Some(100.0));
        assert_eq!(table.value("create", 1, "p50 ms"), None);
        assert_eq!(table.largest(3, "p50 ms"), Some(100.0));
        assert_eq!(table.largest(5, "p50 ms"), None);
        assert_eq!(table.lines("p50 ms")["create"], [(3.0, 100.0), (9.0, 0.5)]);
    }

    #[test]
    fn programs_get_every_round() {
        let last = table().json().last().unwrap();
        let expected = serde_json::json!({
            "operation": "read", "members": 3, "columns": ["p50 ms", "CPU µs"], "samples": [[2.0, 150.4]],
        });
        assert_eq!(last, expected);
    }
}
