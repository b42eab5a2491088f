//! The manual pages: all there, and what the tools that show them understand.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::sandbox::{Finished, Sandbox};

#[test]
fn there_is_a_page_for_every_command_and_the_tools_understand_it() {
    let sandbox = Sandbox::new();
    let directory = sandbox.root().join("man");
    sandbox.cli(&["man", directory.to_str().unwrap()]).expect_success();
    let pages: BTreeSet<String> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let help = sandbox.cli(&["--help"]).expect_success();
    let commands = help.split("\nCommands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let commands =
        commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let commands: Vec<&str> = commands.filter(|name| *name != "help").collect();
    assert!(commands.contains(&"service"), "{commands:?}");
    for command in commands {
        assert!(pages.contains(&format!("sso-agent-{command}.1")), "{command}: {pages:?}");
    }
    for page in ["sso-agent.1", "sso-agent-storage-migrate.1", "sso-credential-process.1", "sso-agent-config.5"] {
        assert!(pages.contains(page), "{page}: {pages:?}");
    }
    assert!(!pages.contains("sso-agent-complete.1"), "it is nobody's to type");
    for page in &pages {
        let path = directory.join(page);
        let linted = Finished::of(Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&path));
        assert_eq!((linted.code, linted.stdout.as_str()), (Some(0), ""), "{page}: {linted:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{page}");
    }
}

#[test]
fn the_page_of_the_settings_names_every_key_of_the_document() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let page = read("src/cli/man/sso-agent-config.5");
    let readme = read("docs/CONFIGURATION.md");
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let keys: BTreeSet<&str> =
        blocks.flat_map(str::lines).filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.trim()).collect();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(page.contains(&format!("\n.B {key}\n")), "{key} is not in the page");
    }
}
