//! The user of the simulated machine and the programs that run there: what they ask, when they sign in, when they sleep.

use std::time::Duration;

use sso_agent::api::{
    Code, FlowChoice, LoginRequest, LoginState, Problem, Request, Response, StartedBy, TargetQuery, TokenKind,
};

use sso_agent::engine::{News, Notice};

use super::answers::{query, status};
use super::facts::named;
use super::files::{account, chained, chained_profile, is_on_demand, session_name, session_number};
use super::moment::{At, DAY, HOUR, MINUTE, SECOND};
use super::service::{CHAINED_ROLE, FORBIDDEN_ROLE};
use super::world::{Happening, World};

impl World {
    /// The user or a program does the next thing.
    pub fn user_acts(&mut self) {
        let working = self.is_working_time();
        let pause = if working && self.chance.permille(40) {
            self.chance.between(0, SECOND)
        } else if working {
            self.chance.spread(10 * SECOND, 15 * MINUTE)
        } else {
            self.chance.spread(10 * MINUTE, 6 * HOUR)
        };
        self.plan(pause, Happening::UserActs);
        let session = usize::try_from(self.chance.below(self.books.len() as u64)).unwrap_or_default();
        if working && self.books[session].wants_sign_in && self.chance.permille(700) {
            self.books[session].wants_sign_in = false;
            let login = self.login(false);
            self.ask(Request::Login { session: query(session), login });
            return;
        }
        if self.chance.permille(2) {
            self.ask(Request::Lock { passphrase: None });
            let pause = self.chance.spread(MINUTE, 12 * HOUR);
            self.plan(pause, Happening::Unlocks);
            return;
        }
        let seldom = working && self.chance.permille(100);
        let request = if seldom { self.something_seldom(session) } else { self.something_usual(session) };
        if self.chance.permille(4) {
            for _ in 0..30 {
                let request = self.credentials(session);
                self.ask(request);
            }
        }
        self.ask(request);
    }

    fn something_usual(&mut self, session: usize) -> Request {
        match self.chance.weighed(&[80, 8, 6, 3, 3]) {
            0 => self.credentials(session),
            1 => {
                let min_validity = Duration::from_secs(self.chance.pick(&[0, 0, 0, 60, 900, 40_000]));
                Request::Token { session: query(session), min_validity, kind: TokenKind::Access }
            }
            2 => status(),
            3 => Request::Status { wait: Duration::from_secs(30), after: Some(self.chance.below(40)) },
            _ => Request::Accounts { session: query(session) },
        }
    }

    fn something_seldom(&mut self, session: usize) -> Request {
        let session = query(session);
        match self.chance.weighed(&[20, 5, 10, 3, 8, 5, 5, 2]) {
            0 => Request::Refresh { session, force: false },
            1 => Request::Refresh { session, force: self.chance.permille(200) },
            2 => Request::Reload,
            3 => Request::Logout { session },
            4 => Request::LoginState { session, wait: Duration::from_secs(30) },
            5 => Request::Roles { session, account: account() },
            6 => {
                let program = self.chance.permille(500);
                Request::Login { session, login: self.login(program) }
            }
            _ => Request::CancelLogin { session, attempt: None },
        }
    }

    fn credentials(&mut self, session: usize) -> Request {
        let role = if self.chance.permille(10) { FORBIDDEN_ROLE as u64 } else { self.chance.below(4) };
        let target = if self.chance.permille(150) {
            let role = self.chance.pick(&[CHAINED_ROLE, CHAINED_ROLE + 1]);
            TargetQuery::Profile(chained_profile(session, role))
        } else {
            TargetQuery::Role {
                session: Some(session_name(session)),
                account: account(),
                role: format!("Role{role}").parse().expect("a role's name"),
            }
        };
        let min_validity = self.chance.pick(&[None, None, None, Some(0), Some(1800), Some(43_200)]);
        let timeout = self.chance.pick(&[None, Some(29), Some(29), Some(29), Some(1), Some(300)]);
        Request::Credentials {
            target,
            min_validity: min_validity.map(Duration::from_secs),
            timeout: timeout.map(Duration::from_secs),
        }
    }

