//! Opening the user's browser, and what may be opened.
//!
//! Owns: the rule for links, whose command opens one, and the start of it. Refuses to use a shell, and to know when a
//! page should be opened. Invariant: only a link that passes [`is_link`] becomes an argument, and it is one whole
//! argument.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Access, access};

use crate::env::Env;
use crate::service;
use crate::settings::PLACE;
use crate::untrusted::shown;

use super::surroundings::Surroundings;

/// Somebody who opens links.
pub(super) trait Browser {
    /// Shows the page to the user, with this command if there is one. Returns before they have seen it.
    fn open(&self, link: &str, command: Option<&[String]>) -> Result<Opening, OpenError>;
}

/// The command of the session, else the platform's own way: `open`, `xdg-open`, and on WSL `wslview` or what
/// Windows itself opens links with.
pub(super) struct SystemBrowser<'a> {
    /// Where the program is looked for.
    pub(super) env: &'a Env,
    /// What tells the platform.
    pub(super) surroundings: Surroundings,
}

/// A page on its way to the user.
#[derive(Debug, Default)]
pub(super) struct Opening {
    program: PathBuf,
    child: Option<Child>,
}

/// Why no page was opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The text is not a link that may be opened.
    NotALink,
    /// The program that opens links is not installed.
    NoOpener(&'static str),
    /// The session's command names a program that is not there.
    NoProgram(String),
    /// It did not start.
    Start(PathBuf, io::Error),
}

impl Browser for SystemBrowser<'_> {
    fn open(&self, link: &str, command: Option<&[String]>) -> Result<Opening, OpenError> {
        if !is_link(link) {
            return Err(OpenError::NotALink);
        }
        let path = self.env.get_os("PATH").unwrap_or_default();
        let (program, arguments) =
            command_line(command, self.surroundings, link, &|name| find(name, path, &is_executable))?;
        let by_manager =
            service::is_unit(self.env, std::process::id()).then(|| find("systemd-run", path, &is_executable)).flatten();
        let (program, arguments) = match by_manager {
            Some(run) => (run, as_unit(&program, &arguments)),
            None => (program, arguments),
        };
        // A process group of its own: Ctrl-C in our terminal is not meant for the browser. Nobody waits for it; it
        // belongs to init as soon as this command ends.
        let started = service::keep_from(&mut Command::new(&program))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match started {
            Ok(child) => Ok(Opening { program, child: Some(child) }),
            Err(error) => Err(OpenError::Start(program, error)),
        }
    }
}

impl Opening {
    /// Says once that the program ended with an error, if it has by now. Does not wait for it.
    pub(super) fn failure(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        self.judge(status)
    }

    /// The same, once it has ended.
    pub(super) fn wait(mut self) -> Option<String> {
        let status = self.child.take()?.wait().ok()?;
        self.judge(status)
    }

    fn judge(&self, status: ExitStatus) -> Option<String> {
        (!status.success()).then(|| format!("{} ended with {status}", shown(&self.program.to_string_lossy())))
    }
}

