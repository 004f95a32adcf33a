use super::*;

fn inputs() -> Inputs {
    Inputs::of(&crate::cli::load::Plan::default(), 500).unwrap()
}

fn terms(now: u64) -> Terms<'static> {
    Terms {
        cluster_id: "c",
        inputs: inputs(),
        now,
        accept_changed_files: false,
        resend_in_doubt: false,
    }
}

fn open(path: &Path, terms: Terms<'_>) -> Arc<Journal> {
    Arc::new(Journal::open(path, terms).unwrap())
}

fn created(ids: &[u64]) -> Created {
    Created {
        content: [1; 16],
        ids: ids.to_vec(),
    }
}

#[tokio::test]
async fn what_was_created_is_known_after_a_crash_and_what_was_sent_is_in_doubt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p");
    let first = open(&path, terms(10));
    for batch in 0..3 {
        first.may_send(batch).await.unwrap();
        assert_eq!(first.number(batch).sent_after, None);
    }
    first.created(1, created(&[7, 8]), 15).await.unwrap();
    let number = first.number(0);
    drop(first);

    let second = open(&path, terms(20));
    assert_eq!(second.created_earlier(), 1);
    assert_eq!(second.take_created(1), Some(created(&[7, 8])));
    assert_eq!(second.take_created(0), None);
    let again = second.number(0);
    assert_eq!((again.client_id, again.sequence), (number.client_id, number.sequence));
    assert_eq!(again.sent_after, Some(10));
    // Beyond what the first run could have sent, nothing is in doubt.
    let next = SENT_AFTER_ONE_SYNC;
    assert_eq!(second.number(next - 1).sent_after, Some(10));
    assert_eq!(second.number(next).sent_after, None);
    second.may_send(next).await.unwrap();
    drop(second);

    let third = open(&path, terms(30));
    assert_eq!(third.number(next - 1).sent_after, Some(10));
    assert_eq!(third.number(next).sent_after, Some(20));
    drop(third);
    let resending = Terms {
        resend_in_doubt: true,
        ..terms(40)
    };
    assert_eq!(open(&path, resending).number(0).sent_after, None);
}

#[tokio::test]
async fn a_sync_is_needed_only_once_for_many_batches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p");
    let journal = open(&path, terms(10));
    journal.may_send(0).await.unwrap();
    let noted = std::fs::metadata(&path).unwrap().len();
    for batch in 1..SENT_AFTER_ONE_SYNC {
        journal.may_send(batch).await.unwrap();
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), noted);
    journal.created(0, created(&[]), 99).await.unwrap();
    journal.may_send(SENT_AFTER_ONE_SYNC).await.unwrap();
    drop(journal);
    // The newest timestamp that was known then stands for what is sent later.
    let number = open(&path, terms(100)).number(SENT_AFTER_ONE_SYNC);
    assert_eq!(number.sent_after, Some(99));
}

#[test]
fn the_progress_of_another_load_is_refused_and_says_what_differs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p");
    drop(open(&path, terms(10)));
    let elsewhere = Terms {
        cluster_id: "d",
        ..terms(10)
    };
    let error = Journal::open(&path, elsewhere).err().unwrap();
    assert!(matches!(&error, JournalError::OtherCluster { theirs, .. } if theirs == "c"));
    let other_batches = Terms {
        inputs: Inputs::of(&crate::cli::load::Plan::default(), 100).unwrap(),
        ..terms(10)
    };
    let text = Journal::open(&path, other_batches).err().unwrap().to_string();
    assert!(text.contains("--batch was 500, not 100"), "{text}");
}

#[tokio::test]
async fn a_load_that_stopped_in_order_leaves_in_doubt_only_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p");
    let first = open(&path, terms(10));
    first.may_send(0).await.unwrap();
    first.stopped([3].into(), 5).await.unwrap();
    drop(first);

    let second = open(&path, terms(20));
    assert!(second.is_in_doubt(3) && !second.is_in_doubt(0) && !second.is_in_doubt(4));
    second.may_send(0).await.unwrap();
    drop(second);

    // The second crashed: what it may have sent is in doubt since then, what was in doubt before, since before.
    let third = open(&path, terms(30));
    assert_eq!(third.number(0).sent_after, Some(20));
    assert_eq!(third.number(3).sent_after, Some(10));
}

#[tokio::test]
async fn what_a_crash_left_in_doubt_stays_so_until_it_is_come_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p");
    let first = open(&path, terms(10));
    first.may_send(0).await.unwrap();
    first.created(9, created(&[1]), 11).await.unwrap();
    drop(first);
    // Two runs that stop after a few batches, each of which was created now.
    for now in [20, 30] {
        let early = open(&path, terms(now));
        for batch in 0..8 {
            let _ = early.take_created(batch);
            early.may_send(batch).await.unwrap();
            early.created(batch, created(&[2]), now).await.unwrap();
        }
        early.stopped(BTreeSet::new(), 8).await.unwrap();
    }
    let last = open(&path, terms(40));
    assert_eq!(last.number(8).sent_after, Some(10));
    assert_eq!(last.number(SENT_AFTER_ONE_SYNC - 1).sent_after, Some(10));
    assert!(!last.is_in_doubt(SENT_AFTER_ONE_SYNC));
    assert_eq!(last.created_earlier(), 9);
}
