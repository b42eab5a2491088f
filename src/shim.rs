//! `sso-credential-process`: what AWS's SDKs run to get credentials.
//!
//! Owns: its command line, one request, and the rule of its output: the document on stdout and nothing on stderr, or
//! nothing on stdout and exactly one line on stderr. Refuses to know configuration, sign-ins and networks. Invariant:
//! it starts no program but the agent, where there is none, and opens no browser; a set of credentials is printed whole
//! or not at all.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use crate::api::{Request, TargetQuery};
use crate::client::{Client, ClientError};
use crate::env::Env;
use crate::exit::Exit;
use crate::ids::InvalidName;
use crate::launch;
use crate::paths::{self, PathError, SocketPath};
use crate::time::{InvalidDuration, parse_duration};
use crate::untrusted::shown;

/// Runs the shim: `arguments` without the program's name.
pub fn run(env: &Env, arguments: impl Iterator<Item = OsString>, out: &mut impl Write, err: &mut impl Write) -> Exit {
    let failure = match Command::parse(arguments) {
        Ok(Command::Help) => print(out, HELP.as_bytes()).err(),
        Ok(Command::Version) => print(out, VERSION.as_bytes()).err(),
        Ok(Command::Credentials(wanted)) => wanted.fetch(env).and_then(|document| print(out, &document.0)).err(),
        Err(error) => Some(Failure::Usage(error)),
    };
    let Some(failure) = failure else { return Exit::Success };
    // One write, so that the lines of shims that share a terminal do not mix. If not even this can be said, the exit
    // code still can.
    let _ = err.write_all(format!("sso-credential-process: {failure}\n").as_bytes());
    failure.exit()
}

/// What a command line of the shim asks for, for those who find one in a configuration file.
///
/// # Errors
/// The shim would refuse it, or it asks for no credentials.
pub fn target(arguments: impl Iterator<Item = OsString>) -> Result<TargetQuery, UsageError> {
    match Command::parse(arguments)? {
        Command::Credentials(wanted) => Ok(wanted.target),
        Command::Help | Command::Version => Err(UsageError::NoTarget),
    }
}

enum Command {
    Help,
    Version,
    Credentials(Wanted),
}

struct Wanted {
    target: TargetQuery,
    min_validity: Option<Duration>,
    timeout: Duration,
}

impl Wanted {
    fn fetch(self, env: &Env) -> Result<Line, Failure> {
        let socket = SocketPath::find(env, None)?;
        let client = Client::new(socket, paths::state_dir(env).ok());
        // The client tells the agent how much of this is left.
        let request = Request::Credentials { target: self.target, min_validity: self.min_validity, timeout: None };
        let absent = &mut |left| launch::on_demand(env, client.socket(), left);
        let reply = client.send_or(&request, self.timeout, absent)?;
        if reply.status != 200 {
            return Err(Failure::Client(ClientError::BadAnswer("it answered without credentials")));
        }
        let body = reply.body.expose();
        let mut line = Vec::with_capacity(body.len() + 1);
        line.extend_from_slice(body);
        line.push(b'\n');
        Ok(Line(line))
    }
}

/// The document and its newline; wiped when dropped.
struct Line(Vec<u8>);

impl Drop for Line {
    fn drop(&mut self) {
        crate::secret::wipe(std::mem::take(&mut self.0));
    }
}

fn print(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::Output)
}

impl Command {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let (mut profile, mut session, mut account, mut role) = (None, None, None, None);
        let (mut min_validity, mut timeout) = (None, None);
        while let Some(argument) = arguments.next() {
            let argument = text(argument)?;
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let place = match flag {
                "--help" | "-h" => return Ok(Self::Help),
                "--version" | "-V" => return Ok(Self::Version),
                "--profile" => &mut profile,
                "--session" => &mut session,
                "--account" => &mut account,
                "--role" => &mut role,
                "--min-validity" => &mut min_validity,
                "--timeout" => &mut timeout,
                _ => return Err(UsageError::Unknown(argument)),
            };
            let value = match value {
                Some(value) => value,
                None => text(arguments.next().ok_or_else(|| UsageError::NoValue(flag.to_owned()))?)?,
            };
            if place.replace(value).is_some() {
                return Err(UsageError::Twice(flag.to_owned()));
            }
        }
        let target = match (profile, session, account, role) {
            (Some(profile), None, None, None) => TargetQuery::Profile(name("--profile", &profile)?),
            (None, session, Some(account), Some(role)) => TargetQuery::Role {
                session: session.map(|session| name("--session", &session)).transpose()?,
                account: name("--account", &account)?,
                role: name("--role", &role)?,
            },
            _ => return Err(UsageError::NoTarget),
        };
        let min_validity = min_validity.map(|text| duration("--min-validity", &text)).transpose()?;
        let timeout = timeout.map(|text| duration("--timeout", &text)).transpose()?.unwrap_or(TIMEOUT);
        if timeout.is_zero() {
            return Err(UsageError::NoTime);
        }
        Ok(Self::Credentials(Wanted { target, min_validity, timeout }))
    }
}