/// The program and its arguments, found by `find`.
fn command_line(
    command: Option<&[String]>,
    surroundings: Surroundings,
    link: &str,
    find: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<(PathBuf, Vec<String>), OpenError> {
    if let Some([name, words @ ..]) = command {
        let program = find(name).ok_or_else(|| OpenError::NoProgram(name.clone()))?;
        let mut arguments: Vec<String> =
            words.iter().map(|word| if word == PLACE { link.to_owned() } else { word.clone() }).collect();
        if !words.iter().any(|word| word == PLACE) {
            arguments.push(link.to_owned());
        }
        return Ok((program, arguments));
    }
    let ways: &[(&'static str, &[&str])] = match surroundings {
        Surroundings::Mac => &[("open", &[])],
        // Neither is a shell: cmd.exe and PowerShell would read commands in a link.
        Surroundings::Wsl => &[("wslview", &[]), ("rundll32.exe", &["url.dll,FileProtocolHandler"])],
        _ => &[("xdg-open", &[])],
    };
    let found = ways.iter().find_map(|(name, words)| Some((find(name)?, *words)));
    let (program, words) = found.ok_or(OpenError::NoOpener(ways[0].0))?;
    Ok((program, words.iter().copied().chain([link]).map(str::to_owned).collect()))
}

/// The arguments that have systemd start the program, as a unit of its own: a browser that the agent's unit started would
/// live under that unit's restrictions, in which it cannot work, and end with it.
fn as_unit(program: &Path, arguments: &[String]) -> Vec<String> {
    // The manager would put variables in their places.
    let plain = |word: &str| word.replace('$', "$$");
    let options = ["--user", "--quiet", "--collect", "--wait", "--"];
    let command = [plain(&program.to_string_lossy())].into_iter().chain(arguments.iter().map(|word| plain(word)));
    options.map(str::to_owned).into_iter().chain(command).collect()
}

/// Whether a text may be printed as a link or opened: https, or http to this machine; the characters of a URL; no user
/// name; a host of ordinary characters. That the host is the right one has been checked by the agent.
pub(super) fn is_link(text: &str) -> bool {
    is_address(text, LONGEST_LINK)
}

/// The same for a text that may be longer.
pub(super) fn is_address(text: &str, longest: usize) -> bool {
    let in_a_url = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if text.len() > longest || !text.bytes().all(in_a_url) {
        return false;
    }
    let (rest, secure) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((host, after)) => (host, after.strip_prefix(':').or(after.is_empty().then_some("0"))),
            None => return false,
        },
        None => authority.split_once(':').map_or((authority, Some("0")), |(host, port)| (host, Some(port))),
    };
    let legal_host = if authority.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    let legal_port =
        port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    legal_host && legal_port && (secure || is_loopback(host))
}

/// The executable with that path, or the first of that name; neither may depend on the current directory.
fn find(name: &str, path: &OsStr, is_executable: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|program| program.is_absolute() && is_executable(program));
    }
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| Path::new(OsStr::from_bytes(directory)))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|program| is_executable(program))
}

fn is_executable(path: &Path) -> bool {
    access(path, Access::EXEC_OK).is_ok() && path.is_file()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALink => formatter.write_str("this is not a link that may be opened"),
            Self::NoOpener(name) => write!(formatter, "{name} is not installed"),
            Self::NoProgram(name) => {
                let name = shown(name);
                write!(formatter, "{name}, the browser of this session in config.toml, is not installed here")
            }
            Self::Start(program, error) => write!(formatter, "{} does not start: {error}", program.display()),
        }
    }
}

