//! The rules of `docs/ARCHITECTURE.md` that a compiler cannot check, read off the sources.
//!
//! The floors are those of the table in `src/lib.rs`: there is no second list.

pub(super) mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{read, sources_below};

#[test]
fn a_module_uses_only_floors_below_or_its_own() {
    let floors = floors();
    let mut offenders = Vec::new();
    for file in sources_below("src") {
        let Some(floor) = file.module().and_then(|module| floors.get(module)) else { continue };
        for used in file.modules_used(&floors) {
            if floors[&used] > *floor {
                offenders.push(format!("{} (floor {floor}) uses {used} (floor {})", file.path, floors[&used]));
            }
        }
    }
    assert_none(&offenders);
}

#[test]
fn the_table_of_floors_and_the_module_list_say_the_same() {
    let table: BTreeSet<_> = floors().into_iter().collect();
    let mut declared = BTreeSet::new();
    let mut floor = None;
    let (mut of_agent, mut of_tests) = (false, false);
    for line in read("src/lib.rs").lines() {
        if let Some(rest) = line.strip_prefix("// Floor ") {
            floor = rest.split(':').next().and_then(|number| number.parse().ok());
        }
        match line {
            r#"#[cfg(feature = "agent")]"# => of_agent = true,
            "#[cfg(test)]" | source::FOR_FUZZING => of_tests = true,
            _ => {
                let module = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
                if let Some(module) = module.and_then(|rest| rest.strip_suffix(';')) {
                    let floor: usize = floor.expect("a module is declared under the heading of its floor");
                    if !of_tests {
                        assert_eq!(of_agent, floor > 0, "{module}: the shim is floor 0, the agent is the rest");
                        declared.insert((module.to_owned(), floor));
                    }
                }
                (of_agent, of_tests) = (false, false);
            }
        }
    }
    assert_eq!(table, declared);
}

#[test]
fn words_and_facts_know_no_runtime_no_network_and_no_disk() {
    let adapters =
        ["tokio", "hyper", "hyper_util", "hyper_rustls", "rustls", "ring", "tracing", "std::fs::", "std::env"];
    // What the shim does with the socket and the state directory is floor 0, because the shim is.
    let of_disk = ["std::fs::", "std::env"];
    let floors = floors();
    let mut offenders = Vec::new();
    for file in sources_below("src") {
        let floor = file.module().and_then(|module| floors.get(module)).copied();
        for name in adapters.iter().filter(|name| floor == Some(1) || floor == Some(0) && !of_disk.contains(name)) {
            if file.product_code().any(|line| mentions(line, name)) {
                offenders.push(format!("{} (floor {}) uses {name}", file.path, floor.unwrap_or_default()));
            }
        }
    }
    assert_none(&offenders);
}

#[test]
fn the_engine_reaches_the_world_through_its_traits_only() {
    let mut offenders = Vec::new();
    for file in sources_below("src/engine") {
        for name in ["std::fs", "std::env", "std::net", "std::process", "rustix", "hyper", "rustls", "ring"] {
            if file.product_code().any(|line| mentions(line, name)) {
                offenders.push(format!("{} uses {name}", file.path));
            }
        }
    }
    assert_none(&offenders);
}

#[test]
fn the_doors_know_nothing_of_the_engine_but_its_handle() {
    let mut offenders = Vec::new();
    let doors: Vec<String> = floors().into_iter().filter(|(_, floor)| *floor == 4).map(|(module, _)| module).collect();
    for file in sources_below("src") {
        if !file.module().is_some_and(|module| doors.iter().any(|door| door == module)) {
            continue;
        }
        let uses = file.product_code().filter(|line| line.contains("crate::engine"));
        offenders.extend(
            uses.filter(|line| line.trim() != "use crate::engine::Handle;")
                .map(|line| format!("{}: {line}", file.path)),
        );
    }
    assert_none(&offenders);
}

#[test]
fn the_places_that_expose_a_secret_are_counted() {
    let mut counted = BTreeMap::new();
    for file in sources_below("src").into_iter().filter(|file| !file.is_for_tests() && file.path != "src/secret.rs") {
        let count = file.product_code().map(|line| line.matches(".expose()").count()).sum::<usize>();
        if count > 0 {
            counted.insert(file.path, count);
        }
    }
    let counted: Vec<(&str, usize)> = counted.iter().map(|(path, count)| (path.as_str(), *count)).collect();
    assert_eq!(counted, EXPOSING, "a new place needs a reason: see invariant 6");
}

#[test]
fn unsafe_code_is_where_it_is_known_to_be() {
    let found: BTreeSet<String> = sources_below("src")
        .into_iter()
        .filter(|file| file.lines().any(|line| line.contains("unsafe ") || line.contains("unsafe_code")))
        .map(|file| file.path)
        .collect();
    assert_eq!(found, UNSAFE.into_iter().map(str::to_owned).collect());
}

#[test]
fn no_module_is_a_drawer() {
    let mut offenders = Vec::new();
    for file in ["src", "tests", "benches", "examples"].into_iter().flat_map(sources_below) {
        for part in file.path.trim_end_matches(".rs").split('/') {
            if ["util", "utils", "helper", "helpers", "common", "manager", "misc"].contains(&part) {
                offenders.push(file.path.clone());
            }
        }
    }
    assert_none(&offenders);
}

