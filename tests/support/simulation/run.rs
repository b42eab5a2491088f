//! One simulation from its first to its last moment.

use sso_agent::api::Request;
use sso_agent::engine::Event;

use super::moment::{DAY, HOUR, SECOND};
use super::report::{Report, Violation};
use super::world::{Cause, Happening, World};

/// Lets one user live for so many days.
///
/// # Errors
/// The first rule that was broken.
pub fn simulate(seed: u64, days: u64) -> Result<Report, Box<Violation>> {
    let mut world = World::new(seed);
    world.plan(0, Happening::Start);
    world.plan(9 * HOUR, Happening::UserActs);
    world.plan(HOUR, Happening::Hour);
    let first_blow = world.chance.between(10 * HOUR, 2 * DAY);
    world.plan(first_blow, Happening::Blow);
    world.plan(world.weather.until, Happening::Weather);
    while world.now < days * DAY {
        match world.next() {
            None => world.wakes(),
            Some(happening) => world.happens(happening),
        }
        world.end_if_done();
        if let Some(what) = world.broken.take() {
            world.books.iter_mut().for_each(super::books::Books::forget_the_old);
            let books =
                world.books.iter().enumerate().map(|(session, books)| format!("s{session}: {books:?}\n")).collect();
            return Err(Box::new(Violation { seed, at: world.now, what, log: world.log, books }));
        }
    }
    world.report.days = days;
    world.report.digest = world.log.digest();
    Ok(world.report)
}

impl World {
    fn wakes(&mut self) {
        let now = self.now;
        let Some(agent) = &mut self.agent else { return };
        agent.zero_waits = if now <= agent.woken + 2000 { agent.zero_waits + 1 } else { 0 };
        agent.woken = now;
        agent.alarm = None;
        let in_a_row = agent.zero_waits;
        self.wakes += 1;
        self.report.at_most("wake-ups in a row without a pause", in_a_row);
        if in_a_row > MOST_IN_A_ROW {
            self.violation("the engine spins");
        }
        self.tell(Event::Tick, Cause::Other);
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Acts(number) => self.acts(number),
            Happening::Arrives(number) => self.arrives(number),
            Happening::Written => self.written(),
            Happening::Latched(run) => self.latched(run),
            Happening::Unlocks => self.ask(Request::Unlock { passphrase: None }),
            Happening::OthersEnd(name) => self.others_end(&name),
            Happening::Read => self.read(),
            Happening::Look => self.look(),
            Happening::UserActs => self.user_acts(),
            Happening::Decides(device, approved) => self.service.decide(device, approved),
            Happening::Weather => {
                self.trouble(self.now);
                self.weather.change(self.now, &mut self.chance);
                self.note(format!("the weather: {:?}", self.weather.sky));
                let pause = self.weather.until.saturating_sub(self.now).max(SECOND);
                self.plan(pause, Happening::Weather);
            }
            Happening::Blow => self.blow(),
            Happening::Hour => self.hour(),
            Happening::Crash(run) => {
                if self.agent.as_ref().is_some_and(|agent| agent.run == run) {
                    *self.report.blows.entry("killed during a refresh or sign-in").or_default() += 1;
                    self.crash();
                }
            }
            Happening::Suspend(long) => self.suspend(long),
            Happening::Stray => self.tell_of_a_stray_write(),
            Happening::Edit => self.edit(),
            Happening::Stop(run) => self.stop(run),
            Happening::Overdue(run) => self.overdue(run),
            Happening::Start => self.start(),
            Happening::PutBack => self.put_back(),
            Happening::SetRight => self.set_right(),
            Happening::KeyComes(run) => self.key_comes(run),
        }
    }

    fn hour(&mut self) {
        self.plan(HOUR, Happening::Hour);
        self.judge_hour();
        self.judge_saved();
        let hour = self.now % DAY / HOUR;
        let evening = hour == 19;
        if evening && self.chance.permille(600) {
            // Until the next morning at work.
            let friday = self.now / DAY % 7 == 4;
            let days = if friday { 3 } else { 1 };
            let long = days * DAY - 10 * HOUR - self.chance.below(HOUR);
            self.suspend(long);
        } else if self.now >= self.asleep_until {
            self.ask(super::answers::status());
        }
    }
}

const MOST_IN_A_ROW: u64 = 5;
