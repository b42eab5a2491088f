//! Agents killed while somebody signs in: at every call, at every write, at random; with and without an earlier sign-in.
//!
//! What the service gave out and the disk has is used by the next agent; an earlier sign-in is served until there is
//! another one on disk; a client that was saved is not registered again.

use std::time::Duration;

use sso_agent::schedule::Dice;
use sso_agent::store::{ClientRecord, Record, TokenRecord};

use super::matrix::disk::{self, START_URL, look};
use super::matrix::files::{Happened, Watch};
use super::matrix::{Tally, one_of, say, seed};
use crate::support::crowd::at_once;
use crate::support::fake::{FakeConfig, FakeIdentityCenter, Fault, Operation, Outcome, Times, When, stopwatch};
use crate::support::sandbox::{CORP, Sandbox, exchange};

/// When an agent is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So much of the way to the tokens, in percent.
    Random(u32),
    /// When this happens to the files of the records.
    File(Happened, usize),
    /// When the service has this request, before it acted on it or after.
    Call(Operation, When),
    /// When the service has answered it.
    Answer(Operation),
}

/// How far the sign-in had come, read off the disk and the service's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Begun,
    RegisteredNotSaved,
    RegisteredAndSaved,
    ActedUponNotAnswered,
    AnsweredNotSaved,
    SavedNotNamed,
    Saved,
}

#[test]
fn whenever_an_agent_is_killed_in_a_sign_in_nothing_that_was_saved_is_lost() {
    let seed = seed();
    let moments = moments();
    let tallies = at_once(THREADS, |thread| {
        let number = u64::try_from(thread).expect("there are few");
        let sandbox = if thread == 0 { Sandbox::new() } else { Sandbox::in_memory() };
        let mut scene = Scene::new(sandbox, Dice::new(seed.wrapping_add(number)));
        for moment in moments.iter().skip(thread).step_by(THREADS) {
            let before = one_of(&mut scene.dice, &[Before::Nothing, Before::Client, Before::SignIn]);
            scene.run(*moment, before);
        }
        scene.phases
    });
    let mut phases = Tally::new();
    tallies.iter().for_each(|more| phases.add(more));
    say(&format!("\nkilled in a sign-in: {} times (seed {seed})\n{}", phases.total(), phases.lines()));
    for phase in [
        Phase::Begun,
        Phase::RegisteredNotSaved,
        Phase::RegisteredAndSaved,
        Phase::ActedUponNotAnswered,
        Phase::AnsweredNotSaved,
        Phase::Saved,
    ] {
        assert!(phases.of(phase) > 0, "{phase:?} was never reached");
    }
}

fn moments() -> Vec<Moment> {
    use Operation::{CreateTokenDeviceCode, RegisterClient, StartDeviceAuthorization};
    let random = (0..50).map(|number| Moment::Random(number * 2 + 1));
    let mut on_purpose = Vec::new();
    for operation in [RegisterClient, StartDeviceAuthorization, CreateTokenDeviceCode] {
        on_purpose.push((Moment::Call(operation, When::BeforeEffect), 4));
        on_purpose.push((Moment::Call(operation, When::AfterEffect), 4));
        on_purpose.push((Moment::Answer(operation), 6));
    }
    for happened in [Happened::Made, Happened::Written, Happened::Renamed] {
        on_purpose.push((Moment::File(happened, 1), 6));
        on_purpose.push((Moment::File(happened, 2), 6));
    }
    let on_purpose = on_purpose.into_iter().flat_map(|(moment, times)| std::iter::repeat_n(moment, times));
    random.chain(on_purpose).collect()
}

/// What there was before the sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A client registration.
    Client,
    /// That, and a sign-in that goes on.
    SignIn,
}

/// A machine and its service.
struct Scene {
    service: FakeIdentityCenter,
    sandbox: Sandbox,
    dice: Dice,
    phases: Tally<Phase>,
    /// From the question to the tokens.
    usual: Duration,
}

impl Scene {
    fn new(sandbox: Sandbox, dice: Dice) -> Self {
        let service = FakeIdentityCenter::start(FakeConfig { auto_approve: true, ..FakeConfig::default() });
        sandbox.write_config(CORP);
        let mut sandbox = sandbox.at(service.url());
        sandbox.set("SSO_AGENT_LOG", "info");
        disk::plant(&sandbox, &[]);
        let scene = Self { service, sandbox, dice, phases: Tally::new(), usual: Duration::ZERO };
        let agent = scene.sandbox.start_agent();
        let began = stopwatch();
        scene.signs_in(&agent);
        let usual = stopwatch() - began;
        drop(agent);
        Self { usual, ..scene }
    }

