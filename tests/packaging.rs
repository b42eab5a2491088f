//! What a package puts where, as `Cargo.toml` says it to cargo-deb; building one is `.ci/package`.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_package_has_both_programs_units_completions_pages_and_licences() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let assets: Vec<(&str, &str)> =
        assets.iter().map(|asset| (asset[0].as_str().unwrap(), asset[1].as_str().unwrap())).collect();
    for (source, _) in &assets {
        let made = source.starts_with("target/");
        assert!(made || source.contains('*') || root().join(source).exists(), "{source} is nowhere");
    }
    let places: BTreeSet<String> = assets
        .iter()
        .map(|(source, place)| {
            let name = Path::new(source).file_name().unwrap().to_str().unwrap();
            if place.ends_with('/') { format!("{place}{name}") } else { (*place).to_owned() }
        })
        .collect();
    for place in [
        "usr/bin/sso-agent",
        "usr/bin/sso-credential-process",
        "usr/lib/systemd/user/sso-agent.socket",
        "usr/lib/systemd/user/sso-agent.service",
        "usr/share/bash-completion/completions/sso-agent",
        "usr/share/zsh/vendor-completions/_sso-agent",
        "usr/share/fish/vendor_completions.d/sso-agent.fish",
        "usr/share/man/man1/*.1",
        "usr/share/man/man5/*.5",
        "usr/share/doc/sso-agent/LICENSE-MIT",
        "usr/share/doc/sso-agent/LICENSE-APACHE",
    ] {
        assert!(places.contains(place), "{place}: {places:?}");
    }
    let script = read(".ci/package");
    for (source, _) in assets.iter().filter(|(source, _)| source.starts_with("target/package/")) {
        let directory = source.trim_start_matches("target/package/").split('/').next().unwrap();
        assert!(script.contains(&format!("$made/{directory}")), "{source} is made by nobody");
    }
}

#[test]
fn the_units_run_the_program_where_the_package_puts_it() {
    let service = read("systemd/sso-agent.service");
    let commands = service.lines().filter(|line| line.starts_with("Exec"));
    assert!(commands.clone().count() > 0);
    for command in commands {
        assert!(command.split_once('=').unwrap().1.starts_with("/usr/bin/sso-agent "), "{command}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}
