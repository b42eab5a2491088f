//! Completion in the shells themselves: what is offered, and that no name is ever more than a name.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{AGENT, Finished, Sandbox};

#[test]
fn bash_completes_commands_options_sessions_and_profiles() {
    let shells = Shells::new();
    assert_eq!(shells.bash("sso-agent logi"), ["login"]);
    assert_eq!(shells.bash("sso-agent login --no-b"), ["--no-browser"]);
    assert_eq!(shells.bash("sso-agent login co"), ["corp"]);
    assert_eq!(shells.bash("sso-agent credentials --profile d"), ["dev"]);
    // Readline puts these in the place of what follows the last = or :.
    assert_eq!(shells.bash("sso-agent credentials --profile=d"), ["dev"]);
    assert_eq!(shells.bash("sso-agent login https://leg"), ["//legacy.awsapps.com/start"]);
    assert_eq!(shells.bash("sso-agent completions "), ["bash", "zsh", "fish"]);
    shells.assert_nothing_was_started();
}

#[test]
fn no_name_becomes_a_command_in_bash() {
    let shells = Shells::new();
    let offered = shells.bash("sso-agent login ");
    for name in HOSTILE {
        // What bash makes of the inserted word when the line is run.
        let meant = offered.iter().map(|word| shells.run_bash(&format!("printf %s {word}")));
        assert!(meant.into_iter().any(|meant| meant == *name), "{name}: {offered:?}");
    }
    for quote in ["\"", "'"] {
        let offered = shells.bash(&format!("sso-agent login {quote}"));
        assert!(offered.contains(&"corp".to_owned()), "{offered:?}");
        assert!(offered.iter().all(|word| !word.contains(['$', '`', '"', '\'', ' '])), "{offered:?}");
    }
    // Nothing that stands on the line already is run, either.
    shells.bash("sso-agent login $(touch pwned) `touch pwned` ");
    shells.assert_nothing_was_run();
}

#[test]
fn zsh_completes_and_no_name_becomes_a_command() {
    let shells = Shells::new();
    shells.check("zsh", &["-n"], "zsh");
    assert_eq!(shells.zsh(&["sso-agent", "logi"]), ["login"]);
    assert_eq!(shells.zsh(&["sso-agent", "credentials", "--profile", "d"]), ["dev"]);
    let offered = shells.zsh(&["sso-agent", "login", ""]);
    for name in HOSTILE {
        assert!(offered.iter().any(|word| word == name), "{name}: {offered:?}");
    }
    shells.zsh(&["sso-agent", "login", "$(touch pwned)", ""]);
    shells.assert_nothing_was_run();
    shells.assert_nothing_was_started();
}

#[test]
fn fish_completes_and_no_name_becomes_a_command() {
    let shells = Shells::new();
    shells.check("fish", &["--no-config", "--no-execute"], "fish");
    assert_eq!(shells.fish("sso-agent logi"), ["login"]);
    assert_eq!(shells.fish("sso-agent credentials --profile d"), ["dev"]);
    assert_eq!(shells.fish("sso-agent login --no-b"), ["--no-browser"]);
    let offered = shells.fish("sso-agent login ");
    assert!(offered.contains(&"corp".to_owned()), "{offered:?}");
    shells.fish("sso-agent login (touch pwned) ");
    shells.assert_nothing_was_run();
    shells.assert_nothing_was_started();
}

#[test]
fn accounts_and_roles_complete_from_the_agent_and_nobody_is_signed_in_for_it() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let shells = Shells { sandbox: Shells::new().sandbox.at(service.url()) };
    let agent = shells.sandbox.start_agent();
    let accounts = "sso-agent credentials --session corp --account ";
    assert_eq!(shells.bash(accounts), [""; 0]);
    assert_eq!(agent.get("/v1/sessions/corp/login")["state"], "idle");
    agent.sign_in(&service);
    assert!(shells.bash(accounts).contains(&"111122223333".to_owned()));
    let roles = shells.bash("sso-agent credentials --session corp --account 111122223333 --role ");
    assert!(roles.contains(&"ReadOnly".to_owned()), "{roles:?}");
    assert_eq!(shells.bash("sso-agent credentials --session corp --account 111122223333 --role Read"), ["ReadOnly"]);
}

