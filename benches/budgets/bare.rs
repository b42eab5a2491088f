//! The reference for the agent: as little as hyper allows, on the same socket type and runtime, with the same answer.

use std::path::Path;
use std::process::Child;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use super::process::{again, first_line, runtime};
use super::scene::Scene;

/// A process that serves it, ended when dropped.
pub(crate) struct Bare {
    pub(crate) socket: String,
    process: Child,
}

impl Bare {
    /// Returns when it listens.
    pub(crate) fn start(scene: &Scene<'_>) -> Self {
        let socket = scene.path("bare.sock");
        let body = scene.path("document");
        std::fs::write(&body, scene.document()).expect("the sandbox can be written");
        let mut process = again(&["serve-bare", &socket, &body]);
        first_line(&mut process);
        Self { socket, process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves for ever.
pub(crate) fn serve(socket: &Path, body: &Path) {
    let body = Bytes::from(std::fs::read(body).expect("the document is there"));
    runtime().block_on(async {
        let listener = UnixListener::bind(socket).expect("the socket can be bound");
        println!("ready");
        loop {
            let (stream, _) = listener.accept().await.expect("connections can be accepted");
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(|_| {
                    let mut answer = hyper::Response::new(Full::new(body.clone()));
                    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    std::future::ready(Ok::<_, std::convert::Infallible>(answer))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}
