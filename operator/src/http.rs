//! Probes and metrics of the operator itself.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {address}: is another process there?")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("serve probes and metrics")]
    Serve(#[source] std::io::Error),
}

/// Opens the port, so that a wrong address is found before anything else starts.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen { address, source })
}

/// Serves until `stop` is done.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let served = axum::serve(listener, router(metrics)).with_graceful_shutdown(stop);
    served.await.map_err(Error::Serve)
}

/// A replica that waits for the lease is ready as well: it is ready to take over.
fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(async || "ok"))
        .route("/metrics", get(show_metrics))
        .with_state(metrics)
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
