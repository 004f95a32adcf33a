//! `kotoba load`: fills a graph from CSV files, first all nodes, then the relationships between them.
//!
//! `plan` decides which file is what, `layout` and `rows` turn rows into operations (pure), `reader` streams the files,
//! `send` sends batches, `journal` keeps what was created on disk. No file is ever whole in memory; the ids of the nodes are.

mod error;
mod header;
mod ids;
mod journal;
mod layout;
mod mapping;
mod pipeline;
mod plan;
mod progress;
mod reader;
mod sink;
mod summary;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use kotoba_proto::KotobaCluster;
use kotoba_proto::cluster::MAX_OPERATIONS;
use kotoba_proto::v1::GetNodes;
use tokio_util::sync::CancellationToken;

pub use error::LoadError;
use journal::Journal;
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

If a load stops, for whatever reason, run the same command again: it goes on where it was, and creates nothing twice. It
keeps its progress in a file, ./kotoba-load-….progress unless --progress names one, and deletes it when it is done. Rows whose
answer was lost are sent again safely for as long as the cluster keeps old versions (storage.history_retention_s); after that
they are listed, to be looked for.

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
    #[arg(long, default_value_t = MAX_OPERATIONS as u16, value_parser = clap::value_parser!(u16).range(1..=MAX_OPERATIONS as i64))]
    batch: u16,
    /// Transactions under way at once, 1 to 256
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
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
    /// Where to keep the progress, so that the same command goes on after it stopped; default: in this folder
    #[arg(long, value_name = "FILE")]
    progress: Option<PathBuf>,
    /// Keep no progress: if the load stops, what it has created stays, and a second run creates it again
    #[arg(long, conflicts_with = "progress")]
    not_resumable: bool,
    /// Go on although files were changed since, where that was behind the rows that are loaded
    #[arg(long)]
    accept_changed_files: bool,
    /// Create again the rows of which it can no longer be told whether they were created
    #[arg(long)]
    resend_in_doubt: bool,
}

pub(super) async fn run(args: LoadArgs, client: &ClientArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let plan = args.plan()?;
    if args.dry_run {
        return load(&args, plan, DryRun::default(), None, output).await;
    }
    // A load outlives the restart of a member: it waits for one as long as for any answer.
    let cluster = client.connect_with_patience(client.deadline())?;
    let journal = match args.not_resumable {
        true => None,
        false => Some(Arc::new(args.journal(&plan, &cluster).await?)),
    };
    load(&args, plan, cluster, journal, output).await
}

async fn load(
    args: &LoadArgs,
    plan: Plan,
    sink: impl Sink,
    journal: Option<Arc<Journal>>,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let began = Instant::now();
    if journal.as_ref().is_some_and(|journal| journal.created_earlier() > 0) {
        eprintln!("kotoba: going on where an earlier run stopped");
    }
    let mut pipeline = Pipeline {
        sink,
        batch: args.batch.into(),
        concurrency: args.concurrency.into(),
        bad_rows: args.bad_rows(),
        progress: Progress::start(output.format, plan.total_bytes()),
        summary: Summary::default(),
        journal: journal.clone(),
        next_batch: 0,
        unsettled: BTreeSet::new(),
        stop: CancellationToken::new(),
    };
    let stop = pipeline.stop.clone();
    let loaded = tokio::select! {
        loaded = pipeline.run(plan) => loaded,
        () = interrupted_twice(&stop) => Err(LoadError::Interrupted),
    };
    let Pipeline { summary, .. } = pipeline;
    if args.dry_run {
        eprintln!("kotoba: a dry run; nothing was sent");
    } else if loaded.is_err() {
        eprintln!(
            "kotoba: created before the load stopped, and still there: {}",
            summary.totals()
        );
    }
    loaded?;
    if let Some(journal) = journal {
        journal.remove().map_err(LoadError::Journal)?;
    }
    Ok(output.either(&summary.to_json(began.elapsed()), &summary.to_text(began.elapsed()))?)
}

/// The first time what is under way is waited for, so that less is in doubt afterwards.
async fn interrupted_twice(stop: &CancellationToken) {
    // Where signals cannot be heard the load goes on to its end.
    if tokio::signal::ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    eprintln!("kotoba: waiting for what is under way; ctrl-c again does not wait");
    stop.cancel();
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
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

    async fn journal(&self, plan: &Plan, cluster: &KotobaCluster) -> Result<Journal, CliError> {
        let rows = cluster.execute_query(GetNodes::default()).await?;
        let terms = journal::Terms {
            cluster_id: &cluster.get_status().await?.cluster_id,
            inputs: journal::Inputs::of(plan, self.batch.into())?,
            now: rows.snapshot().0,
            accept_changed_files: self.accept_changed_files,
            resend_in_doubt: self.resend_in_doubt,
        };
        let path = self.progress.clone().unwrap_or_else(|| self.default_progress());
        Ok(Journal::open(&path, terms).map_err(LoadError::Journal)?)
    }

    /// The same for the same files and mapping; in the current folder, since that of the files is often not ours to write.
    fn default_progress(&self) -> PathBuf {
        let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let (mapping, dir) = (self.mapping.as_ref().map(whole), self.dir.as_ref().map(whole));
        let command = format!("{mapping:?} {dir:?} {:?} {:?}", self.nodes, self.relationships);
        let hash = blake3::hash(command.as_bytes()).to_hex();
        PathBuf::from(format!("kotoba-load-{}.progress", &hash[..12]))
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
