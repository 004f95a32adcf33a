//! Founding: once, by one process, with all first members; what a crash leaves half done is finished.

use kotoba_node::member::identity::{Assignment, Founding, Identity, PeerAddress};
use kotoba_node::member::{FoundError, FoundingRequest};
use kotoba_proto::ClusterError;
use kotoba_proto::v1::{
    self, BootstrapRequest, DeleteNode, FindNodes, GetStatusResponse, JoinClusterRequest, RebalanceRequest,
    WhoAmIRequest, WhoAmIResponse, admin_service_client,
};
use kotoba_state::ids::{MemberId, ReplicaId};
use kotoba_state::meta::Command;
use tonic::Code;
use tonic::transport::Channel;

use crate::cluster::{CLUSTER, Cluster, PARTITIONS};
use crate::graph::create_node;
use crate::wait::{run, until};

type Admin = admin_service_client::AdminServiceClient<Channel>;

async fn who_am_i(admin: &mut Admin) -> WhoAmIResponse {
    admin.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner()
}

/// The founding as an operator sends it.
fn bootstrap(request: FoundingRequest) -> BootstrapRequest {
    let members = request.members.into_iter().map(|member| v1::FirstMember {
        peer_address: member.peer_address,
        client_address: member.client_address,
        zone: member.zone,
        disk_id: member.disk_id,
        name: member.name,
    });
    BootstrapRequest {
        cluster_id: request.cluster_id,
        members: members.collect(),
        replication_factor: request.replication_factor,
        partition_count: request.partition_count,
    }
}

#[test]
fn bootstrap_given_twice_founds_one_cluster() {
    run(async {
        let cluster = Cluster::unassigned(3).await;
        let request = bootstrap(cluster.founding());
        let mut admin = cluster.admin(1);
        let mut same = cluster.admin(1);
        let (first, second) = tokio::join!(admin.bootstrap(request.clone()), same.bootstrap(request.clone()));
        let first = first.unwrap().into_inner();
        assert_eq!(first.cluster_id, CLUSTER);
        assert_eq!(first.member_id, 1);
        // At the same moment the founder may not have its own identity yet and ask the others anew, who say yes again.
        assert_eq!(second.unwrap().into_inner(), first);
        cluster.ready().await;
        let status = cluster.client().get_status().await.unwrap();
        assert_eq!(admin.bootstrap(request.clone()).await.unwrap().into_inner(), first);
        // Another first member knows the cluster by now as well.
        let other = cluster.admin(2).bootstrap(request).await.unwrap().into_inner();
        assert_eq!((other.cluster_id.as_str(), other.member_id), (CLUSTER, 2));
        let after = cluster.client().get_status().await.unwrap();
        // What room they have, and who leads, changes meanwhile.
        let who = |status: &GetStatusResponse| -> Vec<_> {
            let members = status.members.iter();
            members
                .map(|member| (member.id, member.disk_id.clone(), member.state()))
                .collect()
        };
        assert_eq!(who(&after), who(&status));
        assert_eq!(after.partitions.len(), PARTITIONS as usize);
        assert_eq!(status.membership.unwrap().replication_factor, 3);
    });
}

#[test]
fn bootstrap_for_another_cluster_is_refused() {
    run(async {
        let cluster = Cluster::of(3).await;
        let request = BootstrapRequest {
            cluster_id: "another".to_owned(),
            ..bootstrap(cluster.founding())
        };
        for member in 1..=3 {
            let refused = cluster.admin(member).bootstrap(request.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::AlreadyExists);
            assert!(refused.message().contains(CLUSTER), "{}", refused.message());
        }
        let status = cluster.client().get_status().await.unwrap();
        assert_eq!(status.cluster_id, CLUSTER);
    });
}

#[test]
fn a_founding_that_takes_a_member_of_another_cluster_is_refused() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let fresh = cluster.add().await;
        let request = FoundingRequest {
            cluster_id: "another".to_owned(),
            ..cluster.founding()
        };
        let error = cluster.host(fresh).found(request).await.unwrap_err();
        assert!(matches!(error, FoundError::Assign { .. }), "{error}");
        assert!(error.to_string().contains(CLUSTER), "{error}");
        let answer = who_am_i(&mut cluster.admin(fresh)).await;
        assert_eq!(answer.assignment(), v1::Assignment::Unassigned);
    });
}

#[test]
fn a_founding_that_names_not_this_process_is_refused_before_anyone_is_told() {
    run(async {
        let cluster = Cluster::unassigned(3).await;
        let mut request = cluster.founding();
        request.members.remove(0);
        let error = cluster.host(1).found(request).await.unwrap_err();
        assert!(matches!(error, FoundError::Invalid(_)), "{error}");
        for member in 1..=3 {
            let answer = who_am_i(&mut cluster.admin(member)).await;
            assert_eq!(answer.assignment(), v1::Assignment::Unassigned);
        }
    });
}

