//! What profiles are called.
//!
//! Owns: templates, and names that are legal, different and the same at every run. Invariants: a name consists of what
//! every client reads, whatever accounts and roles are called; a name that is in use elsewhere is not given; a profile
//! that has a name of its own keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::listing::Target;
use crate::aws_config::writing::Standing;
use crate::ids::{Grant, SessionName};

/// `--name-template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    AccountName,
    AccountId,
    Role,
    Session,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let literal = rest.split('{').next().unwrap_or(rest);
            if !literal.chars().all(is_plain) {
                return Err("beside the placeholders only A-Z a-z 0-9 _ . @ + - are read by all clients".to_owned());
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            rest = &rest[literal.len()..];
            let Some(inside) = rest.strip_prefix('{') else { continue };
            let (placeholder, after) = inside.split_once('}').ok_or("a { without a }")?;
            parts.push(match placeholder {
                "account_name" => Part::AccountName,
                "account_id" => Part::AccountId,
                "role" => Part::Role,
                "session" => Part::Session,
                _ => return Err("the placeholders are {account_name}, {account_id}, {role} and {session}".to_owned()),
            });
            rest = after;
        }
        if parts.is_empty() { Err("it must be something".to_owned()) } else { Ok(Self(parts)) }
    }
}

impl Template {
    /// The name a target has unless something is in the way.
    fn apply(&self, session: &SessionName, target: &Target) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => name.push_str(literal),
                Part::AccountName => {
                    let plain = plain(target.account_name.as_deref().unwrap_or_default());
                    name.push_str(if plain.is_empty() { target.account.as_str() } else { &plain });
                }
                Part::AccountId => name.push_str(target.account.as_str()),
                Part::Role => name.push_str(&plain(target.role.as_str())),
                Part::Session => name.push_str(&plain(session.as_str())),
            }
        }
        // Characters are bytes here.
        name.truncate(LONGEST_BASE);
        let name = name.trim_matches('-');
        if name.is_empty() { target.account.to_string() } else { name.to_owned() }
    }
}

/// A target's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<'t> {
    pub(super) name: String,
    pub(super) target: &'t Target,
    /// The name it does not have because another profile has it.
    pub(super) avoided: Option<String>,
}

/// Names for all targets, in their order. `standing` is what is written for them now, `taken` what others are called.
pub(super) fn assign<'t>(
    template: &Template,
    session: &SessionName,
    targets: &'t [Target],
    standing: &[Standing],
    taken: &BTreeSet<String>,
) -> Vec<Named<'t>> {
    let is_free = |name: &str| !taken.contains(name) && !name.eq_ignore_ascii_case("default");
    let bases: Vec<String> = targets.iter().map(|target| template.apply(session, target)).collect();
    let mut names: Vec<Option<String>> = vec![None; targets.len()];
    let mut given: BTreeSet<String> = BTreeSet::new();

    let mut known: BTreeMap<&Grant, Vec<&str>> = BTreeMap::new();
    for Standing { name, grant } in standing {
        if let Some(grant) = grant {
            known.entry(grant).or_default().push(name);
        }
    }
    for ((target, base), name) in targets.iter().zip(&bases).zip(&mut names) {
        let now = known.get(&target.grant()).into_iter().flatten();
        let of_ours = candidates(base, target).take(KINDS).collect::<Vec<_>>();
        let kept = now.copied().find(|now| of_ours.iter().any(|ours| ours == now) && is_free(now));
        *name = kept.filter(|kept| given.insert((*kept).to_owned())).map(str::to_owned);
    }
    let mut sharing: BTreeMap<&str, usize> = BTreeMap::new();
    for (base, _) in bases.iter().zip(&names).filter(|(_, name)| name.is_none()) {
        *sharing.entry(base).or_default() += 1;
    }
    let mut named = Vec::with_capacity(targets.len());
    for ((target, base), kept) in targets.iter().zip(&bases).zip(names) {
        let shared = sharing.get(base.as_str()).is_some_and(|count| *count > 1);
        let mut free = candidates(base, target).skip(usize::from(shared));
        let name = kept.or_else(|| free.find(|name| is_free(name) && !given.contains(name))).unwrap_or_default();
        given.insert(name.clone());
        let avoided = (!is_free(base)).then(|| base.clone());
        named.push(Named { name, target, avoided });
    }
    named
}

/// The names that a target may have, the shortest first. They depend on nothing but the target, as long as possible.
fn candidates<'a>(base: &'a str, target: &'a Target) -> impl Iterator<Item = String> + 'a {
    let with_account = format!("{base}-{}", target.account);
    let unmistakable = format!("{with_account}-{}", fingerprint(target));
    let numbered = unmistakable.clone();
    [base.to_owned(), with_account, unmistakable].into_iter().chain((2..).map(move |n: u32| format!("{numbered}-{n}")))
}

fn fingerprint(target: &Target) -> String {
    let digest = Sha256::digest(format!("{} {}", target.account, target.role));
    digest.iter().take(4).fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text with everything that some client would not read in a name replaced.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        if is_plain(character) && character != '-' {
            plain.push(character);
        } else if !plain.ends_with('-') {
            plain.push('-');
        }
        if plain.len() == LONGEST_PART {
            break;
        }
    }
    plain.trim_matches('-').to_owned()
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '@' | '+' | '-')
}

