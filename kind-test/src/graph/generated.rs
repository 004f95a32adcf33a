//! A data set of the shape and size of the LDBC mini data, with made-up content, for machines that do not have it.
//!
//! Same files, same columns, same number of lines; the same seed gives the same bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Any number; changing it makes another graph.
const SEED: u64 = 20_100_101;
/// 2010-01-01, in milliseconds since 1970, where the made-up dates begin.
const FIRST_DATE_MS: u64 = 1_262_304_000_000;
const THREE_YEARS_MS: u64 = 94_608_000_000;

/// Folder, file stem, name in headers, columns, lines.
type NodeFile = (&'static str, &'static str, &'static str, &'static str, usize);

const NODES: [NodeFile; 8] = [
    ("static", "organisation", "Organisation", "id|type|name|url", 7955),
    ("static", "place", "Place", "id|name|url|type", 1460),
    ("static", "tag", "Tag", "id|name|url", 16080),
    ("static", "tagclass", "TagClass", "id|name|url", 71),
    (
        "dynamic",
        "comment",
        "Comment",
        "id|creationDate|locationIP|browserUsed|content|length",
        2218,
    ),
    ("dynamic", "forum", "Forum", "id|title|creationDate", 805),
    (
        "dynamic",
        "person",
        "Person",
        "id|firstName|lastName|gender|birthday|creationDate|locationIP|browserUsed|language|email",
        222,
    ),
    (
        "dynamic",
        "post",
        "Post",
        "id|imageFile|creationDate|locationIP|browserUsed|language|content|length",
        5924,
    ),
];

/// Folder, source, verb, target, further column, lines.
type EdgeFile = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    usize,
);

const EDGES: [EdgeFile; 20] = [
    ("static", "organisation", "isLocatedIn", "place", "", 7955),
    ("static", "place", "isPartOf", "place", "", 1454),
    ("static", "tag", "hasType", "tagclass", "", 16080),
    ("static", "tagclass", "isSubclassOf", "tagclass", "", 70),
    ("dynamic", "comment", "hasCreator", "person", "", 2218),
    ("dynamic", "comment", "hasTag", "tag", "", 2553),
    ("dynamic", "comment", "isLocatedIn", "place", "", 2218),
    ("dynamic", "comment", "replyOf", "comment", "", 1109),
    ("dynamic", "comment", "replyOf", "post", "", 1109),
    ("dynamic", "forum", "containerOf", "post", "", 5924),
    ("dynamic", "forum", "hasMember", "person", "joinDate", 3584),
    ("dynamic", "forum", "hasModerator", "person", "", 805),
    ("dynamic", "forum", "hasTag", "tag", "", 5360),
    ("dynamic", "person", "hasInterest", "tag", "", 4777),
    ("dynamic", "person", "isLocatedIn", "place", "", 222),
    ("dynamic", "person", "knows", "person", "creationDate", 825),
    ("dynamic", "person", "likes", "comment", "creationDate", 624),
    ("dynamic", "person", "likes", "post", "creationDate", 759),
    ("dynamic", "person", "studyAt", "organisation", "classYear", 180),
    ("dynamic", "person", "workAt", "organisation", "workFrom", 485),
];
const POST_EDGES: [EdgeFile; 3] = [
    ("dynamic", "post", "hasCreator", "person", "", 5924),
    ("dynamic", "post", "hasTag", "tag", "", 683),
    ("dynamic", "post", "isLocatedIn", "place", "", 5924),
];