    fn run(&mut self, moment: Moment, before: Before) {
        // What a saved client makes unnecessary is not waited for.
        let before = match moment {
            Moment::Call(Operation::RegisterClient, _) | Moment::Answer(Operation::RegisterClient) => Before::Nothing,
            Moment::File(_, 2) => Before::Nothing,
            _ => before,
        };
        let had = self.plant(before);
        let answers = |service: &FakeIdentityCenter, operation| {
            service.calls(operation).iter().filter(|call| call.outcome != Outcome::UnderWay).count()
        };
        let calls_before = self.service.count(Operation::CreateTokenDeviceCode);
        let registered_before = self.service.registrations().len();
        let mut watch = Watch::on(&self.sandbox.state().join("records"));
        let agent = self.sandbox.start_agent();
        if let Moment::Call(operation, when) = moment {
            self.service.fault(operation, Fault::Hang, when, Times::Next(1));
        }
        let socket = self.sandbox.socket();
        std::thread::scope(|scope| {
            let answered = |operation| answers(&self.service, operation);
            let (already, seen) = match moment {
                Moment::Call(operation, _) | Moment::Answer(operation) => {
                    (answered(operation), self.service.count(operation))
                }
                _ => (0, 0),
            };
            scope.spawn(move || drop(exchange(&socket, "POST", "/v1/sessions/corp/login", LOGIN)));
            match moment {
                Moment::Random(percent) => drop(agent.runs_for(self.usual * percent / 100)),
                Moment::File(happened, nth) => watch.wait_for(happened, nth),
                Moment::Call(operation, When::BeforeEffect) => {
                    drop(self.service.wait_for_calls(operation, seen + 1, PATIENCE).unwrap());
                }
                Moment::Call(operation, When::AfterEffect) | Moment::Answer(operation) => {
                    drop(self.service.wait_for_answers(operation, already + 1, PATIENCE).unwrap());
                }
            }
            agent.kill();
        });
        self.service.clear_faults();
        self.service.settle();
        let polls = self.service.calls(Operation::CreateTokenDeviceCode).split_off(calls_before);
        let issued = polls.iter().find_map(|call| match &call.outcome {
            Outcome::Answered { status: 200, .. } => Some(Phase::AnsweredNotSaved),
            Outcome::Struck { status: Some(200), .. } => Some(Phase::ActedUponNotAnswered),
            _ => None,
        });
        let found = look(&self.sandbox);
        let phase = match (found.tokens == had, issued) {
            (true, Some(lost)) => lost,
            (true, None) if self.service.registrations().len() == registered_before => match before {
                Before::Nothing => Phase::Begun,
                Before::Client | Before::SignIn => Phase::RegisteredAndSaved,
            },
            (true, None) if found.client.is_none() => Phase::RegisteredNotSaved,
            (true, None) => Phase::RegisteredAndSaved,
            (false, Some(_)) if found.unfinished > 0 => Phase::SavedNotNamed,
            (false, Some(_)) => Phase::Saved,
            (false, None) => panic!("tokens that nobody has issued: {found:?}"),
        };
        self.phases.count(phase);
        self.goes_on(phase, had.is_some(), found.client.is_some());
    }

    /// Every sign-in begins on a machine of its own.
    fn plant(&self, before: Before) -> Option<TokenRecord> {
        let _ = std::fs::remove_dir_all(self.sandbox.state().join("records"));
        if before == Before::Nothing {
            disk::plant(&self.sandbox, &[]);
            return None;
        }
        let (client, tokens) = self.service.sign_in_directly(START_URL);
        let tokens = disk::record_of(&self.service, &client, &tokens);
        let client = ClientRecord {
            session: tokens.session.clone(),
            origin: tokens.origin.clone(),
            registrations: vec![tokens.tokens.registration.clone()],
            longest_session: Duration::ZERO,
            program_sign_ins: Vec::new(),
            quiet: None,
            last_session: None,
            end_announced: None,
            published: sso_agent::sso_cache::Published::default(),
        };
        let mut records = vec![Record::Client(client)];
        records.extend((before == Before::SignIn).then_some(Record::Tokens(tokens)));
        disk::plant(&self.sandbox, &records);
        // As it reads there: in whole seconds.
        look(&self.sandbox).tokens
    }

    fn goes_on(&mut self, phase: Phase, had_a_sign_in: bool, has_a_client: bool) {
        let count = |operation| self.service.count(operation);
        let (registered, begun) = (count(Operation::RegisterClient), count(Operation::StartDeviceAuthorization));
        let agent = self.sandbox.start_agent();
        if matches!(phase, Phase::Saved | Phase::SavedNotNamed) || had_a_sign_in {
            assert_eq!(agent.get("/v1/token?session=corp")["token_type"], "Bearer");
            assert_eq!(agent.get("/v1/credentials?profile=dev")["Version"], 1);
            assert_eq!(count(Operation::StartDeviceAuthorization), begun);
        } else {
            assert_eq!(agent.get("/v1/status")["sessions"][0]["state"], "signed_out");
            if one_of(&mut self.dice, &[true, false, false, false]) {
                self.signs_in(&agent);
                let once_more = usize::from(!has_a_client);
                assert_eq!(self.service.count(Operation::RegisterClient), registered + once_more);
            }
        }
        agent.kill();
        assert_eq!(look(&self.sandbox).unfinished, 0, "what a crash left behind is tidied up");
        assert_eq!(self.service.refresh_token_reuses(), 0);
    }

    fn signs_in(&self, agent: &crate::support::sandbox::Agent<'_>) {
        let (status, body) = agent.request("POST", "/v1/sessions/corp/login", LOGIN);
        assert_eq!(status, 202, "{body}");
        assert_eq!(agent.end_of_sign_in("corp")["state"], "signed_in");
    }
}

const LOGIN: &str = r#"{"flow":"device","started_by":"cli","force":true}"#;
const THREADS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
