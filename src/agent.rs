//! The agent, put together: what is started in which order, and how it ends.
//!
//! Owns: wiring. Invariants: the state lock is held before anything is read or bound and until everything is saved;
//! the first secret is read after the process has been hardened; nothing is served before everything is loaded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::alarm::Alarm;
use crate::api::{Code, Problem};
use crate::audit::{Audit, Programs};
use crate::aws_config::Catalog;
use crate::cli::button;
use crate::clock::{Clock, SystemClock};
use crate::desktop::SystemDesktop;
use crate::doors::Doors;
use crate::engine::{self, Configuration, Ended, Handle, Order, State, World};
use crate::env::Env;
use crate::exit::Exit;
use crate::hardening;
use crate::listener::{self, ListenError};
use crate::logging::{self, Format, LoggingError};
use crate::paths::{self, PathError, SocketPath};
use crate::server::{self, Limits, Restricted};
use crate::service::Manager;
use crate::signals::{self, Signal, Signals};
use crate::source::{Locations, Source, SourceError};
use crate::sso_cache::DiskCache;
use crate::store::{self, LockError, OpenError, StateLock};
use crate::upstream::Https;

/// What `run` was told on the command line.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Instead of the usual socket.
    pub socket: Option<PathBuf>,
    /// Instead of the usual `config.toml`.
    pub config: Option<PathBuf>,
    /// The log as JSON.
    pub log_json: bool,
}

/// Runs the agent in the foreground until it is told to stop.
///
/// # Errors
/// It could not start, or could not save something at its end.
pub fn run(options: RunOptions, env: &Env) -> Result<(), AgentError> {
    let format = if options.log_json { Format::Json } else { Format::Text };
    logging::start(env.get("SSO_AGENT_LOG"), format).map_err(AgentError::Logging)?;
    for weakness in hardening::harden() {
        tracing::warn!("{weakness}");
    }
    signals::survive_file_limits().map_err(AgentError::Runtime)?;
    let limits = Limits::default();
    // A connection has one of its own and, until something is handed out to it, one for its process.
    if let Err(weakness) = hardening::raise_descriptor_limit(2 * limits.connections as u64 + DESCRIPTORS_BESIDES) {
        tracing::warn!("{weakness}");
    }
    let socket = SocketPath::find(env, options.socket.as_deref()).map_err(AgentError::Path)?;
    let state_dir = paths::state_dir(env).map_err(AgentError::Path)?;
    let locations = Locations::from_env(env, options.config.as_deref()).map_err(AgentError::Source)?;
    let lock = StateLock::acquire(&state_dir, socket.path()).map_err(AgentError::Lock)?;
    let home = paths::home(env).ok();
    let (configuration, doors) = read(&locations, env, home.as_deref()).map_err(AgentError::Source)?;
    let (say_doors, doors) = watch::channel(Arc::new(doors));
    let mut store = store::open(&lock, configuration.settings.storage.key, env).map_err(AgentError::Open)?;
    let mut loaded = store.load();
    loaded.reports.extend(lock.report());
    for report in &loaded.reports {
        tracing::warn!(file = %report.file.display(), "{}", report.message);
    }

    let clock = Arc::new(SystemClock);
    let now = clock.now();
    let agent = engine::Agent {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        socket: socket.path().display().to_string(),
        client_name: client_name(env),
        protection: store.protection(),
        time_zone: jiff::tz::TimeZone::system(),
        seed: seed()?,
    };
    let (mode, programs) = (configuration.settings.audit, Programs::of_machine(env));
    let apart = vec![socket.directory().to_owned(), state_dir.clone()];
    let audit = Arc::new(Audit::new(state_dir, mode, programs, Arc::clone(&clock) as Arc<dyn Clock>));
    let state = State::new(agent, configuration, loaded.records, loaded.reports, now);
    let (listener, place) = listener::bind(&socket).map_err(AgentError::Listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Runtime)?;
    let env_of_reader = env.clone();
    let audit_of_reader = Arc::clone(&audit);
    let read_configuration = move || {
        let read = read(&locations, &env_of_reader, home.as_deref());
        let (configuration, doors) = read.map_err(|error| Problem::new(Code::InvalidConfig, error.to_string()))?;
        // What can be read is what the engine takes.
        audit_of_reader.set_mode(configuration.settings.audit);
        say_doors.send_if_modified(|said| {
            let differs = **said != doors;
            if differs {
                *said = Arc::new(doors);
            }
            differs
        });
        Ok(configuration)
    };
    let (desktop_env, env_of_button) = (env.clone(), env.clone());
    let cache = DiskCache::below(paths::home(env).ok().as_deref());
    let ended = runtime.block_on(async move {
        let world = World {
            upstream: Arc::new(Https::new(Arc::clone(&clock) as Arc<dyn Clock>, env)),
            clock,
            store,
            read_configuration: Arc::new(read_configuration),
            desktop: Box::new(SystemDesktop::new(
                &desktop_env,
                Box::new(move |button| button::pressed(button, &env_of_button)),
            )),
            cache_directory: cache.directory().map(Path::to_owned),
            cache: Box::new(cache),
            alarm: Alarm::of_system(),
            still_ours: Box::new(move || place.still_ours()),
        };
        let listener = UnixListener::from_std(listener)?;
        let restricted = Restricted::open(doors, apart, Arc::clone(&world.clock));
        live(state, world, listener, restricted, audit, limits, &Manager::from_env(env)).await
    });
    // A keyring or name server that hangs must not keep the process.
    runtime.shutdown_background();
    drop(lock);
    match ended.map_err(AgentError::Runtime)? {
        Ended::Stopped => Ok(()),
        Ended::Displaced => Err(AgentError::Displaced),
        Ended::GaveUp => Err(AgentError::GaveUp),
        Ended::Unsaved => Err(AgentError::Unsaved),
    }
}

