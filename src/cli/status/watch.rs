//! `status --watch`: the report, kept true.
//!
//! Owns: when something is printed again. Refuses to know how one waits. Invariants: the agent is asked for what it has
//! not told yet and is not asked because time passes; an agent that goes away is waited for; the terminal is left as it
//! was found, with the last report on it.

use std::time::Duration;

use crate::api::Request;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::paint::Paint;
use crate::cli::watching::{Feed, News};
use crate::cli::words;
use crate::client::{ClientError, Reply};
use crate::ids::SessionName;
use crate::time::Timestamp;
use crate::untrusted::shown;

use super::{Options, Told, every_status, print_json, screen};

/// Shows the first answer and all that come after it, until somebody has seen enough.
pub(super) fn run(options: &Options, first: Reply, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut feed = context.agent.feed().map_err(Failure::Signals)?;
    let told = Told::read(&first, options.session.as_ref())?;
    let mut watch = Watch { only: options.session.as_ref(), told, trouble: None };
    if options.json || !context.terminal.redraws {
        watch.as_it_comes(options.json, &first, &mut *feed, context)
    } else {
        context.print(screen::ENTER)?;
        let watched = watch.on_a_screen(&mut *feed, context);
        context.print(screen::LEAVE)?;
        watched?;
        let last = watch.text(context, Some(feed.size().0));
        context.print(last)
    }
}

struct Watch<'w> {
    only: Option<&'w SessionName>,
    told: Told,
    /// Why there is nothing newer, and since when.
    trouble: Option<(String, Timestamp)>,
}

impl Watch<'_> {
    fn on_a_screen(&mut self, feed: &mut dyn Feed, context: &mut Context<'_>) -> Result<(), Failure> {
        self.ask(feed);
        let mut on_screen = String::new();
        loop {
            let (columns, lines) = feed.size();
            let drawn = screen::drawn(&self.text(context, Some(columns)), columns, lines);
            if drawn != on_screen {
                context.print(&drawn)?;
                on_screen = drawn;
            }
            match feed.next(self.told.page(context, None).lasts()) {
                News::Answer(Ok(reply)) => drop(self.take(&reply, feed)?),
                News::Answer(Err(error)) => self.despair(&error, feed, context),
                News::Time => {}
                // Whatever the terminal has made of the lines that it broke anew.
                News::Resized => on_screen.clear(),
                News::Suspended => {
                    context.print(screen::LEAVE)?;
                    feed.suspend();
                    context.print(screen::ENTER)?;
                    on_screen.clear();
                }
                News::Enough => return Ok(()),
            }
        }
    }

    /// One report after the other, or one object a line.
    fn as_it_comes(
        &mut self,
        json: bool,
        first: &Reply,
        feed: &mut dyn Feed,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let print = |watch: &Self, reply: &Reply, context: &mut Context<'_>| {
            if json {
                return print_json(reply, watch.only, context);
            }
            let text = watch.text(context, context.terminal.width);
            context.print(text)
        };
        print(self, first, context)?;
        self.ask(feed);
        loop {
            match feed.next(LONG) {
                News::Answer(Ok(reply)) => {
                    if self.take(&reply, feed)? {
                        if !json {
                            context.print("\n")?;
                        }
                        print(self, &reply, context)?;
                    }
                }
                News::Answer(Err(error)) => {
                    let is_new = self.trouble.is_none();
                    self.despair(&error, feed, context);
                    if is_new {
                        context.say(&format!("warning: {}; waiting for it", self.cause()));
                    }
                }
                News::Time | News::Resized => {}
                News::Suspended => feed.suspend(),
                News::Enough => return Ok(()),
            }
        }
    }

    /// Takes an answer, and asks for the next one. Whether it tells anything new.
    fn take(&mut self, reply: &Reply, feed: &mut dyn Feed) -> Result<bool, Failure> {
        let known = |told: &Told| (told.status.revision, told.status.started_at, told.status.pid);
        let before = known(&self.told);
        match Told::read(reply, self.only) {
            Ok(told) => self.told = told,
            // Gone from the configuration: it may come back, and until then the last word about it counts.
            Err(Failure::UnknownSession { .. }) => {
                let whole = Told::read(reply, None)?;
                self.told.status.revision = whole.status.revision;
                self.told.status.sessions.iter_mut().for_each(|session| session.configured = false);
            }
            Err(other) => return Err(other),
        }
        let was_away = self.trouble.take().is_some();
        self.ask(feed);
        Ok(was_away || known(&self.told) != before)
    }

    fn despair(&mut self, error: &ClientError, feed: &mut dyn Feed, context: &Context<'_>) {
        let since = self.trouble.take().map_or(context.now().wall, |(_, since)| since);
        let cause = match error {
            ClientError::NoAgent { .. } => "the agent is not running".to_owned(),
            ClientError::TimedOut { .. } => "the agent does not answer".to_owned(),
            ClientError::Problem(problem) => format!("the agent does not tell: {}", problem.title),
            other => other.to_string(),
        };
        self.trouble = Some((cause, since));
        // Whoever comes back may count anew.
        feed.ask(every_status(), AGAIN, LONG);
    }

    fn cause(&self) -> String {
        self.trouble.as_ref().map(|(cause, _)| shown(cause).to_string()).unwrap_or_default()
    }

    fn ask(&self, feed: &mut dyn Feed) {
        let request = Request::Status { wait: LONG, after: Some(self.told.status.revision) };
        feed.ask(request, Duration::ZERO, LONG + LATE);
    }

    fn text(&self, context: &Context<'_>, columns: Option<usize>) -> String {
        let report = self.told.page(context, columns).text();
        let Some((_, since)) = &self.trouble else { return report };
        let since = words::clock_time(*since, context.now().wall, &context.zone);
        let mark = Paint::Yellow.apply("warning:", context.terminal.colour_out);
        format!("{mark} {} since {since}; below is what it told before\n\n{report}", self.cause())
    }
}

/// The longest that the agent lets somebody wait.
const LONG: Duration = crate::api::request::MOST_PATIENCE;
/// What an answer that comes when the time is up may take on its way.
const LATE: Duration = Duration::from_secs(10);
/// Until an agent that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
