//! The restricted sockets of `[serve.NAME]`: each with its own few targets.
//!
//! Owns: which of them are open, since when, until when, and why one is not. Refuses to know what is asked through
//! them: that is a `Gate`'s. Invariants: a section that did not change keeps its socket and everybody on it, whatever
//! else is reconfigured; one that cannot be opened is a warning and costs nobody else anything; the directory of one
//! holds no other socket and no state of ours, so that the whole of it can be given to a container; all are removed in
//! the end.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::Trouble;
use super::gate::{Gate, is_over};
use crate::alarm::Alarm;
use crate::api::{DoorStatus, WarningEntry};
use crate::clock::Clock;
use crate::doors::{Doors, Serve};
use crate::ids::DoorName;
use crate::listener::{self, Place};
use crate::paths::{PathError, SocketPath, make_private_directory};
use crate::time::Now;
use crate::untrusted::shown;

/// All restricted sockets, and the settings they follow.
pub struct Restricted {
    doors: Option<watch::Receiver<Arc<Doors>>>,
    sections: BTreeMap<DoorName, Section>,
    clock: Arc<dyn Clock>,
    /// Made when there is first something to be woken for.
    alarm: Option<Alarm>,
    apart: Vec<PathBuf>,
    trouble: Trouble,
    /// Who was accepted from last, so that the next one's turn is another's.
    turn: usize,
}

/// Something that the server has to know of.
pub(super) enum Knock {
    /// Somebody has connected.
    Caller(UnixStream, Arc<Gate>),
    /// Nobody could be accepted.
    Trouble(io::Error),
    /// A socket was opened or closed, or hands out something else now.
    Changed,
}

/// The settings that were followed last, and whether there are others by now.
#[derive(Default)]
pub(super) struct Follows(Option<watch::Receiver<Arc<Doors>>>);

impl Follows {
    pub(super) fn is_up_to_date(&self) -> bool {
        // Whoever would say others is gone.
        self.0.as_ref().is_none_or(|doors| !doors.has_changed().unwrap_or(false))
    }
}

struct Section {
    serve: Arc<Serve>,
    door: Door,
}

enum Door {
    Open(Open),
    /// Its time is over.
    Over,
    /// It cannot be opened.
    Shut(String),
}

struct Open {
    listener: UnixListener,
    place: Place,
    since: Now,
    gate: Arc<Gate>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gate.close();
        tracing::info!(door = %self.gate.name, "closed a restricted socket");
    }
}

impl Restricted {
    /// Opens what the settings name, and follows them from then on. `apart` are the directories that no restricted
    /// socket's directory may have in it. Must be called within a runtime.
    #[must_use]
    pub fn open(doors: watch::Receiver<Arc<Doors>>, apart: Vec<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        let mut restricted = Self {
            doors: Some(doors),
            sections: BTreeMap::new(),
            clock,
            alarm: None,
            apart,
            trouble: Trouble::default(),
            turn: 0,
        };
        restricted.follow();
        restricted
    }

