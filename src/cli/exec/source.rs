//! What the endpoint of one command answers with: what the agent says, and while that says nothing, what it said last.
//!
//! Invariants: the agent is asked each time; the last set is served only while nobody answers or what is wrong is
//! temporary, and only as long as it is valid by both clocks; a refusal is passed on and the last set forgotten, and so
//! is a lock that lies in the state directory of an agent that is away.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::api::{Code, CredentialDocument, Problem, Request};
use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::container::{Mark, Source};
use crate::store::is_latched;
use crate::time::Now;

/// Asks the agent.
pub(super) struct FromAgent(Arc<Asker>);

struct Asker {
    client: Client,
    request: Request,
    token: Mark,
    clock: Arc<dyn Clock>,
    state_dir: Option<PathBuf>,
    last: Mutex<Last>,
}

/// The last set, if it may be served.
#[derive(Default)]
struct Last(Option<(Arc<CredentialDocument>, Now)>);

impl FromAgent {
    /// Asks this agent for that, for who shows the token of this mark; `first` is what it said already, and `state_dir`
    /// is the agent's.
    pub(super) fn new(
        client: Client,
        request: Request,
        token: Mark,
        first: CredentialDocument,
        clock: Arc<dyn Clock>,
        state_dir: Option<PathBuf>,
    ) -> Self {
        let mut last = Last::default();
        last.keep(Arc::new(first), clock.now());
        Self(Arc::new(Asker { client, request, token, clock, state_dir, last: Mutex::new(last) }))
    }
}

impl Source for FromAgent {
    type Pass = ();

    fn admit(&self, shown: &Mark) -> Option<()> {
        (self.0.token == *shown).then_some(())
    }

    async fn credentials(&self, (): &()) -> Result<Arc<CredentialDocument>, Problem> {
        let asker = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || asker.ask()).await;
        asked.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "asking the agent failed")))
    }
}

impl Asker {
    fn ask(&self) -> Result<Arc<CredentialDocument>, Problem> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has something to fall back on need not make the client wait.
        let patience = if last().valid(self.clock.now()).is_some() { BRIEFLY } else { PATIENCE };
        let outcome = self.client.send(&self.request, patience).and_then(|reply| {
            let read = serde_json::from_slice(reply.body.expose());
            read.map_err(|_| ClientError::BadAnswer("its credentials cannot be read"))
        });
        let outcome = outcome.map_err(|error| if self.is_locked() { locked() } else { error });
        last().settle(outcome, self.clock.now())
    }

    fn is_locked(&self) -> bool {
        self.state_dir.as_deref().is_some_and(is_latched)
    }
}

fn locked() -> ClientError {
    let problem = Problem::new(Code::Locked, "the agent is locked").hint("run: sso-agent unlock");
    ClientError::Problem(Box::new(problem))
}

impl Last {
    fn keep(&mut self, document: Arc<CredentialDocument>, now: Now) {
        let lifetime = document.expiration.since(now.wall);
        let until = Now { wall: document.expiration, mono: now.mono.after(lifetime) };
        self.0 = Some((document, until));
    }

    fn valid(&self, now: Now) -> Option<&Arc<CredentialDocument>> {
        let (document, until) = self.0.as_ref()?;
        (now.wall < until.wall && now.mono < until.mono).then_some(document)
    }

    /// The answer to whoever asked, after the agent answered so or did not.
    fn settle(
        &mut self,
        outcome: Result<CredentialDocument, ClientError>,
        now: Now,
    ) -> Result<Arc<CredentialDocument>, Problem> {
        match outcome {
            Ok(document) => {
                let document = Arc::new(document);
                self.keep(Arc::clone(&document), now);
                Ok(document)
            }
            Err(ClientError::Problem(problem)) if is_final(problem.code) => {
                self.0 = None;
                Err(*problem)
            }
            Err(error) => match self.valid(now) {
                Some(document) => Ok(Arc::clone(document)),
                None => Err(match error {
                    ClientError::Problem(problem) => *problem,
                    error => Problem::new(Code::Unavailable, error.to_string()),
                }),
            },
        }
    }
}

