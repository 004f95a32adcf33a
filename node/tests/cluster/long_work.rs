//! Commands that last: they come back when their work is done, and say nothing on the way where nobody watches.

use std::path::Path;

use kotoba_proto::v1::{MemberState, MemberStatus};
use serde_json::Value;

use crate::cluster::{Cluster, PARTITIONS};
use crate::command::{ended, kotoba, stderr};
use crate::settings::Pace;
use crate::wait::run;

/// The records that a command prints; it has succeeded, and printed nothing else.
async fn records(cluster: &Cluster, line: &str) -> Vec<Value> {
    let output = ended(kotoba(cluster, Path::new("."), line.split(' '))).await;
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    assert_eq!(stderr(&output), "", "{line}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_rebalance_a_drain_and_a_removal_are_waited_for() {
    run(async {
        let mut cluster = Cluster::with(Pace::default(), 3, 2 * PARTITIONS).await;
        let number = cluster.add().await;
        cluster.join(number, 1).await.unwrap();
        let is_active = |member: &MemberStatus| member.id == number && member.state() == MemberState::Active;
        cluster
            .status_where("an active member", |status| status.members.iter().any(is_active))
            .await;

        let moves = records(&cluster, "rebalance --wait -o json").await;
        assert!(!moves.is_empty());
        let status = cluster.client().get_status().await.unwrap();
        assert!(status.rebalance.unwrap().balanced);
        let joined = status.members.iter().find(|member| member.id == number).unwrap();
        assert!(joined.replicas > 0, "{joined:?}");

        let drained = records(&cluster, &format!("member drain {number} -o json")).await;
        assert_eq!(
            (&drained[0]["drained"], &drained[0]["replicas"]),
            (&true.into(), &0.into())
        );
        let removed = records(&cluster, &format!("member remove {number} -o json")).await;
        assert_eq!(removed[0]["state"], "removed");
    });
}
