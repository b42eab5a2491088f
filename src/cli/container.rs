//! `container`: tokens for the standing endpoints.
//!
//! Owns: the words. Refuses to know what a token leads to today: the agent reads the configuration. The list of tokens is
//! a file that the agent looks at whenever one is shown, so nobody has to be told of a change. Invariant: a token is
//! printed once, on stdout, and is nowhere else.

use std::time::Duration;

use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use crate::api::TargetQuery;
use crate::container::{Entry, Ledger, Token};
use crate::ids::DoorName;
use crate::paths;
use crate::time::parse_duration;
use crate::untrusted::shown;

use super::choice::{self, TargetOptions};
use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::words;

/// Tokens for the endpoints that serve containers
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Tokens for the endpoints that serve containers
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Clone, Subcommand)]
enum TokenCommand {
    /// Make a token that is good for one role, and print it: it is shown this once
    Add(Add),
    /// List the tokens; what they are is not kept
    List {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// End tokens now
    Revoke(Revoke),
}

#[derive(Debug, Clone, Args)]
struct Add {
    #[command(flatten)]
    target: TargetOptions,
    /// What to call it; a name is made up where none is given
    #[arg(long, value_name = "NAME")]
    name: Option<DoorName>,
    /// How long it is good; 0 for until it is revoked
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "720h")]
    expires: Duration,
}

#[derive(Debug, Clone, Args)]
struct Revoke {
    /// Which
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<DoorName>,
    /// All of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let ledger = Ledger::new(paths::state_dir(context.env)?);
    let What::Token(command) = &options.what;
    match command {
        TokenCommand::Add(options) => add(options, &ledger, context),
        TokenCommand::List { json } => list(*json, &ledger, context),
        TokenCommand::Revoke(options) => revoke(options, &ledger, context),
    }
}

fn add(options: &Add, ledger: &Ledger, context: &mut Context<'_>) -> Result<(), Failure> {
    let target = choice::target(&options.target, context.env)?;
    let no_randomness = || Failure::Endpoint(std::io::Error::other("the system has no randomness"));
    let token = Token::random().ok_or_else(no_randomness)?;
    let name = match &options.name {
        Some(name) => name.clone(),
        None => made_up_name().ok_or_else(no_randomness)?,
    };
    let now = context.now().wall;
    let end = (!options.expires.is_zero()).then(|| now.after(options.expires));
    ledger.add(Entry::new(name.clone(), &token, target.clone(), now, end), now).map_err(Failure::Ledger)?;
    let until = end.map_or_else(|| "until it is revoked".to_owned(), |end| context.until(end));
    context.say(&format!("Token {name} is good for {}, {until}.", shown(&target.to_string())));
    context.print_secret_line(token.text())
}

fn list(as_json: bool, ledger: &Ledger, context: &mut Context<'_>) -> Result<(), Failure> {
    let entries = ledger.entries().map_err(Failure::Ledger)?;
    let target = |entry: &Entry| TargetQuery::from(entry.target.clone()).to_string();
    if as_json {
        let tokens: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.name, "target": target(entry),
                    "created_at": entry.created_at, "expires_at": entry.expires_at,
                })
            })
            .collect();
        return context.print_json(&json!({ "tokens": tokens }));
    }
    if entries.is_empty() {
        context.say("There are no tokens.");
        return Ok(());
    }
    let now = context.now().wall;
    let mut table = Table::new(&["NAME", "TARGET", "EXPIRES"]);
    for entry in entries.iter() {
        let end = match entry.expires_at {
            None => "never".to_owned(),
            Some(_) if entry.is_over(now) => "over".to_owned(),
            Some(end) => format!("in {}", words::duration(end.since(now))),
        };
        table.texts(&[entry.name.as_str(), &target(entry), &end]);
    }
    context.print(table.render(context.terminal.colour_out))
}

fn revoke(options: &Revoke, ledger: &Ledger, context: &mut Context<'_>) -> Result<(), Failure> {
    let entries = ledger.entries().map_err(Failure::Ledger)?;
    if let Some(unknown) = options.names.iter().find(|name| !entries.iter().any(|entry| entry.name == **name)) {
        return Err(Failure::Usage {
            message: format!("there is no token named {unknown}"),
            hint: "see: sso-agent container token list".to_owned(),
        });
    }
    let count = ledger.revoke(|entry| options.all || options.names.contains(&entry.name)).map_err(Failure::Ledger)?;
    context.say(&format!("{count} revoked."));
    Ok(())
}

/// Enough to tell a few tokens apart.
fn made_up_name() -> Option<DoorName> {
    let mut random = [0; 4];
    SystemRandom::new().fill(&mut random).ok()?;
    format!("token-{:08x}", u32::from_be_bytes(random)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use crate::env::Env;
    use crate::exit::Exit;
    use crate::scratch::Scratch;

    #[test]
    fn a_token_is_printed_once_and_listed_by_its_name() {
        let dir = Scratch::new();
        let mut world = World::new([]);
        world.env = Env::from_iter([("SSO_AGENT_STATE_DIR", dir.path())]);
        let added = world.run("container token add --profile dev --name build --expires 8h");
        assert_eq!((added.stdout.trim_end().len(), added.exit()), (43, Exit::Success));
        assert!(added.stderr.contains("build is good for dev, until 20:00 (8 h)"), "{}", added.stderr);
        let listed = world.run("container token list");
        assert!(listed.stdout.contains("build") && listed.stdout.contains("in 8 h"), "{}", listed.stdout);
        assert!(!listed.stdout.contains(added.stdout.trim_end()));
        let again = world.run("container token add --profile dev --name build");
        assert_eq!(again.exit(), Exit::Usage);
        assert!(again.stderr.contains("token revoke build"), "{}", again.stderr);
        assert_eq!(world.run("container token revoke nobody").exit(), Exit::Usage);
        assert_eq!(world.run("container token revoke build").exit(), Exit::Success);
        let json = world.run("container token list --json").stdout;
        assert_eq!(json, "{\"tokens\":[]}\n");
    }

    #[test]
    fn a_token_may_be_for_a_role_and_for_as_long_as_nobody_revokes_it() {
        let dir = Scratch::new();
        let mut world = World::new([]);
        world.env = Env::from_iter([("SSO_AGENT_STATE_DIR", dir.path())]);
        world.run("container token add --session corp --account 111122223333 --role ReadOnly --expires 0");
        world.run("container token add --profile dev");
        let listed = world.run("container token list").stdout;
        assert!(listed.contains("corp/111122223333/ReadOnly") && listed.contains("never"), "{listed}");
        assert!(world.run("container token revoke --all").stderr.contains("2 revoked"));
    }
}
