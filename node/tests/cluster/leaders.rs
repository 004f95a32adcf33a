//! Leaders spread over the members, also after one was away.

use std::collections::BTreeMap;

use kotoba_proto::v1::GetStatusResponse;

use crate::cluster::Cluster;
use crate::settings::Pace;
use crate::wait::run;
use crate::writer::Writer;

const PARTITIONS: u32 = 9;

fn spread(status: &GetStatusResponse) -> bool {
    let mut led: BTreeMap<u64, usize> = status.members.iter().map(|member| (member.id, 0)).collect();
    for partition in &status.partitions {
        *led.entry(partition.leader_member_id).or_default() += 1;
    }
    led.len() == status.members.len() && led.values().max().unwrap() - led.values().min().unwrap() <= 1
}

#[test]
fn a_member_that_restarts_gets_its_share_of_the_leaders_back_and_no_request_fails() {
    run(async {
        let mut cluster = Cluster::with(Pace::default(), 3, PARTITIONS).await;
        cluster.status_where("leaders spread at the beginning", spread).await;
        let writer = Writer::start(cluster.client(), "A");
        for member in [2, 3] {
            writer.progress(20).await;
            cluster.stop(member).await;
            let away = |status: &GetStatusResponse| {
                let leads = |partition: &kotoba_proto::v1::PartitionStatus| partition.leader_member_id;
                status
                    .partitions
                    .iter()
                    .all(|one| leads(one) != member && leads(one) != 0)
            };
            cluster.status_where("leaders elsewhere", away).await;
            cluster.start(member).await;
            cluster.status_where("leaders spread again", spread).await;
        }
        assert_eq!(writer.failed(), 0);
        writer.finish().await.check(&cluster.client()).await;
        cluster.agree().await;
    });
}