#[test]
fn a_process_with_an_empty_disk_serves_nothing_but_its_assignment() {
    run(async {
        let cluster = Cluster::unassigned(1).await;
        let client = cluster.client();
        let is_unassigned = |error: ClusterError| assert!(matches!(error, ClusterError::Unassigned(_)), "{error}");
        is_unassigned(client.execute_operation(create_node("Person", [])).await.unwrap_err());
        let delete = DeleteNode {
            id: 1,
            ..DeleteNode::default()
        };
        is_unassigned(client.execute_operation(delete).await.unwrap_err());
        is_unassigned(client.fetch_rows(FindNodes::default()).await.unwrap_err());
        is_unassigned(client.get_status().await.unwrap_err());
        is_unassigned(client.check_health().await.unwrap_err());
        is_unassigned(client.get_cluster_config().await.unwrap_err());
        is_unassigned(client.subscribe_events().await.err().unwrap());
        let join = JoinClusterRequest {
            disk_id: "disk".to_owned(),
            peer_address: "127.0.0.1:1".to_owned(),
            client_address: "127.0.0.1:2".to_owned(),
            ..JoinClusterRequest::default()
        };
        is_unassigned(client.join_cluster(join).await.unwrap_err());
        let mut admin = cluster.admin(1);
        let refused = admin.rebalance(RebalanceRequest { dry_run: true }).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let answer = who_am_i(&mut admin).await;
        assert_eq!(answer.assignment(), v1::Assignment::Unassigned);
        assert_eq!(
            (answer.member_id, answer.cluster_id.as_str(), answer.ready),
            (0, "", false)
        );
        assert_eq!(answer.disk_id, cluster.host(1).process.disk_id());
    });
}

#[test]
fn a_founder_that_crashed_after_writing_its_identity_finishes_the_founding_at_its_restart() {
    run(async {
        let mut cluster = Cluster::unassigned(3).await;
        let assignments = (1..=3).map(|member| assignment(&cluster, member)).collect::<Vec<_>>();
        let disk_id = cluster.host(1).process.disk_id();
        // The others know who they are already; the founder has written its record and then crashed.
        for member in [2, 3] {
            let at = member as usize - 1;
            cluster.host(member).assign(assignments[at].clone()).await.unwrap();
        }
        cluster.crash(1).await;
        let mut identity = Identity::open(&cluster.data_dir(1), || unreachable!("the record exists")).unwrap();
        identity.assign(&disk_id, assignments[0].clone()).unwrap();
        drop(identity);
        cluster.start(1).await;
        cluster.ready().await;
        until("a founding that is noted as done", || async {
            match cluster.host(1).process.assignment().unwrap().founding {
                None => Ok(()),
                Some(_) => Err("not done"),
            }
        })
        .await;
        cluster
            .client()
            .execute_operation(create_node("Person", []))
            .await
            .unwrap();
        let request = bootstrap(cluster.founding());
        let answer = cluster.admin(1).bootstrap(request).await.unwrap().into_inner();
        assert_eq!(answer.member_id, 1);
    });
}

#[test]
fn a_founder_that_crashed_before_its_own_identity_is_given_the_bootstrap_again() {
    run(async {
        let mut cluster = Cluster::unassigned(3).await;
        let other = assignment(&cluster, 2);
        cluster.host(2).assign(other).await.unwrap();
        cluster.crash(1).await;
        cluster.start(1).await;
        let answer = who_am_i(&mut cluster.admin(1)).await;
        assert_eq!(answer.assignment(), v1::Assignment::Unassigned);
        let request = bootstrap(cluster.founding());
        cluster.admin(1).bootstrap(request).await.unwrap();
        cluster.ready().await;
        let status = cluster.client().get_status().await.unwrap();
        assert_eq!(status.members.len(), 3);
    });
}

/// A first member's identity, as the founding gives it.
fn assignment(cluster: &Cluster, member: u64) -> Assignment {
    let request = cluster.founding();
    let peers = request.members.iter().zip(1..).map(|(first, id)| PeerAddress {
        member: MemberId(id),
        address: first.peer_address.clone(),
    });
    let mut members = request.members.clone();
    members.iter_mut().for_each(|first| first.meta_voter = true);
    let founding = Founding {
        meta_voters: (1..=3).map(|id| (ReplicaId(id), MemberId(id))).collect(),
        command: Command::Found {
            cluster_id: CLUSTER.to_owned(),
            members,
            replication_factor: 3,
            partition_count: PARTITIONS,
            max_parallel_moves: 2,
        },
    };
    Assignment {
        cluster_id: CLUSTER.to_owned(),
        member: MemberId(member),
        meta_replica: ReplicaId(member),
        peers: peers.collect(),
        founding: (member == 1).then_some(founding),
    }
}