/// A home with difficult names, and the completion scripts in it.
struct Shells {
    sandbox: Sandbox,
}

impl Shells {
    fn new() -> Self {
        let mut sandbox = Sandbox::new();
        let mut config = CONFIG.to_owned();
        for name in HOSTILE {
            // As AWS's tools read it, a name with blanks is quoted.
            let quote = if name.contains(' ') { "'" } else { "" };
            config.push_str(&format!("[sso-session {quote}{name}{quote}]\n{KEYS}"));
        }
        sandbox.write_config(&config);
        let programs = Path::new(AGENT).parent().unwrap().display().to_string();
        sandbox.set("PATH", &format!("{programs}:/usr/bin:/bin"));
        for shell in ["bash", "zsh", "fish"] {
            let script = sandbox.cli(&["completions", shell]).expect_success();
            sandbox.write(&format!("completion.{shell}"), &script);
        }
        Self { sandbox }
    }

    /// What bash would insert, at the end of this line.
    fn bash(&self, line: &str) -> Vec<String> {
        // Readline takes a line apart at blanks and, outside quotes, at each of = and :, which are words of their own.
        let words = r#"
            source "$HOME/../completion.bash"
            COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=() word= quote=
            for ((i = 0; i < ${#1}; i++)); do
                c=${1:i:1}
                case $quote$c in
                    " ") [[ $word ]] && COMP_WORDS+=("$word"); word= ;;
                    [=:]) [[ $word ]] && COMP_WORDS+=("$word"); COMP_WORDS+=("$c"); word= ;;
                    [\"\']) quote=$c word+=$c ;;
                    *) word+=$c ;;
                esac
            done
            COMP_WORDS+=("$word") COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _sso_agent
            ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
            true"#;
        self.lines(self.sandbox.command("bash").args(["--norc", "-c", words, "bash", line]))
    }

    fn run_bash(&self, script: &str) -> String {
        Finished::of(self.sandbox.command("bash").args(["--norc", "-c", script])).expect_success()
    }

    /// What zsh would be told to insert, quoted as it needs.
    fn zsh(&self, words: &[&str]) -> Vec<String> {
        let script = r#"
            compdef() { : }
            compadd() { print -rl -- ${(P)@[-1]} }
            source "$HOME/../completion.zsh"
            words=("$@") CURRENT=$#
            _sso_agent
            true"#;
        self.lines(self.sandbox.command("zsh").args(["-f", "-c", script, "zsh"]).args(words))
    }

    fn fish(&self, line: &str) -> Vec<String> {
        let script = "source $HOME/../completion.fish; complete --do-complete $argv[1]";
        let offered = self.lines(self.sandbox.command("fish").args(["--no-config", "-c", script, line]));
        offered.iter().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    /// The shell's own check of the script.
    fn check(&self, shell: &str, arguments: &[&str], extension: &str) {
        let script = self.path(&format!("completion.{extension}"));
        let checked = Finished::of(self.sandbox.command(shell).args(arguments).arg(script));
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    }

    fn lines(&self, command: &mut Command) -> Vec<String> {
        let finished = Finished::of(command);
        assert_eq!(finished.stderr, "", "{finished:?}");
        finished.expect_success().lines().map(str::to_owned).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.root().join(name)
    }

    fn assert_nothing_was_run(&self) {
        assert!(!self.path("pwned").exists() && !self.sandbox.home().join("pwned").exists());
    }

    fn assert_nothing_was_started(&self) {
        assert!(!self.sandbox.socket().exists());
        assert_eq!(std::fs::read_dir(self.sandbox.state()).unwrap().count(), 0);
    }
}

const CONFIG: &str = "\
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_registration_scopes = sso:account:access
[profile dev]
sso_session = corp
sso_account_id = 111122223333
sso_role_name = ReadOnly
[profile old]
sso_start_url = https://legacy.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 111122223333
sso_role_name = ReadOnly
";
const KEYS: &str = "sso_start_url = https://other.awsapps.com/start\nsso_region = eu-west-1\n";
const HOSTILE: &[&str] =
    &["a b", "$(touch pwned)", "`touch pwned`", "x'y\"z", "a;touch pwned", "*", "~", "$HOME", "&|<>"];