/// How many kinds of names there are before they are numbered.
const KINDS: usize = 3;
const LONGEST_PART: usize = 64;
/// With what may follow it is as long as a name may be.
const LONGEST_BASE: usize = 160;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(account: u64, name: &str, role: &str) -> Target {
        Target {
            account: format!("{account:012}").parse().unwrap(),
            account_name: Some(name.to_owned()),
            role: role.parse().unwrap(),
        }
    }

    fn named(template: &str, targets: &[Target], standing: &[Standing], taken: &[&str]) -> Vec<String> {
        let taken = taken.iter().map(|name| (*name).to_owned()).collect();
        let named = assign(&template.parse().unwrap(), &"corp".parse().unwrap(), targets, standing, &taken);
        named.into_iter().map(|named| named.name).collect()
    }

    fn standing(targets: &[Target], names: &[String]) -> Vec<Standing> {
        let of = |(target, name): (&Target, &String)| Standing { name: name.clone(), grant: Some(target.grant()) };
        targets.iter().zip(names).map(of).collect()
    }

    const USUAL: &str = "{account_name}-{role}";

    #[test]
    fn a_template_is_filled_in() {
        let prod = [target(1, "Production", "Admin")];
        assert_eq!(named(USUAL, &prod, &[], &[]), ["Production-Admin"]);
        assert_eq!(named("{session}.{account_id}@{role}", &prod, &[], &[]), ["corp.000000000001@Admin"]);
        assert_eq!(named("aws", &prod, &[], &[]), ["aws"]);
        for wrong in ["", "{", "{role", "{rolle}", "a b", "a/{role}", "{role}]", "ä{role}", "}"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hostile_names_become_plain_ones() {
        for (hostile, expected) in [
            ("x]\n[profile default]\ncredential_process=evil", "x-profile-default-credential_process-evil-R"),
            ("\x1b]52;c;eA==\x07", "52-c-eA-R"),
            ("\u{202e}dorp\u{200b}", "dorp-R"),
            ("größer", "gr-er-R"),
            ("", "000000000007-R"),
            ("!!! \u{1f600}", "000000000007-R"),
            ("--help", "help-R"),
            ("  My  Prod / EU  ", "My-Prod-EU-R"),
        ] {
            assert_eq!(named(USUAL, &[target(7, hostile, "R")], &[], &[]), [expected], "{hostile:?}");
        }
        let long = named(USUAL, &[target(7, &"n".repeat(300), &"r".repeat(64))], &[], &[]);
        assert!(long[0].len() <= 200);
    }

    #[test]
    fn equal_names_are_told_apart_by_the_account_and_then_by_what_nobody_shares() {
        let twins = [target(1, "Prod", "R"), target(2, "Prod", "R"), target(3, "Dev", "R")];
        assert_eq!(named(USUAL, &twins, &[], &[]), ["Prod-R-000000000001", "Prod-R-000000000002", "Dev-R"]);
        let roles = [target(1, "Prod", "a=b"), target(1, "Prod", "a,b")];
        let names = named(USUAL, &roles, &[], &[]);
        assert_eq!(names[0], "Prod-a-b-000000000001");
        assert!(names[1].starts_with("Prod-a-b-000000000001-"), "{names:?}");
    }

    #[test]
    fn what_others_are_called_is_left_to_them_and_default_to_everybody() {
        let prod = [target(1, "Prod", "R")];
        assert_eq!(named(USUAL, &prod, &[], &["Prod-R"]), ["Prod-R-000000000001"]);
        assert_eq!(named("default", &prod, &[], &[]), ["default-000000000001"]);
        let named = assign(
            &USUAL.parse().unwrap(),
            &"corp".parse().unwrap(),
            &prod,
            &[],
            &BTreeSet::from(["Prod-R".to_owned()]),
        );
        assert_eq!(named[0].avoided.as_deref(), Some("Prod-R"));
    }

    #[test]
    fn a_profile_keeps_its_name_when_a_namesake_comes() {
        let first = [target(2, "Prod", "R")];
        let names = named(USUAL, &first, &[], &[]);
        let both = [target(1, "Prod", "R"), first[0].clone()];
        assert_eq!(named(USUAL, &both, &standing(&first, &names), &[]), ["Prod-R-000000000001", "Prod-R"]);
        // But not when somebody else has taken it, or when it is to be called otherwise.
        assert_eq!(named(USUAL, &first, &standing(&first, &names), &["Prod-R"]), ["Prod-R-000000000002"]);
        assert_eq!(named("{role}", &first, &standing(&first, &names), &[]), ["R"]);
    }

    proptest! {
        #[test]
        fn names_are_legal_different_and_the_same_at_the_next_run(
            accounts in proptest::collection::vec((0_u64..6, ".{0,12}|[ab ]{0,2}", "[ab=,]{1,2}"), 0..12),
            taken in proptest::collection::btree_set("[ab]{0,2}-[ab]{1,2}", 0..4),
        ) {
            let mut targets: Vec<Target> =
                accounts.iter().map(|(account, name, role)| target(*account, name, role)).collect();
            targets.sort_by_key(|target| (target.account.clone(), target.role.clone()));
            targets.dedup_by_key(|target| target.grant());
            let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
            let names = named(USUAL, &targets, &[], &taken);
            let different: BTreeSet<&String> = names.iter().collect();
            prop_assert_eq!(different.len(), names.len());
            for name in &names {
                prop_assert!(!name.is_empty() && name.len() <= 200 && name.chars().all(is_plain));
                prop_assert!(!name.starts_with('-') && !taken.contains(&name.as_str()));
            }
            prop_assert_eq!(&named(USUAL, &targets, &standing(&targets, &names), &taken), &names);
        }
    }
}
