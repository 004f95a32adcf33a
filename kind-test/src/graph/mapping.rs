//! The mapping file of `kotoba load`: which file holds nodes of which label and edges of which type, and how to read cells.
//!
//! Read here a second time on purpose: a loader that misreads its own mapping must not check itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    #[serde(default = "comma")]
    pub delimiter: char,
    #[serde(default = "semicolon")]
    pub array_delimiter: char,
    /// `none`, or the character.
    #[serde(default = "double_quote")]
    pub quote: String,
    pub nodes: Vec<NodeFile>,
    pub relationships: Vec<EdgeFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    pub file: String,
    pub labels: Vec<String>,
    /// Column of the id.
    pub id: String,
    /// Default: the first label.
    id_space: Option<String>,
    /// Column that names one more label.
    pub label_column: Option<String>,
    /// What the texts of that column become.
    #[serde(default)]
    pub label_names: BTreeMap<String, String>,
    /// Type of each column that is not text; `ignore` leaves it out.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeFile {
    pub file: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Id spaces of the two ends.
    pub start: String,
    pub end: String,
    /// Columns of the two ids, from 1.
    #[serde(default = "first")]
    pub start_column: usize,
    #[serde(default = "second")]
    pub end_column: usize,
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

fn comma() -> char {
    ','
}

fn semicolon() -> char {
    ';'
}

fn double_quote() -> String {
    "\"".to_owned()
}

fn first() -> usize {
    1
}

fn second() -> usize {
    2
}

impl Mapping {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("understanding {}", path.display()))
    }
}

impl NodeFile {
    pub fn space(&self) -> Result<String> {
        let space = self.id_space.as_ref().or(self.labels.first());
        space.cloned().context("a file of nodes needs an id space or a label")
    }
}
