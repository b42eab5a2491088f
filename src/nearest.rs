//! "Did you mean …": the nearest of the names there are.
//!
//! Owns: what counts as near. Refuses to know what the names stand for. Invariant: the work is bounded, however long
//! the names and however many.

/// The candidate that was probably meant by `wanted`, if one is near enough to be worth saying.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > LONGEST {
        return None;
    }
    let wanted = wanted.to_lowercase();
    let length = wanted.chars().count();
    let most = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && candidate.chars().count().abs_diff(length) <= most)
        .take(MOST_CANDIDATES)
        .map(|candidate| (strsim::osa_distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer names are start URLs or worse, which nobody types.
const LONGEST: usize = 64;
const MOST_CANDIDATES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("crop", ["dev", "corp", "prod"]), Some("corp"));
        assert_eq!(nearest("CORP", ["corp"]), Some("corp"));
        assert_eq!(nearest("staging", ["dev", "corp", "prod"]), None);
        assert_eq!(nearest("", ["dev"]), None);
        assert_eq!(nearest(&"a".repeat(500), ["a"]), None);
    }
}
