//! What is done to the agent on purpose: kills, restarts, suspends, clocks that are set, full disks, edits, revocations.

use sso_agent::engine::{Event, Write};

use super::moment::{At, DAY, HOUR, MINUTE, SECOND};
use super::service::Why;
use super::world::{Cause, Happening, World};

impl World {
    /// One blow, and the next one is planned.
    pub fn blow(&mut self) {
        let pause = if self.chance.permille(300) {
            self.chance.spread(10 * SECOND, HOUR)
        } else {
            self.chance.spread(HOUR, 2 * DAY)
        };
        self.plan(pause, Happening::Blow);
        let kind = match self.chance.weighed(&[14, 12, 14, 10, 12, 14, 2, 1, 12, 5, 14]) {
            0 => {
                self.crash();
                "killed"
            }
            1 => {
                let run = self.runs;
                self.plan(0, Happening::Stop(run));
                "restarted"
            }
            2 => {
                let long = self.chance.spread(MINUTE, 8 * HOUR);
                self.suspend(long);
                "suspended"
            }
            3 => {
                self.set_clock();
                "clock set"
            }
            4 => {
                self.disk.full_until = self.now + self.chance.spread(SECOND, 90 * MINUTE);
                self.trouble(self.disk.full_until);
                "disk full"
            }
            5 => {
                self.edit();
                "configuration edited"
            }
            6 => {
                self.end_a_session(false);
                "session revoked"
            }
            7 => {
                self.end_a_session(true);
                "client revoked"
            }
            8 => {
                self.lose_the_network();
                "network lost"
            }
            9 => {
                self.tell_of_a_stray_write();
                "stray write reported"
            }
            _ => {
                self.others_act();
                "another program in the cache"
            }
        };
        *self.report.blows.entry(kind).or_default() += 1;
        self.note(format!("blow: {kind}"));
    }

    /// Something happens while a refresh or a poll is up, or just after.
    pub fn strike_at_the_worst_moment(&mut self) {
        let pause = self.chance.spread(1000, SECOND);
        let (kind, happening) = match self.chance.below(1000) {
            0..5 => ("killed during a refresh or sign-in", Happening::Crash(self.runs)),
            5..8 => ("stopped during a refresh or sign-in", Happening::Stop(self.runs)),
            8..10 => {
                let long = self.chance.spread(SECOND, 8 * HOUR);
                ("suspended during a refresh or sign-in", Happening::Suspend(long))
            }
            10..12 => ("edited during a refresh or sign-in", Happening::Edit),
            12..15 => ("stray write reported during a refresh or sign-in", Happening::Stray),
            _ => return,
        };
        *self.report.blows.entry(kind).or_default() += 1;
        self.plan(pause, happening);
    }

    /// Somebody edits the files, and puts them back later.
    pub fn edit(&mut self) {
        self.files.edit(&mut self.chance);
        self.after_an_edit();
        let pause = self.chance.spread(SECOND, 5 * HOUR);
        self.plan(pause, Happening::PutBack);
    }

    /// The files are as they were, and the agent may hear of it.
    pub fn put_back(&mut self) {
        self.files.put_back();
        self.after_an_edit();
    }

    fn after_an_edit(&mut self) {
        self.note(format!("edited: {:?}", self.files));
        self.trouble(self.now);
        // An edit without a reload is found at the next start.
        if self.files.are_in_order() || self.chance.permille(900) {
            // The system tells of most edits, and somebody reloads after some.
            let event = if self.chance.permille(700) { Event::ConfigurationTouched } else { Event::ReloadWanted };
            self.tell(event, Cause::Other);
        }
    }

    fn set_clock(&mut self) {
        let by = i64::try_from(self.chance.spread(SECOND, 3 * HOUR) / 1000).unwrap_or_default();
        let by = if self.chance.permille(500) { by } else { -by };
        self.move_clock(by);
        if self.chance.permille(700) {
            let pause = self.chance.spread(SECOND, 2 * DAY);
            self.plan(pause, Happening::SetRight);
        }
    }

    /// The clock is set right.
    pub fn set_right(&mut self) {
        self.move_clock(-self.clocks.ahead);
    }

