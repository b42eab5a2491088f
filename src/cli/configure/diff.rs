//! What would change, as a unified diff.
//!
//! Owns: the smallest difference between two files, up to a limit. Invariant: `patch` turns the one file into the
//! other with it, whatever bytes they hold.

use std::ops::Range;

/// The difference; nothing if there is none.
pub(in super::super) fn unified(name: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let (old, new): (Vec<&[u8]>, Vec<&[u8]>) = (lines(old), lines(new));
    let changes = changes(&old, &new);
    let mut text = Vec::new();
    if changes.is_empty() {
        return text;
    }
    text.extend_from_slice(format!("--- {name}\n+++ {name}\n").as_bytes());
    let mut rest = changes.as_slice();
    while let Some((first, _)) = rest.split_first() {
        // Changes whose surroundings touch are shown together.
        let together = 1 + rest.windows(2).take_while(|pair| pair[1].old.start - pair[0].old.end <= 2 * AROUND).count();
        let (hunk, later) = rest.split_at(together);
        let last = &hunk[together - 1];
        let before = first.old.start.min(AROUND);
        let after = (old.len() - last.old.end).min(AROUND);
        let whole = Change {
            old: first.old.start - before..last.old.end + after,
            new: first.new.start - before..last.new.end + after,
        };
        text.extend_from_slice(format!("@@ -{} +{} @@\n", span(&whole.old), span(&whole.new)).as_bytes());
        let mut at = whole.old.start;
        for change in hunk {
            put(&mut text, b' ', &old[at..change.old.start]);
            put(&mut text, b'-', &old[change.old.clone()]);
            put(&mut text, b'+', &new[change.new.clone()]);
            at = change.old.end;
        }
        put(&mut text, b' ', &old[at..whole.old.end]);
        rest = later;
    }
    text
}

/// Lines of the one that become lines of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    old: Range<usize>,
    new: Range<usize>,
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

fn span(range: &Range<usize>) -> String {
    // An empty range is named by the line before it.
    let first = if range.is_empty() { range.start } else { range.start + 1 };
    if range.len() == 1 { first.to_string() } else { format!("{first},{}", range.len()) }
}