fn text(argument: OsString) -> Result<String, UsageError> {
    argument.into_string().map_err(|argument| UsageError::NotText(argument.to_string_lossy().into_owned()))
}

fn name<T: FromStr<Err = InvalidName>>(flag: &'static str, text: &str) -> Result<T, UsageError> {
    text.parse().map_err(|error| UsageError::Name { flag, text: text.to_owned(), error })
}

fn duration(flag: &'static str, text: &str) -> Result<Duration, UsageError> {
    parse_duration(text).map_err(|error| UsageError::Duration { flag, text: text.to_owned(), error })
}

enum Failure {
    Usage(UsageError),
    Path(PathError),
    Client(ClientError),
    Output(io::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Path(error) => error.exit(),
            Self::Client(error) => error.exit(),
            Self::Output(_) => Exit::Unavailable,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => write!(formatter, "{error}; see: sso-credential-process --help"),
            Self::Path(error) => error.fmt(formatter),
            Self::Client(error) => error.fmt(formatter),
            Self::Output(error) => write!(formatter, "cannot write the credentials to standard output: {error}"),
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Why the shim refuses a command line.
#[derive(Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the argument, what was given, and what is wrong with it")]
pub enum UsageError {
    /// An argument is not UTF-8.
    NotText(String),
    /// There is no such argument.
    Unknown(String),
    /// The argument needs a value.
    NoValue(String),
    /// The argument is there twice.
    Twice(String),
    /// No target, or two.
    NoTarget,
    /// A timeout of nothing.
    NoTime,
    /// A value is not a name of its kind.
    Name { flag: &'static str, text: String, error: InvalidName },
    /// A value is not a DURATION.
    Duration { flag: &'static str, text: String, error: InvalidDuration },
}

impl std::error::Error for UsageError {}

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(argument) => write!(formatter, "an argument is not UTF-8: {}", shown(argument)),
            Self::Unknown(argument) => write!(formatter, "unknown argument {}", shown(argument)),
            Self::NoValue(flag) => write!(formatter, "{flag} needs a value"),
            Self::Twice(flag) => write!(formatter, "{flag} is there twice"),
            Self::NoTarget => {
                formatter.write_str("name the target by --profile, or by --account and --role (and --session)")
            }
            Self::NoTime => formatter.write_str("--timeout must be at least one second"),
            Self::Name { flag, text, error } => write!(formatter, "{flag} {}: {error}", shown(text)),
            Self::Duration { flag, text, error } => write!(formatter, "{flag} {}: {error}", shown(text)),
        }
    }
}

/// Below the 60 s after which an impatient SDK kills its credential process.
const TIMEOUT: Duration = Duration::from_secs(30);

const VERSION: &str = concat!("sso-credential-process ", env!("CARGO_PKG_VERSION"), "\n");

const HELP: &str = "\
Prints AWS credentials from sso-agent in the form that `credential_process` asks for.

Usage: sso-credential-process --profile NAME [options]
       sso-credential-process [--session NAME] --account ID --role NAME [options]

