//! The tour: what is done, in which order, and what is said about it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sso_agent::api::{Request, SessionStatus, Status};
use sso_agent::client::{Client, ClientError};
use sso_agent::clock::{Clock, SystemClock};
use sso_agent::env::Env;
use sso_agent::paths::{PathError, SocketPath, shell_word};
use sso_agent::time::Timestamp;

use super::build::{self, Programs};
use super::fake::{FakeConfig, FakeIdentityCenter};
use super::stage::{Stage, Started};
use super::voice::Voice;

/// Gives the tour; stays for ever after it unless told to end. `given` is called at its end.
pub(crate) fn give(stage: &Stage, once: bool, given: impl FnOnce()) -> Result<(), Failed> {
    let env = Env::of_process();
    let voice = Voice::of_process(&env);
    voice.say("sso-agent, shown with a fake IAM Identity Center on this machine. No AWS account is needed.")?;
    voice.say("Every secret below is fake, and cut short all the same.")?;
    voice.heading("Building the agent and the shim")?;
    let programs = build::programs(&env, stage)?;
    voice.say(&format!("They are in {}.", programs.directory().display()))?;

    let service = FakeIdentityCenter::start(FakeConfig {
        access_token_lifetime: Duration::from_secs(20),
        role_credentials_lifetime: Duration::from_secs(60),
        ..FakeConfig::default()
    });
    let client = Client::new(SocketPath::explicit(&stage.socket())?, None);
    let tour = Tour { stage, voice, programs, service, client };
    tour.configure()?;
    tour.start_the_agent()?;
    tour.sign_in()?;
    tour.get_credentials()?;
    tour.wait_for_the_refresh()?;
    tour.show_the_status()?;
    if once {
        tour.voice.heading("That was the tour")?;
        given();
        return Ok(());
    }
    tour.invite(given)
}

struct Tour<'a> {
    stage: &'a Stage,
    voice: Voice,
    programs: Programs,
    service: FakeIdentityCenter,
    client: Client,
}