    /// None at all.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        let (_, doors) = watch::channel(Arc::default());
        Self::open(doors, Vec::new(), Arc::new(crate::clock::SystemClock))
    }

    /// Waits for the next thing to happen. Nothing is lost if this is dropped before it completes.
    pub(super) async fn knock(&mut self) -> Knock {
        let Self { doors, sections, alarm, trouble, turn, .. } = self;
        let changed = async {
            match doors {
                Some(doors) => doors.changed().await.is_ok(),
                None => pending().await,
            }
        };
        let rings = async {
            match alarm {
                Some(alarm) => alarm.rings().await,
                None => pending().await,
            }
        };
        tokio::select! {
            goes_on = changed => {
                if goes_on { self.follow() } else { self.doors = None }
            }
            () = rings => self.settle(),
            accepted = trouble.accept(poll_fn(|context| accept(sections, turn, context))) => {
                return match accepted {
                    Ok((stream, gate)) => Knock::Caller(stream, gate),
                    Err(error) => Knock::Trouble(error),
                };
            }
        }
        Knock::Changed
    }

    /// For `status`.
    pub(super) fn statuses(&self) -> Vec<DoorStatus> {
        let status = |(name, section): (&DoorName, &Section)| DoorStatus {
            name: name.to_string(),
            socket: shown(&section.serve.socket.to_string_lossy()).to_string(),
            targets: section.serve.targets.iter().map(ToString::to_string).collect(),
            open: matches!(section.door, Door::Open(_)),
            until: section.until().map(|until| until.wall),
            allow_root: section.serve.allow_root,
        };
        self.sections.iter().map(status).collect()
    }

    /// What a person should mend.
    pub(super) fn warnings(&self) -> Vec<WarningEntry> {
        let warning = |(name, section): (&DoorName, &Section)| {
            let Door::Shut(why) = &section.door else { return None };
            Some(WarningEntry {
                file: section.serve.place.file.display().to_string(),
                line: section.serve.place.line,
                message: format!("serve.{name} is not open: {why}"),
            })
        };
        self.sections.iter().filter_map(warning).collect()
    }

    /// Which settings these sockets follow.
    pub(super) fn follows(&self) -> Follows {
        Follows(self.doors.clone())
    }

    /// Does what the settings say now.
    fn follow(&mut self) {
        let Some(doors) = self.doors.as_mut().map(|doors| Arc::clone(&doors.borrow_and_update())) else { return };
        // What goes goes first: another section may want its place.
        self.sections.retain(|name, section| doors.serve.get(name).is_some_and(|serve| section.can_become(serve)));
        for (name, serve) in &doors.serve {
            match self.sections.get_mut(name) {
                Some(section) => section.become_like(name, serve, &self.clock),
                None => {
                    let section = Section { serve: Arc::clone(serve), door: Door::Shut(String::new()) };
                    self.sections.insert(name.clone(), section);
                }
            }
        }
        self.settle();
    }

    /// Closes what is over, opens what is not open yet, and sees to it that this is done in time the next time.
    fn settle(&mut self) {
        let now = self.clock.now();
        for section in self.sections.values_mut() {
            if section.until().is_some_and(|until| is_over(until, now)) {
                section.door = Door::Over;
            }
        }
        let shut = self.sections.iter().filter(|(_, section)| matches!(section.door, Door::Shut(_)));
        let shut: Vec<_> = shut.map(|(name, section)| (name.clone(), Arc::clone(&section.serve))).collect();
        for (name, serve) in shut {
            let door = self.try_open(&name, &serve);
            self.sections.insert(name, Section { serve, door });
        }
        let wait = self.sections.values().filter_map(|section| match &section.door {
            Door::Open(_) => section.until().map(|until| until.mono.since(now.mono).min(until.wall.since(now.wall))),
            Door::Shut(_) => Some(RETRY),
            Door::Over => None,
        });
        let wait = wait.min();
        if wait.is_some() && self.alarm.is_none() {
            self.alarm = Some(Alarm::of_system());
        }
        if let Some(alarm) = &mut self.alarm {
            // The wall clock is read in milliseconds.
            alarm.set(wait.map(|wait| wait + Duration::from_millis(1)));
        }
    }

    fn try_open(&self, name: &DoorName, serve: &Serve) -> Door {
        let opened = self.bind(name, serve);
        match opened {
            Ok((listener, place)) => {
                let since = self.clock.now();
                let gate = Arc::new(Gate::new(name.clone(), serve, until(since, serve), Arc::clone(&self.clock)));
                tracing::info!(door = %name, socket = %place.path().display(), "opened a restricted socket");
                Door::Open(Open { listener, place, since, gate })
            }
            Err(why) => {
                // Told once; `status` tells it as long as it lasts.
                if !matches!(self.sections.get(name), Some(Section { door: Door::Shut(told), .. }) if *told == why) {
                    tracing::warn!(door = %name, "a restricted socket cannot be opened: {why}");
                }
                Door::Shut(why)
            }
        }
    }

    fn bind(&self, name: &DoorName, serve: &Serve) -> Result<(UnixListener, Place), String> {
        let socket = SocketPath::explicit(&serve.socket).map_err(|error| match error {
            // Its own words name the options of the main socket.
            PathError::TooLong { path } => format!("{} is too long for a socket", shown(&path.to_string_lossy())),
            error => error.to_string(),
        })?;
        make_private_directory(socket.directory()).map_err(|error| error.to_string())?;
        let directory = canonical(socket.directory());
        let others = self.sections.iter().filter(|(other, section)| *other != name && section.is_open());
        let others = others.map(|(_, section)| canonical(section.serve.socket.parent().unwrap_or(Path::new("/"))));
        let others: Vec<_> = others.collect();
        let beside = others.iter().find(|other| other.starts_with(&directory) || directory.starts_with(other));
        let apart = self.apart.iter().map(|path| canonical(path)).find(|path| path.starts_with(&directory));
        if let Some(other) = beside.or(apart.as_ref()) {
            return Err(format!(
                "a socket that is given away has a directory of its own, but {} and {} are not apart",
                shown(&directory.to_string_lossy()),
                shown(&other.to_string_lossy())
            ));
        }
        let (listener, place) = listener::bind(&socket).map_err(|error| error.to_string())?;
        let listener = UnixListener::from_std(listener).map_err(|error| error.to_string())?;
        Ok((listener, place))
    }
}

