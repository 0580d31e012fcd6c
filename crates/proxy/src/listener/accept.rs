//! The accept loop of one socket on one worker.

use super::connection;
use crate::worker::Worker;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Accepts connections for the listener of that name until the task is ended.
pub async fn accept(worker: Rc<Worker>, name: Arc<str>, socket: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = %name, %error, "cannot accept");
            return;
        }
    };
    let port = listener.local_addr().map_or(0, |address| address.port());
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                let table = worker.store.listeners();
                let Some(active) = table.by_name.get(&name).cloned() else { return };
                drop(table);
                tokio::task::spawn_local(connection::serve(worker.clone(), active, tcp, peer, port));
            }
            Err(error) => {
                // Out of descriptors, mostly: give connections a moment to end rather than spin.
                tracing::warn!(listener = %name, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
