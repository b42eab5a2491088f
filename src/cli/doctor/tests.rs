//! How what was found is told.

use std::ffi::OsString;

use crate::cli::testing::World;
use crate::exit::Exit;

use super::sheet::Sheet;

fn filled(world: &World, json: bool) -> (String, Exit) {
    let mut stdout = Vec::new();
    let exit = world.with_output(&mut stdout, |context| {
        let mut sheet = Sheet::new(json, context);
        let first = sheet.group("Agent", context, |sheet, _| {
            sheet.ok("socket", "/run/agent.sock");
            sheet.error("agent", Exit::NoAgent, "no agent runs", "sso-agent start".to_owned());
        });
        first.unwrap();
        let second = sheet.group("More", context, |sheet, _| {
            sheet.warning("shim_paths", "a\x1b[2J name\nof two lines", "write it from / on".to_owned());
            sheet.skipped("clock", "no service has told its time");
            sheet.error("key", Exit::Storage, "it is locked", None);
        });
        second.unwrap();
        sheet.group("Nothing", context, |_, _| ()).unwrap();
        sheet.end(context).err().map_or(Exit::Success, |failure| failure.exit())
    });
    (String::from_utf8(stdout).unwrap(), exit)
}

fn world() -> World {
    let mut world = World::new([]);
    world.env =
        [("LANG", "C.UTF-8")].map(|(name, value)| (OsString::from(name), OsString::from(value))).into_iter().collect();
    world
}

#[test]
fn a_check_is_a_line_and_what_helps_stands_under_it() {
    let (text, exit) = filled(&world(), false);
    assert_eq!(
        text,
        "\
Agent
  ✓ socket              /run/agent.sock
  ✗ agent               no agent runs
                        → sso-agent start

More
  ! shim paths          a\u{fffd}[2J name\u{fffd}of two lines
                        → write it from / on
  – clock               no service has told its time
  ✗ key                 it is locked

5 checks: 1 ok, 1 warning, 2 errors, 1 skipped
"
    );
    assert_eq!(exit, Exit::NoAgent, "that of the first error");
}

#[test]
fn where_the_marks_would_not_come_out_they_are_words() {
    let world = World::new([]);
    let (text, _) = filled(&world, false);
    assert!(text.contains("  ok   socket              /run/agent.sock\n"), "{text}");
    assert!(text.contains("  FAIL agent               no agent runs\n                           -> sso-agent start\n"));
}

#[test]
fn on_a_narrow_terminal_nothing_is_too_wide() {
    for columns in [40, 60] {
        let mut world = world();
        world.terminal.width = Some(columns);
        for line in filled(&world, false).0.lines() {
            assert!(crate::cli::width::width(line) <= columns, "{line:?}");
        }
    }
}

#[test]
fn colours_are_for_marks_and_counts() {
    let mut world = world();
    world.terminal.colour_out = true;
    let text = filled(&world, false).0;
    for painted in [
        "\x1b[1mAgent\x1b[0m\n",
        "  \x1b[32m✓\x1b[0m socket ",
        "  \x1b[31m✗\x1b[0m agent ",
        "\x1b[2mno service has told its time\x1b[0m",
        "1 ok, \x1b[33m1 warning\x1b[0m, \x1b[31m2 errors\x1b[0m",
    ] {
        assert!(text.contains(painted), "{text:?}");
    }
}

#[test]
fn as_json_it_is_an_array_of_all_checks() {
    let (text, exit) = filled(&world(), true);
    let checks: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(checks.len(), 5);
    assert_eq!(
        checks[1],
        serde_json::json!({"check": "agent", "result": "error", "detail": "no agent runs", "remedy": "sso-agent start"})
    );
    assert_eq!((&checks[0]["remedy"], exit), (&serde_json::Value::Null, Exit::NoAgent));
}
