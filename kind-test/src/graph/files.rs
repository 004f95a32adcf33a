//! Reads a data set's CSV files into a `Graph`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use csv::StringRecord;
use kotoba_proto::v1::Value;

use super::mapping::{EdgeFile, Mapping, NodeFile};
use super::{EdgeRecord, Graph, Key, NodeRecord, Source};

/// The graph that the mapping makes of the files in the folder.
pub fn read(folder: &Path, mapping: &Mapping) -> Result<Graph> {
    let mut graph = Graph::default();
    for file in &mapping.nodes {
        Table::open(folder, mapping, &file.file, &file.columns)
            .and_then(|table| read_nodes(table, file, &mut graph))
            .with_context(|| format!("reading {}", file.file))?;
    }
    for file in &mapping.relationships {
        Table::open(folder, mapping, &file.file, &file.columns)
            .and_then(|table| read_edges(table, file, &mut graph))
            .with_context(|| format!("reading {}", file.file))?;
    }
    Ok(graph)
}

/// One file: its lines, and what its columns are.
struct Table<'a> {
    columns: Vec<String>,
    lines: Vec<StringRecord>,
    types: &'a BTreeMap<String, String>,
    array_delimiter: char,
}

impl<'a> Table<'a> {
    fn open(folder: &Path, mapping: &Mapping, file: &str, types: &'a BTreeMap<String, String>) -> Result<Self> {
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(u8::try_from(mapping.delimiter).context("the delimiter is not ASCII")?);
        match mapping.quote.as_bytes() {
            b"none" => builder.quoting(false),
            [quote] => builder.quote(*quote),
            _ => bail!("quote is {:?}, and must be none or a character", mapping.quote),
        };
        let mut reader = builder.from_path(folder.join(file))?;
        Ok(Table {
            columns: reader.headers()?.iter().map(str::to_owned).collect(),
            lines: reader.records().collect::<Result<_, csv::Error>>()?,
            types,
            array_delimiter: mapping.array_delimiter,
        })
    }

    fn position(&self, column: &str) -> Result<usize> {
        let position = self.columns.iter().position(|one| one == column);
        position.with_context(|| format!("there is no column {column}"))
    }

    /// An empty cell is no property; neither are the columns with the ids of an edge's ends.
    fn properties(&self, line: &StringRecord, ends: &[usize]) -> Result<BTreeMap<String, Value>> {
        let mut properties = BTreeMap::new();
        for (index, (column, cell)) in self.columns.iter().zip(line).enumerate() {
            let kind = self.types.get(column).map_or("string", String::as_str);
            if cell.is_empty() || kind == "ignore" || ends.contains(&index) {
                continue;
            }
            let value = value(kind, cell, self.array_delimiter).with_context(|| format!("column {column}"))?;
            properties.insert(column.clone(), value);
        }
        Ok(properties)
    }
}

fn read_nodes(table: Table<'_>, file: &NodeFile, graph: &mut Graph) -> Result<()> {
    let space = file.space()?;
    let id = table.position(&file.id)?;
    let further = file
        .label_column
        .as_deref()
        .map(|name| table.position(name))
        .transpose()?;
    for line in &table.lines {
        let key = Key {
            space: space.clone(),
            id: line[id].to_owned(),
        };
        let mut labels = file.labels.clone();
        let text = further.map_or("", |column| &line[column]);
        if !text.is_empty() {
            labels.push(file.label_names.get(text).map_or(text, String::as_str).to_owned());
        }
        labels.sort();
        labels.dedup();
        let record = NodeRecord {
            labels,
            properties: table.properties(line, &[])?,
        };
        let before = graph.nodes.insert(key.clone(), record);
        ensure!(before.is_none(), "{key} is there twice");
    }
    graph.sources.insert(Source {
        label: file.labels.first().context("a file of nodes needs a label")?.clone(),
        space,
        id_property: file.id.clone(),
    });
    Ok(())
}

