//! The agent, put together: what is started in which order, and how it ends.
//!
//! Owns: wiring. Invariants: the state lock is held before anything is read or bound and until everything is saved;
//! the first secret is read after the process has been hardened; nothing is served before everything is loaded.

mod error;
mod life;
mod reading;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::alarm::Alarm;
use crate::audit::{Audit, Programs};
use crate::background;
use crate::cli::button;
use crate::clock::{Clock, SystemClock};
use crate::container::Endpoints;
use crate::desktop::SystemDesktop;
use crate::engine::{self, Ended, State, World};
use crate::env::Env;
use crate::hardening;
use crate::listener::{self, Inherited};
use crate::logging::{self, Format};
use crate::paths::{self, PathError, SocketPath};
use crate::policy::{Policies, SystemPrompter};
use crate::server::{Limits, Listeners, Meters, Restricted};
use crate::service::{Manager, Pulse};
use crate::signals;
use crate::source::Locations;
use crate::sso_cache::DiskCache;
use crate::store::{self, LatchFile, StateLock};
use crate::upstream::{Https, Measured, call_meter};
pub use error::AgentError;
use reading::Reader;

/// What `run` was told on the command line.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Instead of the usual socket.
    pub socket: Option<PathBuf>,
    /// Instead of the usual `config.toml`.
    pub config: Option<PathBuf>,
    /// How the log looks.
    pub log_format: Format,
    /// The log goes to the state directory, and whoever started this is told on standard output when it is ready.
    pub background: bool,
}

/// Runs the agent in the foreground until it is told to stop.
///
/// # Errors
/// It could not start, or could not save something at its end.
pub fn run(options: RunOptions, env: &Env) -> Result<(), AgentError> {
    let (level, format) = (env.get("SSO_AGENT_LOG"), options.log_format);
    let log = options.background.then(background::Log::default);
    match &log {
        Some(log) => logging::start(level, format, log.clone()),
        None => logging::start_on_stderr(level, format, env.get("JOURNAL_STREAM")),
    }
    .map_err(AgentError::Logging)?;
    if let Some(log) = &log {
        background::leave_terminal().map_err(AgentError::Runtime)?;
        log.tell_panics();
    }
    for weakness in hardening::harden() {
        tracing::warn!("{weakness}");
    }
    signals::survive_file_limits().map_err(AgentError::Runtime)?;
    let limits = Limits::default();
    // A connection has one of its own and, until something is handed out to it, one for its process.
    if let Err(weakness) = hardening::raise_descriptor_limit(2 * limits.connections as u64 + DESCRIPTORS_BESIDES) {
        tracing::warn!("{weakness}");
    }
    let inherited = Inherited::of_process(env).map_err(|error| AgentError::Listen(error.into()))?;
    let socket = socket_path(inherited.as_ref(), env, options.socket.as_deref()).map_err(AgentError::Path)?;
    let state_dir = paths::state_dir(env).map_err(AgentError::Path)?;
    let locations = Locations::from_env(env, options.config.as_deref()).map_err(AgentError::Source)?;
    let lock = StateLock::acquire(&state_dir, socket.path()).map_err(AgentError::Lock)?;
    if let Some(log) = &log {
        log.open(&state_dir);
    }
    let home = paths::home(env).ok();
    let reader = Arc::new(Reader::new(locations, env, home));
    let (configuration, doors) = reader.read().map_err(AgentError::Source)?;
    let (say_doors, doors) = watch::channel(Arc::new(doors));
    let prompter = Arc::new(SystemPrompter::new(env));
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
    let endpoints = Endpoints::new(doors.clone(), state_dir.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    let audit = Arc::new(Audit::new(state_dir, mode, programs, Arc::clone(&clock) as Arc<dyn Clock>));
    let latch = LatchFile::new(Arc::clone(lock.directory()));
    let state = State::new(agent, configuration, loaded.records, loaded.reports, now);
    let mut state = state.with_latch(latch.read(), now);
    let (listener, place) = match inherited {
        Some(inherited) => listener::inherit(inherited),
        None => listener::bind(&socket).map_err(AgentError::Listen)?,
    };
    if place.outlives_us() {
        state.allow_rest();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Runtime)?;
    let looker = Arc::clone(&reader);
    let audit_of_reader = Arc::clone(&audit);
    let read_configuration = move || {
        let (configuration, doors) = reader.read().map_err(|error| reading::unread(&error))?;
        // What can be read is what the engine takes.
        audit_of_reader.set_mode(configuration.settings.audit);
        // Also where it is the same: what could not be opened before is tried again.
        say_doors.send_replace(Arc::new(doors));
        Ok(configuration)
    };
    let (desktop_env, env_of_button) = (env.clone(), env.clone());
    let cache = DiskCache::below(paths::home(env).ok().as_deref());
    let manager = Manager::from_env(env);
    let ended = runtime.block_on(async move {
        let calls = Arc::new(call_meter());
        let meters = Arc::new(Meters::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&calls)));
        let https = Https::new(Arc::clone(&clock) as Arc<dyn Clock>, env);
        let world = World {
            upstream: Arc::new(Measured::new(https, Arc::clone(&clock) as Arc<dyn Clock>, calls)),
            clock,
            store,
            read_configuration: Arc::new(read_configuration),
            look_at_configuration: Arc::new(move |doubt| looker.look(doubt)),
            desktop: Box::new(SystemDesktop::new(
                &desktop_env,
                Box::new(move |button| button::pressed(button, &env_of_button)),
            )),
            cache_directory: cache.directory().map(Path::to_owned),
            cache: Box::new(cache),
            latch: Arc::new(latch),
            alarm: Alarm::of_system(),
            manager: manager.clone(),
            pulse: Pulse::from_env(env),
            idle: Arc::default(),
            still_ours: Box::new(move || place.still_ours()),
        };
        let policies = Policies::new(doors.clone(), Arc::clone(&audit), prompter, Arc::clone(&world.clock));
        let policies = Arc::new(policies);
        let restricted = Restricted::open(doors, apart, Arc::clone(&world.clock));
        let listeners = Listeners { main: UnixListener::from_std(listener)?, restricted };
        life::live(state, world, listeners, audit, policies, endpoints, meters, &manager, options.background).await
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

/// The service manager's, if it made one: it is what clients can reach. They find it by the state lock, too.
fn socket_path(inherited: Option<&Inherited>, env: &Env, argument: Option<&Path>) -> Result<SocketPath, PathError> {
    let usual = SocketPath::find(env, argument);
    let Some(inherited) = inherited else { return usual };
    let path = inherited.path().display();
    tracing::info!(%path, "the service manager made the socket");
    if !usual.is_ok_and(|usual| usual.path() == inherited.path()) {
        tracing::warn!(
            "clients look for the socket elsewhere first; they find it through the lock in the state directory"
        );
    }
    SocketPath::explicit(inherited.path())
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

/// Files, timers, connections to AWS, the standard streams.
const DESCRIPTORS_BESIDES: u64 = 128;
