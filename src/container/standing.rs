//! The standing endpoints of the agent: which of them there are, and where their credentials come from.
//!
//! Owns: following the settings, what could not be opened, and the account of what is handed out. Refuses to know who is
//! signed in: it asks the engine, as every door does. Invariants: what did not change in the settings is not interrupted
//! by what did; an address that cannot be had is a warning and costs nobody else anything; what is handed out is in the
//! audit log first; a target with rules about who may have it is not handed out here, where nobody can tell who asks.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::desk::{Source, Tokens};
use super::door;
use super::imds::{Metadata, Role};
use super::ledger::{Entry, Ledger};
use super::token::Mark;
use crate::api::{Code, CredentialDocument, Problem, Request, Response, TargetQuery, WarningEntry};
use crate::audit::{Asker, Audit, Refusal};
use crate::aws_config::Place;
use crate::clock::Clock;
use crate::doors::{Doors, Imds};
use crate::engine::Handle;
use crate::ids::DoorName;

/// The settings that say which there are, as they change, and the tokens.
pub struct Endpoints {
    doors: watch::Receiver<Arc<Doors>>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
}

impl Endpoints {
    /// Those that these doors name, with the tokens of this state directory. None is open yet.
    #[must_use]
    pub fn new(doors: watch::Receiver<Arc<Doors>>, state_dir: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { doors, ledger: Arc::new(Ledger::new(state_dir)), clock }
    }

    /// Whether there are to be any: nobody starts an agent for who connects to one.
    pub fn any(&self) -> impl Fn() -> bool + use<> {
        let doors = self.doors.clone();
        move || !wanted(&doors.borrow()).is_empty()
    }

    /// Keeps them open until `shutdown` completes, and answers with what the engine has.
    pub async fn keep(self, handle: Handle, audit: Arc<Audit>, shutdown: impl Future<Output = ()>) {
        let Self { doors, ledger, clock } = self;
        keep(House { handle, audit, ledger, doors, clock }, shutdown).await;
    }
}

/// What all of them need.
#[derive(Clone)]
struct House {
    handle: Handle,
    audit: Arc<Audit>,
    ledger: Arc<Ledger>,
    doors: watch::Receiver<Arc<Doors>>,
    clock: Arc<dyn Clock>,
}

/// What is to be at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Container,
    Instance(Imds),
}

/// An endpoint that is open until this is dropped.
struct Open {
    kind: Kind,
    _open: oneshot::Sender<()>,
}

async fn keep(house: House, shutdown: impl Future<Output = ()>) {
    let mut doors = house.doors.clone();
    let mut shutdown = pin!(shutdown);
    let mut endpoints: BTreeMap<SocketAddr, Open> = BTreeMap::new();
    let mut opened = Vec::new();
    let mut serving = JoinSet::new();
    let mut troubles: BTreeMap<SocketAddr, String> = BTreeMap::new();
    loop {
        let wanted = wanted(&doors.borrow_and_update());
        // Their addresses are free when they have ended: this is looked at again then.
        endpoints.retain(|address, open| wanted.get(address).is_some_and(|(kind, _)| *kind == open.kind));
        troubles.retain(|address, _| wanted.contains_key(address));
        for (address, (kind, _)) in wanted.iter().filter(|(address, _)| !endpoints.contains_key(*address)) {
            match bind(*address) {
                Ok(listener) => {
                    tracing::info!(%address, ?kind, "opened an endpoint for containers");
                    troubles.remove(address);
                    let (open, closed) = oneshot::channel();
                    serving.spawn(serve(house.clone(), kind.clone(), listener, *address, closed));
                    opened.push((*address, Open { kind: kind.clone(), _open: open }));
                }
                Err(error) => {
                    let message = format!("the endpoint for containers at {address} cannot be opened: {error}");
                    if troubles.insert(*address, message).is_none() {
                        tracing::warn!(%address, %error, "an endpoint for containers cannot be opened");
                    }
                }
            }
        }
        endpoints.extend(opened.drain(..));
        house.handle.remark(remarks(&troubles, &wanted));
        let again = Instant::now() + RETRY;
        tokio::select! {
            () = &mut shutdown => break,
            changed = doors.changed() => if changed.is_err() { break },
            () = sleep_until(again), if !troubles.is_empty() => {}
            Some(_) = serving.join_next() => {}
        }
    }
    endpoints.clear();
    while serving.join_next().await.is_some() {}
}

