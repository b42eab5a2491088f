//! The property list of launchd, for the places of this machine.
//!
//! Compiled everywhere, so that what it writes is tested where nobody has a Mac.

use std::path::Path;

use super::Trouble;
use super::place::Place;
use super::seal::sealed_plist;
use super::systemd::Wanted;

/// The agent's property list for this place.
pub(super) fn agent(place: &Place) -> Result<Wanted, Trouble> {
    let path = place.home.join("Library/LaunchAgents/sso-agent.plist");
    Ok(Wanted { path, content: sealed_plist(&text(place)?) })
}

fn text(place: &Place) -> Result<String, Trouble> {
    let mut text = include_str!("../../../launchd/sso-agent.plist")
        .replace("/usr/local/bin/sso-agent", &escaped(&place.program)?)
        .replace(&format!("{STATE}/run/agent.sock"), &escaped(place.socket.path())?)
        .replace(STATE, &escaped(&place.state_dir)?);
    let places = [
        (place.usual_state, "SSO_AGENT_STATE_DIR", place.state_dir.as_path()),
        (place.usual_socket, "SSO_AGENT_SOCK", place.socket.path()),
    ];
    let mut told = String::new();
    for (usual, name, path) in places {
        if !usual {
            told.push_str(&format!("        <key>{name}</key>\n        <string>{}</string>\n", escaped(path)?));
        }
    }
    if !told.is_empty() {
        let key = "    <key>EnvironmentVariables</key>\n    <dict>\n";
        text = text.replacen("</dict>\n</plist>", &format!("{key}{told}    </dict>\n</dict>\n</plist>"), 1);
    }
    Ok(text)
}

fn escaped(path: &Path) -> Result<String, Trouble> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| Trouble::Unwritable { path: path.to_owned() })?;
    Ok(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// The state directory in the property list of this repository.
const STATE: &str = "/Users/USER/Library/Application Support/sso-agent";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::SocketPath;

    fn place(program: &str, usual: bool) -> Place {
        Place {
            program: program.into(),
            home: "/Users/u".into(),
            state_dir: "/Users/u/a & b".into(),
            socket: SocketPath::explicit(Path::new("/Users/u/<s>/agent.sock")).unwrap(),
            usual_state: usual,
            usual_socket: usual,
        }
    }

    #[test]
    fn the_property_list_names_the_places_of_this_machine() {
        let wanted = agent(&place("/opt/a b/sso-agent", true)).unwrap();
        assert_eq!(wanted.path, Path::new("/Users/u/Library/LaunchAgents/sso-agent.plist"));
        for part in [
            "<string>/opt/a b/sso-agent</string>",
            "<string>/Users/u/&lt;s&gt;/agent.sock</string>",
            "<string>/Users/u/a &amp; b/agent.log</string>",
        ] {
            assert!(wanted.content.contains(part), "{part}: {}", wanted.content);
        }
        assert!(!wanted.content.contains("/Users/USER"));
        assert!(!wanted.content.contains("EnvironmentVariables"));
        let told = agent(&place("/sso-agent", false)).unwrap().content;
        assert!(told.contains("<key>SSO_AGENT_STATE_DIR</key>\n        <string>/Users/u/a &amp; b</string>"), "{told}");
    }
}
