//! `login`: sign in, and show the user what the approval page must show.
//!
//! Owns: the words, the events, the wait. Refuses to know how a sign-in works: the agent does it. Invariant: a sign-in
//! this command started is cancelled when the command gives up; one it joined goes on.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::{
    Code, FlowChoice, FlowChosenBy, LoginRequest, LoginState, LoginStatus, Request, SessionQuery, StartedBy,
};
use crate::ids::SessionName;
use crate::paths::shell_word;
use crate::time::{Mono, Timestamp, parse_duration};
use crate::untrusted::{Untrusted, shown};

use super::browser::{Opening, is_link};
use super::context::{BRIEFLY, Context, NETWORK, read};
use super::failure::Failure;
use super::surroundings::Surroundings;
use super::{choice, qr, words};

/// Sign in
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// The session; else what AWS_PROFILE leads to, else the only one there is
    session: Option<SessionName>,
    /// How to sign in: with a browser on this machine, or with a code on any device
    #[arg(long, value_enum, default_value_t)]
    flow: Flow,
    /// Do not open a browser, only show the link
    #[arg(long)]
    no_browser: bool,
    /// Sign in even if the session is signed in
    #[arg(long)]
    force: bool,
    /// Sign out at the portal first, so that the session's clock starts again
    #[arg(long)]
    new_session: bool,
    /// Give up after this long, for example 90s or 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Print one JSON object a line: verification, then signed_in or failed
    #[arg(long)]
    json: bool,
}

/// The flow, as it is typed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Flow {
    /// The session's setting, else what suits this machine
    #[default]
    Auto,
    /// Authorization code with PKCE
    Browser,
    /// Device code
    Device,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Event<'a> {
    Device {
        event: &'static str,
        session: &'a str,
        flow: &'a str,
        verification_uri: Option<&'a Untrusted>,
        verification_uri_complete: Option<&'a Untrusted>,
        user_code: Option<&'a Untrusted>,
        expires_at: Option<Timestamp>,
    },
    Browser {
        event: &'static str,
        session: &'a str,
        flow: &'a str,
        authorization_url: &'a Untrusted,
        expires_at: Option<Timestamp>,
    },
    SignedIn {
        event: &'static str,
        session: &'a str,
        expires_at: Option<Timestamp>,
    },
    Failed {
        event: &'static str,
        code: &'a str,
        message: &'a str,
    },
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let outcome = sign_in(options, context);
    if options.json {
        let line = match &outcome {
            Ok(status) => context.print_json(&Event::SignedIn {
                event: "signed_in",
                session: &status.session,
                expires_at: status.expires_at,
            }),
            Err(Failure::Output(_)) => Ok(()),
            Err(failure) => context.print_json(&Event::Failed {
                event: "failed",
                code: failure.code(),
                message: &failure.to_string(),
            }),
        };
        // The sign-in's own failure says more than that nobody reads the events.
        outcome.and(line)
    } else {
        outcome.map(drop)
    }
}

fn sign_in(options: &Options, context: &mut Context<'_>) -> Result<LoginStatus, Failure> {
    let started = context.now().mono;
    let session = choice::session(options.session.as_ref(), context.env)?;
    let login = LoginRequest {
        flow: match options.flow {
            Flow::Auto => FlowChoice::Auto,
            Flow::Browser => FlowChoice::Browser,
            Flow::Device => FlowChoice::Device,
        },
        new_session: options.new_session,
        force: options.force,
        browser_likely: context.surroundings.suits_the_browser_flow(),
        started_by: StartedBy::Cli,
    };
    let request = Request::Login { session: session.clone(), login };
    let begun: LoginStatus = read(&context.ask_slowly(&request, NETWORK, "asking for a sign-in")?)?;
    match begun.state {
        LoginState::Pending => {}
        LoginState::SignedIn => {
            let until = begun.expires_at.map(|time| format!(" {}", context.until(time))).unwrap_or_default();
            context.say(&format!("already signed in to {}{until}; --force signs in again", shown(&begun.session)));
            return Ok(begun);
        }
        _ => return Err(over(&begun)),
    }
    // From here on by name: the environment's profile may come to mean another session meanwhile.
    let pending = Pending {
        session: begun.session.parse().map_or(session, SessionQuery::Named),
        name: begun.session.clone(),
        attempt: begun.attempt,
        ours: !begun.joined,
        deadline: options.timeout.map(|patience| (patience, started.after(patience))),
        expires_at: begun.expires_at,
    };
    // Who has pressed Ctrl-C already needs no page opened.
    let shown_to_user = if context.interrupted() { Ok(Opening::default()) } else { present(options, &begun, context) };
    let done = match shown_to_user {
        Ok(opening) => pending.wait(opening, context),
        // A reader that has gone away is no error elsewhere; here nobody is signed in.
        Err(Failure::Output(error)) => {
            let reason = format!("the event cannot be written ({error})");
            Err(Stop::GiveUp(pending.stopped(Code::SignInCancelled, &reason)))
        }
        Err(failure) => Err(Stop::GiveUp(failure)),
    };
    context.progress_done();
    let status = match done {
        Ok(status) => status,
        Err(Stop::Over(failure)) => return Err(failure),
        Err(Stop::GiveUp(failure)) => pending.give_up(failure, context)?,
    };
    let until = status.expires_at.map(|time| format!(", access token {}", context.until(time))).unwrap_or_default();
    context.say(&format!("signed in to {}{until}", shown(&status.session)));
    Ok(status)
}

