//! SIGTERM and SIGINT as one token: cancelled when either comes, and remembering which.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    interrupted: Arc<AtomicBool>,
}

impl Shutdown {
    /// Listens from now on; must be called inside the runtime.
    pub fn listen() -> Result<Shutdown> {
        let install = |kind| signal(kind).map_err(|source| Error::io("listen for", "signals", source));
        let (mut term, mut int) = (install(SignalKind::terminate())?, install(SignalKind::interrupt())?);
        let shutdown = Shutdown::default();
        let heard = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => heard.interrupted.store(true, Ordering::SeqCst),
            }
            heard.token.cancel();
        });
        Ok(shutdown)
    }

    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}
