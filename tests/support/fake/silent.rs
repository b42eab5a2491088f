//! A listener that records what it is sent and answers 500: the place where no secret may arrive.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::background::Background;

/// The listener; it ends when it is dropped.
pub struct SilentListener {
    address: SocketAddr,
    record: Arc<Record>,
    _thread: Background,
}

#[derive(Default)]
struct Record {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    bytes: Vec<u8>,
}

impl SilentListener {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let record = Arc::new(Record::default());
        let for_thread = Arc::clone(&record);
        let thread = Background::start("silent-listener", move || async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes the listener");
            while let Ok((connection, _)) = listener.accept().await {
                for_thread.change(|seen| seen.connections += 1);
                tokio::spawn(record_and_refuse(connection, Arc::clone(&for_thread)));
            }
        });
        Self { address, record, _thread: thread }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.record.lock().connections
    }

    /// Every byte received.
    pub fn received(&self) -> Vec<u8> {
        self.record.lock().bytes.clone()
    }

    /// The secrets among these that arrived here.
    pub fn secrets_received(&self, secrets: &[String]) -> Vec<String> {
        super::found_in(&self.received(), secrets)
    }

    /// Waits until so many bytes have arrived; false if the deadline came first.
    pub fn wait_for_bytes(&self, count: usize, deadline: Duration) -> bool {
        let record = &self.record;
        let waited = record.changed.wait_timeout_while(record.lock(), deadline, |seen| seen.bytes.len() < count);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// Answers as soon as a head is complete and goes on reading, so that a body is recorded too.
async fn record_and_refuse(mut connection: TcpStream, record: Arc<Record>) -> io::Result<()> {
    let mut received = Vec::new();
    let mut answered = false;
    loop {
        let before = received.len();
        if connection.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        record.change(|seen| seen.bytes.extend_from_slice(&received[before..]));
        if !answered && received.windows(4).any(|window| window == b"\r\n\r\n") {
            answered = true;
            connection.write_all(b"HTTP/1.1 500 Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
            connection.shutdown().await?;
        }
    }
}