const LONGEST_LINK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_links_of_plain_characters_pass() {
        for link in [
            "https://device.sso.eu-west-1.amazonaws.com/?user_code=ABCD-EFGH",
            "https://example.awsapps.com/start/#/device?user_code=A",
            "http://127.0.0.1:8080/device",
            "http://localhost:9/x",
            "http://[::1]:9/x",
            "https://[2001:db8::1]/x",
            "https://example.com:443",
        ] {
            assert!(is_link(link), "{link}");
        }
        for link in [
            "",
            "https://",
            "http://example.com/",
            "http://127.0.0.1.evil.example/",
            "http://localhost@evil.example/",
            "https://user:pw@example.com/",
            "https://good.example\\@evil.example/",
            "https://good.example/\"&calc",
            "https://good.example/`id`",
            "https://[::1]evil.example/",
            "https://example.com:x/",
            "https://example.com/a b",
            "https://example.com/\u{1b}]52;c;eA==\u{7}",
            "https://ex\u{e4}mple.com/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "-https://example.com",
        ] {
            assert!(!is_link(link), "{link}");
        }
        assert!(!is_link(&format!("https://example.com/{}", "a".repeat(LONGEST_LINK))));
    }

    const LINK: &str = "http://127.0.0.1:4711/x";

    fn line(command: Option<&[&str]>, surroundings: Surroundings, there: &[&str]) -> Result<Vec<String>, String> {
        let command: Option<Vec<String>> = command.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
        let find = |name: &str| there.contains(&name).then(|| Path::new("/bin").join(name));
        let (program, arguments) =
            command_line(command.as_deref(), surroundings, LINK, &find).map_err(|error| error.to_string())?;
        Ok([program.to_str().unwrap().to_owned()].into_iter().chain(arguments).collect())
    }

    #[test]
    fn the_platforms_own_way_is_never_a_shell() {
        let all = ["open", "xdg-open", "wslview", "rundll32.exe", "cmd.exe", "powershell.exe"];
        assert_eq!(line(None, Surroundings::Mac, &all).unwrap(), ["/bin/open", LINK]);
        assert_eq!(line(None, Surroundings::Display, &all).unwrap(), ["/bin/xdg-open", LINK]);
        assert_eq!(line(None, Surroundings::Wsl, &all).unwrap(), ["/bin/wslview", LINK]);
        let windows_own = ["/bin/rundll32.exe", "url.dll,FileProtocolHandler", LINK];
        assert_eq!(line(None, Surroundings::Wsl, &all[3..]).unwrap(), windows_own);
        assert_eq!(line(None, Surroundings::Wsl, &all[4..]).unwrap_err(), "wslview is not installed");
        assert_eq!(line(None, Surroundings::Display, &[]).unwrap_err(), "xdg-open is not installed");
    }

    #[test]
    fn the_sessions_command_gets_the_link_where_it_says_or_at_the_end() {
        let there = ["firefox", "xdg-open"];
        let opened = |words: &[&str]| line(Some(words), Surroundings::Display, &there);
        assert_eq!(opened(&["firefox", "-P", "work"]).unwrap(), ["/bin/firefox", "-P", "work", LINK]);
        assert_eq!(opened(&["firefox", "{url}", "--new"]).unwrap(), ["/bin/firefox", LINK, "--new"]);
        assert_eq!(opened(&["firefox", "x{url}"]).unwrap(), ["/bin/firefox", "x{url}", LINK]);
        let missing = opened(&["chrome\u{1b}[2J", "-P"]).unwrap_err();
        assert!(missing.contains("config.toml") && !missing.contains('\u{1b}'), "{missing}");
    }

    #[test]
    fn whatever_is_in_a_link_it_is_one_argument() {
        let link = "https://example.com/?a=b&c=$(id);'x'%20*~!#-P%00";
        assert!(is_link(link));
        let find = |name: &str| Some(Path::new("/bin").join(name));
        for command in [None, Some(&["firefox".to_owned(), PLACE.to_owned(), "-P".to_owned()][..])] {
            let (_, arguments) = command_line(command, Surroundings::Display, link, &find).unwrap();
            assert_eq!(arguments[0], link);
        }
    }

    #[test]
    fn the_agents_unit_has_the_manager_start_the_browser_with_the_same_words() {
        let words = as_unit(Path::new("/usr/bin/xdg-open"), &["https://example.com/?a=$HOME".to_owned()]);
        let (options, command) = words.split_at(words.iter().position(|word| word == "--").unwrap());
        assert!(options.contains(&"--user".to_owned()));
        assert_eq!(command, ["--", "/usr/bin/xdg-open", "https://example.com/?a=$$HOME"]);
    }

    #[test]
    fn a_program_is_never_found_in_the_current_directory() {
        let everywhere = |_: &Path| true;
        assert_eq!(find("x", OsStr::new(".::bin:/usr/bin:/bin"), &everywhere), Some("/usr/bin/x".into()));
        assert_eq!(find("x", OsStr::new("/a:/b"), &|path| path.starts_with("/b")), Some("/b/x".into()));
        assert_eq!(find("x", OsStr::new(".:"), &everywhere), None);
        assert_eq!(find("/opt/x", OsStr::new("/bin"), &everywhere), Some("/opt/x".into()));
        assert_eq!(find("./x", OsStr::new("/bin"), &everywhere), None);
        assert_eq!(find("bin/x", OsStr::new("/bin"), &everywhere), None);
    }

    #[test]
    fn a_browser_that_ends_with_an_error_is_noticed_and_one_that_goes_on_is_not() {
        let open = |program: &str| {
            let (env, surroundings) = (Env::default(), Surroundings::Display);
            SystemBrowser { env: &env, surroundings }.open(LINK, Some(&[program.to_owned()])).unwrap()
        };
        for (program, words) in [("/bin/false", Some("/bin/false ended with exit status: 1")), ("/bin/true", None)] {
            let mut opening = open(program);
            // Waited for here, so that nothing depends on time.
            opening.child.as_mut().unwrap().wait().unwrap();
            assert_eq!(opening.failure().as_deref(), words);
            assert_eq!(opening.failure(), None, "it is said once");
        }
        assert_eq!(Opening::default().failure(), None);
    }
}
