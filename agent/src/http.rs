//! `/metrics`, `/healthz`, `/readyz`: read only, no body taken.

use crate::error::{Error, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the probes ask.
pub trait Health: Send + Sync + 'static {
    /// Whether every loop still turns; else what stands still.
    fn alive(&self) -> Result<(), String>;
    /// Whether the store was read; else why not.
    fn ready(&self) -> Result<(), String>;
}

#[derive(Clone)]
struct Shared {
    metrics: PrometheusHandle,
    health: Arc<dyn Health>,
}

/// Takes the port at once, so that one that is in use stops the agent with a clear word.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|source| {
        Error::io("listen on", listen, source)
            .hint("something else uses that port; change http.listen or LIFEBOAT_HTTP_LISTEN")
    })
}

/// Serves until the token is cancelled.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    health: Arc<dyn Health>,
    until: CancellationToken,
) -> Result<()> {
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shared { metrics, health });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { until.cancelled().await })
        .await
        .map_err(|source| Error::io("serve", "http", source))
}

async fn render(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.render()).into_response()
}

async fn healthz(State(shared): State<Shared>) -> Response {
    answer(shared.health.alive())
}

async fn readyz(State(shared): State<Shared>) -> Response {
    answer(shared.health.ready())
}

fn answer(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
