//! `audit`: who was handed what.

use std::time::Duration;

use clap::Args;

use crate::audit::{self, Line, Party};
use crate::ids::SessionName;
use crate::paths;
use crate::time::parse_duration;
use crate::untrusted::shown;

use super::context::Context;
use super::failure::Failure;
use super::table::Table;
use super::words;

/// Show who was handed which credentials and tokens
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Options {
    /// Only what was handed out within this time, such as 8h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "last")]
    since: Option<Duration>,
    /// Only the newest N lines
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Only this session
    #[arg(long)]
    session: Option<SessionName>,
    /// Print the lines as they stand in the log, one JSON object each
    #[arg(long)]
    json: bool,
}

/// Runs the command. It needs no agent: the log is a file.
pub(super) fn run(options: &Options, context: &mut Context<'_>) -> Result<(), Failure> {
    let state_dir = paths::state_dir(context.env)?;
    let reading = audit::read(&state_dir).map_err(Failure::AuditLog)?;
    let now = context.now().wall;
    let session = options.session.as_ref().map(|session| shown(session.as_str()).to_string());
    let wanted = |line: &Line| {
        session.as_ref().is_none_or(|session| line.session == *session)
            && options.since.is_none_or(|since| now.since(line.time) <= since)
    };
    let mut lines = reading.lines;
    lines.retain(|(_, line)| wanted(line));
    if let Some(last) = options.last {
        lines.drain(..lines.len().saturating_sub(last));
    }
    if reading.damaged > 0 {
        let (lines, are) = if reading.damaged == 1 { ("line", "is") } else { ("lines", "are") };
        context.say(&format!("warning: {} {lines} of the log cannot be read and {are} left out", reading.damaged));
    }
    if options.json {
        let texts: Vec<&str> = lines.iter().map(|(text, _)| text.as_str()).collect();
        return if texts.is_empty() { Ok(()) } else { context.print_json_text(texts.join("\n").as_bytes()) };
    }
    if lines.is_empty() {
        let file = state_dir.join("audit.log");
        context.say(&format!("nothing of that kind is in the log, {}", shown(&file.to_string_lossy())));
        return Ok(());
    }
    let mut table = Table::new(&["TIME", "WHAT", "SESSION", "ACCOUNT", "ROLE", "KEY ID", "CALLER", "TIMES"]);
    for (_, line) in &lines {
        let text = |member: &Option<String>| member.clone().unwrap_or_else(|| "-".to_owned());
        let times = if line.repeats == 0 { "1".to_owned() } else { format!("{} more", line.repeats) };
        table.texts(&[
            &words::clock_time(line.time, now, &context.zone),
            &what(line),
            if line.session.is_empty() { "-" } else { &line.session },
            &text(&line.account),
            &text(&line.role),
            &text(&line.key_id),
            &caller(line),
            &times,
        ]);
    }
    let text = table.render(context.terminal.colour_out);
    context.print(text)
}

/// The program behind it; where that is not known, whoever was connected.
fn caller(line: &Line) -> String {
    let known = |party: &Party| party.pid.map(|pid| format!("{} ({pid})", party.exe));
    let caller = known(&line.caller)
        .or_else(|| known(&line.peer).map(|peer| format!("unknown, by {peer}")))
        .unwrap_or_else(|| "unknown".to_owned());
    line.via.as_ref().map_or_else(|| caller.clone(), |via| format!("{caller} via {}", shown(via)))
}

