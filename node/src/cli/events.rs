//! `kotoba events`: follows what happens in the cluster until interrupted.

use std::io::Write;

use clap::Args;
use kotoba_proto::ClusterError;
use kotoba_proto::v1::{ClusterEvent, EventKind};
use serde_json::json;

use super::output::Output;
use super::{CliError, ClientArgs};

/// Follow the cluster's events: members that come, fail and return, elections, moves
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba events
  kotoba events --after 0
  kotoba events --after 1234 --limit 1 -o json")]
pub struct EventsArgs {
    /// Begin after the event with this position; 0 for the oldest that is kept, instead of from now on
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

pub(super) async fn run(
    args: EventsArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let mut events = match args.after {
        None => cluster.subscribe_events().await?,
        Some(position) => cluster.subscribe_events_after(position).await?,
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        match events.next().await {
            Ok(event) => print(&event, output)?,
            Err(error @ ClusterError::EventsLost { .. }) => {
                eprintln!("kotoba: {error}; going on from there");
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        left -= 1;
    }
    Ok(())
}

/// Each event is flushed: whoever reads our pipe wants it now.
fn print(event: &ClusterEvent, output: &mut Output<impl Write>) -> std::io::Result<()> {
    let time = time_text(event.time_ms);
    let json = json!({
        "position": event.position,
        "time": time,
        "kind": name(event.kind()),
        "member_id": event.member_id,
        "partition": event.partition,
        "message": event.message,
    });
    let partition = event.partition.map(|id| format!(" partition {id}")).unwrap_or_default();
    let message: String = event.message.escape_debug().collect();
    let text = format!(
        "{:>6}  {time}  {:<18} member {}{partition}  {message}\n",
        event.position,
        name(event.kind()),
        event.member_id
    );
    output.either(&json, &text)?;
    output.flush()
}

fn time_text(time_ms: u64) -> String {
    let time = kotoba_proto::v1::ZonedDateTime {
        seconds: (time_ms / 1000) as i64,
        nanoseconds: (time_ms % 1000) as u32 * 1_000_000,
        ..Default::default()
    };
    kotoba_proto::value::date_time_text(&time)
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Unspecified => "Unknown",
        EventKind::NodeJoined => "NodeJoined",
        EventKind::NodeLeft => "NodeLeft",
        EventKind::NodeSuspected => "NodeSuspected",
        EventKind::NodeFailed => "NodeFailed",
        EventKind::NodeRecovered => "NodeRecovered",
        EventKind::LeaderElected => "LeaderElected",
        EventKind::ConfigChanged => "ConfigChanged",
        EventKind::PartitionMoved => "PartitionMoved",
        EventKind::RebalanceStarted => "RebalanceStarted",
        EventKind::RebalanceFinished => "RebalanceFinished",
        EventKind::ReplicaDiverged => "ReplicaDiverged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, printed};

    fn elected() -> ClusterEvent {
        ClusterEvent {
            kind: EventKind::LeaderElected.into(),
            member_id: 2,
            partition: Some(7),
            message: "term 3".into(),
            time_ms: 86_400_123,
            position: 41,
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let text = printed(Format::Table, |output| print(&elected(), output));
        assert_eq!(
            text,
            "    41  1970-01-02T00:00:00.123Z  LeaderElected      member 2 partition 7  term 3\n"
        );
    }

    #[test]
    fn a_program_reads_the_same_as_json() {
        let text = printed(Format::Json, |output| print(&elected(), output));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["kind"], "LeaderElected");
        assert_eq!(json["position"], 41);
        assert_eq!(json["time"], "1970-01-02T00:00:00.123Z");
    }
}
