//! Agents killed while they refresh: before the mark, between mark and request, with the request under way, between
//! answer and save, after it; at each step on purpose and at random.
//!
//! Time passes between two lives by making the stored record older. After each kill the disk is compared with what the
//! service has issued, and another agent must go on from there.

use std::time::Duration;

use sso_agent::schedule::Dice;
use sso_agent::secret::Secret;
use sso_agent::store::{Record, TokenRecord};

use super::matrix::disk::{self, START_URL, aged, look, put};
use super::matrix::files::{Happened, Watch};
use super::matrix::{Tally, one_of, say, seed};
use crate::support::crowd::{at_once, seconds};
use crate::support::fake::{
    CallRecord, FakeConfig, FakeIdentityCenter, Fault, Operation, Outcome, Times, When, stopwatch,
};
use crate::support::sandbox::{CORP, Sandbox};

/// When an agent is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So much of the way from its start to the end of its refresh, in percent.
    Random(u32),
    /// When this happens to the files of the records.
    File(Happened, usize),
    /// When the service has the request, before it acted on it; it never will.
    Asked,
    /// ... and it will, when nobody waits for the answer any more.
    AskedInTime,
    /// When the service has acted and not answered.
    Acted,
    /// When the service has answered.
    Answered,
    /// So long after the answer, in microseconds.
    AfterAnswer(u64),
}

/// How far the refresh had come, read off the disk and the service's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    BeforeTheMark,
    MarkedNotSent,
    SentNotActedUpon,
    ActedUponNotAnswered,
    AnsweredNotSaved,
    SavedNotNamed,
    Saved,
}

impl Phase {
    /// The service has replaced the token, and its successor is nowhere on this machine.
    const fn is_a_loss(self) -> bool {
        matches!(self, Self::ActedUponNotAnswered | Self::AnsweredNotSaved)
    }
}

#[test]
fn whenever_an_agent_is_killed_in_a_refresh_the_next_one_goes_on() {
    let seed = seed();
    let moments = moments();
    let tallies = at_once(THREADS, |thread| {
        let number = u64::try_from(thread).expect("there are few");
        // One waits for a real disk, the others have none to wait for.
        let sandbox = if thread == 0 { Sandbox::new() } else { Sandbox::in_memory() };
        let mut scene = Scene::new(sandbox, Dice::new(seed.wrapping_add(number)));
        for moment in moments.iter().skip(thread).step_by(THREADS) {
            scene.run(*moment);
        }
        (scene.phases, scene.ends)
    });
    let (mut phases, mut ends) = (Tally::new(), Tally::new());
    for (more_phases, more_ends) in &tallies {
        phases.add(more_phases);
        ends.add(more_ends);
    }
    say(&format!(
        "\nkilled in a refresh: {} times (seed {seed})\n{}and then\n{}",
        phases.total(),
        phases.lines(),
        ends.lines()
    ));
    assert!(phases.total() >= moments.len());
    for phase in [
        Phase::BeforeTheMark,
        Phase::MarkedNotSent,
        Phase::SentNotActedUpon,
        Phase::ActedUponNotAnswered,
        Phase::AnsweredNotSaved,
        Phase::Saved,
    ] {
        assert!(phases.of(phase) > 0, "{phase:?} was never reached");
    }
}

fn moments() -> Vec<Moment> {
    let random = (0..200).map(|number| Moment::Random(number % 100 + 1));
    let on_purpose = [
        (Moment::File(Happened::Made, 1), 15),
        (Moment::File(Happened::Written, 1), 15),
        (Moment::File(Happened::Renamed, 1), 40),
        (Moment::Asked, 15),
        (Moment::AskedInTime, 15),
        (Moment::Acted, 15),
        (Moment::Answered, 25),
        (Moment::File(Happened::Made, 2), 15),
        (Moment::File(Happened::Written, 2), 15),
        (Moment::File(Happened::Renamed, 2), 15),
    ];
    let on_purpose = on_purpose.into_iter().flat_map(|(moment, times)| std::iter::repeat_n(moment, times));
    let after = (0..20).map(|number| Moment::AfterAnswer(number * 150));
    random.chain(on_purpose).chain(after).collect()
}

/// What became of the session in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The next agent refreshed as if nothing had been.
    GoesOn,
    /// The next agent was killed as well, and the one after it went on.
    GoesOnAfterTwo,
    /// Served to its end, and then the user has to sign in.
    Lost,
    /// ... and was told why.
    LostAndSaidSo,
}

/// A machine and its service.
struct Scene {
    service: FakeIdentityCenter,
    sandbox: Sandbox,
    dice: Dice,
    phases: Tally<Phase>,
    ends: Tally<End>,
    /// From the start of an agent to the end of its refresh.
    usual: Duration,
    reuses: usize,
}

