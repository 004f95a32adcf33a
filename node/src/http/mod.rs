//! Probes and metrics, on a port of their own: `/livez`, `/readyz`, `/metrics`.
//!
//! `/livez` says the process runs its event loop; it never depends on a quorum, or a lost majority would restart
//! the members that are left. `/readyz` says this member serves clients, or which part is missing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the routes ask of the member.
pub trait Probes: Send + Sync + 'static {
    /// `Ok` when clients are served; else what is missing, in one line.
    fn ready(&self) -> Result<(), String>;
    /// What a ready member cannot do at present, in one line.
    fn restriction(&self) -> Option<String>;
    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
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
        Ok(()) => match probes.restriction() {
            // Still ready: taken out of service it would serve no reads either.
            Some(restriction) => format!("ok, but {restriction}\n").into_response(),
            None => "ok\n".into_response(),
        },
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

async fn metrics(State(probes): State<Arc<dyn Probes>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], probes.metrics()).into_response()
}