/// A sign-in that waits for the user.
struct Pending {
    session: SessionQuery,
    name: String,
    attempt: Option<u64>,
    /// Whether this command started it.
    ours: bool,
    /// How long this command waits, and until when.
    deadline: Option<(Duration, Mono)>,
    expires_at: Option<Timestamp>,
}

/// Why the wait ended without a token.
enum Stop {
    /// The sign-in is over, or out of reach.
    Over(Failure),
    /// This command does not want to wait any longer.
    GiveUp(Failure),
}

impl Pending {
    fn wait(&self, mut opening: Opening, context: &mut Context<'_>) -> Result<LoginStatus, Stop> {
        // Short enough to notice Ctrl-C, and for a person to see the time go by.
        let chunk = if context.terminal.attended { Duration::from_secs(1) } else { Duration::from_secs(5) };
        loop {
            let now = context.now();
            if context.interrupted() {
                return Err(Stop::GiveUp(self.stopped(Code::SignInCancelled, "interrupted")));
            }
            let left = self.deadline.map(|(_, deadline)| deadline.since(now.mono));
            if let (Some(Duration::ZERO), Some((patience, _))) = (left, self.deadline) {
                let reason = format!("not approved within {}", words::duration(patience));
                let code = if self.ours { Code::SignInCancelled } else { Code::Timeout };
                return Err(Stop::GiveUp(self.stopped(code, &reason)));
            }
            if let Some(failure) = opening.failure() {
                context.progress_done();
                context.say(&format!("warning: the browser did not open: {failure}; open the link above yourself"));
            }
            let life = self.expires_at.map(|time| format!(", {} left", words::countdown(time.since(now.wall))));
            context.progress(&format!("waiting for your approval{}", life.unwrap_or_default()));
            // Whole seconds, never none: the agent answers a wait of nothing at once.
            let wait = Duration::from_secs(left.map_or(chunk, |left| left.min(chunk)).as_secs().max(1));
            let request = Request::LoginState { session: self.session.clone(), wait };
            let status: LoginStatus = match context.ask_for(&request, wait + BRIEFLY) {
                Ok(status) => status,
                // A signal may break off a read.
                Err(_) if context.interrupted() => continue,
                Err(failure) => return Err(Stop::Over(failure)),
            };
            match status.state {
                LoginState::Pending if self.is_another(&status) => {
                    let message = "another sign-in took the place of this one".to_owned();
                    let (session, code) = (self.name.clone(), Code::SignInCancelled);
                    return Err(Stop::Over(Failure::SignIn { session, code, message }));
                }
                LoginState::Pending => {}
                LoginState::SignedIn => return Ok(status),
                _ => return Err(Stop::Over(over(&status))),
            }
        }
    }

    /// Cancels what this command started. If the user was quicker, the sign-in has succeeded all the same.
    fn give_up(&self, failure: Failure, context: &mut Context<'_>) -> Result<LoginStatus, Failure> {
        if !self.ours {
            return Err(failure);
        }
        let cancel = Request::CancelLogin { session: self.session.clone(), attempt: self.attempt };
        if let Err(error) = context.ask(&cancel, BRIEFLY) {
            context.say(&format!("warning: the sign-in could not be cancelled: {}", shown(&error.to_string())));
            return Err(failure);
        }
        let state = Request::LoginState { session: self.session.clone(), wait: Duration::ZERO };
        match context.ask_for::<LoginStatus>(&state, BRIEFLY) {
            Ok(status) if status.state == LoginState::SignedIn && status.attempt == self.attempt => Ok(status),
            _ => Err(failure),
        }
    }

    fn stopped(&self, code: Code, reason: &str) -> Failure {
        let fate = if self.ours { "the sign-in is cancelled" } else { "the sign-in it joined goes on" };
        Failure::SignIn { session: self.name.clone(), code, message: format!("{reason}; {fate}") }
    }

    fn is_another(&self, status: &LoginStatus) -> bool {
        matches!((self.attempt, status.attempt), (Some(ours), Some(theirs)) if ours != theirs)
    }
}

/// What a sign-in that is not pending and not signed in means.
fn over(status: &LoginStatus) -> Failure {
    let (code, fallback) = match status.state {
        LoginState::Failed => {
            let code = status.code.unwrap_or(Code::Internal);
            (code, code.title())
        }
        LoginState::Idle => (Code::SignInCancelled, "the agent has forgotten this sign-in; was it started again?"),
        _ => (Code::Internal, "the sign-in asks for something this version cannot answer"),
    };
    let message = status.message.clone().unwrap_or_else(|| fallback.to_owned());
    Failure::SignIn { session: status.session.clone(), code, message }
}

