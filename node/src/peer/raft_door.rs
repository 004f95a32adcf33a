//! Raft's lanes end here from the start of the process; until it has an identity there is nobody behind the door.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use kotoba_proto::v1::raft_service_server::RaftServiceServer;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use crate::raft::RaftEndpoint;

type Inner = RaftServiceServer<RaftEndpoint>;
type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// The Raft service, which opens when this process has become a member.
#[derive(Clone, Default)]
pub struct RaftDoor {
    inner: Arc<OnceLock<Inner>>,
}

impl RaftDoor {
    /// Opens the door; it is never closed again.
    pub fn open(&self, service: Inner) {
        let _ = self.inner.set(service);
    }
}

impl NamedService for RaftDoor {
    const NAME: &'static str = <Inner as NamedService>::NAME;
}

impl Service<Request> for RaftDoor {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.inner.get() {
            Some(service) => {
                let mut service = service.clone();
                Box::pin(async move { service.call(request).await })
            }
            None => Box::pin(async {
                let status = tonic::Status::unavailable("this process belongs to no cluster yet");
                Ok(status.into_http())
            }),
        }
    }
}
