//! The configuration's files as the loop sees them: told of by the system, or looked at when somebody asks.
//!
//! Owns: the watch on the way to the files, and who waits for a look. Refuses to know what is in them. Invariants: while
//! nothing happens and nobody asks, nothing is done; where the system does not tell of changes, a question is answered
//! by files that were looked at no longer than a moment before it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Question;
use super::shelf::Shelved;
use crate::source::{Doubt, Look, Way};
use crate::watch::Watch;

/// See the module.
pub(super) struct Files {
    watch: Watch,
    /// What is watched.
    way: Way,
    look: Arc<dyn Fn(Doubt) -> Look + Send + Sync>,
    looks: JoinSet<Look>,
    /// The system told of something since the last look.
    told: bool,
    looked: Instant,
    /// When to try once more to be told.
    watch_again: Instant,
    held: Option<Held>,
}

/// A question that waits for a look at the files.
struct Held {
    question: Question,
    until: Instant,
}

/// What comes of the files.
pub(super) enum Happened {
    /// The system told of something.
    Touched,
    /// The files were looked at: whether they have changed.
    LookedAt { changed: bool },
    /// The files are known now, or nobody knows.
    Released(Question),
}

impl Files {
    pub(super) fn new(look: Arc<dyn Fn(Doubt) -> Look + Send + Sync>) -> Self {
        let now = Instant::now();
        Self {
            watch: Watch::nothing(),
            way: Way::default(),
            look,
            looks: JoinSet::new(),
            told: true,
            looked: now,
            watch_again: now,
            held: None,
        }
    }

    /// Looks; it comes back through [`Files::next`].
    pub(super) fn look(&mut self) {
        let doubt = if std::mem::take(&mut self.told) { Doubt::Told } else { Doubt::Untold };
        let look = Arc::clone(&self.look);
        self.looked = Instant::now();
        self.looks.spawn_blocking(move || look(doubt));
    }

    /// The next thing that comes of the files, which may be `reading` being over.
    pub(super) async fn next(&mut self, reading: bool) -> Happened {
        let until = self.held.as_ref().map(|held| held.until);
        if !reading && let Some(held) = self.held.take() {
            return Happened::Released(held.question);
        }
        let released = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(Ok(look)) = self.looks.join_next() => Happened::LookedAt { changed: self.looked_at(look) },
            () = self.watch.changed() => {
                self.told = true;
                Happened::Touched
            }
            () = released, if until.is_some() => match self.held.take() {
                Some(held) => Happened::Released(held.question),
                None => Happened::Touched,
            },
        }
    }

    /// Keeps a question until the files have been looked at, where nobody would have told of a change; hands it back
    /// where that is not needed.
    pub(super) fn hold(&mut self, question: Question) -> Option<Question> {
        let now = Instant::now();
        if !self.watch.is_blind() || now.duration_since(self.looked) < BLIND_FOR {
            return Some(question);
        }
        self.held = Some(Held { question, until: now + LONGEST_LOOK });
        None
    }

    pub(super) const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Where nobody tells of changes, answers do not lie ready for longer than they may be wrong.
    pub(super) fn bounded(&self, shelved: Shelved) -> Shelved {
        if self.watch.is_blind() { Shelved { good_for: shelved.good_for.min(BLIND_FOR), ..shelved } } else { shelved }
    }

    fn looked_at(&mut self, look: Look) -> bool {
        let now = Instant::now();
        let try_again = self.watch.is_blind() && now >= self.watch_again;
        if look.way != self.way || try_again {
            let directories: BTreeSet<PathBuf> = look.way.directories.keys().cloned().collect();
            self.watch.set_named(&directories, &look.way.names);
            self.way = look.way;
            self.watch_again = now + WATCH_AGAIN;
        }
        look.changed
    }
}

/// How long what was seen counts where nobody tells of changes.
const BLIND_FOR: Duration = Duration::from_secs(1);
/// A disk that does not answer keeps nobody longer than this from what is known.
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// The system may have room for us by then.
const WATCH_AGAIN: Duration = Duration::from_secs(60);