/// What it was, and what became of it if it was not handed out.
fn what(line: &Line) -> String {
    let asked = line.asked.as_ref().map(|asked| format!(" ({})", shown(asked))).unwrap_or_default();
    let refused = line.refused.as_ref().map(|setting| format!(", refused by `{}`", shown(setting)));
    format!("{}{asked}{}", line.what, refused.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use crate::env::Env;
    use crate::exit::Exit;
    use crate::scratch::Scratch;

    /// Lines of 10:00, 11:30 and 11:59; it is noon.
    const LOG: &str = concat!(
        r#"{"time":"2026-11-22T10:00:00Z","what":"token","session":"corp","account":null,"role":null,"key_id":null,"expires_at":"2026-11-22T18:00:00Z","peer":{"pid":7,"uid":1000,"exe":"unknown"},"caller":{"pid":null,"uid":null,"exe":"unknown"},"repeats":0}"#,
        "\n{\"time\":\n",
        r#"{"time":"2026-11-22T11:30:00Z","what":"credentials","session":"lab","account":"111122223333","role":"ReadOnly","key_id":"ASIAEXAMPLE","expires_at":"2026-11-22T18:00:00Z","peer":{"pid":8,"uid":1000,"exe":"/usr/bin/sso-credential-process"},"caller":{"pid":6,"uid":null,"exe":"/usr/bin/python3"},"repeats":0}"#,
        "\n",
        r#"{"time":"2026-11-22T11:59:30Z","what":"credentials","session":"lab","account":"111122223333","role":"ReadOnly","key_id":"ASIAEXAMPLE","expires_at":"2026-11-22T18:00:00Z","peer":{"pid":8,"uid":1000,"exe":"/usr/bin/sso-credential-process"},"caller":{"pid":6,"uid":null,"exe":"/usr/bin/python3"},"repeats":41,"later":1}"#,
        "\n"
    );

    const REFUSED: &str = r#"{"time":"2026-11-22T11:59:40Z","what":"credentials","session":"","account":null,"role":null,"key_id":null,"expires_at":null,"peer":{"pid":9,"uid":1000,"exe":"/usr/bin/curl"},"caller":{"pid":9,"uid":null,"exe":"/usr/bin/curl"},"repeats":0,"via":"box","asked":"prod","refused":"serve"}"#;

    fn world(scratch: &Scratch) -> World {
        let mut world = World::new([]);
        world.env = Env::from_iter([("SSO_AGENT_STATE_DIR", scratch.path())]);
        world
    }

    #[test]
    fn the_log_is_a_table_without_an_agent_and_damaged_lines_are_counted() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join("audit.log"), LOG).unwrap();
        let outcome = world(&scratch).run("audit");
        assert_eq!(outcome.exit(), Exit::Success);
        assert_eq!(
            outcome.stdout,
            "\
TIME   WHAT         SESSION  ACCOUNT       ROLE      KEY ID       CALLER                   TIMES
10:00  token        corp     -             -         -            unknown, by unknown (7)  1
11:30  credentials  lab      111122223333  ReadOnly  ASIAEXAMPLE  /usr/bin/python3 (6)     1
11:59  credentials  lab      111122223333  ReadOnly  ASIAEXAMPLE  /usr/bin/python3 (6)     41 more
"
        );
        assert_eq!(outcome.stderr, "warning: 1 line of the log cannot be read and is left out\n");
    }

    #[test]
    fn json_prints_the_lines_themselves() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join("audit.log"), LOG).unwrap();
        let good: Vec<&str> = LOG.lines().filter(|line| line.ends_with('}')).collect();
        let world = world(&scratch);
        assert_eq!(world.run("audit --json").stdout.lines().collect::<Vec<_>>(), good);
        assert_eq!(world.run("audit --json --last 1").stdout.lines().collect::<Vec<_>>(), good[2..]);
        assert_eq!(world.run("audit --json --since 45m").stdout.lines().collect::<Vec<_>>(), good[1..]);
        assert_eq!(world.run("audit --json --session corp").stdout.lines().collect::<Vec<_>>(), good[..1]);
        assert_eq!(world.run("audit --json --session nobody").stdout, "");
    }

    #[test]
    fn what_was_refused_and_through_which_socket_it_was_asked_for_is_told() {
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join("audit.log"), REFUSED).unwrap();
        let outcome = world(&scratch).run("audit");
        assert_eq!(
            outcome.stdout,
            "\
TIME   WHAT                                    SESSION  ACCOUNT  ROLE  KEY ID  CALLER                     TIMES
11:59  credentials (prod), refused by `serve`  -        -        -     -       /usr/bin/curl (9) via box  1
"
        );
    }

    #[test]
    fn where_nothing_was_handed_out_the_place_is_named() {
        let scratch = Scratch::new();
        let outcome = world(&scratch).run("audit");
        assert_eq!((outcome.exit(), outcome.stdout.as_str()), (Exit::Success, ""));
        assert!(outcome.stderr.contains("audit.log"), "{}", outcome.stderr);
    }

    #[test]
    fn a_log_that_is_no_file_of_ours_is_an_error() {
        let scratch = Scratch::new();
        std::os::unix::fs::symlink("/etc/passwd", scratch.path().join("audit.log")).unwrap();
        let outcome = world(&scratch).run("audit");
        assert_eq!(outcome.exit(), Exit::Storage);
        assert!(outcome.stderr.contains("cannot read") && outcome.stderr.contains("caused by"), "{}", outcome.stderr);
    }
}