impl Tour<'_> {
    fn configure(&self) -> Result<(), Failed> {
        let shim = shell_word(&self.programs.shim);
        let config = format!(
            "[sso-session demo]\n\
             sso_start_url = https://demo.awsapps.com/start\n\
             sso_region = eu-west-1\n\
             sso_registration_scopes = sso:account:access\n\n\
             [profile dev]\n\
             credential_process = {shim} --session demo --account {ACCOUNT} --role {ROLE}\n\
             region = eu-west-1\n"
        );
        std::fs::write(self.stage.aws_config(), &config)?;
        self.voice.heading("1. An AWS configuration")?;
        self.voice.say("A session to sign in to, and a profile that gets its credentials from the agent.")?;
        self.voice.say(&format!("{}:", self.stage.aws_config().display()))?;
        self.voice.quote(&config)?;
        self.voice
            .say(&format!("\nThe fake Identity Center is at {}. Its access tokens live 20 s,", self.service.url()))?;
        self.voice.say("not an hour, so that you see them renewed.")?;
        Ok(())
    }

    fn start_the_agent(&self) -> Result<(), Failed> {
        self.voice.heading("2. The agent")?;
        self.voice.command("sso-agent run &")?;
        let path = self.stage.home().join("notify");
        let readiness = UnixDatagram::bind(&path)?;
        readiness.set_read_timeout(Some(Duration::from_secs(15)))?;
        let log = std::fs::File::create(self.stage.log())?;
        let mut agent = self.stage.command(&self.programs.agent);
        agent.arg("run").env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).stderr(log);
        // Only the agent needs to know that the service is a fake.
        agent.env("AWS_ENDPOINT_URL_SSO_OIDC", self.service.url()).env("AWS_ENDPOINT_URL_SSO", self.service.url());
        let started = self.stage.start(&mut agent)?;
        readiness.recv(&mut [0; 64]).map_err(|_| Failed::Unexpected("the agent did not start".to_owned()))?;
        self.voice.say(&format!("It runs as process {} and listens on", started.pid))?;
        self.voice.say(&format!("{}.", self.stage.socket().display()))?;
        Ok(())
    }

    /// The code is shown by the real command before it is approved, as it would be for a person.
    fn sign_in(&self) -> Result<(), Failed> {
        self.voice.heading("3. Sign in, once")?;
        self.voice.command("sso-agent login --no-browser")?;
        let mut login = self.stage.command(&self.programs.agent);
        let mut started = self.stage.start(login.args(["login", "--no-browser"]).stderr(Stdio::piped()))?;
        let words = started.stderr.take().map(BufReader::new);
        let mut approved = None;
        for line in words.into_iter().flat_map(BufRead::lines) {
            let line = line?;
            if let Some(code) = approved.take_if(|_| line.starts_with("signed in")) {
                self.voice
                    .say(&format!("(You compare {code} in your browser and approve; the demo does that for you.)"))?;
            }
            self.voice.quote(if line.is_empty() { "\n" } else { &line })?;
            let codes = self.service.pending_user_codes();
            if let Some(code) = codes.into_iter().find(|code| line.trim() == *code) {
                self.service.approve(&code);
                approved = Some(code);
            }
        }
        self.check("sso-agent login", &started)
    }

    fn get_credentials(&self) -> Result<(), Failed> {
        self.voice.heading("4. Role credentials, the way every AWS SDK asks for them")?;
        let arguments = ["--session", "demo", "--account", ACCOUNT, "--role", ROLE];
        self.voice.command(&format!("sso-credential-process {}", arguments.join(" ")))?;
        let (first, document) = self.timed_shim(&arguments)?;
        let mut document: Value = serde_json::from_str(&document)?;
        for secret in ["AccessKeyId", "SecretAccessKey", "SessionToken"] {
            let whole = document[secret].as_str().unwrap_or_default();
            document[secret] = Value::from(format!("{}...", whole.chars().take(8).collect::<String>()));
        }
        self.voice.quote(&serde_json::to_string_pretty(&document)?)?;
        let (second, _) = self.timed_shim(&arguments)?;
        self.voice.say(&format!(
            "That took {:.1} ms, with a call to the service. Asked again: {:.1} ms, without one.",
            first.as_secs_f64() * 1e3,
            second.as_secs_f64() * 1e3
        ))?;
        Ok(())
    }

    fn wait_for_the_refresh(&self) -> Result<(), Failed> {
        self.voice.heading("5. Wait, and do nothing")?;
        let status = self.status(None)?;
        let before = expiry(&status)?;
        self.voice.say(&format!(
            "The access token lives until {}; the agent means to renew it at {}. Waiting ...",
            clock_time(before),
            only_session(&status)?.next_refresh_at.map_or("-".to_owned(), clock_time)
        ))?;
        let after = self.next_expiry(status)?;
        self.voice.say(&format!("Renewed: it lives until {} now. Nobody had to ask.", clock_time(after)))?;
        Ok(())
    }

    fn show_the_status(&self) -> Result<(), Failed> {
        self.voice.heading("6. What the agent says about itself")?;
        self.voice.command("sso-agent status")?;
        let status = self.output(self.stage.command(&self.programs.agent).arg("status"), "sso-agent status")?;
        self.voice.quote(&status)?;
        Ok(())
    }

    /// Tells the reader how to try it, and what the agent does meanwhile.
    fn invite(&self, given: impl FnOnce()) -> Result<(), Failed> {
        // From the next token on: whoever looks around wants calm, and the fake remembers every call.
        self.service.configure(|config| {
            config.access_token_lifetime = Duration::from_secs(180);
            config.role_credentials_lifetime = Duration::from_secs(3600);
        });
        let voice = &self.voice;
        voice.heading("7. Try it yourself, in another terminal")?;
        for (name, path) in [
            ("AWS_CONFIG_FILE", self.stage.aws_config()),
            ("AWS_SHARED_CREDENTIALS_FILE", self.stage.home().join(".aws/credentials")),
            ("SSO_AGENT_SOCK", self.stage.socket()),
        ] {
            voice.copy(&format!("export {name}={}", shell_word(&path)))?;
        }
        voice.copy("export AWS_PROFILE=dev")?;
        voice.copy(&format!("export PATH={}:\"$PATH\"", shell_word(self.programs.directory())))?;
        voice.say("\nThen, for example:")?;
        for (command, what) in [
            ("sso-agent status", "as above"),
            ("sso-agent credentials --format env", "for a shell"),
            ("curl --unix-socket \"$SSO_AGENT_SOCK\" http://sso-agent/v1/status", "the API"),
            ("sso-agent login --force", "and approve it yourself, in your browser"),
            ("aws configure list", "your own AWS CLI: the keys come from \"custom-process\""),
            ("aws configure export-credentials", "the same, AWS CLI v2"),
        ] {
            voice.say(&format!("  {command:<66} # {what}"))?;
        }
        voice.say("\nCalls to AWS itself fail: the credentials are fake. Ctrl-C ends the demo.\n")?;
        given();
        let mut status = self.status(None)?;
        let mut known = only_session(&status)?.access_token_expires_at;
        // The reader may sign out and in again: whatever becomes of the session is told, and is no failure.
        loop {
            status = self.status(Some(status.revision))?;
            let expires_at = only_session(&status)?.access_token_expires_at;
            if std::mem::replace(&mut known, expires_at) != expires_at {
                let news =
                    expires_at.map_or("signed out".to_owned(), |end| format!("renewed, until {}", clock_time(end)));
                voice.say(&format!("{}  {news}", clock_time(now())))?;
            }
        }
    }

    /// Waits until the access token is another one; long polls, so nothing is asked while nothing happens.
    fn next_expiry(&self, mut status: Status) -> Result<Timestamp, Failed> {
        let before = expiry(&status)?;
        while expiry(&status)? == before {
            status = self.status(Some(status.revision))?;
        }
        expiry(&status)
    }

    fn status(&self, after: Option<u64>) -> Result<Status, Failed> {
        let wait = if after.is_some() { Duration::from_secs(60) } else { Duration::ZERO };
        let reply = self.client.send(&Request::Status { wait, after }, wait + Duration::from_secs(5))?;
        Ok(serde_json::from_slice(reply.body.expose())?)
    }

    fn timed_shim(&self, arguments: &[&str]) -> Result<(Duration, String), Failed> {
        let begun = SystemClock.now().mono;
        let document =
            self.output(self.stage.command(&self.programs.shim).args(arguments), "sso-credential-process")?;
        Ok((SystemClock.now().mono.since(begun), document))
    }

    /// What a program prints.
    fn output(&self, command: &mut Command, name: &str) -> Result<String, Failed> {
        let mut started = self.stage.start(command.stdout(Stdio::piped()))?;
        let mut text = String::new();
        if let Some(mut out) = started.stdout.take() {
            out.read_to_string(&mut text)?;
        }
        self.check(name, &started)?;
        Ok(text)
    }

    fn check(&self, name: &str, started: &Started) -> Result<(), Failed> {
        let status = self.stage.reap(started)?;
        if status.success() { Ok(()) } else { Err(Failed::Unexpected(format!("{name}: {status}"))) }
    }
}

