//! Where a command is run: what that means for a browser.
//!
//! Owns: the signs that tell a desk from a far-away shell, and their order. Refuses to know flows and commands.
//! Invariant: in doubt nobody sits in front of it, because a code can be approved from everywhere and a page that opens
//! on another machine's screen from nowhere.

use std::path::Path;

use crate::env::Env;

/// What the machine tells beside its environment variables.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Machine {
    /// Whether this is a container.
    pub(super) container: bool,
    /// Whether this is macOS, where a display needs no variable.
    pub(super) macos: bool,
}

impl Machine {
    /// Looks at this machine.
    pub(super) fn look() -> Self {
        let container = CONTAINER_FILES.iter().any(|mark| Path::new(mark).exists());
        Self { container, macos: cfg!(target_os = "macos") }
    }
}

/// What kind of place this is; the first that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// A job that nobody watches.
    Ci,
    /// A shell of somebody who is elsewhere.
    Ssh,
    /// A container, also one that an editor or a cloud runs.
    Container,
    /// Linux inside Windows: there is a browser, on the other side of a network.
    Wsl,
    /// A Mac.
    Mac,
    /// A desktop session.
    Display,
    /// A console, or a server.
    NoDisplay,
}

impl Surroundings {
    /// Judges by the variables and the machine.
    ///
    /// A terminal multiplexer keeps the variables of where it was started. Begun over SSH and continued at the desk, it
    /// looks like SSH, and a code works there too; begun at the desk and continued over SSH, it looks like the desk,
    /// which cannot be told from here: hence the words beside every page that only opens on this machine.
    pub(super) fn of(env: &Env, machine: Machine) -> Self {
        let is_set = |names: &[&str]| names.iter().any(|name| env.get_os(name).is_some());
        let is_on = |name| env.get(name).is_some_and(|value| !matches!(value, "false" | "0"));
        if is_on("CI") {
            Self::Ci
        } else if is_set(&["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"]) {
            Self::Ssh
        } else if machine.container
            || is_set(CONTAINER_VARIABLES)
            || env.get("AWS_EXECUTION_ENV").is_some_and(|place| place.eq_ignore_ascii_case("CloudShell"))
        {
            Self::Container
        } else if is_set(&["WSL_DISTRO_NAME", "WSL_INTEROP"]) {
            Self::Wsl
        } else if machine.macos {
            Self::Mac
        } else if is_set(&["DISPLAY", "WAYLAND_DISPLAY"]) {
            Self::Display
        } else {
            Self::NoDisplay
        }
    }

    /// Whether the platform's own way of opening a page from here reaches the user's eyes.
    pub(super) const fn shows_pages(self) -> bool {
        matches!(self, Self::Wsl | Self::Mac | Self::Display)
    }

    /// Whether a browser that the user has named in `config.toml` can be tried from here. Where nobody sits it cannot.
    pub(super) const fn may_show_pages(self) -> bool {
        !matches!(self, Self::Ci | Self::Ssh)
    }

    /// Whether a sign-in that comes back to a port of this machine is likely to work. On WSL the browser is on the
    /// other side, where our loopback may not be reachable.
    pub(super) const fn suits_the_browser_flow(self) -> bool {
        matches!(self, Self::Mac | Self::Display)
    }

    /// What is so about this place, as the end of a sentence.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Ci => "this is a CI job",
            Self::Ssh => "you are here over SSH",
            Self::Container => "this is a container",
            Self::Wsl => "this is WSL, whose browser may not reach a port in here",
            Self::Mac | Self::Display => "this machine has a display",
            Self::NoDisplay => "this machine has no display",
        }
    }
}

const CONTAINER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Set by podman and systemd; development containers; Codespaces; Gitpod; Kubernetes.
const CONTAINER_VARIABLES: &[&str] =
    &["container", "REMOTE_CONTAINERS", "CODESPACES", "GITPOD_WORKSPACE_ID", "KUBERNETES_SERVICE_HOST"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Surroundings {
        Surroundings::of(&Env::from_iter(variables.iter().copied()), Machine::default())
    }

    #[test]
    fn a_desk_is_told_from_everything_that_is_none() {
        assert_eq!(of(&[("DISPLAY", ":0")]), Surroundings::Display);
        assert_eq!(of(&[("WAYLAND_DISPLAY", "wayland-0")]), Surroundings::Display);
        assert_eq!(of(&[]), Surroundings::NoDisplay);
        assert_eq!(of(&[("DISPLAY", "")]), Surroundings::NoDisplay);
        for (extra, place) in [
            (("SSH_CONNECTION", "a"), Surroundings::Ssh),
            (("SSH_CLIENT", "a"), Surroundings::Ssh),
            (("SSH_TTY", "/dev/pts/1"), Surroundings::Ssh),
            (("WSL_DISTRO_NAME", "a"), Surroundings::Wsl),
            (("WSL_INTEROP", "a"), Surroundings::Wsl),
            (("CI", "true"), Surroundings::Ci),
            (("CI", "1"), Surroundings::Ci),
            (("CI", "false"), Surroundings::Display),
            (("container", "podman"), Surroundings::Container),
            (("REMOTE_CONTAINERS", "true"), Surroundings::Container),
            (("CODESPACES", "true"), Surroundings::Container),
            (("KUBERNETES_SERVICE_HOST", "10.0.0.1"), Surroundings::Container),
            (("AWS_EXECUTION_ENV", "CloudShell"), Surroundings::Container),
            (("AWS_EXECUTION_ENV", "x"), Surroundings::Display),
        ] {
            assert_eq!(of(&[("DISPLAY", ":0"), extra]), place, "{extra:?}");
        }
        let display = Env::from_iter([("DISPLAY", ":0")]);
        let boxed = Machine { container: true, macos: false };
        assert_eq!(Surroundings::of(&display, boxed), Surroundings::Container);
        let mac = Machine { container: false, macos: true };
        assert_eq!(Surroundings::of(&Env::default(), mac), Surroundings::Mac);
        assert_eq!(Surroundings::of(&Env::from_iter([("SSH_TTY", "x")]), mac), Surroundings::Ssh);
    }

    #[test]
    fn the_first_sign_that_somebody_is_elsewhere_counts() {
        let editor_over_ssh = [("SSH_CONNECTION", "a"), ("TERM_PROGRAM", "vscode"), ("DISPLAY", "localhost:10.0")];
        assert_eq!(of(&editor_over_ssh), Surroundings::Ssh);
        assert_eq!(of(&[("SSH_TTY", "a"), ("REMOTE_CONTAINERS", "true")]), Surroundings::Ssh);
        assert_eq!(of(&[("WSL_DISTRO_NAME", "a"), ("REMOTE_CONTAINERS", "true")]), Surroundings::Container);
        assert_eq!(of(&[("CI", "true"), ("container", "docker")]), Surroundings::Ci);
        let kept_by_a_multiplexer =
            [("TMUX", "/tmp/tmux-1000/default,1,0"), ("SSH_CONNECTION", "a"), ("DISPLAY", ":0")];
        assert_eq!(of(&kept_by_a_multiplexer), Surroundings::Ssh);
    }

    #[test]
    fn on_wsl_pages_are_shown_but_do_not_come_back() {
        let wsl = Surroundings::Wsl;
        assert!(wsl.shows_pages() && wsl.may_show_pages() && !wsl.suits_the_browser_flow());
        let container = Surroundings::Container;
        assert!(!container.shows_pages() && container.may_show_pages());
        assert!(!Surroundings::Ssh.may_show_pages() && !Surroundings::Ci.may_show_pages());
    }
}
