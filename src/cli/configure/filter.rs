//! Which accounts and roles are meant: `account=prod-*`, `role!=*ReadOnly*`.
//!
//! Owns: the syntax and what it matches. Filters of the same kind are alternatives, different kinds must all match.

use std::str::FromStr;

use super::listing::Target;

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    field: Field,
    excludes: bool,
    pattern: Vec<char>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Account,
    Role,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write it as account=PATTERN, role=PATTERN, account!=PATTERN or role!=PATTERN".to_owned();
        let (field, pattern) = text.split_once('=').ok_or_else(wrong)?;
        let (field, excludes) = field.strip_suffix('!').map_or((field, false), |field| (field, true));
        let field = match field {
            "account" => Field::Account,
            "role" => Field::Role,
            _ => return Err(wrong()),
        };
        if pattern.is_empty() { Err(wrong()) } else { Ok(Self { field, excludes, pattern: lower(pattern) }) }
    }
}

impl Filter {
    fn is_about(&self, target: &Target) -> bool {
        let matches = |text: &str| matches(&self.pattern, &lower(text));
        match self.field {
            Field::Account => matches(target.account.as_str()) || target.account_name.as_deref().is_some_and(matches),
            Field::Role => matches(target.role.as_str()),
        }
    }
}

/// Whether the target is one of those that are meant.
pub(super) fn admits(filters: &[Filter], target: &Target) -> bool {
    let chosen = |field| {
        let mut wanted = filters.iter().filter(|filter| filter.field == field && !filter.excludes).peekable();
        wanted.peek().is_none() || wanted.any(|filter| filter.is_about(target))
    };
    chosen(Field::Account)
        && chosen(Field::Role)
        && !filters.iter().any(|filter| filter.excludes && filter.is_about(target))
}

fn lower(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// `*` is any text, `?` any character. Looks back to the last star only, so the time is bounded by the product.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[here] => {
                at += 1;
                here += 1;
            }
            _ => {
                let Some((position, covered)) = star else { return false };
                star = Some((position, covered + 1));
                at = position + 1;
                here = covered + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(filters: &[&str]) -> bool {
        let target = Target {
            account: "111122223333".parse().unwrap(),
            account_name: Some("Production EU".to_owned()),
            role: "ReadOnlyAccess".parse().unwrap(),
        };
        let filters: Vec<Filter> = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        admits(&filters, &target)
    }

    #[test]
    fn a_pattern_is_for_the_whole_text_in_any_case() {
        for yes in ["account=1111*", "account=prod*", "account=*EU", "role=*only*", "role=?eadOnlyAccess", "account=*"]
        {
            assert!(admitted(&[yes]), "{yes}");
        }
        for no in ["account=prod", "role=read", "account=?", "role=**x**"] {
            assert!(!admitted(&[no]), "{no}");
        }
    }

    #[test]
    fn filters_of_a_kind_are_alternatives_and_kinds_must_agree() {
        assert!(admitted(&[]));
        assert!(admitted(&["account=dev*", "account=prod*"]));
        assert!(!admitted(&["account=prod*", "role=Admin*"]));
        assert!(!admitted(&["account=prod*", "role!=ReadOnly*"]));
        assert!(admitted(&["role!=Admin*"]));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for wrong in ["", "prod", "account", "account=", "name=x", "account==", "role!", "Role=x"] {
            let parsed = wrong.parse::<Filter>();
            assert!(parsed.is_err() || wrong == "account==", "{wrong}");
        }
    }
}