fn only_session(status: &Status) -> Result<&SessionStatus, Failed> {
    status.sessions.first().ok_or_else(|| Failed::Unexpected("the agent knows no session".to_owned()))
}

fn expiry(status: &Status) -> Result<Timestamp, Failed> {
    let session = only_session(status)?;
    session.access_token_expires_at.ok_or_else(|| match &session.last_error {
        Some(error) => Failed::Unexpected(error.message.clone()),
        None => Failed::Unexpected("the session has no access token".to_owned()),
    })
}

/// The time of day, in the reader's own time zone.
fn clock_time(time: Timestamp) -> String {
    let moment = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
}

fn now() -> Timestamp {
    SystemClock.now().wall
}

/// Why the tour ended early.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A system call.
    Io(io::Error),
    /// A path.
    Path(PathError),
    /// The agent did not answer as it should.
    Agent(ClientError),
    /// An answer that is not JSON.
    Json(serde_json::Error),
    /// Something else that must not happen.
    Unexpected(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::Path(error) => error.fmt(formatter),
            Self::Agent(error) => error.fmt(formatter),
            Self::Json(error) => write!(formatter, "not the JSON that was expected: {error}"),
            Self::Unexpected(what) => formatter.write_str(what),
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<PathError> for Failed {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Agent(error)
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

const ACCOUNT: &str = "111122223333";
const ROLE: &str = "ReadOnly";
