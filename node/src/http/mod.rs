//! Probes and metrics, on a port of their own: `/livez`, `/readyz`, `/metrics`.
//!
//! `/livez` says the process runs its event loop; it never depends on a quorum, or a lost majority would restart
//! the members that are left. `/readyz` says this member serves clients, or which part is missing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{Stream, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::Connection;

/// A probe sends its few lines at once; also between two requests of one connection nobody is waited for longer.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a request's first line and headers, and with it of everything that is read before an answer: no route reads a body,
/// and a connection whose request has one is closed with the answer.
const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// A scraper that reads its answer by the byte is let go, too; others connect again.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(10 * 60);

/// What the routes ask of the member.
pub trait Probes: Send + Sync + 'static {
    /// `Ok` when clients are served; else what is missing, in one line.
    fn ready(&self) -> Result<(), String>;
    /// What a ready member cannot do at present, in one line.
    fn restriction(&self) -> Option<String>;
    /// The metrics. May read files, and so block for a moment.
    fn metrics(&self, format: MetricsFormat) -> String;
}

/// How metrics are written: as OpenMetrics where the scraper asks for that, as Prometheus does, else in the older text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    OpenMetrics,
    Text,
}

impl MetricsFormat {
    fn asked_by(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).into_iter();
        let mut accepted = accepted.filter_map(|value| value.to_str().ok());
        match accepted.any(|types| types.contains("application/openmetrics-text")) {
            true => MetricsFormat::OpenMetrics,
            false => MetricsFormat::Text,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            MetricsFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Serves until cancelled.
pub async fn serve(
    connections: impl Stream<Item = io::Result<Connection>>,
    probes: Arc<dyn Probes>,
    cancel: CancellationToken,
) {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes);
    let tasks = TaskTracker::new();
    let mut connections = std::pin::pin!(connections);
    while let Some(Some(Ok(connection))) = cancel.run_until_cancelled(connections.next()).await {
        tasks.spawn(serve_connection(connection, routes.clone(), cancel.clone()));
    }
    tasks.close();
    tasks.wait().await;
}

/// Ends with the connection, at the latest at its age; what goes wrong on one is its client's affair.
async fn serve_connection(connection: Connection, routes: Router, cancel: CancellationToken) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        _ = served.as_mut() => {}
        () = tokio::time::sleep(MAX_CONNECTION_AGE) => {}
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

async fn ready(State(probes): State<Arc<dyn Probes>>) -> Response {
    match probes.ready() {
        Ok(()) => match probes.restriction() {
            // Still ready: taken out of service it would serve no reads either.
            Some(restriction) => format!("ok, but {restriction}\n").into_response(),
            None => "ok\n".into_response(),
        },
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

async fn metrics(State(probes): State<Arc<dyn Probes>>, headers: HeaderMap) -> Response {
    let format = MetricsFormat::asked_by(&headers);
    match tokio::task::spawn_blocking(move || probes.metrics(format)).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{panic}\n")).into_response(),
    }
}