/// Writes the data set into the folder.
pub fn write(folder: &Path) -> Result<()> {
    let mut random = StdRng::seed_from_u64(SEED);
    for kind in ["static", "dynamic"] {
        let path = folder.join(kind);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    for file in &NODES {
        let (kind, stem, ..) = file;
        write_file(folder, kind, stem, &node_lines(file, &mut random))?;
    }
    for file in EDGES.iter().chain(&POST_EDGES) {
        let (kind, source, verb, target, ..) = file;
        let stem = format!("{source}_{verb}_{target}");
        write_file(folder, kind, &stem, &edge_lines(file, &mut random))?;
    }
    Ok(())
}

fn write_file(folder: &Path, kind: &str, stem: &str, text: &str) -> Result<()> {
    let path = folder.join(kind).join(format!("{stem}_0_0.csv"));
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn node_lines((_, stem, _, columns, lines): &NodeFile, random: &mut StdRng) -> String {
    let mut text = format!("{columns}\n");
    for index in 0..*lines {
        let cells: Vec<String> = columns
            .split('|')
            .map(|column| cell(column, stem, index, random))
            .collect();
        text.push_str(&cells.join("|"));
        text.push('\n');
    }
    text
}

/// Ids leave gaps and overlap between kinds, as the real ones do.
fn id(stem: &str, index: usize) -> u64 {
    let spread = if matches!(stem, "person" | "post" | "comment" | "forum") {
        1_000_003
    } else {
        1
    };
    // Posts and comments share one id space.
    let offset = u64::from(stem == "comment") * 7;
    index as u64 * spread + offset
}

fn cell(column: &str, stem: &str, index: usize, random: &mut StdRng) -> String {
    match column {
        "id" => id(stem, index).to_string(),
        "creationDate" | "birthday" | "joinDate" => date(random),
        "length" => random.random_range(0..200).to_string(),
        "classYear" | "workFrom" => random.random_range(1990..2013).to_string(),
        "type" => ["city", "country", "company", "university"][random.random_range(0..4)].to_owned(),
        "gender" => ["female", "male"][random.random_range(0..2)].to_owned(),
        // A list, and sometimes no value.
        "language" => ["", "es", "es;en", "ja;en;fr"][random.random_range(0..4)].to_owned(),
        "email" => format!("a{index}@example.org;b{index}@example.org"),
        "imageFile" => optional("photo", index, random),
        "locationIP" => format!("192.0.2.{}", random.random_range(1..255)),
        other => format!("{other} {index} — \"é\", '東京'"),
    }
}

fn optional(what: &str, index: usize, random: &mut StdRng) -> String {
    if random.random_bool(0.5) {
        format!("{what}{index}.jpg")
    } else {
        String::new()
    }
}

fn date(random: &mut StdRng) -> String {
    (FIRST_DATE_MS + random.random_range(0..THREE_YEARS_MS)).to_string()
}

fn edge_lines(file: &EdgeFile, random: &mut StdRng) -> String {
    let (_, source, _, target, column, lines) = *file;
    let mut text = format!("{}.id|{}.id", node_file(source).2, node_file(target).2);
    if !column.is_empty() {
        text.push_str(&format!("|{column}"));
    }
    text.push('\n');
    for (from, to) in pairs(source, target, lines, random) {
        // Writing into a String cannot fail.
        let _written = write!(text, "{}|{}", id(source, from), id(target, to));
        if !column.is_empty() {
            let value = cell(column, "", 0, random);
            let _written = write!(text, "|{value}");
        }
        text.push('\n');
    }
    text
}

/// Distinct pairs, none of a node with itself; one per source where there are as many lines as sources.
fn pairs(source: &str, target: &str, lines: usize, random: &mut StdRng) -> BTreeSet<(usize, usize)> {
    let (sources, targets) = (node_file(source).4, node_file(target).4);
    let mut pairs = BTreeSet::new();
    let mut unordered = BTreeSet::new();
    while pairs.len() < lines {
        let from = if lines == sources {
            pairs.len()
        } else {
            random.random_range(0..sources)
        };
        let to = random.random_range(0..targets);
        let loops = source == target && from == to;
        // A friendship is there once, whatever its direction.
        if !loops && unordered.insert((from.min(to), from.max(to), source != target && from > to)) {
            pairs.insert((from, to));
        }
    }
    pairs
}

fn node_file(stem: &str) -> &'static NodeFile {
    NODES
        .iter()
        .find(|file| file.1 == stem)
        .expect("edges are made of the kinds above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        folder
    }

    fn lines(folder: &Path, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_graph_has_the_size_of_the_real_one() {
        let nodes: usize = NODES.iter().map(|file| file.4).sum();
        let edges: usize = EDGES.iter().chain(&POST_EDGES).map(|file| file.5).sum();
        assert_eq!((nodes, edges), (34_735, 70_842));
    }

    #[test]
    fn the_same_seed_writes_the_same_bytes() {
        let (one, two) = (written(), written());
        for file in ["dynamic/person_0_0.csv", "dynamic/person_knows_person_0_0.csv"] {
            assert_eq!(lines(one.path(), file), lines(two.path(), file));
        }
    }

    #[test]
    fn files_columns_and_line_counts_are_those_of_the_real_data() {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ldbc-mini/data");
        if !real.is_dir() {
            eprintln!("skipped: {} is absent", real.display());
            return;
        }
        let folder = written();
        for kind in ["static", "dynamic"] {
            for entry in std::fs::read_dir(real.join(kind)).unwrap() {
                let name = format!("{kind}/{}", entry.unwrap().file_name().to_str().unwrap());
                let (ours, theirs) = (lines(folder.path(), &name), lines(&real, &name));
                assert_eq!((&ours[0], ours.len()), (&theirs[0], theirs.len()), "{name}");
            }
        }
    }
}
