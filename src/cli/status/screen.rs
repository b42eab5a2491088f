//! A terminal that is written over.
//!
//! Owns: the codes for that. Invariant: whoever has entered it leaves it, and then the terminal is as it was.

use crate::cli::width::{cut, width};

/// The other screen, without a cursor on it: what was on the terminal before comes back in the end.
pub(super) const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back to the screen of before.
pub(super) const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What writes this over whatever is there. What has no room at the bottom is counted.
pub(super) fn drawn(text: &str, columns: usize, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let room = lines.max(2);
    let kept = if all.len() <= room { all.len() } else { room - 1 };
    let mut drawn = HOME.to_owned();
    for (index, line) in all[..kept].iter().enumerate() {
        if index > 0 {
            drawn.push_str("\r\n");
        }
        drawn.push_str(&cut(line, columns));
        // In the last column, this would take away what is there.
        if width(line) < columns {
            drawn.push_str(REST_OF_LINE);
        }
    }
    if kept < all.len() {
        drawn.push_str("\r\n");
        drawn.push_str(&cut(&format!("… {} more lines", all.len() - kept), columns));
        drawn.push_str(REST_OF_LINE);
    }
    drawn.push_str(BELOW);
    drawn
}

const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const BELOW: &str = "\x1b[J";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_cut_and_counted() {
        assert_eq!(drawn("one\ntwo\n", 10, 5), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
        assert_eq!(drawn("0123456789\n0123456789a\n", 10, 2), "\x1b[H0123456789\r\n012345678…\x1b[J");
        let long = "x\n".repeat(10);
        let text = drawn(&long, 40, 4);
        assert_eq!(text.matches('x').count(), 3, "{text:?}");
        assert!(text.ends_with("\r\n… 7 more lines\x1b[K\x1b[J"), "{text:?}");
    }
}
