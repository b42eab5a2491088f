//! Completion: the scripts of `completions SHELL`, and the hidden `complete` that they ask.
//!
//! Owns: what may follow on a command line. Which words there are is read off the command line's own definition, so no
//! script has to know them. Refuses to know how a shell inserts a word: the scripts do, and quote it. Invariants:
//! nothing is started and nobody signs in for it; nothing is said but candidates, of one line each; what cannot be
//! found out in a fraction of a second is left out.

mod known;

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use clap::{Args, Command, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};

use crate::env::Env;
use crate::untrusted::shown;

use super::context::Ask;
use known::{Known, Named};

/// Print what makes a shell complete sso-agent's commands, sessions, profiles, accounts and roles
#[derive(Debug, Clone, Args)]
#[command(after_help = HOW_TO)]
pub(super) struct Options {
    /// The shell it is for
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What the scripts ask: what may stand at a place of a command line
#[derive(Debug, Clone, Args)]
pub(super) struct Question {
    /// The place, from 0
    #[arg(long)]
    index: usize,
    /// The command line up to that place
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// The script for a shell.
pub(super) const fn script(options: &Options) -> &'static str {
    match options.shell {
        Shell::Bash => include_str!("sso-agent.bash"),
        Shell::Zsh => include_str!("sso-agent.zsh"),
        Shell::Fish => include_str!("sso-agent.fish"),
    }
}

/// The candidates, a line each: the word, and behind a tab what it is.
pub(super) fn answer(question: Question, command: Command, env: &Env, agent: Option<Arc<Agent>>) -> String {
    let known = Arc::new(Known::new(env.clone(), &question.words, agent));
    let mut command = with_candidates(command, &known);
    let begun = question.words.get(question.index).is_some_and(|word| !word.is_empty());
    let mut found = complete(&mut command, question.words, question.index, None).unwrap_or_default();
    found.retain(|candidate| !candidate.is_hide_set());
    let is_option = |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().starts_with(b"-");
    // Options may stand nearly everywhere; where something else may, they are not what is looked for first.
    if !begun && found.iter().any(|candidate| !is_option(candidate)) {
        found.retain(|candidate| !is_option(candidate));
    }
    let mut lines = String::new();
    for candidate in &found {
        // A candidate that is no text, or more than one line, would be taken for another one.
        let Some(word) = candidate.get_value().to_str().filter(|word| !word.chars().any(char::is_control)) else {
            continue;
        };
        lines.push_str(word);
        if let Some(help) = candidate.get_help().map(ToString::to_string).filter(|help| !help.is_empty()) {
            lines.push('\t');
            lines.push_str(&shown(help.lines().next().unwrap_or_default()).to_string());
        }
        lines.push('\n');
    }
    lines
}

/// Whom accounts and roles are asked of.
pub(super) type Agent = dyn Ask + Send + Sync;

/// Wherever an argument is called that, this is what there is to choose from.
fn with_candidates(command: Command, known: &Arc<Known>) -> Command {
    let command = command.mut_args(|arg| {
        let find: fn(&Known) -> Vec<Named> = match arg.get_id().as_str() {
            "session" => Known::sessions,
            "profile" => Known::profiles,
            "account" => Known::accounts,
            "role" => Known::roles,
            _ => return arg,
        };
        let known = Arc::clone(known);
        arg.add(ArgValueCandidates::new(move || find(&known).into_iter().map(candidate).collect()))
    });
    command.mut_subcommands(|command| with_candidates(command, known))
}

fn candidate(named: Named) -> CompletionCandidate {
    let help = (!named.help.is_empty()).then(|| shown(&named.help).to_string().into());
    CompletionCandidate::new(named.word).help(help)
}

/// The value of an option in these words.
fn value_of<'w>(words: &'w [OsString], option: &str) -> Option<&'w OsStr> {
    let text = |word: &'w OsString| word.to_str();
    for (index, word) in words.iter().enumerate() {
        match text(word).and_then(|word| word.strip_prefix(option)) {
            Some("") => return words.get(index + 1).map(OsString::as_os_str),
            Some(rest) if rest.starts_with('=') => return Some(OsStr::new(&rest[1..])),
            _ => {}
        }
    }
    None
}

impl Question {
    /// The socket that the line names.
    pub(super) fn socket(&self) -> Option<&OsStr> {
        value_of(&self.words, "--socket")
    }
}

const HOW_TO: &str = "\
bash: sso-agent completions bash > ~/.local/share/bash-completion/completions/sso-agent
zsh:  sso-agent completions zsh > a directory of $fpath, as _sso-agent
fish: sso-agent completions fish > ~/.config/fish/completions/sso-agent.fish";

#[cfg(test)]
mod tests;
