//! A CONNECT proxy on loopback, which can lead any host name to an address and misbehave in every way.
//!
//! It knows nothing of the agent and nothing of what travels through its tunnels.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::fake::Background;

/// What it does with a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Connects to where the name leads, and answers 502 for a name that leads nowhere.
    Tunnel,
    /// Answers this status.
    Refuse(u16),
    /// Says nothing until the client gives up.
    Hang,
    /// Says something that is not HTTP.
    Garbage,
    /// Closes the connection.
    HangUp,
    /// Makes the tunnel and cuts it when the client has sent so many bytes through it.
    CutAfter(usize),
}

/// The running proxy; gone, and its port closed, when dropped.
pub struct Proxy {
    address: SocketAddr,
    known: Arc<Mutex<Known>>,
    _thread: Background,
}

struct Known {
    manner: Manner,
    password: Option<String>,
    leads: BTreeMap<String, SocketAddr>,
    heads: Vec<String>,
}

impl Proxy {
    /// A proxy that anybody may use.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// A proxy that asks for this `user:password`.
    pub fn with_password(password: &str) -> Self {
        Self::with(Some(password.to_owned()))
    }

    fn with(password: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let known = Known { manner: Manner::Tunnel, password, leads: BTreeMap::new(), heads: Vec::new() };
        let known = Arc::new(Mutex::new(known));
        let for_thread = Arc::clone(&known);
        let thread = Background::start("proxy", move || async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes the listener");
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&for_thread)));
            }
        });
        Self { address, known, _thread: thread }
    }

    /// Its URL, with this before the host: nothing, or `user:password@`.
    pub fn url(&self, userinfo: &str) -> String {
        format!("http://{userinfo}{}", self.address)
    }

    /// Leads a name to an address.
    pub fn leads(&self, hosts: &[&str], to: SocketAddr) {
        self.lock().leads.extend(hosts.iter().map(|host| ((*host).to_owned(), to)));
    }

    /// How it behaves from now on.
    pub fn behave(&self, manner: Manner) {
        self.lock().manner = manner;
    }

    /// Everything that was said to it before the tunnels stood, a request each.
    pub fn heads(&self) -> Vec<String> {
        self.lock().heads.clone()
    }

    /// Where it was asked to connect to: `host:port`, in order.
    pub fn asked(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.heads().iter().map(target).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut client: TcpStream, known: Arc<Mutex<Known>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let host = head.split([' ', ':']).nth(1).unwrap_or_default().to_owned();
    let (manner, allowed, to) = {
        let mut known = lock(&known);
        let expected = known.password.as_ref().map(|password| format!("Basic {}", STANDARD.encode(password)));
        let given = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
        let allowed = expected.is_none_or(|expected| given == Some(expected.as_str()));
        let to = known.leads.get(&host).copied();
        known.heads.push(head);
        (known.manner, allowed, to)
    };
    let refuse = |status: u16| format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nNo.\n");
    match (manner, to) {
        (Manner::Hang, _) => client.read_to_end(&mut Vec::new()).await.map(drop),
        (Manner::HangUp, _) => Ok(()),
        (Manner::Garbage, _) => client.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await,
        (Manner::Refuse(status), _) => client.write_all(refuse(status).as_bytes()).await,
        _ if !allowed => client.write_all(refuse(407).as_bytes()).await,
        (_, None) => client.write_all(refuse(502).as_bytes()).await,
        (_, Some(to)) => {
            let mut service = TcpStream::connect(to).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n").await?;
            let Manner::CutAfter(most) = manner else {
                return copy_bidirectional(&mut client, &mut service).await.map(drop);
            };
            let (mut from_client, mut to_client) = client.split();
            let (mut from_service, mut to_service) = service.split();
            let mut first = (&mut from_client).take(most as u64);
            let cut = async {
                tokio::select! {
                    done = tokio::io::copy(&mut first, &mut to_service) => done.map(drop),
                    done = tokio::io::copy(&mut from_service, &mut to_client) => done.map(drop),
                }
            };
            tokio::time::timeout(LONGEST, cut).await.unwrap_or(Ok(()))
        }
    }
}

const LONGEST: Duration = Duration::from_secs(60);