  --profile NAME           a profile of the AWS configuration that has sso_* keys
  --session NAME           an sso-session; may be left out where there is only one
  --account ID             the account, twelve digits
  --role NAME              the role
  --min-validity DURATION  how long the credentials must still live, if they can
  --timeout DURATION       how long to wait for the agent (30s)
  -h, --help               this text
  -V, --version            the version

DURATION is 90, 90s, 15m or 1h. SSO_AGENT_SOCK names another socket. Where no agent runs, one is started in the
background, unless SSO_AGENT_AUTOSTART=0.
Exit codes: 0 done, 1 bug, 2 usage, 3 sign-in required, 4 no agent, 5 configuration,
6 denied by AWS, 7 temporary, 8 locked, 9 storage.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    struct Outcome {
        exit: Exit,
        out: String,
        err: String,
    }

    fn run_with(env: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let env = Env::from_iter(env.iter().copied());
        let exit = run(&env, arguments.iter().map(OsString::from), &mut out, &mut err);
        Outcome { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }

    /// Answers one request with this and returns the request's first line.
    fn agent(dir: &Scratch, answer: &'static str) -> std::thread::JoinHandle<String> {
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&bytes[..count]).lines().next().unwrap().to_owned()
        })
    }

    #[test]
    fn the_document_is_printed_with_a_newline_and_nothing_else() {
        let dir = Scratch::new();
        let agent = agent(&dir, "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"Version\":1}");
        let socket = dir.path().join("s");
        let outcome = run_with(
            &[("SSO_AGENT_SOCK", socket.to_str().unwrap())],
            &["--session=corp", "--account", "111122223333", "--role=Dev", "--min-validity", "15m", "--timeout=10"],
        );
        assert_eq!(
            (outcome.exit, outcome.out.as_str(), outcome.err.as_str()),
            (Exit::Success, "{\"Version\":1}\n", "")
        );
        assert_eq!(
            agent.join().unwrap(),
            "GET /v1/credentials?session=corp&account=111122223333&role=Dev&min_validity=900&timeout=9 HTTP/1.1"
        );
    }

    #[test]
    fn a_problem_is_one_line_and_its_exit_code() {
        let dir = Scratch::new();
        let agent = agent(
            &dir,
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 71\r\n\r\n{\"code\":\"sign_in_required\",\"detail\":\"a\\nb\",\"hint\":\"sso-agent login\"}    ",
        );
        let socket = dir.path().join("s");
        let outcome = run_with(&[("SSO_AGENT_SOCK", socket.to_str().unwrap())], &["--profile", "dev"]);
        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::SignInRequired, ""));
        assert_eq!(outcome.err, "sso-credential-process: a\u{fffd}b; sso-agent login\n");
        agent.join().unwrap();
    }

    #[test]
    fn without_an_agent_the_exit_code_is_4() {
        let dir = Scratch::new();
        let socket = dir.path().join("s");
        let outcome = run_with(&[("SSO_AGENT_SOCK", socket.to_str().unwrap())], &["--profile", "dev"]);
        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::NoAgent, ""));
        assert_eq!(outcome.err.lines().count(), 1);
    }

    #[test]
    fn a_command_line_that_makes_no_sense_is_refused_in_one_line() {
        for arguments in [
            &[][..],
            &["--profile"],
            &["--profile", "a", "--profile=b"],
            &["--profile", "a", "--role", "R"],
            &["--account", "111122223333"],
            &["--account", "1", "--role", "R"],
            &["--account", "111122223333", "--role", "R; rm"],
            &["--profile", "a", "--timeout", "soon"],
            &["--profile", "a", "--timeout", "0"],
            &["--profile", "a", "--colour\n\u{1b}[31m"],
            &["dev"],
        ] {
            let outcome = run_with(&[], arguments);
            assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Usage, ""), "{arguments:?}");
            assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
            assert!(!outcome.err.contains('\u{1b}'));
        }
    }

    #[test]
    fn help_and_version_go_to_standard_output() {
        assert_eq!(run_with(&[], &["--version"]).out, VERSION);
        let help = run_with(&[], &["--profile", "a", "--help"]);
        assert!(help.out.contains("--min-validity") && help.exit == Exit::Success);
    }

    #[test]
    fn an_output_that_cannot_be_written_is_a_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut err = Vec::new();
        let exit = run(&Env::default(), ["--help".into()].into_iter(), &mut Closed, &mut err);
        assert_eq!(exit, Exit::Unavailable);
        assert_eq!(String::from_utf8(err).unwrap().lines().count(), 1);
    }
}