    fn move_clock(&mut self, by: i64) {
        self.clocks.ahead += by;
        self.files_lose_their_times();
        self.note(format!("the clock is set by {by} ms, it is {} ms ahead", self.clocks.ahead));
        self.trouble(self.now);
        for books in &mut self.books {
            books.doubt();
        }
        // The alarm rings when somebody sets the clock.
        let now = self.now;
        if let Some(agent) = &mut self.agent {
            agent.alarm = agent.alarm.map(|_| now);
        }
    }

    fn end_a_session(&mut self, with_its_client: bool) {
        let session = usize::try_from(self.chance.below(self.books.len() as u64)).unwrap_or_default();
        let Some(held) = self.books[session].held else { return };
        if with_its_client {
            self.service.revoke_client_of(held.family);
        } else {
            self.service.end(held.family, Why::Revoked);
        }
        self.trouble(self.now);
    }

    fn lose_the_network(&mut self) {
        self.weather.change(self.now, &mut self.chance);
        self.note(format!("the weather: {:?}", self.weather.sky));
        self.trouble(self.now);
    }

    /// The engine is told that a write failed: one that nobody ordered, that was long ago, or that is still to come.
    pub fn tell_of_a_stray_write(&mut self) {
        let session = usize::try_from(self.chance.below(self.books.len() as u64)).unwrap_or_default();
        let all = [Write::Client, Write::Tokens, Write::SignedOut, Write::Mark, Write::Refreshed, Write::SignedIn];
        let write = self.chance.pick(&all);
        let era = if self.chance.permille(700) { self.books[session].era } else { self.chance.below(4) };
        let current = era == self.books[session].era;
        self.trouble(self.now);
        self.note(format!("stray: {write:?} of s{session} failed, era {era}"));
        if current {
            self.judge_stray(session, write);
        }
        let ticket = sso_agent::engine::Ticket { session: super::files::session_name(session), era, write };
        self.tell(Event::Stored(ticket, Err(super::disk::full())), Cause::Other);
    }

    /// The agent is told to stop.
    pub fn stop(&mut self, run: u64) {
        let now = self.now;
        let Some(agent) = &mut self.agent else { return };
        if agent.run != run || agent.stopping.is_some() {
            return;
        }
        agent.stopping = Some(now);
        for (waiter, waiting) in &mut agent.waiters {
            agent.deadlines.remove(&(waiting.deadline, *waiter));
            waiting.deadline = waiting.deadline.min(now + 2 * SECOND);
            agent.deadlines.insert((waiting.deadline, *waiter));
        }
        self.note("the agent is told to stop".to_owned());
        self.plan(LAST_DEADLINE, Happening::Overdue(run));
        self.tell(Event::Stop, Cause::Other);
    }

    /// It would not end.
    pub fn overdue(&mut self, run: u64) {
        let Some(agent) = &self.agent else { return };
        if agent.run == run {
            if !agent.waiters.is_empty() {
                self.violation("somebody still waits for an agent that was told to stop 15 s ago");
            }
            *self.report.noted.entry("stops that were cut off after 15 s").or_default() += 1;
            self.crash();
        }
    }

    /// If the agent has come to its end, it is gone.
    pub fn end_if_done(&mut self) {
        let Some(agent) = &self.agent else { return };
        if !agent.is_at_its_end() || !self.disk.is_idle() {
            return;
        }
        let saved = agent.state.is_saved();
        for session in 0..self.books.len() {
            let held = self.books[session].held;
            let found = self.tokens_on_disk(session).as_ref().and_then(super::facts::renewal_of);
            if saved && held.is_some() && held != found {
                self.violation(format!("s{session}: {held:?} is not on disk after an orderly end, but {found:?}"));
            }
        }
        if !saved {
            *self.report.noted.entry("stops with something unsaved").or_default() += 1;
        }
        self.agent = None;
        self.note("the agent has ended".to_owned());
        self.all_is_forgotten();
        let pause = self.chance.spread(SECOND / 10, HOUR);
        self.plan(pause, Happening::Start);
    }
}

const LAST_DEADLINE: At = 15 * SECOND;
