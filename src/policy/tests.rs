//! The rules against a prompter that does as it is told, on a clock that is handed in.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::audit::Programs;
use crate::env::Env;
use crate::ids::Grant;
use crate::scratch::Scratch;
use crate::settings::AuditMode;
use crate::time::{Mono, Now, Timestamp};

struct Hands(Mutex<Duration>);

impl Clock for Hands {
    fn now(&self) -> Now {
        let passed = *self.0.lock().unwrap();
        Now { wall: Timestamp::from_secs(1_000_000).after(passed), mono: Mono::from_start(passed) }
    }
}

/// Everybody it asks waits for what comes through here.
struct Scripted {
    asked: mpsc::UnboundedSender<Question>,
    answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<Outcome>>,
}

impl Prompter for Scripted {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(async move {
            self.asked.send(question).unwrap();
            self.answers.lock().await.recv().await.unwrap()
        })
    }
}

struct Stage {
    policies: Arc<Policies>,
    asked: mpsc::UnboundedReceiver<Question>,
    answers: mpsc::UnboundedSender<Outcome>,
    clock: Arc<Hands>,
    rule: Arc<Policy>,
    scratch: Scratch,
}

fn target() -> TargetId {
    let grant = Grant::Role { account: "111122223333".parse().unwrap(), role: "Admin".parse().unwrap() };
    TargetId { session: "corp".parse().unwrap(), grant }
}

fn stage(confirm: bool, allow: Option<Vec<PathBuf>>) -> Stage {
    let remember = Duration::from_secs(900);
    let rule = Arc::new(Policy { confirm, remember, allow, name: "prod".to_owned() });
    let policies = BTreeMap::from([(target(), Arc::clone(&rule))]);
    let (_, doors) = watch::channel(Arc::new(Doors { policies, ..Doors::default() }));
    let clock = Arc::new(Hands(Mutex::default()));
    let scratch = Scratch::new();
    let programs = Programs::of_machine(&Env::default());
    let audit =
        Audit::new(scratch.path().to_owned(), AuditMode::BestEffort, programs, Arc::clone(&clock) as Arc<dyn Clock>);
    let (asked, heard) = mpsc::unbounded_channel();
    let (say, answers) = mpsc::unbounded_channel();
    let prompter = Arc::new(Scripted { asked, answers: tokio::sync::Mutex::new(answers) });
    let policies = Policies::new(doors, Arc::new(audit), prompter, Arc::clone(&clock) as Arc<dyn Clock>);
    Stage { policies: Arc::new(policies), asked: heard, answers: say, clock, rule, scratch }
}

impl Stage {
    async fn admit(&self) -> Result<Admitted, Problem> {
        admit(Arc::clone(&self.policies), Duration::from_secs(25)).await
    }

    /// One asks, and the user says this.
    async fn answered(&mut self, outcome: Outcome) -> Result<Admitted, Problem> {
        self.answers.send(outcome).unwrap();
        let admitted = self.admit().await;
        self.asked.try_recv().expect("the user was asked");
        admitted
    }

    fn pass(&self, time: u64) {
        *self.clock.0.lock().unwrap() += Duration::from_secs(time);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("audit.log")).unwrap_or_default()
    }
}

/// From this process, which has a program and runs.
async fn admit(policies: Arc<Policies>, patience: Duration) -> Result<Admitted, Problem> {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let asker = Asker::of(&ours, i32::try_from(std::process::id()).ok(), 0);
    let rule = policies.rule(&target()).unwrap();
    policies.admit(&rule, &target(), "credentials", &asker, Instant::now() + patience).await
}