/// Shows where to go and what to compare, and opens the page.
fn present(options: &Options, status: &LoginStatus, context: &mut Context<'_>) -> Result<Opening, Failure> {
    let links = [&status.verification_uri, &status.verification_uri_complete, &status.authorization_url];
    if links.iter().any(|link| link.as_ref().is_some_and(|link| !is_link(link.raw()))) {
        return Err(Failure::Unsafe("a link that is not safe to show or open"));
    }
    if status.replaced {
        context.say("this replaces another sign-in that was pending");
    }
    if status.joined {
        let ago = status.started_at.map(|time| words::duration(context.now().wall.since(time)));
        let ago = ago.map(|ago| format!(", started {ago} ago")).unwrap_or_default();
        context.say(&format!("joined the sign-in that is already pending{ago}"));
    }
    let complete = status.verification_uri_complete.as_ref().or(status.authorization_url.as_ref());
    let link = complete.or(status.verification_uri.as_ref());
    if options.json {
        context.print_json(&verification(status))?;
    }
    let Some(link) = link else { return Err(Failure::Unsafe("a sign-in without a link")) };
    if !options.json {
        tell(status, link.raw(), context);
    }
    let here = context.surroundings;
    let opens = here.shows_pages() || (status.browser.is_some() && here.may_show_pages());
    // Whoever started a sign-in that we joined has its page open already.
    if options.no_browser || status.joined || !opens {
        return Ok(Opening::default());
    }
    match context.browser.open(link.raw(), status.browser.as_deref()) {
        Ok(opening) => {
            if !options.json {
                context.say("The page is opening in your browser.");
            }
            Ok(opening)
        }
        Err(error) => {
            context.say(&format!("warning: no browser was opened: {error}; open the link above yourself"));
            Ok(Opening::default())
        }
    }
}

fn verification(status: &LoginStatus) -> Event<'_> {
    let flow = status.flow.as_deref().unwrap_or("device");
    match &status.authorization_url {
        Some(authorization_url) => Event::Browser {
            event: "verification",
            session: &status.session,
            flow,
            authorization_url,
            expires_at: status.expires_at,
        },
        None => Event::Device {
            event: "verification",
            session: &status.session,
            flow,
            verification_uri: status.verification_uri.as_ref(),
            verification_uri_complete: status.verification_uri_complete.as_ref(),
            user_code: status.user_code.as_ref(),
            expires_at: status.expires_at,
        },
    }
}

fn tell(status: &LoginStatus, link: &str, context: &mut Context<'_>) {
    if let Some(line) = which_flow_and_why(status, context.surroundings) {
        context.say(&line);
    }
    let session = shown(&status.session);
    if status.authorization_url.is_some() {
        context.say(&format!("To sign in to {session}, open this in a browser on this machine:\n\n  {link}\n"));
        context.say(&elsewhere(status, link, context.surroundings));
        return;
    }
    context.say(&format!("To sign in to {session}, open:\n\n  {link}\n"));
    let Some(code) = &status.user_code else { return };
    context.say(&format!("Approve only if the page shows this code and you asked for this:\n\n  {}\n", code.shown()));
    if let Some(plain) = status.verification_uri.as_ref().filter(|plain| plain.raw() != link) {
        context.say(&format!("On another device, open {} and type the code.\n", plain.raw()));
    }
    if context.terminal.live
        && let Some(picture) = qr::draw(link, context.terminal.columns)
    {
        context.say(&picture);
    }
}

fn which_flow_and_why(status: &LoginStatus, here: Surroundings) -> Option<String> {
    let flow = status.flow.as_deref().filter(|_| !status.joined)?;
    let how = if flow == "browser" { "with the browser" } else { "by device code" };
    let why = match status.flow_chosen_by? {
        FlowChosenBy::Request => "as --flow says".to_owned(),
        FlowChosenBy::Settings => format!("config.toml says flow = \"{}\" for this session", shown(flow)),
        FlowChosenBy::Environment => here.words().to_owned(),
        _ => return None,
    };
    Some(format!("Signing in {how}: {why}."))
}

/// The link of the browser flow leads to a port of this machine: what helps whoever sits in front of another one.
fn elsewhere(status: &LoginStatus, link: &str, here: Surroundings) -> String {
    let port = link.split('/').nth(2).and_then(|authority| authority.rsplit_once(':')).map_or("PORT", |(_, port)| port);
    let device = format!("sso-agent login {} --flow device", shell_word(status.session.as_ref()));
    if here == Surroundings::Ssh {
        format!(
            "For a browser on the machine in front of you, first run there: ssh -L {port}:127.0.0.1:{port} THIS-HOST\n\
             Or sign in with a code instead: {device}\n"
        )
    } else {
        format!("It leads nowhere in a browser on another machine. From there: {device}\n")
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
