//! The agent's log: lines on stderr, or where an agent in the background writes them.
//!
//! Owns: where the log goes, and which level. Refuses to know what is logged. Invariant: only our own modules are heard,
//! whatever the environment says, because libraries log headers and bodies at low levels (A§17).

use std::fmt;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::untrusted::shown;

/// How the lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people and for the journal.
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
    let level = parse_level(level)?;
    subscriber(level, format, output).try_init().map_err(LoggingError::Started)?;
    Ok(())
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

fn subscriber<W>(level: LevelFilter, format: Format, writer: W) -> impl tracing::Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = match format {
        Format::Text => Box::new(layer),
        Format::Json => Box::new(layer.json()),
    };
    tracing_subscriber::registry().with(Targets::new().with_target(OUR_TARGET, level)).with(layer)
}

/// The library's modules and the binary.
const OUR_TARGET: &str = "sso_agent";

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
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
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = subscriber(parse_level(Some(level)).unwrap(), format, move || writer.clone());
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
    fn a_level_that_is_none_is_an_error() {
        let error = parse_level(Some("hyper=trace")).unwrap_err();
        assert!(error.to_string().contains("expected off, error"), "{error}");
        assert!(matches!(parse_level(None), Ok(LevelFilter::INFO)));
    }
}
