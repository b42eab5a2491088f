//! A stand-in for STS on loopback: says to everybody that they are one and the same, and notes who signed.
//!
//! It checks no signature; which key was used is what the tests want to know.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The running stand-in.
pub(crate) struct StsStub {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What signed a request.
#[derive(Debug, Clone)]
pub(crate) struct SignedCall {
    /// From `Authorization`.
    pub(crate) access_key_id: String,
    /// From `X-Amz-Security-Token`.
    pub(crate) session_token: String,
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<SignedCall>>,
    over: AtomicBool,
}

impl StsStub {
    /// What it answers to everybody.
    pub(crate) const ARN: &'static str = "arn:aws:sts::111122223333:assumed-role/ReadOnly/user";

    /// Starts it; it accepts connections when this returns.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.over.load(Ordering::SeqCst) {
                    break;
                }
                // A client that hangs up misses its answer; what it signed counts if it came.
                if let Ok(Some(call)) = stream.and_then(answer) {
                    of_thread.calls.lock().unwrap().push(call);
                }
            }
        });
        Self { address, url: format!("http://{address}"), shared, thread: Some(thread) }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many signed requests have come.
    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.lock().unwrap().len()
    }

    /// The last signed request.
    pub(crate) fn last_call(&self) -> SignedCall {
        self.shared.calls.lock().unwrap().last().expect("a signed request has come").clone()
    }
}

impl Drop for StsStub {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream) -> io::Result<Option<SignedCall>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut access_key_id, mut session_token, mut length) = (None, None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => access_key_id = credential(value),
            "x-amz-security-token" => session_token = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let arn = StsStub::ARN;
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{arn}</Arn><UserId>AROAEXAMPLE:user</UserId><Account>111122223333</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(access_key_id
        .zip(session_token)
        .map(|(access_key_id, session_token)| SignedCall { access_key_id, session_token }))
}

/// The access key id of `AWS4-HMAC-SHA256 Credential=KEY/20250101/…`.
fn credential(authorization: &str) -> Option<String> {
    let scope = authorization.split_once("Credential=")?.1;
    Some(scope.split('/').next()?.to_owned())
}