/// What is to be where, and where that is written.
fn wanted(doors: &Doors) -> BTreeMap<SocketAddr, (Kind, Option<Place>)> {
    let container = |address: &SocketAddr| (*address, (Kind::Container, doors.container_place.clone()));
    let instance = |imds: &Imds| (imds.address, (Kind::Instance(imds.clone()), Some(imds.place.clone())));
    doors.imds.iter().map(instance).chain(doors.container.iter().map(container)).collect()
}

fn remarks(
    troubles: &BTreeMap<SocketAddr, String>,
    wanted: &BTreeMap<SocketAddr, (Kind, Option<Place>)>,
) -> Vec<WarningEntry> {
    let remark = |(address, message): (&SocketAddr, &String)| {
        let (_, place) = wanted.get(address)?;
        let place = place.as_ref()?;
        Some(WarningEntry { file: place.file.display().to_string(), line: place.line, message: message.clone() })
    };
    troubles.iter().filter_map(remark).collect()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections that are over do not keep a restarted agent from its address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(house: House, kind: Kind, listener: TcpListener, here: SocketAddr, closed: oneshot::Receiver<()>) {
    let closed = async { drop(closed.await) };
    let clock = Arc::clone(&house.clock);
    match kind {
        Kind::Container => door::serve(listener, here, Arc::new(Tokens::new(house, clock)), closed).await,
        Kind::Instance(imds) => {
            let role = OneRole { house, imds };
            door::serve(listener, here, Arc::new(Metadata::new(role, clock)), closed).await;
        }
    }
}

impl House {
    /// The credentials for this target, once it is written down that they are handed out through this door.
    async fn hand_out(&self, target: TargetQuery, via: &str) -> Result<Arc<CredentialDocument>, Problem> {
        let request = Request::Credentials { target, min_validity: None, timeout: Some(PATIENCE) };
        let response = self.handle.ask(request).await?;
        let target = match &response {
            Response::Credentials(_, target) => target,
            Response::EncodedCredentials(encoded) => encoded.target(),
            _ => return Err(Problem::new(Code::Internal, "the agent has answered something else")),
        };
        // A token's own name may be as long as a whole one.
        let via = via.parse::<DoorName>().or_else(|_| "container".parse()).ok();
        let asker = Asker::unknown().via(via);
        let rules = self.doors.borrow().policies.get(target).cloned();
        if let Some(policy) = rules.filter(|policy| policy.confirm || policy.allow.is_some()) {
            let setting = if policy.allow.is_some() { "allow" } else { "confirm" };
            self.audit
                .note_refusal(Refusal { what: "credentials", target: Some(target), asked: None, setting }, &asker);
            let detail = format!("the settings say who may have {}, and nobody can tell who asks here", policy.name);
            return Err(Problem::new(Code::NotAllowed, detail).hint("take it through the agent's own socket"));
        }
        // Since it was asked for.
        if self.handle.is_locked() {
            return Err(Problem::new(Code::Locked, "the agent is locked").hint("run: sso-agent unlock"));
        }
        if let Some(hand_out) = response.hand_out() {
            self.audit.note(hand_out, &asker).map_err(|error| Problem::new(Code::Storage, error.to_string()))?;
        }
        response.into_document().map(Arc::new)
    }
}

impl Source for House {
    type Pass = Entry;

    fn admit(&self, shown: &Mark) -> Option<Entry> {
        self.ledger.admit(shown, self.clock.now().wall)
    }

    async fn credentials(&self, entry: &Entry) -> Result<Arc<CredentialDocument>, Problem> {
        self.hand_out(entry.target.clone().into(), &format!("container.{}", entry.name)).await
    }
}

struct OneRole {
    house: House,
    imds: Imds,
}

impl Role for OneRole {
    fn name(&self) -> &str {
        self.imds.target.grant.role().as_str()
    }

    async fn credentials(&self) -> Result<Arc<CredentialDocument>, Problem> {
        self.house.hand_out(self.imds.query.clone(), "imds").await
    }
}

/// Less than a client waits that waits at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts at an address that somebody else has, or that is not there yet.
const RETRY: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 64;