fn put(text: &mut Vec<u8>, mark: u8, lines: &[&[u8]]) {
    for line in lines {
        text.push(mark);
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

fn changes(old: &[&[u8]], new: &[&[u8]]) -> Vec<Change> {
    let front = old.iter().zip(new).take_while(|(one, other)| one == other).count();
    let back = old[front..].iter().rev().zip(new[front..].iter().rev()).take_while(|(one, other)| one == other).count();
    let (inner_old, inner_new) = (&old[front..old.len() - back], &new[front..new.len() - back]);
    if inner_old.is_empty() && inner_new.is_empty() {
        return Vec::new();
    }
    let mut changes: Vec<Change> = Vec::new();
    let (mut at_old, mut at_new) = (front, front);
    let ends = (old.len() - back, new.len() - back);
    for (in_old, in_new) in common(inner_old, inner_new).into_iter().chain([(inner_old.len(), inner_new.len())]) {
        let (in_old, in_new) = (front + in_old, front + in_new);
        if at_old < in_old || at_new < in_new {
            changes.push(Change { old: at_old..in_old, new: at_new..in_new });
        }
        (at_old, at_new) = ((in_old + 1).min(ends.0), (in_new + 1).min(ends.1));
    }
    changes
}

/// Pairs of equal lines, in order: the most there are (Myers), or none where the two differ in too much.
fn common(old: &[&[u8]], new: &[&[u8]]) -> Vec<(usize, usize)> {
    // How far one gets in `old` on each diagonal, with that many differences.
    let mut history: Vec<Vec<usize>> = Vec::new();
    let most = (old.len() + new.len()).min(MOST_DIFFERENCES);
    for differences in 0..=most {
        let mut reached = vec![0; 2 * differences + 1];
        for step in (0..=2 * differences).step_by(2) {
            let from = match history.last() {
                None => 0,
                Some(before) => best(before, step, differences).1,
            };
            // Diagonals are numbered from -differences; the place in `new` follows from the one in `old`.
            let (mut at, mut other) = (from, from + differences - step);
            while at < old.len() && other < new.len() && old[at] == new[other] {
                at += 1;
                other += 1;
            }
            reached[step] = at;
            if (at, other) == (old.len(), new.len()) {
                history.push(reached);
                return back(&history, old, new);
            }
        }
        history.push(reached);
    }
    Vec::new()
}

/// From which diagonal of the round before one comes to this one, and how far that leads: (index before, place in old).
fn best(before: &[usize], step: usize, differences: usize) -> (usize, usize) {
    // One round earlier the same diagonal had an index lower by one.
    let (down, right) = (step, step.checked_sub(2));
    match right {
        Some(right) if step == 2 * differences || before[right] >= before[down] => (right, before[right] + 1),
        _ => (down, before[down]),
    }
}

fn back(history: &[Vec<usize>], old: &[&[u8]], new: &[&[u8]]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut at, mut other) = (old.len(), new.len());
    for differences in (0..history.len()).rev() {
        let step = at + differences - other;
        let (before_at, before_other) = if differences == 0 {
            (0, 0)
        } else {
            let before = &history[differences - 1];
            let (index, _) = best(before, step, differences);
            let place = before[index];
            (place, place + (differences - 1) - index)
        };
        while at > before_at && other > before_other && old[at - 1] == new[other - 1] {
            at -= 1;
            other -= 1;
            pairs.push((at, other));
        }
        (at, other) = (before_at, before_other);
    }
    pairs.reverse();
    pairs
}

const AROUND: usize = 3;
/// Beyond that the search costs more than a small difference is worth.
const MOST_DIFFERENCES: usize = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(old: &str, new: &str) -> String {
        String::from_utf8(unified("f", old.as_bytes(), new.as_bytes())).unwrap()
    }

    #[test]
    fn changes_are_shown_with_three_lines_around_them() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        assert_eq!(shown(old, old), "");
        assert_eq!(
            shown(old, &old.replace("5\n", "five\n")),
            "--- f\n+++ f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert_eq!(shown("", "a\n"), "--- f\n+++ f\n@@ -0,0 +1 @@\n+a\n");
        assert_eq!(shown("a", "a\n"), "--- f\n+++ f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    }

    #[test]
    fn places_far_apart_are_hunks_of_their_own() {
        let old: String = (0..40).map(|number| format!("{number}\n")).collect();
        let new = old.replace("\n5\n", "\n").replace("30\n", "30\nx\n");
        assert_eq!(shown(&old, &new).matches("@@ -").count(), 2);
    }

    /// What `patch` does.
    fn patched(old: &[u8], diff: &[u8]) -> Vec<u8> {
        let old = lines(old);
        let (mut new, mut at) = (Vec::new(), 0);
        let mut rows = diff.split_inclusive(|byte| *byte == b'\n').skip(2).peekable();
        while let Some(row) = rows.next() {
            let bare = rows.peek().is_some_and(|next| next.starts_with(b"\\"));
            let line = if bare { &row[1..row.len() - 1] } else { &row[1..] };
            match row[0] {
                b'@' => {
                    let text = std::str::from_utf8(row).unwrap();
                    let span = text[4..].split(' ').next().unwrap();
                    let (first, count) = span.split_once(',').unwrap_or((span, "1"));
                    let start = first.parse::<usize>().unwrap() - usize::from(count != "0");
                    new.extend(old[at..start].concat());
                    at = start;
                }
                b'-' => at += 1,
                b' ' => {
                    assert_eq!(old[at], line);
                    new.extend_from_slice(line);
                    at += 1;
                }
                b'+' => new.extend_from_slice(line),
                _ => {}
            }
        }
        if !diff.is_empty() || at == 0 {
            new.extend(old[at..].concat());
        }
        new
    }

    proptest! {
        #[test]
        fn with_the_difference_the_one_becomes_the_other(
            old in proptest::collection::vec("[ab]{0,1}", 0..40),
            new in proptest::collection::vec("[ab]{0,1}", 0..40),
            open in any::<bool>(),
        ) {
            let (mut old, new) = (old.join("\n"), new.join("\n"));
            if !open {
                old.push('\n');
            }
            prop_assert_eq!(patched(old.as_bytes(), &unified("f", old.as_bytes(), new.as_bytes())), new.into_bytes());
        }

        #[test]
        fn the_difference_is_the_smallest(
            old in proptest::collection::vec(0..4_u8, 0..12),
            new in proptest::collection::vec(0..4_u8, 0..12),
        ) {
            let as_lines = |bytes: &'static [[u8; 1]; 4], of: &[u8]| -> Vec<&'static [u8]> {
                of.iter().map(|at| &bytes[usize::from(*at)][..]).collect()
            };
            static LINES: [[u8; 1]; 4] = [*b"a", *b"b", *b"c", *b"d"];
            let (old, new) = (as_lines(&LINES, &old), as_lines(&LINES, &new));
            let pairs = common(&old, &new);
            prop_assert!(pairs.iter().all(|(one, other)| old[*one] == new[*other]));
            prop_assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
            let mut longest = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
            for (i, one) in old.iter().enumerate() {
                for (j, other) in new.iter().enumerate() {
                    longest[i + 1][j + 1] =
                        if one == other { longest[i][j] + 1 } else { longest[i][j + 1].max(longest[i + 1][j]) };
                }
            }
            prop_assert_eq!(pairs.len(), longest[old.len()][new.len()]);
        }
    }
}
