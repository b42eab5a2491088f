//! How many columns a text takes on a terminal, and where its lines are broken.
//!
//! Owns: measuring what is printed, wide characters and colours included, and breaking it at spaces. Invariant: no line
//! that is broken here is wider than it may be, unless one character alone is.

use unicode_width::UnicodeWidthChar;

/// The columns a text takes; colours take none.
pub(super) fn width(text: &str) -> usize {
    pieces(text).map(|piece| piece.width).sum()
}

/// The text with its lines broken at spaces where they would be wider than this; what follows is indented.
pub(super) fn fold(text: &str, columns: usize, indent: usize) -> String {
    let mut folded = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        // What is narrower than its own indentation is left to the terminal.
        if width(line) <= columns || columns <= indent + LEAST {
            folded.push_str(line);
        } else {
            fold_line(line, columns, indent, &mut folded);
        }
        folded.push_str(end);
    }
    folded
}

/// As much of the text as fits.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let (mut kept, mut coloured) = (String::new(), false);
    for piece in pieces(text) {
        if piece.width > left {
            break;
        }
        left -= piece.width;
        coloured |= piece.text.starts_with(ESCAPE);
        kept.push_str(piece.text);
    }
    if columns > 0 {
        kept.push('…');
    }
    if coloured {
        kept.push_str(PLAIN);
    }
    kept
}

fn fold_line(line: &str, columns: usize, indent: usize, folded: &mut String) {
    let mut used = 0;
    for (index, word) in line.split(' ').enumerate() {
        let wide = width(word);
        if index > 0 {
            if used + 1 + wide <= columns {
                folded.push(' ');
                used += 1;
            } else if used > indent {
                used = next_line(indent, folded);
            } else if used < indent {
                folded.push(' ');
                used += 1;
            }
        }
        // A word that has no room in any line, such as a path.
        for piece in pieces(word) {
            if used + piece.width > columns {
                used = next_line(indent, folded);
            }
            folded.push_str(piece.text);
            used += piece.width;
        }
    }
}

fn next_line(indent: usize, folded: &mut String) -> usize {
    folded.push('\n');
    folded.extend(std::iter::repeat_n(' ', indent));
    indent
}

/// A character, or a colour's code.
struct Piece<'t> {
    text: &'t str,
    width: usize,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let code = if first == ESCAPE { rest.find('m').map(|end| end + 1) } else { None };
        let (piece, after) = rest.split_at(code.unwrap_or(first.len_utf8()));
        rest = after;
        let width = if code.is_some() { 0 } else { first.width().unwrap_or(0) };
        Some(Piece { text: piece, width })
    })
}

const ESCAPE: char = '\x1b';
const PLAIN: &str = "\x1b[0m";
/// Columns beside the indentation that are worth breaking for.
const LEAST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns_and_marks_and_colours_none() {
        for (text, columns) in
            [("abc", 3), ("größer", 6), ("日本", 4), ("e\u{301}", 1), ("🙂", 2), ("\x1b[32mok\x1b[0m", 2)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
    }

    #[test]
    fn lines_are_broken_at_spaces_and_words_that_fit_nowhere_anywhere() {
        let text = "error: one two three four five\nshort\n";
        assert_eq!(fold(text, 16, 2), "error: one two\n  three four\n  five\nshort\n");
        assert_eq!(fold("see /a/very/long/path/to/it now", 16, 2), "see\n  /a/very/long/p\n  ath/to/it now");
        assert_eq!(fold("日本 日本 日本 日本", 13, 0), "日本 日本\n日本 日本");
        assert_eq!(fold("nothing to be done here", 5, 2), "nothing to be done here");
        assert_eq!(
            fold("x   /a/very/long/path", 16, 4),
            "x   /a/very/long\n    /path",
            "what stood in columns stays there"
        );
        for line in fold(&"word ".repeat(50), 20, 4).lines() {
            assert!(width(line) <= 20, "{line:?}");
        }
    }

    #[test]
    fn colours_are_not_counted_and_not_cut_open() {
        let text = format!("\x1b[31merror:\x1b[0m {}", "x".repeat(20));
        assert_eq!(fold("\x1b[31merror:\x1b[0m one two", 14, 2), "\x1b[31merror:\x1b[0m one two");
        assert_eq!(cut(&text, 10), "\x1b[31merror:\x1b[0m xx…\x1b[0m");
        assert_eq!(cut("日本日本", 6), "日本…");
        assert_eq!((cut("abc", 3).as_str(), cut("abc", 0).as_str()), ("abc", ""));
    }
}