impl Scene {
    fn new(sandbox: Sandbox, dice: Dice) -> Self {
        let service = FakeIdentityCenter::start(FakeConfig::with_tokens_of(LIFETIME));
        sandbox.write_config(CORP);
        let mut sandbox = sandbox.at(service.url());
        sandbox.set("SSO_AGENT_LOG", "info");
        let usual = Duration::ZERO;
        let mut scene = Self { service, sandbox, dice, phases: Tally::new(), ends: Tally::new(), usual, reuses: 0 };
        disk::plant(&scene.sandbox, &[Record::Tokens(scene.new_sign_in())]);
        let began = stopwatch();
        scene.goes_on(DUE);
        scene.usual = stopwatch() - began;
        scene
    }

    fn new_sign_in(&self) -> TokenRecord {
        let (client, tokens) = self.service.sign_in_directly(START_URL);
        disk::record_of(&self.service, &client, &tokens)
    }

    fn run(&mut self, moment: Moment) {
        let phase = self.life(moment, DUE);
        if phase.is_a_loss() {
            return self.is_lost(LATE);
        }
        let unknown = matches!(phase, Phase::MarkedNotSent | Phase::SentNotActedUpon);
        if unknown && one_of(&mut self.dice, &[true, false, false]) {
            // The next one presents the token late, and is killed over it too.
            let percent = one_of(&mut self.dice, &[40, 60, 80, 100]);
            let phase = self.life(Moment::Random(percent), LATE);
            if phase.is_a_loss() {
                return self.is_lost(EXPIRED);
            }
            self.goes_on(EXPIRED);
            self.ends.count(End::GoesOnAfterTwo);
            return;
        }
        let age = match phase {
            Phase::BeforeTheMark => one_of(&mut self.dice, &[DUE, LATE, EXPIRED]),
            _ if unknown => one_of(&mut self.dice, &[LATE, EXPIRED]),
            _ => DUE,
        };
        self.goes_on(age);
        self.ends.count(End::GoesOn);
    }

    /// An agent starts, finds tokens of this age, and is killed.
    fn life(&mut self, moment: Moment, age: Duration) -> Phase {
        let before = self.age_to(age);
        let calls_before = self.service.count(Operation::CreateTokenRefresh);
        self.prepare(moment);
        let mut watch = Watch::on(&self.sandbox.state().join("records"));
        let agent = self.sandbox.launch_agent();
        match moment {
            Moment::Random(percent) => {
                agent.runs_for(self.usual * percent / 100);
            }
            Moment::File(happened, nth) => watch.wait_for(happened, nth),
            Moment::Asked | Moment::AskedInTime => {
                self.service.wait_for_calls(Operation::CreateTokenRefresh, calls_before + 1, PATIENCE).unwrap();
            }
            Moment::Acted | Moment::Answered | Moment::AfterAnswer(_) => {
                self.service.wait_for_answers(Operation::CreateTokenRefresh, calls_before + 1, PATIENCE).unwrap();
                if let Moment::AfterAnswer(micros) = moment {
                    agent.runs_for(Duration::from_micros(micros));
                }
            }
        }
        agent.kill();
        self.service.clear_faults();
        self.service.settle();
        let calls = self.service.calls(Operation::CreateTokenRefresh).split_off(calls_before);
        let phase = self.phase(&before, &calls);
        self.phases.count(phase);
        phase
    }

    fn prepare(&mut self, moment: Moment) {
        let latency = match moment {
            // So that the time with the request under way is worth hitting.
            Moment::Random(_) => self.dice.up_to(self.usual / 4),
            _ => Duration::ZERO,
        };
        self.service.set_latency(Operation::CreateTokenRefresh, latency);
        let fault = match moment {
            Moment::Asked => (Fault::Hang, When::BeforeEffect),
            Moment::AskedInTime => (Fault::Hold, When::BeforeEffect),
            Moment::Acted => {
                (one_of(&mut self.dice, &[Fault::Hang, Fault::Hold].each_ref()).clone(), When::AfterEffect)
            }
            _ => return,
        };
        self.service.fault(Operation::CreateTokenRefresh, fault.0, fault.1, Times::Next(1));
    }