    fn login(&mut self, by_a_program: bool) -> LoginRequest {
        LoginRequest {
            flow: FlowChoice::Device,
            new_session: self.chance.permille(50),
            force: self.chance.permille(50),
            browser_likely: false,
            started_by: if by_a_program { StartedBy::Program } else { StartedBy::Cli },
        }
    }

    /// What the user was told without having asked.
    pub fn user_sees(&mut self, notice: &Notice) {
        let session = session_number(&notice.session);
        let now = self.now;
        let books = &mut self.books[session];
        let News::SignInWanted { link, .. } = &notice.news else {
            books.offered &= notice.news != News::Over;
            return;
        };
        books.offers.retain(|at| *at + DAY > now);
        books.offers.push(now);
        let many = books.offers.len();
        let twice = std::mem::replace(&mut books.offered, true);
        *self.report.noted.entry("a request has started a sign-in").or_default() += 1;
        if !is_on_demand(session) {
            self.violation(format!("s{session}: a request has started a sign-in although nobody turned that on"));
        } else if twice {
            self.violation(format!("s{session}: two sign-ins are on the screen"));
        } else if many > MOST_OFFERS {
            self.violation(format!("s{session}: {many} sign-ins were on the screen within a day"));
        }
        let code = link.rsplit('=').next().and_then(|code| code.parse().ok()).expect("the link has the code");
        let pause = self.chance.spread(4 * SECOND, 90 * SECOND);
        let attentive = self.is_working_time();
        match self.chance.weighed(&[60, 10, 30]) {
            0 if attentive => self.plan(pause, Happening::Decides(code, true)),
            1 if attentive => self.plan(pause, Happening::Decides(code, false)),
            _ => {}
        }
    }

    /// What somebody was told.
    pub fn user_hears(&mut self, request: &Request, answer: &Result<Response, Problem>) {
        match answer {
            Ok(Response::Login { accepted: true, status }) if status.state == LoginState::Pending => {
                let Some(code) = status.user_code.as_ref().and_then(|code| code.raw().parse().ok()) else { return };
                let pause = self.chance.spread(4 * SECOND, 90 * SECOND);
                match self.chance.weighed(&[86, 6, 8]) {
                    0 => self.plan(pause, Happening::Decides(code, true)),
                    1 => self.plan(pause, Happening::Decides(code, false)),
                    _ => {}
                }
            }
            Err(problem) if problem.code == Code::SignInRequired => {
                let session = match request {
                    Request::Credentials { target: TargetQuery::Role { session: Some(name), .. }, .. } => {
                        Some(session_number(name))
                    }
                    Request::Credentials { target: TargetQuery::Profile(name), .. } => {
                        chained(name).map(|(session, _)| session)
                    }
                    Request::Token { session, .. } | Request::Accounts { session } => named(session),
                    _ => None,
                };
                if let Some(session) = session {
                    self.books[session].wants_sign_in = true;
                }
            }
            // Some unlock the keyring, some sign in anew.
            Err(problem) if problem.code == Code::Storage && self.chance.permille(100) => {
                if let Some(name) = &problem.session {
                    let session = name[1..].parse::<usize>().expect("a session from here");
                    self.books[session].wants_sign_in |= self.books[session].sealed;
                }
            }
            _ => {}
        }
    }

    /// From nine to six on a working day.
    pub const fn is_working_time(&self) -> bool {
        let hour = self.now % DAY / HOUR;
        self.now / DAY % 7 < 5 && hour >= 9 && hour < 18
    }

    /// The lid is closed for so long.
    pub fn suspend(&mut self, long: At) {
        self.asleep_until = self.now + long;
        self.resumed_at = self.asleep_until;
        self.trouble(self.asleep_until);
        self.note(format!("suspend for {} s", long / SECOND));
    }
}

/// Ten in a day of requests and a user who is away; clocks that are set, and disks that forget, make for more.
const MOST_OFFERS: usize = 30;