/// Whether this is an answer, and not only the lack of one.
const fn is_final(code: Code) -> bool {
    !matches!(
        code,
        Code::Internal
            | Code::Refused
            | Code::Unavailable
            | Code::Throttled
            | Code::Busy
            | Code::Timeout
            | Code::ShuttingDown
            | Code::Storage
            | Code::Unknown
    )
}

/// Less than the second that the most impatient SDK waits.
const BRIEFLY: Duration = Duration::from_millis(900);
/// Where there is nothing else: SDKs try again, and meet the agent's answer then.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Absence;
    use crate::secret::Secret;
    use crate::time::{Mono, Timestamp};

    fn at(wall: i64, mono: u64) -> Now {
        Now { wall: Timestamp::from_secs(wall), mono: Mono::from_start(Duration::from_secs(mono)) }
    }

    fn set(key: &str, expiration: i64) -> CredentialDocument {
        CredentialDocument {
            version: 1,
            access_key_id: key.to_owned(),
            secret_access_key: Secret::new("sk".to_owned()),
            session_token: Secret::new("st".to_owned()),
            expiration: Timestamp::from_secs(expiration),
            account_id: None,
        }
    }

    fn problem(code: Code) -> Result<CredentialDocument, ClientError> {
        Err(ClientError::Problem(Box::new(Problem::new(code, "x"))))
    }

    fn nobody() -> Result<CredentialDocument, ClientError> {
        Err(ClientError::NoAgent { socket: "/run/agent.sock".into(), absence: Absence::NoSocket })
    }

    fn settled(last: &mut Last, outcome: Result<CredentialDocument, ClientError>, now: Now) -> Result<String, Code> {
        last.settle(outcome, now).map(|set| set.access_key_id.clone()).map_err(|problem| problem.code)
    }

    #[test]
    fn what_the_agent_says_is_what_is_served_and_the_last_of_it_while_it_is_away() {
        let mut last = Last::default();
        assert_eq!(settled(&mut last, nobody(), at(1000, 0)), Err(Code::Unavailable));
        assert_eq!(settled(&mut last, Ok(set("a", 1100)), at(1000, 0)), Ok("a".to_owned()));
        assert_eq!(settled(&mut last, nobody(), at(1050, 50)), Ok("a".to_owned()));
        assert_eq!(settled(&mut last, Ok(set("b", 1200)), at(1050, 50)), Ok("b".to_owned()));
        for code in [Code::ShuttingDown, Code::Unavailable, Code::Storage, Code::Busy, Code::Refused] {
            assert_eq!(settled(&mut last, problem(code), at(1060, 60)), Ok("b".to_owned()), "{code}");
        }
    }

    #[test]
    fn an_expired_set_is_never_served_whichever_clock_says_so() {
        for now in [at(1100, 99), at(1050, 100)] {
            let mut last = Last::default();
            settled(&mut last, Ok(set("a", 1100)), at(1000, 0)).unwrap();
            assert_eq!(settled(&mut last, nobody(), now), Err(Code::Unavailable), "{now:?}");
        }
    }

    #[test]
    fn a_refusal_is_the_answer_and_ends_the_last_set() {
        for code in [Code::Locked, Code::SignInRequired, Code::AccessDenied, Code::UnknownProfile, Code::InvalidConfig]
        {
            let mut last = Last::default();
            settled(&mut last, Ok(set("a", 1100)), at(1000, 0)).unwrap();
            assert_eq!(settled(&mut last, problem(code), at(1010, 10)), Err(code));
            assert_eq!(settled(&mut last, nobody(), at(1020, 20)), Err(Code::Unavailable), "forgotten: {code}");
        }
    }
}
