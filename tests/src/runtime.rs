//! One async runtime for the harness' own servers and requests, which plain tests and async ones can use alike.

use std::future::Future;
use std::sync::{LazyLock, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // The error says that another test did it first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

pub(crate) fn handle() -> &'static Handle {
    RUNTIME.handle()
}

/// Runs it to its end on the harness' runtime, while this thread waits: of whichever runtime it may be.
pub fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (send, receive) = mpsc::sync_channel(1);
    // If this thread is gone, nobody wants the answer.
    RUNTIME.spawn(async move { drop(send.send(work.await)) });
    receive.recv().expect("the work does not panic; its message stands above")
}
