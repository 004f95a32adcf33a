//! A volume that was lost: the process in its place is a new one, and never comes back as the old member.

use kotoba_proto::ClusterError;
use kotoba_proto::v1::{Assignment, MemberState, WhoAmIRequest};

use crate::cluster::Cluster;
use crate::graph::{create_node, find_nodes};
use crate::wait::{run, until};

#[test]
fn a_member_whose_disk_is_lost_stays_unassigned_and_may_not_join_at_its_old_address() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let client = cluster.client_of(1);
        client.execute_operation(create_node("Person", [])).await.unwrap();
        let old_disk = cluster.host(3).process.disk_id();
        cluster.crash(3).await;
        cluster.lose_disk(3);
        cluster.start(3).await;

        let answer = cluster.admin(3).who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
        assert_eq!(answer.assignment(), Assignment::Unassigned);
        assert_ne!(answer.disk_id, old_disk);
        for through in [1, 2] {
            let error = cluster.join(3, through).await.unwrap_err();
            assert!(matches!(error, ClusterError::Refused(_)), "{error}");
            assert!(error.to_string().contains("member 3 with another disk"), "{error}");
        }
        // What the old member's peers send it now is refused, and the cluster lives on with two of three.
        client.execute_operation(create_node("Person", [])).await.unwrap();
        assert_eq!(client.count(find_nodes("Person", [])).await.unwrap(), 2);
        let error = cluster.client_of(3).get_status().await.unwrap_err();
        assert!(matches!(error, ClusterError::Unassigned(_)), "{error}");
        let status = client.get_status().await.unwrap();
        assert_eq!(status.members.len(), 3);
        assert_eq!(status.members[2].disk_id, old_disk);
    });
}

#[test]
fn a_new_process_at_another_address_becomes_a_member_with_a_new_id() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let client = cluster.client_of(1);
        client.execute_operation(create_node("Person", [])).await.unwrap();
        cluster.crash(3).await;
        let fresh = cluster.add().await;
        let joined = cluster.join(fresh, 2).await.unwrap();
        assert_eq!(joined.member_id, 4, "an id is never used twice");
        cluster
            .status_where("the new member active", |status| {
                let fresh = status.members.iter().find(|member| member.id == 4);
                fresh.is_some_and(|member| member.state() == MemberState::Active)
            })
            .await;
        until("the new member serving", || async {
            cluster.host(fresh).process.ready()
        })
        .await;
        assert_eq!(
            cluster.client_of(fresh).count(find_nodes("Person", [])).await.unwrap(),
            1
        );
    });
}
