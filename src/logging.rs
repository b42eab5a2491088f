//! The agent's log: lines on stderr, or where an agent in the background writes them.
//!
//! Owns: where the log goes, and which level. Refuses to know what is logged. Invariant: only our own modules are heard,
//! whatever the environment says, because libraries log headers and bodies at low levels (A§17).

mod line;

use std::fmt;
use std::io;

use line::Line;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::untrusted::shown;

/// How the lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people; with a time, unless it goes to the journal, which knows that.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log on `output`. `level` is the value of `SSO_AGENT_LOG`; `info` where there is none.
///
/// # Errors
/// The level is none, or something has started a log already.
pub fn start<W>(level: Option<&str>, format: Format, output: W) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber(parse_level(level)?, format, Line::Dated, output).try_init().map_err(LoggingError::Started)
}

/// [`start`] on stderr. `journal` is the value of `JOURNAL_STREAM`: which stream it is that goes to the journal.
///
/// # Errors
/// As for [`start`].
pub fn start_on_stderr(level: Option<&str>, format: Format, journal: Option<&str>) -> Result<(), LoggingError> {
    let line = if journal.is_some_and(is_our_stream) { Line::Journal } else { Line::Dated };
    subscriber(parse_level(level)?, format, line, io::stderr).try_init().map_err(LoggingError::Started)
}

/// Whether the stream with this device and inode is what we log to: it may be somebody else's that we have inherited.
fn is_our_stream(journal: &str) -> bool {
    let Ok(ours) = rustix::fs::fstat(io::stderr()) else { return false };
    journal == format!("{}:{}", ours.st_dev, ours.st_ino)
}

/// Why there is no log.
#[derive(Debug)]
pub enum LoggingError {
    /// `SSO_AGENT_LOG` is no level.
    Level(String),
    /// There is one already.
    Started(tracing_subscriber::util::TryInitError),
}

impl fmt::Display for LoggingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(text) => {
                write!(formatter, "SSO_AGENT_LOG: expected off, error, warn, info, debug or trace, got {}", shown(text))
            }
            Self::Started(_) => formatter.write_str("a log has been started already"),
        }
    }
}

impl std::error::Error for LoggingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Level(_) => None,
            Self::Started(error) => Some(error),
        }
    }
}

fn parse_level(level: Option<&str>) -> Result<LevelFilter, LoggingError> {
    Ok(match level {
        None | Some("info") => LevelFilter::INFO,
        Some("off") => LevelFilter::OFF,
        Some("error") => LevelFilter::ERROR,
        Some("warn") => LevelFilter::WARN,
        Some("debug") => LevelFilter::DEBUG,
        Some("trace") => LevelFilter::TRACE,
        Some(other) => return Err(LoggingError::Level(other.to_owned())),
    })
}

fn subscriber<W>(
    level: LevelFilter,
    format: Format,
    line: Line,
    writer: W,
) -> impl tracing::Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = match format {
        Format::Text => Box::new(layer.event_format(line)),
        Format::Json => Box::new(layer.json()),
    };
    tracing_subscriber::registry().with(Targets::new().with_target(OUR_TARGET, level)).with(layer)
}

/// The library's modules and the binary.
const OUR_TARGET: &str = "sso_agent";

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: Format, log: impl FnOnce()) -> String {
        logged_as(level, format, Line::Dated, log)
    }

    fn logged_as(level: &str, format: Format, line: Line, log: impl FnOnce()) -> String {
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = subscriber(parse_level(Some(level)).unwrap(), format, line, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_our_own_modules_are_heard() {
        let text = logged("trace", Format::Text, || {
            tracing::error!(target: "hyper::proto", "authorization: secret");
            tracing::error!(target: "rustls", "secret");
            tracing::trace!("ours");
        });
        assert!(text.contains("ours") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn the_level_counts_and_json_is_one_object_a_line() {
        let text = logged("warn", Format::Json, || {
            tracing::info!("quiet");
            tracing::warn!(code = 7, "loud\nvoice");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["fields"]["code"], 7);
    }

    #[test]
    fn the_journal_gets_levels_of_its_own_and_no_time() {
        let text = logged_as("trace", Format::Text, Line::Journal, || {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!(session = "corp", remaining_s = 7, "three");
            tracing::debug!("four");
            tracing::trace!("five");
        });
        assert_eq!(text, "<3>one\n<4>two\n<6>three session=corp remaining_s=7\n<7>four\n<7>five\n");
    }

    #[test]
    fn an_event_is_one_line_whatever_its_values_are() {
        let text = logged("info", Format::Text, || {
            tracing::info!(a = "x\ny", b = "two words", c = "", d = ?"\u{1b}[0m", e = "q\"u\\o=te", "first\r\n{}", "\u{2028}");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let (_, rest) = text.split_once("first").unwrap();
        assert_eq!(rest.trim_end(), r#"\r\n\u{2028} a="x\ny" b="two words" c="" d="\"\\u{1b}[0m\"" e="q\"u\\o=te""#,);
        assert!(text.contains(" INFO sso_agent::logging::tests: first"), "{text}");
    }

    #[test]
    fn a_stream_that_is_somebody_elses_is_not_taken_for_ours() {
        let ours = rustix::fs::fstat(io::stderr()).unwrap();
        assert!(is_our_stream(&format!("{}:{}", ours.st_dev, ours.st_ino)));
        for other in ["", "8:1", &format!("{}:{}", ours.st_ino, ours.st_dev.wrapping_add(1))] {
            assert!(!is_our_stream(other), "{other}");
        }
    }

    #[test]
    fn a_level_that_is_none_is_an_error() {
        let error = parse_level(Some("hyper=trace")).unwrap_err();
        assert!(error.to_string().contains("expected off, error"), "{error}");
        assert!(matches!(parse_level(None), Ok(LevelFilter::INFO)));
    }
}
