//! Anything at all as the answer to a request.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

use super::deadline::Deadline;
use super::error::Failure;
use super::wire::exchange;
use crate::api::Request;
use crate::fuzzing::is_one_line;

/// What the other side says: the answer is taken whole and as long as it was announced, or there is an error of one
/// line.
pub fn answer(bytes: &[u8]) {
    // Written before anybody reads, so it has to fit into the socket's buffer.
    let bytes = &bytes[..bytes.len().min(64 * 1024)];
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return };
    ours.set_nonblocking(true).expect("a socket can be non-blocking");
    theirs.write_all(bytes).expect("the buffer is larger");
    theirs.shutdown(Shutdown::Write).expect("it is connected");
    let version = OnceLock::new();
    let deadline = Deadline::after(Duration::from_secs(30));
    match exchange(&ours, &Request::Health.encode(), &deadline, None, &version) {
        Ok(reply) => {
            assert!((200..300).contains(&reply.status), "{}", reply.status);
            let body = reply.body.expose();
            let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("there is a header");
            assert!(bytes[head + 4..].starts_with(body), "the body is what follows the header");
            assert!(reply.agent_version.as_deref().is_none_or(is_one_line));
        }
        Err(Failure::Missing(error)) => panic!("there was somebody: {error}"),
        Err(Failure::Final(error) | Failure::Again(error)) => {
            assert!(is_one_line(&error.to_string()), "{error}");
            assert!(version.get().is_none_or(|version| is_one_line(version)));
            assert!(!matches!(error, super::ClientError::TimedOut { .. }), "it waits for nobody who has hung up");
        }
    }
}
