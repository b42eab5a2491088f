//! Text in columns.
//!
//! Owns: widths and cleaning. Invariant: no cell holds a character that could steer a terminal or start a new line,
//! whoever wrote it; colour is added after the widths are known.

use crate::untrusted::shown;

use super::paint::Paint;
use super::width::{fold, width};

/// Rows of cells, the first of which is the heading.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// A cell of any text, which is cleaned.
    pub(super) fn new(text: &str) -> Self {
        Self::painted(text, Paint::Plain)
    }

    /// A cell that stands out.
    pub(super) fn painted(text: &str, paint: Paint) -> Self {
        Self { text: shown(text).to_string(), paint }
    }
}

impl Table {
    /// An empty table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| Cell::painted(heading, Paint::Bold)).collect()] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a row of plain text.
    pub(super) fn texts(&mut self, texts: &[&str]) {
        self.row(texts.iter().map(|text| Cell::new(text)));
    }

    /// The table as lines, or, where these would be too wide, as a paragraph for each row.
    pub(super) fn render_within(&self, columns: Option<usize>, colour: bool) -> String {
        let lines = self.render(colour);
        match columns {
            Some(columns) if lines.lines().any(|line| width(line) > columns) => self.paragraphs(columns, colour),
            _ => lines,
        }
    }

    /// A row as its first two cells, and under them a line for each of the others that says something.
    fn paragraphs(&self, columns: usize, colour: bool) -> String {
        let Some((headings, rows)) = self.rows.split_first() else { return String::new() };
        let labels: Vec<String> = headings.iter().map(|heading| heading.text.to_lowercase()).collect();
        let widest = labels.iter().skip(2).map(|label| width(label)).max().unwrap_or_default();
        let mut lines = String::new();
        for row in rows {
            let mut cells = row.iter();
            let name = cells.next().map(|cell| Paint::Bold.apply(&cell.text, colour)).unwrap_or_default();
            let second = cells.next().map(|cell| cell.paint.apply(&cell.text, colour)).unwrap_or_default();
            lines.push_str(&fold(&format!("{name}  {second}\n"), columns, 2));
            for (label, cell) in labels.iter().skip(2).zip(cells).filter(|(_, cell)| !matches!(&*cell.text, "" | "-")) {
                let padding = " ".repeat(widest - width(label));
                let line = format!("  {label}{padding}  {}\n", cell.paint.apply(&cell.text, colour));
                lines.push_str(&fold(&line, columns, widest + 4));
            }
        }
        lines
    }

    /// The table as lines. The last column is not padded.
    pub(super) fn render(&self, colour: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let mut lines = String::new();
        for row in &self.rows {
            // Empty cells at the end would only leave spaces there.
            let filled = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
            for (column, cell) in row.iter().take(filled).enumerate() {
                lines.push_str(&cell.paint.apply(&cell.text, colour));
                if column + 1 < filled {
                    let padding = widths[column] - width(&cell.text) + GAP;
                    lines.extend(std::iter::repeat_n(' ', padding));
                }
            }
            lines.push('\n');
        }
        lines
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(&cell.text)).max().unwrap_or(0)
    }
}

/// Spaces between columns.
const GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(&["A", "LONG", "C"]);
        table.texts(&["größer", "x", ""]);
        table.texts(&["1", "2", "3"]);
        assert_eq!(table.render(false), "A       LONG  C\ngrößer  x\n1       2     3\n");
    }

    #[test]
    fn wide_characters_are_aligned_too() {
        let mut table = Table::new(&["NAME", "B"]);
        table.texts(&["日本", "x"]);
        table.texts(&["e\u{301}", "y"]);
        assert_eq!(table.render(false), "NAME  B\n日本  x\ne\u{301}     y\n");
    }

    #[test]
    fn what_is_too_wide_becomes_paragraphs() {
        let mut table = Table::new(&["NAME", "STATE", "LEFT", "MUCH LATER"]);
        table.texts(&["corp", "signed in", "59 min left", "in 3 h"]);
        table.texts(&["lab", "ended", "-", ""]);
        assert_eq!(table.render_within(Some(50), false), table.render(false));
        assert_eq!(table.render_within(None, false), table.render(false));
        let narrow = "corp  signed in\n  left        59 min left\n  much later  in 3 h\nlab  ended\n";
        assert_eq!(table.render_within(Some(30), false), narrow);
    }

    #[test]
    fn colour_does_not_change_the_widths() {
        let mut table = Table::new(&["A", "B"]);
        table.row([Cell::painted("ok", Paint::Green), Cell::new("b")]);
        assert_eq!(table.render(true), "\x1b[1mA\x1b[0m   \x1b[1mB\x1b[0m\n\x1b[32mok\x1b[0m  b\n");
    }

    #[test]
    fn a_hostile_name_cannot_steer_the_terminal_or_start_a_line() {
        let mut table = Table::new(&["NAME"]);
        table.texts(&["x\x1b]52;c;eA==\x07\n[profile default]\r\u{202e}"]);
        let text = table.render(false);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains(['\x1b', '\x07', '\r', '\u{202e}']), "{text:?}");
    }
}
