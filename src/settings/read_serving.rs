//! The tables of `config.toml` that say who is served how.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::read::File;
use super::serving::REMEMBER;
use super::{ContainerSettings, ImdsSettings, Problem, ServeSettings, SettingsError, TargetSettings};
use crate::api::TargetQuery;
use crate::ids::DoorName;

type Key<'a> = Spanned<Cow<'a, str>>;

impl File<'_> {
    pub(super) fn targets(
        self,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<BTreeMap<String, TargetSettings>, SettingsError> {
        let mut targets = BTreeMap::new();
        for (name, value) in self.table("target.NAME", value)? {
            let target = name.get_ref().parse().map_err(|error| self.error(name.span(), Problem::Name(error)))?;
            let line = self.line(name.span());
            let mut settings = TargetSettings { target, confirm: false, remember: REMEMBER, allow: None, line };
            for (key, value) in self.table("target.NAME", value)? {
                match key.get_ref().as_ref() {
                    "confirm" => settings.confirm = self.flag("confirm", value)?,
                    "remember" => settings.remember = self.duration("remember", value)?,
                    "allow" => settings.allow = Some(self.programs(value)?),
                    _ => return Err(self.unknown(key, TARGET_KEYS)),
                }
            }
            targets.insert(name.get_ref().clone().into_owned(), settings);
        }
        Ok(targets)
    }

    pub(super) fn serve(
        self,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<BTreeMap<DoorName, ServeSettings>, SettingsError> {
        let mut serve = BTreeMap::new();
        for (name, value) in self.table("serve.NAME", value)? {
            let door = name.get_ref().parse().map_err(|error| self.error(name.span(), Problem::Name(error)))?;
            let (mut socket, mut targets, mut lifetime, mut allow_root) = (None, Vec::new(), None, false);
            for (key, value) in self.table("serve.NAME", value)? {
                match key.get_ref().as_ref() {
                    "socket" => socket = Some(self.socket(value)?),
                    "targets" => targets = self.list("targets", TARGETS, value, |text| text.parse().ok())?,
                    "lifetime" => lifetime = Some(self.positive_duration("lifetime", value)?),
                    "allow_root" => allow_root = self.flag("allow_root", value)?,
                    _ => return Err(self.unknown(key, SERVE_KEYS)),
                }
            }
            let socket = socket.ok_or_else(|| self.missing(name, "socket"))?;
            if targets.is_empty() {
                return Err(self.missing(name, "targets"));
            }
            let line = self.line(name.span());
            serve.insert(door, ServeSettings { socket, targets, lifetime, allow_root, line });
        }
        Ok(serve)
    }

    pub(super) fn container(
        self,
        name: &Key<'_>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<ContainerSettings, SettingsError> {
        let mut container = ContainerSettings { line: self.line(name.span()), ..ContainerSettings::default() };
        for (key, value) in self.table("container", value)? {
            match key.get_ref().as_ref() {
                "listen" => container.listen = self.list("listen", LISTEN, value, loopback)?,
                "exposed" => container.exposed = self.list("exposed", EXPOSED, value, elsewhere)?,
                _ => return Err(self.unknown(key, &["listen", "exposed"])),
            }
        }
        Ok(container)
    }

    pub(super) fn imds(self, name: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<ImdsSettings, SettingsError> {
        let (mut address, mut target) = (None, None);
        for (key, value) in self.table("imds", value)? {
            let text = value.get_ref().as_str();
            let place = match key.get_ref().as_ref() {
                "listen" => {
                    let listen = text.and_then(loopback).map(|address| (address, false));
                    listen.ok_or_else(|| self.wrong("listen", ONE_LISTEN, value))?
                }
                "exposed" => {
                    let exposed = text.and_then(elsewhere).map(|address| (address, true));
                    exposed.ok_or_else(|| self.wrong("exposed", ONE_EXPOSED, value))?
                }
                "target" => {
                    let parsed = text.and_then(|text| text.parse::<TargetQuery>().ok());
                    target = Some(parsed.ok_or_else(|| self.wrong("target", TARGET, value))?);
                    continue;
                }
                _ => return Err(self.unknown(key, &["listen", "exposed", "target"])),
            };
            if address.replace(place).is_some() {
                return Err(self.wrong("exposed", "an address only where there is no `listen`", value));
            }
        }
        let (address, exposed) = address.ok_or_else(|| self.missing(name, "listen"))?;
        let target = target.ok_or_else(|| self.missing(name, "target"))?;
        Ok(ImdsSettings { address, exposed, target, line: self.line(name.span()) })
    }

    fn programs(self, value: &Spanned<DeValue<'_>>) -> Result<Vec<PathBuf>, SettingsError> {
        let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        self.list("allow", "a list of absolute paths of programs", value, absolute)
    }

    fn socket(self, value: &Spanned<DeValue<'_>>) -> Result<PathBuf, SettingsError> {
        let path = value.get_ref().as_str().map(Path::new);
        let is_place = |path: &&Path| path.is_absolute() || (path.starts_with("~") && path.components().count() > 1);
        let path = path.filter(is_place).filter(|path| path.file_name().is_some());
        path.map(Path::to_owned)
            .ok_or_else(|| self.wrong("socket", "an absolute path, or one that begins with ~/", value))
    }

    fn list<T>(
        self,
        key: &'static str,
        expected: &'static str,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, SettingsError> {
        let entries = value.get_ref().as_array().ok_or_else(|| self.wrong(key, expected, value))?;
        let entry = |entry: &Spanned<DeValue<'_>>| {
            entry.get_ref().as_str().and_then(&read).ok_or_else(|| self.wrong(key, expected, entry))
        };
        entries.iter().map(entry).collect()
    }

    fn wrong(self, key: &'static str, expected: &'static str, value: &Spanned<DeValue<'_>>) -> SettingsError {
        self.error(value.span(), Problem::Value { key, expected })
    }

    fn missing(self, table: &Key<'_>, key: &'static str) -> SettingsError {
        self.error(table.span(), Problem::Missing(key))
    }
}

/// An address that only this machine reaches, with a port.
fn loopback(text: &str) -> Option<SocketAddr> {
    literal(text).filter(|address| address.ip().is_loopback())
}

/// An address of this machine that others may reach; never all of them at once.
fn elsewhere(text: &str) -> Option<SocketAddr> {
    literal(text).filter(|address| {
        let ip = address.ip();
        !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
    })
}

fn literal(text: &str) -> Option<SocketAddr> {
    text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0)
}

