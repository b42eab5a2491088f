//! A tunnel through a proxy: `CONNECT`, and nothing of the request.
//!
//! Owns: what is said to a proxy and what its answers mean. Refuses to know what travels through the tunnel afterwards,
//! which is TLS. Invariants: the proxy learns the service's host and port, and its own user name and password; whatever it
//! answers but a success is a failure of which nothing was sent.

use std::io;
use std::pin::Pin;

use hyper::rt::{Read, ReadBuf, Write};
use zeroize::Zeroizing;

use super::proxy::{Proxy, ProxyFailure, Trouble};

/// Asks the proxy behind `stream` for a connection to `host` (an IPv6 address in brackets).
pub(super) async fn open<T>(mut stream: T, proxy: &Proxy, host: &str, port: u16) -> Result<T, ProxyFailure>
where
    T: Read + Write + Unpin,
{
    let lost = |error: io::Error| proxy.failed(Trouble::NoProxy(error.to_string()));
    let request = request(proxy, host, port);
    write_all(&mut stream, request.as_bytes()).await.map_err(lost)?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to whoever speaks through the tunnel.
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == LONGEST_HEAD || head.len() >= BEGINNING.len() && !head.starts_with(BEGINNING) {
            return Err(proxy.failed(Trouble::NoProxy("what it says is not HTTP".to_owned())));
        }
        match read_one(&mut stream).await.map_err(lost)? {
            Some(byte) => head.push(byte),
            None => return Err(proxy.failed(Trouble::NoProxy("it hung up".to_owned()))),
        }
    }
    match status(&head) {
        Some(200..300) => Ok(stream),
        Some(407) if proxy.authorization.is_some() => Err(proxy.failed(Trouble::RefusesPassword)),
        Some(407) => Err(proxy.failed(Trouble::WantsPassword)),
        Some(status) => Err(proxy.failed(Trouble::Refused { status, host: host.to_owned() })),
        None => Err(proxy.failed(Trouble::NoProxy("what it says is not HTTP".to_owned()))),
    }
}

fn request(proxy: &Proxy, host: &str, port: u16) -> Zeroizing<String> {
    let authorization = proxy.authorization.as_ref().map_or("", |secret| secret.expose());
    let name = if authorization.is_empty() { "" } else { "Proxy-Authorization: " };
    let end = if authorization.is_empty() { "" } else { "\r\n" };
    // In one piece of the right size: a buffer that grows leaves copies behind.
    let mut request = Zeroizing::new(String::with_capacity(2 * host.len() + authorization.len() + 128));
    request.push_str(&format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"));
    for part in [name, authorization, end, "\r\n"] {
        request.push_str(part);
    }
    request
}

/// `HTTP/1.x NNN …`
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(BEGINNING)?;
    let digits = line.get(2..5).filter(|_| line.get(1) == Some(&b' '))?;
    let ends = line.get(5).is_some_and(|byte| b" \r\n".contains(byte));
    (ends && digits.iter().all(u8::is_ascii_digit))
        .then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

async fn write_all(stream: &mut (impl Write + Unpin), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_flush(context)).await
}

async fn read_one(stream: &mut (impl Read + Unpin)) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_read(context, buffer.unfilled())).await?;
    Ok(buffer.filled().first().copied())
}

const BEGINNING: &[u8] = b"HTTP/1.";
const LONGEST_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits_of_http_1() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for wrong in ["", "HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 2000 x\r\n", "HTTP/2 200\r\n", "HTTP/1.1  200 \r\n"] {
            assert_eq!(status(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
