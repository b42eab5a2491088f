//! The units of systemd, for the places of this machine.
//!
//! Owns: what of `systemd/*` depends on where things are, and how such a path is written there. Invariant: a path is one
//! word and itself to systemd, whatever characters are in it, or it is refused.

use std::path::{Path, PathBuf};

use crate::env::Env;

use super::Trouble;
use super::place::Place;
use super::seal::sealed_unit;

/// A file of the service: where it belongs, and what should be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) content: String,
}

/// The units for this place.
pub(super) fn units(place: &Place, env: &Env) -> Result<Vec<Wanted>, Trouble> {
    let directory = unit_directory(place, env);
    let wanted = |name, text: String| Wanted { path: directory.join(name), content: sealed_unit(&text) };
    Ok(vec![wanted(SOCKET, socket(place)?), wanted(SERVICE, service(place)?)])
}

/// Where a user's own units lie.
pub(super) fn unit_directory(place: &Place, env: &Env) -> PathBuf {
    let own = env.get_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    own.unwrap_or_else(|| place.home.join(".config")).join("systemd/user")
}

/// The directory of a package's units that run the same program, if there is one.
pub(super) fn packaged(place: &Place, env: &Env) -> Option<PathBuf> {
    // A package knows nothing of places that were named here.
    if !place.usual_state || !place.usual_socket {
        return None;
    }
    let shared = env.get("XDG_DATA_DIRS").unwrap_or("/usr/local/share:/usr/share");
    let shared =
        shared.split(':').filter(|path| path.starts_with('/')).map(|path| Path::new(path).join("systemd/user"));
    let mut directories = PACKAGED.iter().map(PathBuf::from).chain(shared);
    let runs_ours = |directory: &PathBuf| {
        let text = std::fs::read_to_string(directory.join(SERVICE)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
        let program = Path::new(line.split_whitespace().next()?).canonicalize().ok()?;
        Some(program == place.program && directory.join(SOCKET).exists())
    };
    directories.find(|directory| runs_ours(directory) == Some(true))
}

fn service(place: &Place) -> Result<String, Trouble> {
    let program = word(&place.program)?;
    let mut told = String::new();
    let places = [
        (place.usual_state, "SSO_AGENT_STATE_DIR", place.state_dir.as_path()),
        (place.usual_socket, "SSO_AGENT_SOCK", place.socket.path()),
    ];
    for (usual, name, path) in places {
        if !usual {
            told.push_str(&format!("Environment=\"{name}={}\"\n", quotable(path)?));
        }
    }
    let mut text = String::new();
    for line in include_str!("../../../systemd/sso-agent.service").split_inclusive('\n') {
        match line.split_once('=') {
            Some((name, rest)) if name.starts_with("Exec") => match rest.strip_prefix(PROGRAM) {
                Some(arguments) => text.push_str(&format!("{name}={program}{arguments}")),
                None => text.push_str(line),
            },
            _ => text.push_str(line),
        }
        if line.trim_end() == "[Service]" {
            text.push_str(&told);
        }
    }
    Ok(text)
}

fn socket(place: &Place) -> Result<String, Trouble> {
    let text = include_str!("../../../systemd/sso-agent.socket");
    if place.usual_socket {
        return Ok(text.to_owned());
    }
    let path = legal(place.socket.path())?.replace('%', "%%");
    // The value goes to the end of the line; a backslash there would make the next line part of it.
    if path.ends_with(['\\', ' ']) {
        return Err(Trouble::Unwritable { path: place.socket.path().to_owned() });
    }
    let lines = text.split_inclusive('\n');
    let listening = |line: &str| line.starts_with("ListenStream=");
    Ok(lines.map(|line| if listening(line) { format!("ListenStream={path}\n") } else { line.to_owned() }).collect())
}

/// A program's path as one word of a command in a unit. Of some characters systemd says that no program has them in its
/// name, however they are written.
fn word(path: &Path) -> Result<String, Trouble> {
    if legal(path)?.contains(['"', '\'', '\\']) {
        return Err(Trouble::Unwritable { path: path.to_owned() });
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./=,@+:-".contains(&byte);
    let quoted = quotable(path)?;
    Ok(if quoted.bytes().all(plain) { quoted } else { format!("\"{quoted}\"") })
}

/// A path between double quotes: specifiers and escapes mean themselves.
fn quotable(path: &Path) -> Result<String, Trouble> {
    Ok(legal(path)?.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

fn legal(path: &Path) -> Result<&str, Trouble> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    text.ok_or_else(|| Trouble::Unwritable { path: path.to_owned() })
}

pub(super) const SOCKET: &str = "sso-agent.socket";
pub(super) const SERVICE: &str = "sso-agent.service";
/// The program in the units of this repository.
const PROGRAM: &str = "/usr/bin/sso-agent";
const PACKAGED: [&str; 4] =
    ["/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::SocketPath;
    use crate::scratch::Scratch;

    pub(super) fn place(program: &str, usual: bool) -> Place {
        Place {
            program: program.into(),
            home: "/home/u".into(),
            state_dir: "/srv/100% \"mine\"".into(),
            socket: SocketPath::explicit(Path::new("/run/my box%/agent.sock")).unwrap(),
            usual_state: usual,
            usual_socket: usual,
        }
    }

    #[test]
    fn the_units_are_those_of_the_repository_with_the_program_at_hand() {
        let units = units(&place("/home/u/.cargo/bin/sso-agent", true), &Env::default()).unwrap();
        let paths: Vec<&Path> = units.iter().map(|unit| unit.path.as_path()).collect();
        let directory = Path::new("/home/u/.config/systemd/user");
        assert_eq!(paths, [directory.join(SOCKET), directory.join(SERVICE)]);
        assert!(units[0].content.ends_with(include_str!("../../../systemd/sso-agent.socket")));
        assert!(units[1].content.contains("\nExecStart=/home/u/.cargo/bin/sso-agent run\n"));
        assert!(!units[1].content.contains("Environment"), "secrets have no place in a unit");
        assert!(!units[1].content.contains(PROGRAM), "every command was replaced");
    }

    #[test]
    fn a_path_with_spaces_quotes_and_percent_signs_stays_itself() {
        let units = units(&place("/opt/100% of $HOME/sso-agent", false), &Env::default()).unwrap();
        assert!(units[1].content.contains("ExecStart=\"/opt/100%% of $HOME/sso-agent\" run\n"));
        assert!(units[1].content.contains("[Service]\nEnvironment=\"SSO_AGENT_STATE_DIR=/srv/100%% \\\"mine\\\"\"\n"));
        assert!(units[1].content.contains("\nEnvironment=\"SSO_AGENT_SOCK=/run/my box%%/agent.sock\"\n"));
        assert!(units[0].content.contains("\nListenStream=/run/my box%%/agent.sock\n"));
    }

    #[test]
    fn a_path_that_systemd_would_not_take_or_take_for_another_line_is_refused() {
        for program in
            ["/opt/x\nExecStart=/bin/evil", "/opt/\"x\"/sso-agent", "/opt/x'/sso-agent", "/opt/\\x/sso-agent"]
        {
            let trouble = units(&place(program, true), &Env::default()).unwrap_err();
            assert!(matches!(trouble, Trouble::Unwritable { .. }), "{trouble}");
        }
    }

    #[test]
    fn a_packages_units_are_known_by_the_program_they_run() {
        let dir = Scratch::new();
        let program = dir.path().join("bin");
        std::fs::write(&program, "").unwrap();
        let units = dir.path().join("share/systemd/user");
        std::fs::create_dir_all(&units).unwrap();
        let env = Env::from_iter([("XDG_DATA_DIRS", dir.path().join("share"))]);
        let place = place(program.to_str().unwrap(), true);
        assert_eq!(packaged(&place, &env), None);
        std::fs::write(units.join(SOCKET), "").unwrap();
        std::fs::write(units.join(SERVICE), format!("[Service]\nExecStart={} run\n", program.display())).unwrap();
        assert_eq!(packaged(&place, &env), Some(units.clone()));
        std::fs::write(units.join(SERVICE), "[Service]\nExecStart=/bin/sh run\n").unwrap();
        assert_eq!(packaged(&place, &env), None, "another program is another installation");
    }
}