fn read_edges(table: Table<'_>, file: &EdgeFile, graph: &mut Graph) -> Result<()> {
    let ends = [file.start_column, file.end_column].map(|column| column.wrapping_sub(1));
    ensure!(
        ends.iter().all(|end| *end < table.columns.len()),
        "there is no such column of an end"
    );
    for line in &table.lines {
        let end = |space: &String, column: usize| Key {
            space: space.clone(),
            id: line[column].to_owned(),
        };
        let (source, target) = (end(&file.start, ends[0]), end(&file.end, ends[1]));
        for key in [&source, &target] {
            ensure!(graph.nodes.contains_key(key), "no node {key}");
        }
        graph.edges.push(EdgeRecord {
            kind: file.kind.clone(),
            source,
            target,
            properties: table.properties(line, &ends)?,
        });
    }
    Ok(())
}

/// Only the types that the data sets of these tests have.
fn value(kind: &str, cell: &str, separator: char) -> Result<Value> {
    if let Some(element) = kind.strip_suffix("[]") {
        let values = cell.split(separator).map(|one| value(element, one, separator));
        return Ok(Value::list(values.collect::<Result<Vec<Value>>>()?));
    }
    match kind {
        "string" => Ok(cell.into()),
        "int" | "integer" | "long" => {
            let number: i64 = cell.parse().with_context(|| format!("{cell:?} is no integer"))?;
            Ok(number.into())
        }
        other => bail!("the tests do not know the type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPING: &str = r#"
        delimiter = "|"
        quote = "none"
        [[nodes]]
        file = "person.csv"
        labels = ["Person"]
        id = "id"
        label_column = "kind"
        label_names = { w = "Writer" }
        columns = { id = "int", language = "string[]", secret = "ignore" }
        [[relationships]]
        file = "knows.csv"
        type = "KNOWS"
        start = "Person"
        end = "Person"
        columns = { since = "int" }
    "#;

    fn graph(persons: &str, knows: &str) -> Result<Graph> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("person.csv"), persons).unwrap();
        std::fs::write(folder.path().join("knows.csv"), knows).unwrap();
        read(folder.path(), &toml::from_str(MAPPING).unwrap())
    }

    #[test]
    fn cells_become_values_and_empty_ones_nothing() {
        let persons = "id|name|language|kind|secret\n7|\"A\"|es;en|w|x\n8|||Reader|\n";
        let graph = graph(persons, "P|P|since\n7|8|3\n").unwrap();
        let record = |id: &str| {
            let key = Key {
                space: "Person".into(),
                id: id.into(),
            };
            graph.nodes[&key].clone()
        };
        assert_eq!(record("7").labels, ["Person", "Writer"]);
        assert_eq!(record("7").properties["name"], "\"A\"".into());
        assert_eq!(record("7").properties["language"], vec!["es", "en"].into());
        assert!(!record("7").properties.contains_key("secret"));
        assert_eq!(record("8").labels, ["Person", "Reader"]);
        assert_eq!(record("8").properties.keys().collect::<Vec<_>>(), ["id", "kind"]);
        assert_eq!(graph.edges[0].properties, [("since".to_owned(), 3i64.into())].into());
    }

    #[test]
    fn an_edge_to_nowhere_and_a_node_twice_are_refused() {
        let header = "id|name|language|kind|secret";
        let error = graph(&format!("{header}\n7||||\n"), "P|P|since\n7|9|3\n").unwrap_err();
        assert!(format!("{error:#}").contains("no node Person 9"));
        let error = graph(&format!("{header}\n7||||\n7||||\n"), "P|P|since\n").unwrap_err();
        assert!(format!("{error:#}").contains("Person 7 is there twice"));
    }

    fn size(folder: &Path) -> (usize, usize) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mapping = Mapping::read(&repository.join("docs/examples/ldbc-mini.toml")).unwrap();
        let graph = read(folder, &mapping).unwrap();
        (graph.nodes.len(), graph.edges.len())
    }

    #[test]
    fn the_example_mapping_reads_the_generated_graph_and_the_real_one() {
        let folder = tempfile::tempdir().unwrap();
        super::super::generated::write(folder.path()).unwrap();
        assert_eq!(size(folder.path()), (34_735, 70_842));
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ldbc-mini/data");
        if real.is_dir() {
            assert_eq!(size(&real), (34_735, 70_842));
        } else {
            eprintln!("skipped the real one: {} is absent", real.display());
        }
    }
}