#[tokio::test(start_paused = true)]
async fn only_the_programs_in_the_list_are_served_and_the_refusal_is_in_the_log() {
    // This program counts as ours here; whoever has started it is who asks.
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let asker = Asker::of(&ours, i32::try_from(std::process::id()).ok(), 0);
    let Caller::Program { exe, .. } = stage(false, None).policies.audit.caller(&asker) else { return };
    let allowed = stage(false, Some(vec![exe.clone().into()]));
    assert_eq!(allowed.admit().await, Ok(Admitted::AtOnce));
    assert_eq!(allowed.log(), "");
    let refused = stage(true, Some(vec!["/bin/true".into()]));
    let problem = refused.admit().await.unwrap_err();
    assert_eq!((problem.code, problem.code.status(), problem.code.exit().code()), (Code::NotAllowed, 403, 6));
    let text = problem.to_string();
    assert!(text.contains(&exe) && text.contains("target prod") && text.contains("allow"), "{text}");
    let log = refused.log();
    assert!(log.contains(r#""refused":"allow""#) && log.contains("Admin") && log.contains(&exe), "{log}");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_told_is_refused_where_there_is_a_list() {
    let stage = stage(false, Some(vec!["/bin/true".into()]));
    let deadline = Instant::now() + Duration::from_secs(25);
    let outcome = stage.policies.admit(&stage.rule, &target(), "console", &Asker::unknown(), deadline).await;
    let problem = outcome.unwrap_err();
    assert_eq!(problem.code, Code::NotAllowed);
    assert!(problem.to_string().contains("does not tell which program"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn fifty_who_wait_are_one_prompt_and_one_answer() {
    let mut stage = stage(true, None);
    let waiting: Vec<_> =
        (0..50).map(|_| tokio::spawn(admit(Arc::clone(&stage.policies), Duration::from_secs(25)))).collect();
    let question = stage.asked.recv().await.unwrap();
    assert!(question.text.contains("role Admin in account 111122223333, session corp"), "{}", question.text);
    stage.answers.send(Outcome::Allowed).unwrap();
    for one in waiting {
        assert_eq!(one.await.unwrap(), Ok(Admitted::AfterAWhile));
    }
    assert!(stage.asked.try_recv().is_err(), "asked once");
}

#[tokio::test(start_paused = true)]
async fn a_yes_is_remembered_as_long_as_the_settings_say_and_a_no_for_a_minute() {
    let mut stage = stage(true, None);
    assert_eq!(stage.answered(Outcome::Allowed).await, Ok(Admitted::AfterAWhile));
    stage.pass(899);
    assert_eq!(stage.admit().await, Ok(Admitted::AtOnce));
    stage.pass(1);
    let refused = stage.answered(Outcome::Refused).await.unwrap_err();
    assert_eq!(refused.code, Code::NotAllowed);
    stage.pass(59);
    assert_eq!(stage.admit().await.unwrap_err().code, Code::NotAllowed);
    assert!(stage.asked.try_recv().is_err(), "nobody is asked in a loop");
    stage.pass(1);
    assert_eq!(stage.answered(Outcome::Unanswered).await.unwrap_err().code, Code::NotAllowed);
    assert!(stage.log().contains(r#""refused":"confirm""#), "{}", stage.log());
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_is_told_so_and_a_late_yes_counts() {
    let mut stage = stage(true, None);
    let problem = stage.admit().await.unwrap_err();
    assert_eq!(problem.code, Code::Timeout, "after 25 s of nobody answering");
    stage.asked.recv().await.unwrap();
    let again = tokio::spawn(admit(Arc::clone(&stage.policies), Duration::from_secs(25)));
    tokio::task::yield_now().await;
    stage.answers.send(Outcome::Allowed).unwrap();
    assert_eq!(again.await.unwrap(), Ok(Admitted::AfterAWhile), "the prompt was still there");
    assert_eq!(stage.admit().await, Ok(Admitted::AtOnce));
    assert!(stage.asked.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_prompt_it_is_refused_with_the_reason() {
    let mut stage = stage(true, None);
    let problem = stage.answered(Outcome::Unavailable("no display".to_owned())).await.unwrap_err();
    assert_eq!(problem.code, Code::NotAllowed);
    assert!(problem.to_string().contains("no display") && problem.hint.is_some(), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_hides_is_asked_about_every_time() {
    let mut stage = stage(true, None);
    // Its number is nobody's: the kernel knows it, and it does not let itself be looked at.
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    for _ in 0..2 {
        let asker = Asker::of(&ours, Some(i32::MAX), 0);
        if stage.policies.audit.caller(&asker) != Caller::Hidden {
            return; // an old kernel tells of nobody
        }
        stage.answers.send(Outcome::Allowed).unwrap();
        let deadline = Instant::now() + Duration::from_secs(25);
        let admitted = stage.policies.admit(&stage.rule, &target(), "credentials", &asker, deadline).await;
        assert_eq!(admitted, Ok(Admitted::AfterAWhile));
        assert!(stage.asked.try_recv().unwrap().text.contains("a program that cannot be told"));
    }
}
