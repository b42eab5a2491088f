//! Where everything is that the service is made of.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::paths::{self, SocketPath, our_uid};
use crate::untrusted::shown;

use super::super::failure::Failure;
use super::Trouble;

/// The program and the places of its agent.
#[derive(Debug)]
pub(super) struct Place {
    /// The program that the service runs: this one.
    pub(super) program: PathBuf,
    pub(super) home: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) socket: SocketPath,
    /// Whether the agent would find its state directory also without being told.
    pub(super) usual_state: bool,
    /// The same for its socket.
    pub(super) usual_socket: bool,
}

impl Place {
    pub(super) fn find(env: &Env, socket: Option<&Path>) -> Result<Self, Failure> {
        let program = std::env::current_exe().and_then(|path| path.canonicalize());
        let program = program.map_err(|source| Trouble::Program { source })?;
        let socket = SocketPath::find(env, socket)?;
        let told = ["SSO_AGENT_STATE_DIR", "XDG_STATE_HOME"].iter().any(|name| env.get_os(name).is_some());
        Ok(Self {
            program,
            home: paths::home(env)?,
            state_dir: paths::state_dir(env)?,
            usual_state: !told,
            usual_socket: !socket.is_explicit(),
            socket,
        })
    }

    /// Refuses a program that somebody else could exchange: the service would run it at every start.
    pub(super) fn check_program(&self) -> Result<(), Trouble> {
        let directory = self.program.parent().unwrap_or(Path::new("/"));
        for path in [&self.program, directory] {
            let found = std::fs::metadata(path).map_err(|source| Trouble::Io {
                doing: "inspect",
                path: path.to_owned(),
                source,
            })?;
            if ![0, our_uid()].contains(&found.uid()) {
                return Err(Trouble::ForeignProgram { path: path.to_owned(), owner: found.uid() });
            }
            if found.mode() & 0o022 != 0 && !(found.is_dir() && found.mode() & STICKY != 0) {
                return Err(Trouble::WritableProgram { path: path.to_owned() });
            }
        }
        Ok(())
    }

    /// What is odd about where the program lies.
    pub(super) fn warning(&self) -> Option<String> {
        let built = self.program.ancestors().skip(1).any(|directory| directory.join("CACHEDIR.TAG").exists());
        let passing = ["/tmp", "/var/tmp", "/dev/shm", "/run"].iter().any(|place| self.program.starts_with(place));
        let why = match (built, passing) {
            (true, _) => "a build directory: `cargo clean` takes it away; `cargo install` puts it where it stays",
            (false, true) => "a place for what does not last",
            (false, false) => return None,
        };
        Some(format!("warning: {} lies in {why}", shown(&self.program.to_string_lossy())))
    }
}

/// In a directory with this bit nobody can exchange a file of somebody else.
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::scratch::Scratch;

    fn place(program: PathBuf) -> Place {
        let socket = SocketPath::explicit(Path::new("/s")).unwrap();
        let (home, state_dir) = ("/h".into(), "/s".into());
        Place { program, home, state_dir, socket, usual_state: true, usual_socket: true }
    }

    #[test]
    fn a_program_that_others_could_exchange_is_refused() {
        let dir = Scratch::new();
        let place = place(dir.path().join("sso-agent"));
        std::fs::write(&place.program, "").unwrap();
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        set(&place.program, 0o755);
        place.check_program().unwrap();
        for (path, mode) in [(place.program.as_path(), 0o775), (&place.program, 0o757), (dir.path(), 0o770)] {
            set(path, mode);
            let trouble = place.check_program().unwrap_err();
            assert!(matches!(trouble, Trouble::WritableProgram { .. }), "{mode:o}: {trouble:?}");
            assert!(trouble.hint().unwrap().contains("chmod go-w "));
            set(path, 0o755);
        }
        set(dir.path(), 0o1777);
        place.check_program().unwrap();
    }

    #[test]
    fn a_program_that_will_not_stay_is_remarked_upon() {
        let dir = Scratch::new();
        let built = dir.path().join("target/debug/sso-agent");
        std::fs::create_dir_all(built.parent().unwrap()).unwrap();
        std::fs::write(dir.path().join("target/CACHEDIR.TAG"), "").unwrap();
        assert!(place(built).warning().unwrap().contains("cargo install"));
        assert_eq!(place("/usr/bin/sso-agent".into()).warning(), None);
        assert!(place("/tmp/sso-agent".into()).warning().is_some());
    }
}
