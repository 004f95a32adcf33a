//! What a part of the measurement has to say: tables, what of them has a goal, and what of them is drawn.

use serde::{Deserialize, Serialize};

use crate::goals::{Bound, Goal};
use crate::plot::Plot;
use crate::table::Table;

#[derive(Serialize, Deserialize)]
pub struct Report {
    /// Of its section.
    pub title: String,
    /// Where it was measured, of what and how long.
    pub measured: String,
    /// In Markdown.
    pub text: String,
    pub goals: Vec<Goal>,
    /// Drawn once.
    #[serde(skip)]
    pub plots: Vec<Plot>,
    /// All samples.
    pub samples: Vec<serde_json::Value>,
}

impl Report {
    /// Begins a section with what has to be known of all its figures.
    pub fn new(title: &str, about: &str) -> Self {
        Report {
            title: title.to_owned(),
            measured: String::new(),
            text: format!("{about}\n"),
            goals: Vec::new(),
            plots: Vec::new(),
            samples: Vec::new(),
        }
    }

    pub fn table(mut self, table: &Table) -> Self {
        self.text.push('\n');
        self.text.push_str(&table.text());
        self.samples.extend(table.json());
        self
    }

    /// Begins a subsection.
    pub fn heading(mut self, heading: &str, about: &str) -> Self {
        self.text.push_str(&format!("\n### {heading}\n\n{about}\n"));
        self
    }

    pub fn goal(mut self, what: &str, bound: Bound, measured: Option<f64>) -> Self {
        self.goals.push(Goal {
            what: what.to_owned(),
            bound,
            measured,
        });
        self
    }

    pub fn plot(mut self, plot: Plot) -> Self {
        self.plots.push(plot);
        self
    }
}
