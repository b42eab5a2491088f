//! What was found, and how it is told.
//!
//! Owns: the lines, marks and colours, the JSON, the summary and the exit code. Refuses to know any check. Invariant:
//! whatever a check says is cleaned before a person sees it.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::paint::Paint;
use crate::cli::width::{fold, width};
use crate::env::Env;
use crate::exit::Exit;
use crate::untrusted::shown;

/// All checks so far.
pub(super) struct Sheet {
    checks: Vec<Check>,
    /// How many are printed.
    told: usize,
    style: Style,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// A stable word for what was looked at.
    check: &'static str,
    result: Verdict,
    detail: String,
    remedy: Option<String>,
    #[serde(skip)]
    exit: Option<Exit>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Error,
    Skipped,
}

struct Style {
    json: bool,
    colour: bool,
    unicode: bool,
    columns: Option<usize>,
}

impl Sheet {
    pub(super) fn new(json: bool, context: &Context<'_>) -> Self {
        let terminal = context.terminal;
        let style =
            Style { json, colour: terminal.colour_out, unicode: takes_unicode(context.env), columns: terminal.width };
        Self { checks: Vec::new(), told: 0, style }
    }

    /// It is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, detail: impl Into<String>) {
        self.add(check, Verdict::Ok, detail.into(), None, None);
    }

    /// It was not looked at, for this reason.
    pub(super) fn skipped(&mut self, check: &'static str, reason: impl Into<String>) {
        self.add(check, Verdict::Skipped, reason.into(), None, None);
    }

    /// It works, and is worth a look all the same.
    pub(super) fn warning(
        &mut self,
        check: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.add(check, Verdict::Warning, detail.into(), remedy.into(), None);
    }

    /// It does not work; a command that needs it would end like this.
    pub(super) fn error(
        &mut self,
        check: &'static str,
        exit: Exit,
        detail: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.add(check, Verdict::Error, detail.into(), remedy.into(), Some(exit));
    }

    fn add(
        &mut self,
        check: &'static str,
        result: Verdict,
        detail: String,
        remedy: Option<String>,
        exit: Option<Exit>,
    ) {
        self.checks.push(Check { check, result, detail, remedy, exit });
    }

    /// Makes the checks of one kind, and prints them.
    pub(super) fn group<T>(
        &mut self,
        title: &str,
        context: &mut Context<'_>,
        look: impl FnOnce(&mut Self, &mut Context<'_>) -> T,
    ) -> Result<T, Failure> {
        let found = look(self, context);
        if !self.style.json && self.told < self.checks.len() {
            let gap = if self.told == 0 { "" } else { "\n" };
            let mut text = format!("{gap}{}\n", Paint::Bold.apply(title, self.style.colour));
            for check in &self.checks[self.told..] {
                self.style.line(check, &mut text);
            }
            context.print(text)?;
        }
        self.told = self.checks.len();
        Ok(found)
    }

    /// Prints how it all is, and ends as the first error would.
    pub(super) fn end(self, context: &mut Context<'_>) -> Result<(), Failure> {
        if self.style.json {
            context.print_json(&self.checks)?;
        } else {
            let summary = self.summary();
            context.print(summary)?;
        }
        match self.checks.iter().find_map(|check| check.exit) {
            Some(exit) => Err(Failure::Silent(exit)),
            None => Ok(()),
        }
    }

    fn summary(&self) -> String {
        let count = |verdict| self.checks.iter().filter(|check| check.result == verdict).count();
        let many = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let mut parts = vec![format!("{} ok", count(Verdict::Ok))];
        for (verdict, word) in [(Verdict::Warning, "warning"), (Verdict::Error, "error")] {
            let found = count(verdict);
            if found > 0 {
                parts.push(verdict.paint().apply(&many(found, word), self.style.colour));
            }
        }
        if count(Verdict::Skipped) > 0 {
            parts.push(format!("{} skipped", count(Verdict::Skipped)));
        }
        let summary = format!("\n{}: {}\n", many(self.checks.len(), "check"), parts.join(", "));
        self.style.columns.map_or(summary.clone(), |columns| fold(&summary, columns, 2))
    }
}

impl Verdict {
    const fn paint(self) -> Paint {
        match self {
            Self::Ok => Paint::Green,
            Self::Warning => Paint::Yellow,
            Self::Error => Paint::Red,
            Self::Skipped => Paint::Dim,
        }
    }
}

impl Style {
    /// A mark, what was looked at, what was found; under it what helps.
    fn line(&self, check: &Check, text: &mut String) {
        let mark = match (check.result, self.unicode) {
            (Verdict::Ok, true) => "✓",
            (Verdict::Warning, true) => "!",
            (Verdict::Error, true) => "✗",
            (Verdict::Skipped, true) => "–",
            (Verdict::Ok, false) => "ok  ",
            (Verdict::Warning, false) => "warn",
            (Verdict::Error, false) => "FAIL",
            (Verdict::Skipped, false) => "skip",
        };
        let name = check.check.replace('_', " ");
        let padding = " ".repeat(NAMES.saturating_sub(width(&name)));
        let indent = 2 + width(mark) + 1 + NAMES + 1;
        let detail = shown(&check.detail).to_string();
        let detail = if check.result == Verdict::Skipped { Paint::Dim.apply(&detail, self.colour) } else { detail };
        let line = format!("  {} {name}{padding} {detail}\n", check.result.paint().apply(mark, self.colour));
        // Words under words, where there is room for that.
        let hang = if self.columns.is_none_or(|columns| columns >= indent + ROOM) { indent } else { 6 };
        self.add(&line, hang, text);
        if let Some(remedy) = &check.remedy {
            let mut line = " ".repeat(hang);
            let arrow = if self.unicode { "→" } else { "->" };
            let _ = writeln!(line, "{} {}", Paint::Bold.apply(arrow, self.colour), shown(remedy));
            self.add(&line, hang + width(arrow) + 1, text);
        }
    }

    fn add(&self, line: &str, hang: usize, text: &mut String) {
        match self.columns {
            Some(columns) => text.push_str(&fold(line, columns, hang)),
            None => text.push_str(line),
        }
    }
}

/// Whether the marks come out as marks.
fn takes_unicode(env: &Env) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env.get(name)).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    cfg!(target_os = "macos") || locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// Columns that are worth to stand beside the names.
const ROOM: usize = 40;
/// The longest name of a check.
const NAMES: usize = 19;
