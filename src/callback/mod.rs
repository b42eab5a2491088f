//! The way back from the browser: a listener on loopback that a sign-in's authorization code arrives at.
//!
//! Owns: the short link that a person opens, the way to the service and back, the page shown in the end, PKCE. Refuses
//! to know: registrations, tokens, what becomes of the code. Invariants: nobody listens but on 127.0.0.1; the browser
//! that opened the short link first, and no one else, can bring an answer, and only one (A§7); the page does not say how
//! a sign-in ended before that is known; neither link nor code nor state is logged.

mod gate;
mod page;
mod pkce;
mod room;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::identity_center::Endpoint;
use crate::ids::SessionName;
use crate::secret::Secret;
use crate::untrusted::Untrusted;
use gate::Gate;
use room::Room;

/// The sign-in that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where sso-oidc is.
    pub oidc: Endpoint,
    /// The client, registered for the browser flow.
    pub client_id: String,
    /// The scopes it was registered with.
    pub scopes: Vec<String>,
    /// The port to listen on; any free one where none is named.
    pub port: Option<u16>,
    /// What the page calls the session.
    pub session: SessionName,
}

/// The listener is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Listening {
    /// The short link for the person: `http://127.0.0.1:PORT/` and 128 random bits. Who opens it first owns the sign-in.
    pub landing: String,
}

impl fmt::Debug for Listening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Listening { landing: *** }")
    }
}

/// What the browser brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// The user approved.
    Code(AuthorizationCode),
    /// The user, or the service, did not.
    Refused {
        /// `error`, such as `access_denied`.
        error: Untrusted,
        /// `error_description`; empty where there is none.
        description: Untrusted,
    },
}

/// What `CreateToken` wants for the authorization-code grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationCode {
    /// `code`.
    pub code: Secret,
    /// `codeVerifier`.
    pub verifier: Secret,
    /// `redirectUri`, with the port.
    pub redirect_uri: String,
}

/// How the sign-in ended, for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The tokens are there.
    SignedIn,
    /// They are not, in our own words: a sentence that begins small and ends without a period.
    Failed(String),
    /// Nobody waits for it any more: cancelled, expired, replaced.
    Closed,
}

/// Listens, and returns when the port is bound. Serves until the [`Callback`] has a verdict, and then a few seconds more
/// so that whoever asks again is told the same; or until it is dropped.
///
/// # Errors
/// The port that was named is taken, or the system will not let us listen or gives no randomness.
pub async fn listen(plan: Plan) -> Result<(Listening, Callback), ListenError> {
    listen_within(plan, Limits::default()).await
}

async fn listen_within(plan: Plan, limits: Limits) -> Result<(Listening, Callback), ListenError> {
    let listener = bind(plan.port, &limits).await?;
    let port = listener.local_addr().map_err(ListenError::Listen)?.port();
    let gate = Gate::new(&plan, port)?;
    let listening = Listening { landing: gate.landing() };
    let (bring, arrivals) = mpsc::channel(1);
    let (conclude, verdict) = oneshot::channel();
    tokio::spawn(Room::new(gate, plan.session, limits, bring).serve(listener, verdict));
    Ok((listening, Callback { arrivals, conclude }))
}

/// The engine's end of a listener. Dropping it ends the listener at once.
#[derive(Debug)]
pub struct Callback {
    arrivals: mpsc::Receiver<Arrival>,
    conclude: oneshot::Sender<Verdict>,
}

impl Callback {
    /// Waits for what the browser brings back. There is one arrival; asked again, this never returns. May be dropped
    /// and asked again without losing it.
    pub async fn arrival(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            None => std::future::pending().await,
        }
    }

    /// Says how the sign-in ended: who waits for it sees it now. The port is free again at once where nobody waited for
    /// the sign-in any more, and after a few seconds otherwise.
    pub fn conclude(self, verdict: Verdict) {
        // A listener that is gone has nobody to tell.
        drop(self.conclude.send(verdict));
    }
}

/// Why nobody listens.
#[derive(Debug)]
pub enum ListenError {
    /// The port that was named is another program's.
    PortTaken(u16),
    /// The system does not let us listen.
    Listen(io::Error),
    /// The system gives no randomness.
    Randomness,
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken(port) => {
                write!(formatter, "port {port} on 127.0.0.1, where the browser is to come back to, is taken")
            }
            Self::Listen(_) => formatter.write_str("cannot listen on 127.0.0.1 for the browser to come back"),
            Self::Randomness => formatter.write_str("the system gives no random numbers"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(error) => Some(error),
            Self::PortTaken(_) | Self::Randomness => None,
        }
    }
}

/// A port that was named may be that of the last sign-in, whose page is still there for a moment: waits that long.
async fn bind(port: Option<u16>, limits: &Limits) -> Result<TcpListener, ListenError> {
    let begun = Instant::now();
    let mut looks = interval(BETWEEN_LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match port {
                Some(port) if begun.elapsed() > limits.linger + BETWEEN_LOOKS => {
                    return Err(ListenError::PortTaken(port));
                }
                Some(_) => {}
                None => return Err(ListenError::Listen(error)),
            },
            Err(error) => return Err(ListenError::Listen(error)),
        }
    }
}

/// What visitors may take.
#[derive(Debug, Clone)]
struct Limits {
    /// Connections; another one takes the place of the oldest that has not asked anything yet.
    connections: usize,
    /// From the connection to the end of the header; and to take the answer.
    patience: Duration,
    /// Until who waits for the verdict gets a page that asks again.
    hold: Duration,
    /// After the verdict.
    linger: Duration,
    /// The header, without the cookies of other programs: those come along to every port of 127.0.0.1.
    header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            patience: Duration::from_secs(5),
            hold: Duration::from_secs(15),
            linger: Duration::from_secs(3),
            header_bytes: 4096,
        }
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
