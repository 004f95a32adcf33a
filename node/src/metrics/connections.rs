//! Connections of clients.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use super::{as_gauge, gauge};
use crate::server::Connections;

pub(super) fn register(registry: &mut Registry, clients: &Connections) {
    gauge(
        registry,
        "client_connections",
        "Connections of clients",
        as_gauge(clients.open()),
    );
    gauge(
        registry,
        "client_connections_max",
        "Connections of clients that are taken; more are refused",
        as_gauge(clients.max()),
    );
    registry.register(
        "client_connections_refused",
        "Connections of clients that were refused since the start",
        ConstCounter::new(clients.refused()),
    );
}
