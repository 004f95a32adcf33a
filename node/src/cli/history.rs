//! `kotoba node history` and `kotoba edge history`: the kept versions of one entity, newest first.

use std::io::Write;

use clap::Args;
use kotoba_proto::v1::{GetHistoryResponse, Version};

use super::CliError;
use super::entity::row_record;
use super::output::{Output, Record};

#[derive(Clone, Copy, Debug, Args)]
pub struct HistoryArgs {
    /// Id of the node or edge
    pub(super) id: u64,
    /// Most versions to print, 1 to 1,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
}

pub(super) fn print(history: GetHistoryResponse, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let oldest = history.versions.last().map(|version| version.timestamp);
    let records = history.versions.into_iter().map(version_record);
    output.records(records.collect::<Result<Vec<_>, _>>()?)?;
    if let Some(oldest) = oldest.filter(|_| history.more) {
        eprintln!("kotoba: older versions are left out; go on with --as-of {}", oldest - 1);
    }
    Ok(())
}

fn version_record(version: Version) -> Result<Record, CliError> {
    let committed = Record::new().field("timestamp", version.timestamp);
    Ok(match version.row {
        Some(row) => committed.field("deleted", false).and(row_record(row)?),
        None => committed.field("deleted", true),
    })
}
