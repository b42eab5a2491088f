//! A thread with an async runtime of its own, which ends when its handle is dropped.
//!
//! So the fake serves blocking and async tests alike, and never shares a paused clock with them.

use std::future::Future;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// The running thread. Dropping it drops everything that runs on it.
#[derive(Debug)]
pub struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Runs `work` on a new thread until it ends or the handle is dropped.
    pub fn start<F>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                tokio::select! {
                    () = work() => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = Builder::new().name(name.to_owned()).spawn(body).expect("a thread can be started");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The work may have ended by itself, and then nobody listens.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic on the thread has been printed there already.
            let _ = thread.join();
        }
    }
}
