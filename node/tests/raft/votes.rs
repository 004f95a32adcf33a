//! A leader that is proven by its own vote and that of one other member.

use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, eventually, replica_of};

#[tokio::test(flavor = "multi_thread")]
async fn two_votes_prove_the_leader_until_one_of_them_is_given_to_another() {
    let cluster = Cluster::calm(3).await;
    let leading = cluster.leader().await;
    let others: Vec<MemberId> = cluster
        .members
        .keys()
        .copied()
        .filter(|member| *member != leading)
        .collect();
    let (leader, asker) = (cluster.group(leading), cluster.group(others[0]));
    let term = leader.leadership().term;
    eventually("the follower has heard of its leader", || async {
        let vote = asker.saved_vote()?;
        (vote.term == term).then_some(())
    })
    .await;
    let before = asker.saved_vote().unwrap();
    // Nobody can be asked.
    cluster.net.isolate(leading);
    assert_eq!(leader.term_proven_by(&before), Some(term));
    assert_eq!(
        leader.term_proven_by(&leader.saved_vote().unwrap()),
        None,
        "one of three"
    );
    assert_eq!(
        asker.term_proven_by(&leader.saved_vote().unwrap()),
        None,
        "it does not lead"
    );

    let new = eventually("another leader", || async {
        let led = [cluster.group(others[0]), cluster.group(others[1])].map(|group| group.leadership());
        led.iter().find(|leadership| leadership.leading).map(|led| led.term)
    })
    .await;
    assert!(new > term);
    for other in &others {
        let vote = cluster.group(*other).saved_vote().unwrap();
        let proven = leader.term_proven_by(&vote);
        assert_eq!(proven, None, "{vote:?} was given to another before it was asked for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vote_of_a_learner_proves_nothing() {
    let mut cluster = Cluster::calm(3).await;
    let new = MemberId(4);
    cluster.start(new).await;
    let learner = cluster.start_replica(new).await;
    let leader = eventually("the learner is added", || async {
        let leader = cluster.group(cluster.leader().await);
        leader.add_learner(replica_of(new), new).await.ok()?;
        Some(leader)
    })
    .await;
    let vote = eventually("the learner follows", || async {
        let vote = learner.saved_vote()?;
        (vote.term == leader.saved_vote()?.term).then_some(vote)
    })
    .await;
    assert_eq!(leader.term_proven_by(&vote), None);
}
