//! Opening the user's browser, and what may be opened.
//!
//! Owns: the rule for links, the guess whether there is a browser, and the start of the program that opens one. Refuses
//! to use a shell. Invariant: only a link that passes [`is_link`] becomes an argument, and it is one whole argument.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};

use crate::env::Env;

/// What the machine tells beside its environment variables.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Surroundings {
    /// Whether this is a container.
    pub(super) container: bool,
    /// Whether this is macOS, where a display needs no variable.
    pub(super) macos: bool,
}

impl Surroundings {
    /// Looks at this machine.
    pub(super) fn of_machine() -> Self {
        let container = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
        Self { container, macos: cfg!(target_os = "macos") }
    }
}

/// Somebody who opens links.
pub(super) trait Browser {
    /// Shows the page to the user. Returns before they have seen it.
    fn open(&self, link: &str) -> Result<(), OpenError>;
}

/// The platform's own way: `open`, `wslview` or `xdg-open`.
pub(super) struct SystemBrowser<'a> {
    /// Where the program is looked for, and what tells the platform.
    pub(super) env: &'a Env,
    /// What the machine is.
    pub(super) surroundings: Surroundings,
}

/// Why no page was opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The text is not a link that may be opened.
    NotALink,
    /// The program that opens links is not installed.
    NoOpener(&'static str),
    /// It did not start.
    Start(PathBuf, io::Error),
}

impl Browser for SystemBrowser<'_> {
    fn open(&self, link: &str) -> Result<(), OpenError> {
        if !is_link(link) {
            return Err(OpenError::NotALink);
        }
        let name = opener(self.env, self.surroundings);
        let path = self.env.get_os("PATH").unwrap_or_default();
        let program = find(name, path, &|path| access(path, Access::EXEC_OK).is_ok() && path.is_file())
            .ok_or(OpenError::NoOpener(name))?;
        // A process group of its own: Ctrl-C in our terminal is not meant for the browser. Nobody waits for it; it
        // belongs to init as soon as this command ends.
        Command::new(&program)
            .arg(link)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(drop)
            .map_err(|error| OpenError::Start(program, error))
    }
}

/// Whether a text may be printed as a link or opened: https, or http to this machine; printable ASCII; no user name; a
/// host of ordinary characters. That the host is the right one has been checked by the agent.
pub(super) fn is_link(text: &str) -> bool {
    if text.len() > LONGEST_LINK || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
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

/// Whether opening a browser from here can reach the user's eyes.
pub(super) fn can_open(env: &Env, surroundings: Surroundings) -> bool {
    let remote = ["SSH_CONNECTION", "SSH_TTY"].iter().any(|name| env.get_os(name).is_some());
    let automated = env.get("CI").is_some_and(|value| value != "false" && value != "0");
    let container = surroundings.container || env.get_os("container").is_some();
    let display = surroundings.macos
        || is_wsl(env)
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env.get_os(name).is_some());
    display && !remote && !automated && !container
}

/// Whether a sign-in that comes back to a port of this machine is likely to work. On WSL the browser is on the other
/// side, where our loopback may not be reachable.
pub(super) fn is_likely(env: &Env, surroundings: Surroundings) -> bool {
    can_open(env, surroundings) && !is_wsl(env)
}

fn is_wsl(env: &Env) -> bool {
    ["WSL_DISTRO_NAME", "WSL_INTEROP"].iter().any(|name| env.get_os(name).is_some())
}

fn opener(env: &Env, surroundings: Surroundings) -> &'static str {
    match (surroundings.macos, is_wsl(env)) {
        (true, _) => "open",
        (false, true) => "wslview",
        (false, false) => "xdg-open",
    }
}

/// The first executable of that name; entries of `PATH` that depend on the current directory do not count.
fn find(name: &str, path: &OsStr, is_executable: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| Path::new(OsStr::from_bytes(directory)))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|program| is_executable(program))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALink => formatter.write_str("this is not a link that may be opened"),
            Self::NoOpener(name) => write!(formatter, "{name} is not installed"),
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

    #[test]
    fn a_browser_is_not_likely_where_nobody_would_see_it() {
        let here = Surroundings::default();
        let likely = |variables: &[(&str, &str)]| is_likely(&Env::from_iter(variables.iter().copied()), here);
        assert!(likely(&[("DISPLAY", ":0")]));
        assert!(likely(&[("WAYLAND_DISPLAY", "wayland-0")]));
        assert!(!likely(&[]));
        for extra in [
            ("SSH_CONNECTION", "a"),
            ("SSH_TTY", "a"),
            ("WSL_DISTRO_NAME", "a"),
            ("CI", "true"),
            ("container", "podman"),
        ] {
            assert!(!likely(&[("DISPLAY", ":0"), extra]), "{extra:?}");
        }
        let display = Env::from_iter([("DISPLAY", ":0")]);
        assert!(!is_likely(&display, Surroundings { container: true, macos: false }));
        let mac = Surroundings { container: false, macos: true };
        assert!(is_likely(&Env::default(), mac));
        let wsl = Env::from_iter([("WSL_INTEROP", "x")]);
        assert!(can_open(&wsl, here) && !is_likely(&wsl, here));
    }

    #[test]
    fn the_opener_is_the_platforms_own_and_never_found_in_the_current_directory() {
        let wsl = Env::from_iter([("WSL_DISTRO_NAME", "x")]);
        assert_eq!(opener(&wsl, Surroundings::default()), "wslview");
        assert_eq!(opener(&Env::default(), Surroundings::default()), "xdg-open");
        assert_eq!(opener(&wsl, Surroundings { container: false, macos: true }), "open");
        let everywhere = |_: &Path| true;
        assert_eq!(find("x", OsStr::new(".::bin:/usr/bin:/bin"), &everywhere), Some("/usr/bin/x".into()));
        assert_eq!(find("x", OsStr::new("/a:/b"), &|path| path.starts_with("/b")), Some("/b/x".into()));
        assert_eq!(find("x", OsStr::new(".:"), &everywhere), None);
    }
}
