//! Many calls on one stream between a client and a server of ours, under the generated clients and services.
//!
//! A call of HTTP/2 is a stream with headers, trailers and a task at either end, which costs more than a small read does. Here
//! calls that come together travel in one frame. A client that cannot (the server is older, the stream is not up yet, the
//! request is large) makes an ordinary call. The only difference to those above: the head of an answer comes with its first
//! message, so what answers with a stream that may say nothing for long is to be asked for as [`ordinary`].

mod channel;
mod frames;
mod headers;
mod server;
mod session;

pub use channel::{CallChannel, CallError};
pub use server::{CallServer, Calls};

use crate::v1::CallPart;

/// Calls under way on one stream; a client that wants more makes ordinary ones.
const MAX_CALLS: usize = 1_024;
/// Parts of one answer that its caller has not taken.
const PARTS_AHEAD: usize = 4;
/// Larger requests are ordinary calls, so that small ones do not wait behind them.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// In the extensions of a request.
#[derive(Clone, Copy)]
struct Ordinary;

/// A request that is a call by itself.
pub fn ordinary<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(Ordinary);
    request
}

/// The part that begins, goes on or ends a call and says nothing yet.
fn part_of(call: u64) -> CallPart {
    CallPart {
        call,
        ..CallPart::default()
    }
}
