//! The agent, put together: what is started in which order, and how it ends.
//!
//! Owns: wiring. Invariants: the state lock is held before anything is read or bound and until everything is saved;
//! the first secret is read after the process has been hardened; nothing is served before everything is loaded.

mod error;
mod life;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::alarm::Alarm;
use crate::api::{Code, Problem};
use crate::audit::{Audit, Programs};
use crate::aws_config::Catalog;
use crate::cli::button;
use crate::clock::{Clock, SystemClock};
use crate::desktop::SystemDesktop;
use crate::doors::Doors;
use crate::engine::{self, Configuration, Ended, State, World};
use crate::env::Env;
use crate::hardening;
use crate::listener;
use crate::logging::{self, Format};
use crate::paths::{self, SocketPath};
use crate::server::{Limits, Listeners, Restricted};
use crate::service::Manager;
use crate::signals;
use crate::source::{Locations, Source, SourceError};
use crate::sso_cache::DiskCache;
use crate::store::{self, StateLock};
use crate::upstream::Https;
pub use error::AgentError;

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
        // Also where it is the same: what could not be opened before is tried again.
        say_doors.send_replace(Arc::new(doors));
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
        let restricted = Restricted::open(doors, apart, Arc::clone(&world.clock));
        let listeners = Listeners { main: UnixListener::from_std(listener)?, restricted };
        life::live(state, world, listeners, audit, limits, &Manager::from_env(env)).await
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

/// Files, timers, connections to AWS, the standard streams.
const DESCRIPTORS_BESIDES: u64 = 128;
