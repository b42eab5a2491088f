//! `console`: the AWS console in a browser, as a role.
//!
//! Owns: how the address that signs in gets to the browser. Refuses to know how it is made. Invariant: the address is in
//! no process's arguments and on no terminal, unless it was asked for with `--print`.

use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;

use crate::api::{Code, ConsoleAccess, Problem, Request};
use crate::client::ClientError;

use super::browser::{Opening, is_address};
use super::choice::{self, TargetOptions};
use super::context::{Context, read};
use super::doorway::Doorway;
use super::failure::Failure;

/// Open the AWS console in the browser, as a role
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Where to arrive: a service such as s3, or a page of the console
    #[arg(long, value_name = "URL|SERVICE")]
    destination: Option<String>,
    /// Print the address instead, for a browser elsewhere; whoever has it within 15 minutes is signed in
    #[arg(long)]
    print: bool,
    /// Open no browser, only show a link that works once, for a minute, on this machine
    #[arg(long, conflicts_with = "print")]
    no_browser: bool,
    /// Print the agent's answer as JSON, with the address in it
    #[arg(long, requires = "print")]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let target = choice::target(&options.target, context.env)?;
    let opens = !options.print && !options.no_browser;
    if opens && !context.surroundings.may_show_pages() {
        return Err(no_browser_here(context));
    }
    let request = Request::Console { target, destination: options.destination.clone() };
    let reply = context.ask_slowly(&request, PATIENCE, "asking for a way into the console")?;
    let access: ConsoleAccess = read(&reply)?;
    if !is_address(access.url.expose(), LONGEST_ADDRESS) {
        return Err(Failure::Unsafe("an address that is not safe to open"));
    }
    if options.json {
        return context.print_body(&reply);
    }
    if options.print {
        if context.terminal.attended {
            let until = context.until(access.expires_at);
            context.say(&format!("Whoever opens this {until} is signed in as the role:"));
        }
        return context.print_secret_line(&access.url);
    }
    if opens && access.browser.is_none() && !context.surroundings.shows_pages() {
        return Err(no_browser_here(context));
    }
    lead_in(opens, access, context)
}

/// Shows a link that works once, and waits until it was followed.
fn lead_in(opens: bool, access: ConsoleAccess, context: &mut Context<'_>) -> Result<(), Failure> {
    let doorway = Doorway::open().map_err(Failure::Doorway)?;
    let link = doorway.link();
    let mut opening = Opening::default();
    if opens {
        match context.browser.open(&link, access.browser.as_deref()) {
            Ok(opened) => {
                opening = opened;
                context.say("The AWS console is opening in your browser.");
            }
            Err(error) => context.say(&format!("warning: no browser was opened: {error}\n{}", by_hand(&link))),
        }
    } else {
        context.say("Open this within a minute, in a browser on this machine; it works once:");
        context.print(format!("{link}\n"))?;
    }
    let closes = context.now().mono.after(OPEN_FOR);
    let visited = doorway.wait(access.url, &mut || {
        if let Some(failure) = opening.failure() {
            context.say(&format!("warning: the browser did not open: {failure}\n{}", by_hand(&link)));
        }
        if context.now().mono < closes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if visited.map_err(Failure::Doorway)? {
        return Ok(());
    }
    let problem = Problem::new(Code::Timeout, "no browser came for the address within a minute")
        .hint("--no-browser shows the link, --print the address itself");
    Err(Failure::Client(ClientError::Problem(Box::new(problem))))
}

fn by_hand(link: &str) -> String {
    format!("Open this yourself, within a minute, in a browser on this machine:\n\n  {link}\n")
}

fn no_browser_here(context: &Context<'_>) -> Failure {
    Failure::Usage {
        message: format!("no browser opens from here: {}", context.surroundings.words()),
        hint: "sso-agent console --print shows the address for a browser elsewhere; whoever has it is signed in"
            .to_owned(),
    }
}

/// Longer than the agent takes at the most.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the link works.
const OPEN_FOR: Duration = Duration::from_secs(60);
/// A sign-in token is long, and everything in the address is escaped.
const LONGEST_ADDRESS: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Answer, World, problem};
    use super::*;
    use crate::env::Env;
    use crate::exit::Exit;

    const ADDRESS: &str = "https://signin.aws.amazon.com/federation?Action=login&SigninToken=s3cr3t";

    fn access(url: &str, browser: &Value) -> Answer {
        Answer::Body(json!({"url": url, "expires_at": "2026-11-22T12:15:00Z", "browser": browser}))
    }

    #[test]
    fn the_address_is_printed_for_who_asks_for_it() {
        let mut world = World::new([access(ADDRESS, &Value::Null), access(ADDRESS, &Value::Null)]);
        let outcome = world.run("console --profile dev --print --destination s3");
        assert_eq!((outcome.stdout, outcome.stderr), (format!("{ADDRESS}\n"), String::new()));
        assert!(matches!(
            &world.asked.borrow()[0],
            Request::Console { destination: Some(destination), .. } if destination == "s3"
        ));
        world.terminal.attended = true;
        let outcome = world.run("console --profile dev --print --json");
        assert_eq!(serde_json::from_str::<Value>(&outcome.stdout).unwrap()["url"], ADDRESS);
    }

    #[test]
    fn where_no_browser_opens_it_is_said_with_what_helps_and_nothing_is_asked() {
        for (env, why) in [(("SSH_TTY", "x"), "over SSH"), (("CI", "true"), "CI job")] {
            let mut world = World::new([]);
            world.env = Env::from_iter([env, ("DISPLAY", ":0")]);
            let outcome = world.run("console --profile dev");
            assert_eq!(outcome.exit(), Exit::Usage);
            assert!(outcome.stderr.contains(why) && outcome.stderr.contains("--print"), "{}", outcome.stderr);
        }
        let world = World::new([access(ADDRESS, &Value::Null)]);
        let outcome = world.run("console --profile dev");
        assert_eq!(outcome.exit(), Exit::Usage);
        assert!(outcome.stderr.contains("no display") && !outcome.stderr.contains("s3cr3t"), "{}", outcome.stderr);
    }

    #[test]
    fn an_address_that_is_none_is_not_used() {
        for url in ["http://evil.example/", "https://a@evil.example/", "https://x/\r\nSet-Cookie: y", "x"] {
            let world = World::new([access(url, &Value::Null)]);
            let outcome = world.run("console --profile dev --print");
            assert_eq!((outcome.exit(), outcome.stdout.as_str()), (Exit::Internal, ""), "{url}");
        }
        let world = World::new([problem(Code::AccessDenied)]);
        assert_eq!(world.run("console --profile dev --print").exit(), Exit::Denied);
    }
}