/// Engine and server side by side, until a signal or the engine's own end.
async fn live(
    state: State,
    world: World<Https>,
    listener: UnixListener,
    restricted: Restricted,
    audit: Arc<Audit>,
    limits: Limits,
    manager: &Manager,
) -> std::io::Result<Ended> {
    let mut signals = Signals::new()?;
    let (handle, questions) = Handle::channel(QUESTIONS, Arc::clone(&world.clock));
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (close, closed) = oneshot::channel::<()>();
    let server = tokio::spawn(server::serve(listener, restricted, handle, audit, limits, async {
        // Told to, or whoever would tell is gone: both mean to close.
        let _ = closed.await;
    }));
    let engine = engine::run(state, world, questions, ordered);
    let mut engine = std::pin::pin!(engine);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
    manager.ready();
    let ended = loop {
        tokio::select! {
            ended = &mut engine => {
                // The server ends when it is told to, not when nobody answers its questions.
                drop(close);
                break ended;
            }
            signal = signals.next() => {
                let order = match signal {
                    Signal::Stop => Order::Stop,
                    Signal::Reload => Order::Reload,
                };
                tracing::info!(?order, "signal");
                if order == Order::Stop {
                    manager.stopping();
                    break stop(&orders, close, &mut engine).await;
                }
                // Full means that a reload is waiting already.
                let _ = orders.try_send(order);
            }
        }
    };
    drop(server.await);
    Ok(ended)
}

/// Stops accepting, and lets the engine come to its end. Further signals change nothing.
async fn stop(
    orders: &mpsc::Sender<Order>,
    close: oneshot::Sender<()>,
    engine: &mut (impl Future<Output = Ended> + Unpin),
) -> Ended {
    drop(close);
    let mut engine = engine;
    tokio::select! {
        ended = &mut engine => ended,
        // The engine reads its orders, so there is room as soon as it has turned once.
        _ = orders.send(Order::Stop) => engine.await,
    }
}