    fn phase(&self, before: &TokenRecord, calls: &[CallRecord]) -> Phase {
        let found = look(&self.sandbox);
        let now = found.tokens.expect("the record is never gone");
        assert!(calls.len() <= 1, "one life, one refresh: {calls:?}");
        let acted = calls.iter().any(|call| match call.outcome {
            Outcome::Answered { status, .. } => status == 200,
            Outcome::Struck { status, .. } => status == Some(200),
            Outcome::UnderWay => false,
        });
        let newest = self.newest_refresh_token();
        if now.tokens.refresh_token == before.tokens.refresh_token {
            if now.refresh_sent_at == before.refresh_sent_at {
                assert!(calls.is_empty(), "nothing is sent before the mark is on disk");
                return Phase::BeforeTheMark;
            }
            return match calls {
                [] => Phase::MarkedNotSent,
                [call] if acted && matches!(call.outcome, Outcome::Answered { .. }) => Phase::AnsweredNotSaved,
                _ if acted => Phase::ActedUponNotAnswered,
                _ => Phase::SentNotActedUpon,
            };
        }
        assert!(acted && now.tokens.refresh_token == newest, "what is on disk is what the service issued last");
        assert_eq!(now.refresh_sent_at, None, "an outcome takes the mark away");
        if found.unfinished > 0 { Phase::SavedNotNamed } else { Phase::Saved }
    }

    /// The next agent serves and refreshes, and nobody has to sign in.
    fn goes_on(&mut self, age: Duration) {
        let before = self.age_to(age);
        let signed_in = self.service.sessions().len();
        let agent = self.sandbox.start_agent();
        assert_eq!(agent.get("/v1/token?session=corp")["token_type"], "Bearer");
        assert_eq!(agent.get("/v1/credentials?profile=dev")["Version"], 1);
        let fresh = self.service.now().seconds() + LIFETIME.as_secs() - 300;
        agent.wait_for_status("refreshed", |status| {
            seconds(&status["sessions"][0]["access_token_expires_at"]) > fresh && status["sessions"][0]["saved"] == true
        });
        agent.kill();
        let found = look(&self.sandbox);
        let now = found.tokens.expect("the record is never gone");
        assert_ne!(now.tokens.refresh_token, before.tokens.refresh_token);
        assert_eq!((now.tokens.refresh_token, now.refresh_sent_at), (self.newest_refresh_token(), None));
        assert_eq!(found.unfinished, 0, "what a crash left behind is tidied up");
        assert_eq!(self.service.refresh_token_reuses(), self.reuses, "no token is presented twice in vain");
        assert_eq!(self.service.sessions().len(), signed_in);
        assert_eq!(self.service.count(Operation::StartDeviceAuthorization), 0);
        assert_eq!(self.service.count(Operation::RegisterClient), 0);
    }

    /// The successor of the stored token is gone: what is valid is served, and the token is not presented in a hurry.
    ///
    /// It is presented once more at the age `again`.
    fn is_lost(&mut self, again: Duration) {
        let calls = self.service.count(Operation::CreateTokenRefresh);
        self.age_to(DUE);
        let agent = self.sandbox.start_agent();
        assert_eq!(agent.get("/v1/token?session=corp")["token_type"], "Bearer");
        assert_eq!(agent.get("/v1/credentials?profile=dev")["Version"], 1);
        agent.kill();
        assert_eq!(self.service.count(Operation::CreateTokenRefresh), calls);
        let says_so = one_of(&mut self.dice, &[true, false, false, false]);
        if says_so {
            self.age_to(again);
            let agent = self.sandbox.start_agent();
            let status = agent.wait_for_status("refused", |status| status["sessions"][0]["renewable"] == false);
            let message = status["sessions"][0]["last_error"]["message"].as_str().unwrap();
            assert!(message.contains("the answer to an earlier refresh was lost"), "{message}");
            agent.kill();
            assert_eq!(self.service.count(Operation::CreateTokenRefresh), calls + 1);
            self.reuses += 1;
        }
        assert_eq!(self.service.refresh_token_reuses(), self.reuses);
        self.ends.count(if says_so { End::LostAndSaidSo } else { End::Lost });
        put(&self.sandbox, &Record::Tokens(self.new_sign_in()));
    }

    fn age_to(&self, age: Duration) -> TokenRecord {
        let record = look(&self.sandbox).tokens.expect("the record is never gone");
        let record = aged(record, age, &self.service);
        put(&self.sandbox, &Record::Tokens(record));
        look(&self.sandbox).tokens.expect("it was just put there")
    }

    fn newest_refresh_token(&self) -> Option<Secret> {
        self.service.sessions().pop()?.refresh_token.map(Secret::new)
    }
}

const THREADS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(3600);
/// A refresh is due: less than 20 minutes are left.
const DUE: Duration = Duration::from_secs(42 * 60);
/// A refresh of unknown fate is repeated: less than 5 minutes are left.
const LATE: Duration = Duration::from_secs(56 * 60);
const EXPIRED: Duration = Duration::from_secs(61 * 60);