impl Section {
    const fn is_open(&self) -> bool {
        matches!(self.door, Door::Open(_))
    }

    /// When it closes by itself.
    fn until(&self) -> Option<Now> {
        match &self.door {
            Door::Open(open) => until(open.since, &self.serve),
            Door::Over | Door::Shut(_) => None,
        }
    }

    /// Whether this serves as `serve` without being opened anew.
    fn can_become(&self, serve: &Serve) -> bool {
        match &self.door {
            Door::Open(open) => self.serve.socket == serve.socket && open.place.still_ours(),
            Door::Over => is_same(&self.serve, serve),
            Door::Shut(_) => true,
        }
    }

    fn become_like(&mut self, name: &DoorName, serve: &Arc<Serve>, clock: &Arc<dyn Clock>) {
        let differs = !is_same(&self.serve, serve);
        self.serve = Arc::clone(serve);
        if let Door::Open(open) = &mut self.door
            && differs
        {
            // Whoever is connected came under other terms, and has to come again.
            open.gate.close();
            let gate = Gate::new(name.clone(), serve, until(open.since, serve), Arc::clone(clock));
            open.gate = Arc::new(gate);
            tracing::info!(door = %name, "a restricted socket serves otherwise from now on");
        }
    }
}

/// When a socket that was opened `since` closes by itself.
fn until(since: Now, serve: &Serve) -> Option<Now> {
    serve.lifetime.map(|lifetime| Now { wall: since.wall.after(lifetime), mono: since.mono.after(lifetime) })
}

/// Where it stands in the file is no difference.
fn is_same(one: &Serve, other: &Serve) -> bool {
    let Serve { socket, targets, lifetime, allow_root, place: _ } = one;
    *socket == other.socket
        && *targets == other.targets
        && *lifetime == other.lifetime
        && *allow_root == other.allow_root
}

/// The next caller of any of them, each in its turn.
fn accept(
    sections: &BTreeMap<DoorName, Section>,
    turn: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<(UnixStream, Arc<Gate>)>> {
    let open = sections.values().filter_map(|section| match &section.door {
        Door::Open(open) => Some(open),
        Door::Over | Door::Shut(_) => None,
    });
    let open: Vec<&Open> = open.collect();
    for step in 1..=open.len() {
        let place = (*turn + step) % open.len();
        if let Poll::Ready(accepted) = open[place].listener.poll_accept(context) {
            *turn = place;
            return Poll::Ready(accepted.map(|(stream, _)| (stream, Arc::clone(&open[place].gate))));
        }
    }
    Poll::Pending
}

fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Until a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(60);
