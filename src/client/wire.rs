//! One HTTP/1.1 request and its answer on a connection of its own.
//!
//! Reads what our server writes: `Content-Length` always, no transfer encodings. Everything is bounded, and a length
//! the other side names is a limit to check, not a promise.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use rustix::event::PollFlags;
use zeroize::zeroize_bytes;

use super::Reply;
use super::deadline::Deadline;
use super::error::{ClientError, Failure};
use crate::api::{Code, Problem, RawRequest};
use crate::secret::SecretBytes;

/// Sends the request and reads the whole answer; does `prepare` when there is one and before it is read. A problem is an
/// error, and the version of whoever has it goes to `version`.
pub(super) fn exchange(
    stream: &UnixStream,
    raw: &RawRequest,
    deadline: &Deadline,
    prepare: Option<fn()>,
    version: &OnceLock<String>,
) -> Result<Reply, Failure> {
    let sent = send(stream, bytes_of(raw).expose(), deadline);
    // The agent may have answered and hung up before it read everything; its answer says more than a broken pipe.
    if let Err(failure @ Failure::Final(_)) = sent {
        return Err(failure);
    }
    if let Some(prepare) = prepare {
        deadline.wait(stream, PollFlags::IN)?;
        prepare();
    }
    let answer = Received::head(stream, deadline).map_err(|failure| sent.err().unwrap_or(failure))?;
    let mut reply = answer.body(stream, deadline)?;
    if (200..300).contains(&reply.status) {
        return Ok(reply);
    }
    if let Some(theirs) = reply.agent_version.take() {
        // The first one is as good as the next.
        let _ = version.set(theirs);
    }
    let problem: Problem = serde_json::from_slice(reply.body.expose())
        .map_err(|_| ClientError::BadAnswer("it answered with an error that is no problem document"))?;
    let leaving = problem.code == Code::ShuttingDown;
    let error = ClientError::Problem(Box::new(problem));
    Err(if leaving { Failure::Again(error) } else { Failure::Final(error) })
}

fn bytes_of(raw: &RawRequest) -> SecretBytes {
    let body = raw.body.expose();
    // With room for the body, so that it moves no more once that is in it.
    let mut head = String::with_capacity(160 + raw.path_and_query.len() + body.len());
    let target = &raw.path_and_query;
    // Writing into a String cannot fail.
    let _ = write!(head, "{} {target} HTTP/1.1\r\nHost: sso-agent\r\nConnection: close\r\n", raw.method);
    if raw.method != crate::api::Method::Get {
        let _ = write!(head, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    SecretBytes::new(bytes)
}

fn send(mut stream: &UnixStream, mut bytes: &[u8], deadline: &Deadline) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(cut("write to", ErrorKind::WriteZero.into())),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => deadline.wait(stream, PollFlags::OUT)?,
                ErrorKind::Interrupted => {}
                _ => return Err(cut("write to", error)),
            },
        }
    }
    Ok(())
}

/// The connection broke: the agent may be back in a moment.
fn cut(doing: &'static str, source: std::io::Error) -> Failure {
    Failure::Again(ClientError::Io { doing, source })
}

/// Reads some bytes; zero only at the end of the stream.
fn read(mut stream: &UnixStream, into: &mut [u8], deadline: &Deadline) -> Result<usize, Failure> {
    loop {
        match stream.read(into) {
            Ok(count) => return Ok(count),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => deadline.wait(stream, PollFlags::IN)?,
                ErrorKind::Interrupted => {}
                _ => return Err(cut("read from", error)),
            },
        }
    }
}

/// What has been read so far; wiped when dropped, because the start of the body is often among it.
struct Received {
    buffer: Box<[u8]>,
    filled: usize,
    head: Head,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    /// Where the body begins.
    length: usize,
    status: u16,
    body_length: usize,
    agent_version: Option<String>,
}

impl Drop for Received {
    fn drop(&mut self) {
        zeroize_bytes(&mut self.buffer[..self.filled]);
    }
}

impl Received {
    fn head(stream: &UnixStream, deadline: &Deadline) -> Result<Self, Failure> {
        let mut received =
            Self { buffer: vec![0; MOST_HEAD_BYTES].into_boxed_slice(), filled: 0, head: Head::default() };
        loop {
            let count = read(stream, &mut received.buffer[received.filled..], deadline)?;
            if count == 0 {
                let early = std::io::Error::from(ErrorKind::UnexpectedEof);
                return Err(cut("read from", early));
            }
            // The end of the head may have been cut in two by the reads.
            let from = received.filled.saturating_sub(END_OF_HEAD.len() - 1);
            received.filled += count;
            let fresh = &received.buffer[from..received.filled];
            if let Some(at) = fresh.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD) {
                let length = from + at + END_OF_HEAD.len();
                received.head = Head::parse(&received.buffer[..length]).map_err(ClientError::BadAnswer)?;
                return Ok(received);
            }
            if received.filled == received.buffer.len() {
                return Err(ClientError::BadAnswer("its answer does not begin like one").into());
            }
        }
    }

    fn body(mut self, stream: &UnixStream, deadline: &Deadline) -> Result<Reply, Failure> {
        let early = &self.buffer[self.head.length..self.filled];
        // Allocated once, so that no outgrown copy of a secret is left behind.
        let mut body = Vec::with_capacity(self.head.body_length);
        body.extend_from_slice(&early[..early.len().min(self.head.body_length)]);
        let mut filled = body.len();
        body.resize(self.head.body_length, 0);
        let mut body = Wiped(body);
        while filled < body.0.len() {
            match read(stream, &mut body.0[filled..], deadline)? {
                0 => return Err(cut("read from", ErrorKind::UnexpectedEof.into())),
                count => filled += count,
            }
        }
        let agent_version = self.head.agent_version.take();
        Ok(Reply { status: self.head.status, agent_version, body: SecretBytes::new(std::mem::take(&mut body.0)) })
    }
}

/// A body on its way in: wiped if the rest does not come.
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        crate::secret::wipe(std::mem::take(&mut self.0));
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its header is not text")?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3))
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .ok_or("its answer is not HTTP/1.1")?;
        let mut head = Self { length: bytes.len(), status, ..Self::default() };
        let mut body_length = None;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("a line of its header has no colon")?;
            let value = value.trim_matches([' ', '\t']);
            if name.eq_ignore_ascii_case("content-length") {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let length = value.parse().ok().filter(|length| digits && *length <= MOST_BODY_BYTES);
                if body_length.replace(length.ok_or("it announces a body of an impossible length")?).is_some() {
                    return Err("it announces two lengths");
                }
            } else if name.eq_ignore_ascii_case("sso-agent-version") {
                head.agent_version = Some(crate::untrusted::shown(value).to_string());
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err("it uses a transfer encoding");
            }
        }
        head.body_length = match body_length {
            Some(length) => length,
            None if status == 204 => 0,
            None => return Err("it does not say how long its answer is"),
        };
        Ok(head)
    }
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const MOST_HEAD_BYTES: usize = 16 * 1024;
const MOST_BODY_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_an_answer_is_read() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nSso-Agent-Version: 1.2\r\nx: y\r\n\r\n";
        let head = Head::parse(bytes).unwrap();
        let agent_version = Some("1.2".to_owned());
        assert_eq!(head, Head { length: bytes.len(), status: 200, body_length: 12, agent_version });
        assert_eq!(Head::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().body_length, 0);
    }

    #[test]
    fn a_header_that_our_server_would_not_write_is_refused() {
        for wrong in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 +20 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 8388609\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        ] {
            assert!(Head::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
