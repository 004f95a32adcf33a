//! The way to the leader: which member answers what without asking another one.
//!
//! A request about one entity, or a write that may be made anywhere, belongs to a slot. The client says which, and a member that
//! had to ask another one answers with that one's address and all slots that it leads together with this one. A way that is
//! wrong costs what none costs: any member answers everything.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tonic::body::Body;
use tower_service::Service;

use super::RequestNumber;
use crate::calls::{CallChannel, CallError};
use crate::v1::{ExecuteOperationRequest, NodeRef, Operation, Query, node_ref, operation, query};

/// Of a request: its slot.
pub const SLOT_KEY: &str = "kotoba-slot";
/// Of an answer: `FIRST-LAST ADDRESS`.
pub const ROUTE_KEY: &str = "kotoba-route";
/// Slots of the ring; see `EntityId` of the graph.
pub const SLOTS: u16 = 4_096;
/// Bits of an entity's id below its slot.
const SEQUENCE_BITS: u32 = 51;

/// The slot that an entity lives in.
pub fn slot_of_entity(id: u64) -> u16 {
    ((id >> SEQUENCE_BITS) % u64::from(SLOTS)) as u16
}

/// The slot of a write that names no stored entity and has not chosen one: where its receipt will be looked for.
pub fn slot_of_request(client_id: &[u8; 16], sequence: u64) -> u16 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(client_id).update(&sequence.to_be_bytes());
    let [high, low, ..] = *hasher.finalize().as_bytes();
    u16::from_be_bytes([high, low]) % SLOTS
}

/// How long a slot is open for writes that may be made anywhere: longer than a write takes under load, so that most of those under
/// way share a partition; short, so that none has them all.
pub const OPEN_FOR: Duration = Duration::from_millis(100);
/// From one slot to the next, and from one lane to the next: far enough for another partition, and odd, so that all slots have
/// their turn.
const STEP_OF_A_TURN: u64 = 1_597;
const STEP_OF_A_LANE: u64 = 2_531;

/// The slot that is open at a time since 1970, in one of the lanes that are open side by side.
///
/// All clients of about the same time come to the same slots without asking; whose clock is wrong only goes without company.
pub fn open_slot(since_1970: Duration, lane: u32) -> u16 {
    let turn = u64::try_from(since_1970.as_millis() / OPEN_FOR.as_millis()).unwrap_or(u64::MAX);
    let steps = turn
        .wrapping_mul(STEP_OF_A_TURN)
        .wrapping_add(u64::from(lane).wrapping_mul(STEP_OF_A_LANE));
    (steps % u64::from(SLOTS)) as u16
}

/// Where a write belongs: beside the first stored entity that it names.
pub(crate) fn slot_of_write(request: &ExecuteOperationRequest, number: &RequestNumber) -> u16 {
    let named = request.operations.iter().find_map(entity_of).map(slot_of_entity);
    let chosen = request.home_slot.and_then(|slot| u16::try_from(slot).ok());
    named
        .or(chosen)
        .unwrap_or_else(|| slot_of_request(&number.client_id, number.sequence))
}

/// Where a query belongs; none where it looks everywhere.
pub(crate) fn slot_of_query(asked: &Query) -> Option<u16> {
    let entity = match asked.kind.as_ref()? {
        query::Kind::GetNodes(get) => get.ids.first().copied(),
        query::Kind::GetEdges(get) => get.ids.first().copied(),
        query::Kind::EdgesOf(edges) => Some(edges.node),
        query::Kind::Traverse(traverse) => traverse.start.first().copied(),
        query::Kind::ShortestPath(path) => Some(path.from),
        query::Kind::FindNodes(_) | query::Kind::FindEdges(_) => None,
    };
    entity.map(slot_of_entity)
}

fn entity_of(operation: &Operation) -> Option<u64> {
    let stored = |node: &Option<NodeRef>| match node.as_ref()?.kind {
        Some(node_ref::Kind::Id(id)) => Some(id),
        Some(node_ref::Kind::Operation(_)) | None => None,
    };
    match operation.kind.as_ref()? {
        operation::Kind::CreateNode(_) => None,
        operation::Kind::UpdateNode(update) => Some(update.id),
        operation::Kind::DeleteNode(delete) => Some(delete.id),
        operation::Kind::CreateEdge(create) => stored(&create.source).or_else(|| stored(&create.target)),
        operation::Kind::UpdateEdge(update) => Some(update.id),
        operation::Kind::DeleteEdge(delete) => Some(delete.id),
    }
}

