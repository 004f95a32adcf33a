//! Which files a load reads, in which order, and what each holds. All headers are read before anything is sent.

use std::fs;
use std::path::{Path, PathBuf};

use csv::StringRecord;

use super::error::{LayoutError, LoadError};
use super::layout::{EdgeLayout, Layout, NodeLayout};
use super::mapping::Mapping;
use super::{header, reader};

/// How text becomes fields, as far as the user said so.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialect {
    pub delimiter: Option<char>,
    pub array_delimiter: Option<char>,
    pub quote: Option<Quote>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// Quotes are ordinary characters.
    None,
    Character(u8),
}

/// How text becomes fields; decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub delimiter: u8,
    pub array_delimiter: char,
    pub quote: Quote,
}

/// One file and the meaning of its columns.
#[derive(Clone, Debug)]
pub(super) struct Source<L> {
    pub path: PathBuf,
    pub layout: L,
    pub format: Format,
    pub bytes: u64,
}

/// The files of one load: nodes before relationships.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub nodes: Vec<Source<NodeLayout>>,
    pub edges: Vec<Source<EdgeLayout>>,
}

impl Plan {
    /// Files whose headers say what they hold: those named, and all `*.csv` of `dir`.
    pub(super) fn of_headers(
        nodes: &[String],
        relationships: &[String],
        dir: Option<&Path>,
        dialect: &Dialect,
    ) -> Result<Self, LoadError> {
        let format = dialect.format();
        let separator = format.array_delimiter;
        let mut plan = Plan::default();
        for argument in nodes {
            let (path, labels) = split_argument(argument);
            let labels = labels
                .map(|labels| labels.split(':').map(str::to_owned).collect())
                .unwrap_or_default();
            plan.add(&path, format, |header| {
                header::nodes(header, labels, separator).map(Layout::Nodes)
            })?;
        }
        for argument in relationships {
            let (path, edge_type) = split_argument(argument);
            let edge_type = edge_type.map(str::to_owned);
            plan.add(&path, format, |header| {
                header::edges(header, edge_type, separator).map(Layout::Edges)
            })?;
        }
        for path in dir.map(csv_files).transpose()?.unwrap_or_default() {
            plan.add(&path, format, |header| header::either(header, separator))?;
        }
        Ok(plan)
    }

    /// The files that a mapping names, from `dir` on. What the user typed wins over what the mapping says.
    pub(super) fn of_mapping(mapping: &Path, dir: Option<&Path>, dialect: &Dialect) -> Result<Self, LoadError> {
        let text = read(mapping)?;
        let described: Mapping = toml::from_str(&text).map_err(|source| LoadError::Mapping {
            path: mapping.to_owned(),
            source: Box::new(source),
        })?;
        let of_mapping = Dialect::of_mapping(&described).map_err(|problem| LoadError::Layout {
            path: mapping.to_owned(),
            problem,
        })?;
        let format = dialect.or(&of_mapping).format();
        let dir = dir.unwrap_or(Path::new("."));
        let mut plan = Plan::default();
        for file in &described.nodes {
            let layout = |header: &StringRecord| file.layout(header, format.array_delimiter).map(Layout::Nodes);
            plan.add(&dir.join(&file.file), format, layout)?;
        }
        for file in &described.relationships {
            let layout = |header: &StringRecord| file.layout(header, format.array_delimiter).map(Layout::Edges);
            plan.add(&dir.join(&file.file), format, layout)?;
        }
        Ok(plan)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty()
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.node_bytes() + self.edges.iter().map(|source| source.bytes).sum::<u64>()
    }

    pub(super) fn node_bytes(&self) -> u64 {
        self.nodes.iter().map(|source| source.bytes).sum()
    }

    fn add(
        &mut self,
        path: &Path,
        format: Format,
        layout: impl FnOnce(&StringRecord) -> Result<Layout, LayoutError>,
    ) -> Result<(), LoadError> {
        let header = reader::read_header(path, format)?;
        let layout = layout(&header).map_err(|problem| LoadError::Layout {
            path: path.to_owned(),
            problem,
        })?;
        let bytes = fs::metadata(path).map_err(open_error(path))?.len();
        match layout {
            Layout::Nodes(layout) => self.nodes.push(Source::new(path, layout, format, bytes)),
            Layout::Edges(layout) => self.edges.push(Source::new(path, layout, format, bytes)),
        }
        Ok(())
    }
}

impl<L> Source<L> {
    fn new(path: &Path, layout: L, format: Format, bytes: u64) -> Self {
        Source {
            path: path.to_owned(),
            layout,
            format,
            bytes,
        }
    }
}

impl Dialect {
    fn of_mapping(mapping: &Mapping) -> Result<Self, LayoutError> {
        let separator = |setting, text: &Option<String>| match text {
            Some(text) => parse_separator(text)
                .map(Some)
                .map_err(|value| LayoutError::Separator { setting, value }),
            None => Ok(None),
        };
        let quote = mapping.quote.as_deref().map(parse_quote).transpose();
        Ok(Dialect {
            delimiter: separator("delimiter", &mapping.delimiter)?,
            array_delimiter: separator("array_delimiter", &mapping.array_delimiter)?,
            quote: quote.map_err(|value| LayoutError::Separator {
                setting: "quote",
                value,
            })?,
        })
    }

    fn or(&self, other: &Dialect) -> Dialect {
        Dialect {
            delimiter: self.delimiter.or(other.delimiter),
            array_delimiter: self.array_delimiter.or(other.array_delimiter),
            quote: self.quote.or(other.quote),
        }
    }

    fn format(&self) -> Format {
        Format {
            // `parse_separator` lets only ASCII through.
            delimiter: self.delimiter.unwrap_or(',') as u8,
            array_delimiter: self.array_delimiter.unwrap_or(';'),
            quote: self.quote.unwrap_or(Quote::Character(b'"')),
        }
    }
}

/// One ASCII character, or `TAB`.
pub(super) fn parse_separator(text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) if character.is_ascii() => Ok(character),
        _ if matches!(text, "TAB" | "\\t") => Ok('\t'),
        _ => Err(format!("{text:?}: write one ASCII character, or TAB")),
    }
}

pub(super) fn parse_quote(text: &str) -> Result<Quote, String> {
    match text {
        "none" => Ok(Quote::None),
        _ => parse_separator(text).map(|character| Quote::Character(character as u8)),
    }
}

/// `FILE=NAME` or `FILE`.
fn split_argument(argument: &str) -> (PathBuf, Option<&str>) {
    match argument.rsplit_once('=') {
        Some((path, name)) if !name.is_empty() => (path.into(), Some(name)),
        _ => (argument.into(), None),
    }
}

/// In the order of their names, so that two runs read alike.
fn csv_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(open_error(dir))? {
        let path = entry.map_err(open_error(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, LoadError> {
    fs::read_to_string(path).map_err(open_error(path))
}

fn open_error(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Open { path, source }
}
