//! Reading the log, while an agent may be writing it.
//!
//! Owns: the order of lines across files, and what counts as damaged. Invariant: no line is told twice because the
//! files were rotated meanwhile, and a damaged one costs itself.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{FILES, Line};
use crate::log_file::{open_directory, open_to_read};

/// What the log says.
#[derive(Debug, Default)]
pub struct Reading {
    /// Every line as it stands in the log, and what it says, oldest first.
    pub lines: Vec<(String, Line)>,
    /// How many lines could not be understood.
    pub damaged: usize,
}

/// Reads the log of a state directory. No file is no line.
///
/// # Errors
/// A file cannot be read, or is not ours alone to write.
pub fn read(state_dir: &Path) -> Result<Reading, ReadError> {
    let failed = |name: Option<String>| {
        let path = name.map_or_else(|| state_dir.to_owned(), |name| state_dir.join(name));
        |source| ReadError { path, source }
    };
    let directory = match open_directory(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reading::default()),
        opened => opened.map_err(failed(None))?,
    };
    let mut attempts = 0;
    let files = loop {
        attempts += 1;
        // The newest first: what is rotated meanwhile turns up once more, and is not missed.
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        let mut rotated = false;
        for age in 0..FILES.files {
            match open_to_read(&directory, &FILES.file(age)).map_err(failed(Some(FILES.file(age))))? {
                Some((file, identity)) if seen.insert(identity) => files.push((age, file)),
                Some(_) => rotated = true,
                None => {}
            }
        }
        if !rotated || attempts == MOST_ATTEMPTS {
            break files;
        }
    };
    let mut reading = Reading::default();
    for (age, file) in files.into_iter().rev() {
        let mut bytes = Vec::new();
        File::from(file).take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed(Some(FILES.file(age))))?;
        reading.take(&bytes);
    }
    Ok(reading)
}

impl Reading {
    fn take(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let text = std::str::from_utf8(line).ok();
            match text.and_then(|text| Some((text.to_owned(), serde_json::from_str(text).ok()?))) {
                Some(line) => self.lines.push(line),
                None => self.damaged += 1,
            }
        }
    }
}

/// The log cannot be read.
#[derive(Debug)]
pub struct ReadError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot read {}", self.path.display())
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A file that is rotated again and again while it is opened is nothing to wait for.
const MOST_ATTEMPTS: usize = 3;
/// Far over what the writer lets a file grow to.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
