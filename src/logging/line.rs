//! What a line of the log looks like: for people at a terminal or in a file, and for the journal.
//!
//! Owns: the order of its parts, and what a value looks like. Refuses to know what is logged. Invariant: one event is
//! one line, whatever its values are.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What stands before the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The time, the level and the module.
    Dated,
    /// The level as the journal reads it (sd-daemon(3)); the journal knows the time better.
    Journal,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        match self {
            Self::Dated => {
                SystemTime.format_time(&mut writer)?;
                write!(writer, " {:>5} {}: ", metadata.level(), metadata.target())?;
            }
            Self::Journal => write!(writer, "<{}>", priority(*metadata.level()))?,
        }
        let mut parts = Parts::default();
        event.record(&mut parts);
        writeln!(writer, "{}{}", parts.message, parts.fields)
    }
}

const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[derive(Default)]
struct Parts {
    message: String,
    fields: String,
}

impl Parts {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            push_on_one_line(&mut self.message, value);
            return;
        }
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=');
        // Writing to a string does not fail.
        let _ = write!(self.fields, " {}=", field.name());
        if plain {
            push_on_one_line(&mut self.fields, value);
        } else {
            self.fields.push('"');
            push_on_one_line(&mut self.fields, &value.replace('\\', r"\\").replace('"', "\\\""));
            self.fields.push('"');
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

fn push_on_one_line(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            character if character.is_control() || "\u{2028}\u{2029}".contains(character) => {
                text.extend(character.escape_default());
            }
            character => text.push(character),
        }
    }
}