#[test]
fn every_file_begins_with_what_it_is() {
    let files = ["src", "tests", "benches", "examples"].into_iter().flat_map(sources_below);
    let offenders: Vec<_> = files
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{} has no module doc", file.path))
        .collect();
    assert_none(&offenders);
}

#[test]
fn a_file_can_be_read_in_one_sitting() {
    let files = ["src", "tests", "benches", "examples"].into_iter().flat_map(sources_below);
    let offenders: Vec<_> = files
        .map(|file| {
            (file.lines_before_tests(), if file.is_for_tests() { MOST_LINES_OF_TESTS } else { MOST_LINES }, file.path)
        })
        .filter(|(lines, most, _)| lines > most)
        .map(|(lines, most, path)| format!("{path} has {lines} lines of at most {most}"))
        .collect();
    assert_none(&offenders);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let mut in_dependencies = false;
    let mut offenders = Vec::new();
    for line in read("Cargo.toml").lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') && !line.contains(" # ") {
            offenders.push(line.to_owned());
        }
    }
    assert_none(&offenders);
}

#[test]
fn no_test_is_left_out() {
    // In two parts, or this file would be an offender.
    let attribute = ["#[ign", "ore"].concat();
    let files = ["src", "tests"].into_iter().flat_map(sources_below);
    let offenders: Vec<_> =
        files.filter(|file| file.lines().any(|line| line.contains(&attribute))).map(|file| file.path).collect();
    assert_none(&offenders);
}

/// Module and floor, from the table in `src/lib.rs`.
fn floors() -> BTreeMap<String, usize> {
    let text = read("src/lib.rs");
    let mut floors = BTreeMap::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split('|').map(str::trim);
        let floor = cells.next().and_then(|cell| cell.split(' ').next()).and_then(|number| number.parse().ok());
        let (Some(floor), Some(modules)) = (floor, cells.next()) else { continue };
        for module in modules.split('`').filter(|module| !module.trim().is_empty()) {
            assert_eq!(floors.insert(module.to_owned(), floor), None, "{module} is on two floors");
        }
    }
    assert!(floors.len() > 20, "the table was not understood: {floors:?}");
    floors
}

/// Whether the line has this path and not only a longer word that ends with it.
fn mentions(line: &str, name: &str) -> bool {
    let path = if name.ends_with(':') { name.to_owned() } else { format!("{name}::") };
    line.match_indices(&path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

fn assert_none(offenders: &[String]) {
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

/// Lines before the tests.
const MOST_LINES: usize = 500;

/// Tests are read one at a time.
const MOST_LINES_OF_TESTS: usize = 700;

const UNSAFE: [&str; 7] = [
    "src/alarm.rs",
    "src/audit/asker.rs",
    "src/client/peer.rs",
    "src/descriptors.rs",
    "src/listener/inherited.rs",
    "src/listener/launchd.rs",
    "src/secret/resident.rs",
];

/// Where a secret leaves its wrapper in product code, and how often.
const EXPOSING: [(&str, usize); 29] = [
    // Into the answer to whom asked for it; read again, for a door that has other words for it.
    ("src/api/hand_out.rs", 1),
    ("src/api/response.rs", 5),
    // Its challenge is made from it.
    ("src/callback/pkce.rs", 1),
    // What people asked the command line for; an address that signs in is told to one browser.
    ("src/cli/console.rs", 1),
    ("src/cli/context.rs", 4),
    ("src/cli/credentials.rs", 4),
    ("src/cli/doorway.rs", 2),
    // Into the environment of the command, and out of the agent's answer for it.
    ("src/cli/exec/mod.rs", 3),
    ("src/cli/exec/source.rs", 1),
    // A new one is measured.
    ("src/cli/passphrase.rs", 1),
    ("src/cli/token.rs", 1),
    // What goes over the socket, and what came over it, once both of its ends were checked.
    ("src/client/wire.rs", 3),
    // A token for instances, to who fetched it; a token's mark is made from it.
    ("src/container/answer.rs", 1),
    ("src/container/token.rs", 1),
    // Into the address that signs in to the console.
    ("src/identity_center/console.rs", 1),
    // The answer, on its way to the socket.
    ("src/server/convert.rs", 1),
    ("src/shim.rs", 1),
    // The AWS CLI's cache: a file's content is parsed, and written because the user asked for that. A set is known again by
    // a hash.
    ("src/sso_cache/disk.rs", 4),
    ("src/sso_cache/encode.rs", 6),
    ("src/sso_cache/mod.rs", 1),
    // The key to the sealed records: its name is made from it, and it seals.
    ("src/store/key_record.rs", 1),
    ("src/store/latch.rs", 2),
    ("src/store/passphrase.rs", 1),
    ("src/store/seal.rs", 1),
    // Checked as it comes, and on its way to the origin it came from.
    ("src/upstream/body.rs", 1),
    ("src/upstream/portal.rs", 2),
    ("src/upstream/signin.rs", 2),
    // Into the signer: role credentials, once it is known that they may be used there.
    ("src/upstream/sts.rs", 2),
    // The proxy's own password, to the proxy.
    ("src/upstream/tunnel.rs", 1),
];
