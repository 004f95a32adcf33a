//! `kotoba load`: fills a graph from CSV files, first all nodes, then the relationships between them.
//!
//! `plan` decides which file is what, `layout` and `rows` turn rows into operations (pure), `reader` streams the files,
//! `send` sends batches. No file is ever whole in memory; the ids of the nodes are.

mod error;
mod header;
mod ids;
mod layout;
mod mapping;
mod pipeline;
mod plan;
mod progress;
mod reader;
mod sink;
mod summary;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use kotoba_proto::cluster::MAX_OPERATIONS;

pub use error::LoadError;
use pipeline::Pipeline;
use plan::{Dialect, Plan};
use progress::Progress;
use reader::BadRows;
use sink::{DryRun, Sink};
use summary::Summary;

use super::output::Output;
use super::{CliError, ClientArgs};

/// Load nodes and relationships from CSV files
#[derive(Debug, Args)]
#[command(after_help = "\
Files with neo4j-admin headers say themselves what their columns are:
  personId:ID(Person),name,born:int,langs:string[],:LABEL
  :START_ID(Person),:END_ID(Person),since:date,:TYPE
All other files need a mapping (TOML), which names for each file its label or type, its id spaces and its column types.

Nodes are loaded before relationships. Every node's id is kept in memory until the end: about 40 bytes a node where ids are
numbers, 80 and more where they are text.

A load is not resumable yet: if it stops, what it has created stays, and a second run creates it again. So check first with
--dry-run, and load into an empty cluster.

Examples:
  kotoba load --nodes people.csv=Person --relationships knows.csv=KNOWS
  kotoba load --nodes people.csv=Person --dry-run
  kotoba load import/                                  all *.csv of a folder, by their headers
  kotoba load --mapping ldbc-mini.toml data/ -o json")]
pub struct LoadArgs {
    /// CSV file of nodes, with the labels they get besides those of a :LABEL column; repeatable
    #[arg(long, value_name = "FILE[=LABEL[:LABEL]]")]
    nodes: Vec<String>,
    /// CSV file of relationships, with the type of those whose :TYPE column names none; repeatable
    #[arg(long, value_name = "FILE[=TYPE]")]
    relationships: Vec<String>,
    /// What the files of DIR are, for files whose headers do not say it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "relationships"])]
    mapping: Option<PathBuf>,
    /// Folder of the files; with a mapping its file names start here
    dir: Option<PathBuf>,
    /// Character between columns, TAB for a tab; default ','
    #[arg(long, value_name = "CHAR", value_parser = plan::parse_separator)]
    delimiter: Option<char>,
    /// Character between the elements of a list; default ';'
    #[arg(long, value_name = "CHAR", value_parser = plan::parse_separator)]
    array_delimiter: Option<char>,
    /// Character around fields that hold a delimiter; `none` if no field is quoted; default '"'
    #[arg(long, value_name = "CHAR", value_parser = plan::parse_quote)]
    quote: Option<plan::Quote>,
    /// Rows in one transaction, 1 to 1,000
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=MAX_OPERATIONS as i64))]
    batch: u16,
    /// Transactions under way at once, 1 to 256
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Leave out rows that cannot be loaded, instead of stopping at the first
    #[arg(long)]
    skip_bad_rows: bool,
    /// With --skip-bad-rows: stop when more than so many were left out
    #[arg(long, default_value_t = 1000, value_name = "N", requires = "skip_bad_rows")]
    max_bad_rows: u64,
    /// Read and check everything, send nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: LoadArgs, client: &ClientArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let plan = args.plan()?;
    if args.dry_run {
        return load(&args, plan, DryRun::default(), output).await;
    }
    // A load outlives the restart of a member: it waits for one as long as for any answer.
    let cluster = client.connect_with_patience(client.deadline())?;
    load(&args, plan, cluster, output).await
}

async fn load(args: &LoadArgs, plan: Plan, sink: impl Sink, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let began = Instant::now();
    let mut pipeline = Pipeline {
        sink,
        batch: args.batch.into(),
        concurrency: args.concurrency.into(),
        bad_rows: args.bad_rows(),
        progress: Progress::start(plan.total_bytes()),
        summary: Summary::default(),
    };
    let loaded = pipeline.run(plan).await;
    pipeline.progress.finish();
    let summary = pipeline.summary;
    if args.dry_run {
        eprintln!("kotoba: a dry run; nothing was sent");
    } else if loaded.is_err() {
        eprintln!(
            "kotoba: created before the load stopped, and still there: {}",
            summary.totals()
        );
    }
    loaded?;
    Ok(output.either(&summary.to_json(began.elapsed()), &summary.to_text(began.elapsed()))?)
}

impl LoadArgs {
    fn plan(&self) -> Result<Plan, CliError> {
        let plan = match &self.mapping {
            Some(mapping) => Plan::of_mapping(mapping, self.dir.as_deref(), &self.dialect())?,
            None => Plan::of_headers(&self.nodes, &self.relationships, self.dir.as_deref(), &self.dialect())?,
        };
        match plan.is_empty() {
            true => Err(CliError::Usage(
                "nothing to load: name files with --nodes and --relationships, or a folder".into(),
            )),
            false => Ok(plan),
        }
    }

    fn dialect(&self) -> Dialect {
        Dialect {
            delimiter: self.delimiter,
            array_delimiter: self.array_delimiter,
            quote: self.quote,
        }
    }

    fn bad_rows(&self) -> BadRows {
        BadRows::allowing(if self.skip_bad_rows { self.max_bad_rows } else { 0 })
    }
}

#[cfg(test)]
mod tests;