/// The configuration, and what it says about the doors.
fn read(locations: &Locations, env: &Env, home: Option<&Path>) -> Result<(Configuration, Doors), SourceError> {
    let (sources, settings) = locations.read()?;
    let mut catalog = Catalog::read(&sources, env, &settings);
    let doors = Doors::of(&mut catalog, &settings, home);
    Ok((Configuration { catalog, settings }, doors))
}

/// `clientName`: names the user and the machine on the approval page. ASCII, at most 128 characters.
fn client_name(env: &Env) -> String {
    let user = env.get("USER").or_else(|| env.get("LOGNAME")).unwrap_or("user");
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let name = format!("sso-agent {user}@{host}");
    name.chars()
        .map(|character| if character.is_ascii_graphic() || character == ' ' { character } else { '-' })
        .take(128)
        .collect()
}

fn seed() -> Result<u64, AgentError> {
    let mut seed = [0; 8];
    SystemRandom::new().fill(&mut seed).map_err(|_| AgentError::Randomness)?;
    Ok(u64::from_ne_bytes(seed))
}

/// Why the agent did not start, or did not end well.
#[derive(Debug)]
pub enum AgentError {
    /// No log.
    Logging(LoggingError),
    /// No place for the socket or the state.
    Path(PathError),
    /// Another agent, or an unfit state directory.
    Lock(LockError),
    /// The configuration cannot be read.
    Source(SourceError),
    /// The stored records cannot be opened.
    Open(OpenError),
    /// No socket.
    Listen(ListenError),
    /// The system gives no randomness.
    Randomness,
    /// The system refused something the runtime needs.
    Runtime(std::io::Error),
    /// The socket was removed or replaced while the agent ran.
    Displaced,
    /// Something was not saved in time at the end.
    GaveUp,
    /// Something could not be saved.
    Unsaved,
}

impl AgentError {
    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Logging(_) => Exit::Usage,
            Self::Path(error) => error.exit(),
            Self::Lock(_) | Self::Listen(_) | Self::Displaced => Exit::NoAgent,
            Self::Source(_) => Exit::Configuration,
            Self::Open(_) | Self::GaveUp | Self::Unsaved => Exit::Storage,
            Self::Randomness | Self::Runtime(_) => Exit::Internal,
        }
    }

    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            // A path's own line ends with what helps.
            Self::Lock(error) => Some(error.hint()),
            Self::Open(error) => Some(error.hint()),
            _ => None,
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logging(error) => error.fmt(formatter),
            Self::Path(error) => error.fmt(formatter),
            Self::Lock(error) => error.fmt(formatter),
            Self::Source(error) => error.fmt(formatter),
            Self::Open(error) => error.fmt(formatter),
            Self::Listen(error) => error.fmt(formatter),
            Self::Randomness => formatter.write_str("the system's random generator failed"),
            Self::Runtime(_) => formatter.write_str("the system refused something the agent needs to run"),
            Self::Displaced => formatter.write_str("the socket was removed or replaced while the agent ran"),
            Self::GaveUp => formatter.write_str("a refresh or a write did not end in time"),
            Self::Unsaved => {
                formatter.write_str("not everything could be saved: who is signed in now may not be after a start")
            }
        }
    }
}

impl std::error::Error for AgentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Runtime(error) => Some(error),
            // The others are shown as they are, so what is below them comes next.
            Self::Logging(error) => error.source(),
            Self::Path(error) => error.source(),
            Self::Lock(error) => error.source(),
            Self::Source(error) => error.source(),
            Self::Open(error) => error.source(),
            Self::Listen(error) => error.source(),
            Self::Randomness | Self::Displaced | Self::GaveUp | Self::Unsaved => None,
        }
    }
}

const QUESTIONS: usize = 1024;
const ORDERS: usize = 8;
/// Files, timers, connections to AWS, the standard streams.
const DESCRIPTORS_BESIDES: u64 = 128;
