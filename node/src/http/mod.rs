//! Probes and metrics, on a port of their own: `/livez`, `/readyz`, `/metrics`.
//!
//! `/livez` says the process runs its event loop; it never depends on a quorum, or a lost majority would restart
//! the members that are left. `/readyz` says this member serves clients, or which part is missing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the routes ask of the member.
pub trait Probes: Send + Sync + 'static {
    /// `Ok` when clients are served; else what is missing, in one line.
    fn ready(&self) -> Result<(), String>;
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
pub async fn serve(listener: TcpListener, probes: Arc<dyn Probes>, cancel: CancellationToken) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes);
    axum::serve(listener, routes)
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
}

async fn ready(State(probes): State<Arc<dyn Probes>>) -> Response {
    match probes.ready() {
        Ok(()) => "ok\n".into_response(),
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
