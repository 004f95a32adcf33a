//! How much of an answer a search prints, in which order, and where it goes on.

use std::io::Write;

use clap::Args;
use kotoba_proto::KotobaCluster;
use kotoba_proto::cluster::{Cursor, Search};
use kotoba_proto::v1::{Query, Row, query};

use super::CliError;
use super::filter::{ORDER_HELP, OrderArg};
use super::output::{Output, Record};

/// Rows a person can take in; more are one flag away.
const DEFAULT_LIMIT: u64 = 100;
/// Rows of one page under --all: enough that pages cost nothing, few enough that one takes moments.
const PAGE_ROWS: u64 = 10_000;

/// How much of an answer a search prints.
#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    /// Most rows to print; 0 for all in one answer
    #[arg(long, default_value_t = DEFAULT_LIMIT)]
    limit: u64,
    /// Only count; the limit does not apply
    #[arg(long, conflicts_with_all = ["cursor", "all", "order_by"])]
    count: bool,
    #[arg(long, value_name = "KEY,-KEY", value_delimiter = ',', allow_hyphen_values = true, help = ORDER_HELP)]
    order_by: Vec<OrderArg>,
    /// Go on where an earlier answer stopped, at its snapshot: as it printed it, for the same search
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<Cursor>,
    /// All rows, page by page; as JSON they are printed as they come
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Whether the answer to a search without an order has a place to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unordered {
    HasPages,
    IsWhole,
}

impl Show {
    /// The limit to send.
    pub(super) fn limit(&self, unordered: Unordered) -> u64 {
        if self.count || (self.all && self.order_by.is_empty() && unordered == Unordered::IsWhole) {
            0
        } else if self.all {
            PAGE_ROWS
        } else {
            self.limit
        }
    }

    fn search(&self, query: Query) -> Search {
        Search {
            cursor: self.cursor.clone(),
            ..Search::from(query).ordered_by(self.order_by.iter().cloned().map(Into::into))
        }
    }

    #[cfg(test)]
    pub(super) fn rows(limit: u64) -> Self {
        Show {
            limit,
            count: false,
            order_by: vec![],
            cursor: None,
            all: false,
        }
    }
}

/// Runs a search and prints its rows, or only their number.
pub(super) async fn search<W: Write>(
    cluster: &KotobaCluster,
    query: impl Into<Query>,
    show: Show,
    output: &mut Output<W>,
    record: impl Fn(Row) -> Result<Record, CliError>,
) -> Result<(), CliError> {
    let search = show.search(query.into());
    if show.count {
        let count = cluster.count(search).await?;
        let json = serde_json::json!({ "count": count });
        return Ok(output.either(&json, &format!("{count}\n"))?);
    }
    if show.all {
        return print_pages(cluster, search, output, record).await;
    }
    print_page(cluster, search, show.limit, output, record).await
}

/// Prints one answer as it comes, and says how to go on where its limit cut it.
async fn print_page<W: Write>(
    cluster: &KotobaCluster,
    search: Search,
    limit: u64,
    output: &mut Output<W>,
    record: impl Fn(Row) -> Result<Record, CliError>,
) -> Result<(), CliError> {
    let traverses = matches!(search.query.kind, Some(query::Kind::Traverse(_)));
    let has_no_pages = traverses && search.order_by.is_empty();
    let mut rows = cluster.execute_query(search).await?;
    let mut list = output.list();
    let mut printed = 0;
    while let Some(row) = rows.next().await? {
        list.push(record(row)?)?;
        printed += 1;
    }
    list.finish()?;
    match rows.cursor() {
        Some(cursor) => eprintln!("kotoba: stopped at {limit} rows; go on with --cursor {cursor} or take --all"),
        None if has_no_pages && limit > 0 && printed >= limit => {
            eprintln!("kotoba: at most {limit} rows are printed; ask for more with --limit N or --all");
        }
        None => {}
    }
    Ok(())
}

async fn print_pages<W: Write>(
    cluster: &KotobaCluster,
    search: Search,
    output: &mut Output<W>,
    record: impl Fn(Row) -> Result<Record, CliError>,
) -> Result<(), CliError> {
    let mut pages = cluster.execute_query_in_pages(search);
    let mut list = output.list();
    while let Some(row) = pages.next().await? {
        list.push(record(row)?)?;
    }
    Ok(list.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_no_limit_and_all_comes_in_pages() {
        let count = Show {
            count: true,
            ..Show::rows(5)
        };
        assert_eq!(count.limit(Unordered::HasPages), 0);
        assert_eq!(Show::rows(5).limit(Unordered::IsWhole), 5);
        let all = Show {
            all: true,
            ..Show::rows(5)
        };
        assert_eq!(all.limit(Unordered::HasPages), PAGE_ROWS);
        assert_eq!(all.limit(Unordered::IsWhole), 0);
        let ordered = Show {
            order_by: vec!["-age".parse().unwrap()],
            ..all
        };
        assert_eq!(ordered.limit(Unordered::IsWhole), PAGE_ROWS);
        let search = ordered.search(Query::default());
        assert!(search.order_by[0].descending);
    }
}