const TARGET_KEYS: &[&str] = &["confirm", "remember", "allow"];
const SERVE_KEYS: &[&str] = &["socket", "targets", "lifetime", "allow_root"];
const TARGET: &str = "the name of a profile, or SESSION/ACCOUNT/ROLE";
const TARGETS: &str = "a list of profiles' names or SESSION/ACCOUNT/ROLE";
const ONE_LISTEN: &str =
    "an address of this machine only, such as \"127.0.0.1:9912\"; another one goes under `exposed`";
const ONE_EXPOSED: &str = "one address that containers reach, such as \"172.17.0.1:9912\"";
const LISTEN: &str =
    "a list of addresses of this machine only, such as [\"127.0.0.1:9911\"]; others go under `exposed`";
const EXPOSED: &str = "a list of addresses that containers reach, such as [\"172.17.0.1:9911\"]";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Settings;
    use super::*;

    fn error(text: &str) -> String {
        Settings::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_about_who_is_served_is_read() {
        let text = "autostart = false\nexit_after_idle = \"30m\"\n\
            [target.dev]\nconfirm = true\nremember = \"5m\"\nallow = [\"/usr/bin/terraform\"]\n\
            [target.\"corp/111122223333/Admin\"]\nallow = []\n\
            [serve.box]\nsocket = \"~/box.sock\"\ntargets = [\"dev\"]\nlifetime = \"8h\"\nallow_root = true\n\
            [container]\nlisten = [\"127.0.0.1:9911\", \"[::1]:9911\"]\nexposed = [\"172.17.0.1:9911\"]\n\
            [imds]\nlisten = \"127.0.0.1:9912\"\ntarget = \"dev\"\n";
        let settings = Settings::parse(text).unwrap();
        assert!(!settings.autostart);
        assert_eq!(settings.exit_after_idle, Some(Duration::from_secs(1800)));
        let dev = &settings.targets["dev"];
        assert_eq!((dev.confirm, dev.remember, dev.line), (true, Duration::from_secs(300), 3));
        assert_eq!(dev.allow.as_deref(), Some(&[PathBuf::from("/usr/bin/terraform")][..]));
        let admin = &settings.targets["corp/111122223333/Admin"];
        assert_eq!((admin.confirm, admin.remember, admin.allow.as_deref()), (false, REMEMBER, Some(&[][..])));
        assert!(matches!(admin.target, TargetQuery::Role { .. }));
        let served = &settings.serve[&"box".parse().unwrap()];
        assert_eq!((served.socket.as_path(), served.targets.len()), (Path::new("~/box.sock"), 1));
        assert_eq!((served.lifetime, served.allow_root), (Some(Duration::from_secs(8 * 3600)), true));
        assert_eq!((settings.container.listen.len(), settings.container.exposed.len()), (2, 1));
        assert!(!settings.imds.unwrap().exposed);
    }

    #[test]
    fn a_table_that_lacks_what_it_is_about_is_an_error() {
        assert_eq!(error("[serve.box]\ntargets = [\"dev\"]"), "line 1: `socket` is missing here");
        assert_eq!(error("\n[serve.box]\nsocket = \"/s\"\ntargets = []"), "line 2: `targets` is missing here");
        assert_eq!(error("[imds]\ntarget = \"dev\""), "line 1: `listen` is missing here");
        assert_eq!(error("[imds]\nlisten = \"127.0.0.1:1\""), "line 1: `target` is missing here");
    }

    #[test]
    fn addresses_that_others_reach_are_refused_unless_that_is_said() {
        for (listen, exposed) in [
            ("127.0.0.1:9911", false),
            ("127.8.0.1:9911", false),
            ("[::1]:9911", false),
            ("172.17.0.1:9911", true),
            ("[fe80::1]:9911", true),
        ] {
            let key = |key| Settings::parse(&format!("[container]\n{key} = [\"{listen}\"]")).is_ok();
            assert_eq!((key("listen"), key("exposed")), (!exposed, exposed), "{listen}");
            let key = |key| Settings::parse(&format!("[imds]\ntarget = \"a\"\n{key} = \"{listen}\"")).is_ok();
            assert_eq!((key("listen"), key("exposed")), (!exposed, exposed), "{listen}");
        }
        for never in ["0.0.0.0:9911", "[::]:9911", "localhost:9911", "127.0.0.1", "127.0.0.1:0", "224.0.0.1:9911"] {
            for key in ["listen", "exposed"] {
                assert!(Settings::parse(&format!("[container]\n{key} = [\"{never}\"]")).is_err(), "{never}");
            }
        }
    }

    #[test]
    fn values_that_make_no_sense_are_errors_with_their_line() {
        for text in [
            "[target.dev]\nallow = [\"terraform\"]",
            "[target.dev]\nconfirm = 1",
            "[target.dev]\nallowed = []",
            "[serve.box]\nsocket = \"box.sock\"",
            "[serve.box]\nsocket = \"~\"",
            "[serve.box]\nsocket = \"/\"",
            "[serve.box]\nlifetime = \"0\"",
            "[container]\nlisten = \"127.0.0.1:9911\"",
            "[imds]\nlisten = \"x\"",
        ] {
            assert_eq!(Settings::parse(text).unwrap_err().line, 2, "{text}");
        }
        assert_eq!(Settings::parse("[serve.\"a b\"]").unwrap_err().line, 1);
        assert_eq!(Settings::parse("exit_after_idle = \"0\"").unwrap_err().line, 1);
    }
}