/// Addresses by the slots that they lead; bounded by the number of slots.
#[derive(Default)]
pub(crate) struct Routes(Mutex<BTreeMap<u16, Route>>);

struct Route {
    last: u16,
    address: String,
}

impl Routes {
    /// The address that leads a slot, as far as is known.
    pub(crate) fn of(&self, slot: u16) -> Option<String> {
        let routes = self.lock();
        let (_, route) = routes.range(..=slot).next_back()?;
        (slot <= route.last).then(|| route.address.clone())
    }

    /// Forgets an address that did not answer.
    pub(crate) fn forget(&self, address: &str) {
        self.lock().retain(|_, route| route.address != address);
    }

    fn learn(&self, headers: &HeaderMap) {
        let told = headers.get(ROUTE_KEY).and_then(|value| value.to_str().ok());
        if let Some((first, last, address)) = told.and_then(parse) {
            let address = address.to_owned();
            self.lock().insert(first, Route { last, address });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Route>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a member answers about the slots `first` to `last`.
pub fn route(first: u16, last: u16, address: &str) -> String {
    format!("{first}-{last} {address}")
}

fn parse(told: &str) -> Option<(u16, u16, &str)> {
    let (slots, address) = told.split_once(' ')?;
    let (first, last) = slots.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS && !address.is_empty()).then_some((first, last, address))
}

/// A connection on which a request says its slot, and from whose answers the ways are learnt.
#[derive(Clone)]
pub(crate) struct Routed {
    pub channel: CallChannel,
    pub slot: Option<u16>,
    pub routes: Arc<Routes>,
}

impl Service<http::Request<Body>> for Routed {
    type Response = http::Response<Body>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(slot) = self.slot {
            request.headers_mut().insert(SLOT_KEY, HeaderValue::from(slot));
        }
        let routes = Arc::clone(&self.routes);
        let answer = self.channel.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            routes.learn(answer.headers());
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn learnt(told: &[&str]) -> Routes {
        let routes = Routes::default();
        for told in told {
            let mut headers = HeaderMap::new();
            headers.insert(ROUTE_KEY, HeaderValue::from_str(told).unwrap());
            routes.learn(&headers);
        }
        routes
    }

    #[test]
    fn a_slot_is_led_by_whom_an_answer_named_last() {
        let routes = learnt(&[&route(0, 255, "a:1"), &route(512, 767, "b:1"), &route(0, 255, "c:1")]);
        let leaders: Vec<_> = [0, 255, 256, 600, 768].map(|slot| routes.of(slot)).into();
        let named = |address: &str| Some(address.to_owned());
        assert_eq!(leaders, [named("c:1"), named("c:1"), None, named("b:1"), None]);
    }

    #[test]
    fn a_slot_stays_open_for_its_time_and_every_other_comes_before_it_is_again() {
        let at = |turn: u32, lane| open_slot(Duration::from_secs(1_700_000_000) + turn * OPEN_FOR, lane);
        let nearly = Duration::from_secs(1_700_000_000) + OPEN_FOR - Duration::from_millis(1);
        assert_eq!(open_slot(nearly, 0), at(0, 0));
        for lane in [0, 1, 63] {
            let all: BTreeSet<u16> = (0..u32::from(SLOTS)).map(|turn| at(turn, lane)).collect();
            assert_eq!(all.len(), usize::from(SLOTS));
            assert_eq!(at(u32::from(SLOTS), lane), at(0, lane));
        }
        let side_by_side: BTreeSet<u16> = (0..64).map(|lane| at(7, lane)).collect();
        assert_eq!(side_by_side.len(), 64);
    }

    #[test]
    fn an_address_that_does_not_answer_is_forgotten() {
        let routes = learnt(&[&route(0, 255, "a:1"), &route(256, 511, "b:1")]);
        routes.forget("a:1");
        assert_eq!((routes.of(7), routes.of(300).as_deref()), (None, Some("b:1")));
    }

    #[test]
    fn what_is_no_route_is_not_learnt() {
        for wrong in ["", "0-1", "1-0 a:1", "0-4096 a:1", "x-1 a:1", "0-1 "] {
            assert!(learnt(&[wrong]).lock().is_empty(), "{wrong:?}");
        }
    }
}
