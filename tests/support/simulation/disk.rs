//! The disk: writes take their time, in order; a crash keeps what was done and loses the rest.
//!
//! Owns: what is on disk, what waits for it. Invariant: a record is replaced whole or not at all.

use std::collections::{BTreeMap, VecDeque};

use sso_agent::engine::{CacheTicket, Ticket};
use sso_agent::ids::SessionName;
use sso_agent::sso_cache::CacheOrder;
use sso_agent::store::{Record, RecordKind, StoreError};

use super::chance::Chance;
use super::moment::At;

/// The disk and its queue.
#[derive(Debug, Default)]
pub struct Disk {
    /// What a restart finds.
    pub records: BTreeMap<(SessionName, RecordKind), Record>,
    queue: VecDeque<Job>,
    /// Until when nothing can be written.
    pub full_until: At,
    /// Without the key nothing can be saved; what is there can be deleted.
    pub key_is_away: bool,
}

/// Something to be written.
#[derive(Debug)]
pub enum Job {
    /// A record to be saved.
    Save(Ticket, Box<Record>),
    /// One to be deleted.
    Delete(Ticket, SessionName, RecordKind),
    /// An order for the AWS CLI's cache.
    Cache(CacheTicket, CacheOrder),
    /// The key comes, and with it what can be read.
    Unlock,
}

impl Disk {
    /// Queues a write. Whether the disk was idle and has to begin now.
    pub fn order(&mut self, job: Job) -> bool {
        self.queue.push_back(job);
        self.queue.len() == 1
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the agent waits for a look at this session's published file.
    pub fn is_to_look_for(&self, session: &SessionName) -> bool {
        let looks = |job: &Job| matches!(job, Job::Cache(of, CacheOrder::Look { .. }) if of.session == *session);
        self.queue.iter().any(looks)
    }

    /// How long the next write takes.
    pub fn pause(&self, at: At, chance: &mut Chance) -> At {
        // A disk that fails often takes its time to say so.
        if at < self.full_until && chance.permille(250) {
            return chance.spread(20_000, 40_000_000);
        }
        if chance.permille(20) { chance.spread(20_000, 8_000_000) } else { chance.between(300, 15_000) }
    }

    /// The first write ends. What it was, and whether it is on disk.
    pub fn finish(&mut self, at: At, chance: &mut Chance) -> Option<(Job, Result<(), StoreError>)> {
        let job = self.queue.pop_front()?;
        match &job {
            Job::Cache(..) => return Some((job, Ok(()))),
            Job::Save(..) if self.key_is_away => return Some((job, Err(super::keyring::locked()))),
            Job::Unlock => {
                self.key_is_away = false;
                return Some((job, Ok(())));
            }
            _ => {}
        }
        let fails = at < self.full_until || chance.permille(2);
        if fails {
            // Where only the last step failed, the record is there nevertheless.
            if chance.permille(200) {
                self.apply(&job);
            }
            return Some((job, Err(full())));
        }
        self.apply(&job);
        Some((job, Ok(())))
    }

    /// The machine or the agent goes down now.
    pub fn crash(&mut self, chance: &mut Chance) {
        if let Some(job) = self.queue.pop_front()
            && chance.permille(500)
            && !(self.key_is_away && matches!(job, Job::Save(..)))
        {
            self.apply(&job);
        }
        self.queue.clear();
    }

    fn apply(&mut self, job: &Job) {
        match job {
            Job::Save(_, record) => {
                self.records.insert((record.session().clone(), record.kind()), (**record).clone());
            }
            Job::Delete(_, session, kind) => {
                self.records.remove(&(session.clone(), *kind));
            }
            Job::Unlock | Job::Cache(..) => {}
        }
    }
}

/// A write that failed.
pub fn full() -> StoreError {
    StoreError::Io {
        doing: "write",
        path: "/state/record".into(),
        source: std::io::Error::from(std::io::ErrorKind::StorageFull),
    }
}
