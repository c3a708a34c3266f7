//! Accepts connections until the simulator stops.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::TaskTracker;

use super::connection::{self, Hub};

/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections, a task each on `tasks`.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = hub.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                tasks.spawn(connection::run(Arc::clone(&hub), tcp));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
