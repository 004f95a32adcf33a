//! What a request did, made again from its receipt and its operations.

use kotoba_graph::id::{MAX_SEQUENCE, SLOTS, Slot};
use kotoba_graph::operation::{Batch, Operation, OperationResult, Step};
use kotoba_graph::receipt::{Outcome, Receipt};
use proptest::prelude::*;

use crate::generate::{ANY, NEW_EDGE, NEW_NODE, drafts, request};
use crate::graph::Graph;
use crate::model::Model;
use crate::store::LARGE;

/// Nodes and edges, which lie between them and the nodes that never were.
fn creations() -> impl Strategy<Value = Vec<Operation>> {
    let some = prop_oneof![drafts(NEW_NODE, 1..4), drafts(NEW_EDGE, 1..4)];
    let drafts = prop::collection::vec(some, 1..8).prop_map(|some| some.concat());
    drafts.prop_map(|drafts| request(drafts, &Model::default()))
}

/// Its nodes live in a slot, or anywhere.
fn first_attempt(operations: &[Operation], slot: Option<Slot>, sequences: &[u64]) -> Vec<OperationResult> {
    let mut sequences = sequences.iter().copied();
    let mut batch = Batch::new(operations.to_vec(), slot, &mut || sequences.next().unwrap()).unwrap();
    match batch.advance(Vec::new()).unwrap() {
        Step::Done(mutation) => mutation.results,
        Step::Read(reads) => panic!("creating reads {reads:?}"),
    }
}

/// As it comes out of the store.
fn stored(operations: &[Operation], slot: Option<Slot>, results: &[OperationResult]) -> Outcome {
    let receipt = Receipt {
        content: [7; 32],
        outcome: Outcome::of(operations, slot, results),
    };
    let read = Receipt::decode(&receipt.encode()).unwrap();
    assert_eq!(read, receipt);
    read.outcome
}

fn told_again(outcome: &Outcome, operations: &[Operation]) -> Vec<OperationResult> {
    match outcome {
        Outcome::Applied(results) => results.clone(),
        Outcome::Created(created) => created.results(operations).unwrap(),
        Outcome::Refused { message, .. } => panic!("{message}"),
    }
}

proptest! {
    #[test]
    fn a_request_that_only_creates_is_told_again_bit_for_bit_from_its_sequences(
        operations in creations(),
        slot in prop::option::of(0..SLOTS),
        sequences in prop::collection::vec(0..=MAX_SEQUENCE, 32),
    ) {
        let slot = slot.and_then(Slot::new);
        let first = first_attempt(&operations, slot, &sequences);
        let nodes = operations.iter().zip(&first).filter(|(operation, _)| matches!(operation, Operation::CreateNode { .. }));
        for (_, node) in nodes {
            prop_assert!(slot.is_none_or(|slot| node.id.slot() == slot));
        }
        let outcome = stored(&operations, slot, &first);
        prop_assert!(matches!(outcome, Outcome::Created(_)));
        prop_assert_eq!(told_again(&outcome, &operations), first);
    }

    #[test]
    fn any_request_is_told_again_as_it_was(requests in prop::collection::vec(drafts(ANY, 1..5), 1..8)) {
        let mut graph = Graph::default();
        let mut model = Model::default();
        for drafts in requests {
            let operations = request(drafts, &model);
            let mut sequence = graph.next_sequence;
            let _ = model.run(&operations, &mut sequence);
            if let Ok(mutation) = graph.run(operations.clone(), LARGE) {
                let outcome = stored(&operations, None, &mutation.results);
                let only_creates = operations.iter().all(Operation::creates);
                prop_assert_eq!(matches!(outcome, Outcome::Created(_)), only_creates);
                prop_assert_eq!(told_again(&outcome, &operations), mutation.results);
            }
        }
    }

    #[test]
    fn a_receipt_of_creations_answers_for_no_fewer_and_no_other_operations(operations in creations()) {
        let sequences: Vec<u64> = (0..32).collect();
        let outcome = stored(&operations, None, &first_attempt(&operations, None, &sequences));
        let Outcome::Created(created) = outcome else {
            return Err(TestCaseError::fail("not of creations"));
        };
        prop_assert!(created.results(&operations[1..]).is_err());
        let longer = [operations.as_slice(), &operations].concat();
        prop_assert!(created.results(&longer).is_err());
    }
}
