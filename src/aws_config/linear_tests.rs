//! Reading costs work that grows with the files and no faster: counted, not timed.
//!
//! What is quadratic needs two things that grow: something long, or many of something, in one place, and many sections
//! that go there. So every such place is tried with every kind of section.

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{Catalog, SourceFile, Sources, work};
use crate::env::Env;
use crate::settings::Settings;

/// A place that others lead to; `{}` is long.
const PLACES: [&str; 17] = [
    "[profile long]\nrole_arn = {}\nsource_profile = p1\nexternal_id = {}",
    "[profile long]\nsso_session = long\nsso_account_id = 111122223333\nsso_role_name = R\nrole_arn = {}\nsource_profile = {}",
    "",
    "[sso-session long]\nsso_region = eu-west-1\nsso_start_url = https://a.example/{}",
    "[sso-session long]\nsso_region = eu-west-1\nsso_start_url = ftp://a.example/{}",
    "[sso-session long]\nsso_region = eu-west-1\nsso_start_url = https://a.example/\nsso_registration_scopes = {}",
    "[default]\nca_bundle = /{}",
    "[default]\nendpoint_url = https://a.example/{}",
    "[default]\nendpoint_url = {}",
    "[default]\nservices = long\n[services long]\nsso =\n  endpoint_url = https://a.example/{}\n",
    "[services long]\nsso_oidc =\n  endpoint_url = https://a.example/{}",
    "[default]\nservices = {}",
    "[default]\nuse_fips_endpoint = {}",
    "[profile long]\nsso_account_id = {}",
    "[profile long]\nsso_session = {}\nsso_account_id = 111122223333\nsso_role_name = R",
    "[profile long]\nx = y\n {}\n {}\n {}",
    "[{}]\nsso_session = long",
];

/// A section that there are many of; `{}` is its number.
const SECTIONS: [&str; 18] = [
    "[profile p{}]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = long\nendpoint_url = https://e{}.example",
    "[profile p{}]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = p{}0",
    "[profile p{}]\ncredential_process = sso-credential-process --profile q{}\n\
     [profile q{}]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = p{}0",
    "[sso-session s{}]\nsso_start_url = https://d-{}.awsapps.com/start\nsso_region = eu-west-1",
    "[sso-session s{}]\nsso_region = eu-west-1",
    "[profile p{}]\nsso_session = long\nsso_account_id = 111122223333\nsso_role_name = R",
    "[profile p{}]\nsso_session = long\nservices = long",
    "[profile p{}]\nsso_session = long\nendpoint_url = https://e{}.example.com\nca_bundle = {}.pem",
    "[profile p{}]\nsso_session = missing{}",
    "[sso-session s{}]\n[profile p{}]\nsso_session = t{}",
    "[profile p{}]\nsso_start_url = https://d-{}.awsapps.com/start\nsso_region = eu-west-1\nservices = long",
    "[profile p{}]\nsso_start_url = https://d-1.awsapps.com/start\nsso_region = region-{}",
    "[profile p{}]\ncredential_process = sso-credential-process --profile long",
    "[profile p{}]\ncredential_process = sso-credential-process --session s{} --account 111122223333 --role R",
    "[profile p{}]\ncredential_process = sso-credential-process --role 'R\nservices = long\nregion = {}",
    "[profile p{}]\nk = v\n    continued {}\nl =\n a = b\n c{} = d\ngarbage {}\n[broken {}\nx = y",
    "[default]\nkey{} = {}",
    "[services s{}]\nsso =\n  endpoint_url = https://{}.example.com",
];

fn cost(places: &[&str], section: &str, in_credentials: bool, size: usize) -> [usize; 3] {
    let long = "x".repeat(200 * size);
    let mut config: String = places.iter().map(|place| place.replace("{}", &long) + "\n").collect();
    let many = (0..size).map(|number| section.replace("{}", &number.to_string()) + "\n");
    let file = |text: String| Some(SourceFile { path: "/f".into(), bytes: text.into() });
    let sources = if in_credentials {
        Sources { config: file(config), credentials: file(many.collect::<String>().replace("[profile ", "[")) }
    } else {
        config.extend(many);
        Sources { config: file(config), credentials: None }
    };
    let bytes = [&sources.config, &sources.credentials].into_iter().flatten().map(|file| file.bytes.len()).sum();
    let (catalog, work) = work::of(|| Catalog::read(&sources, &Env::default(), &Settings::default()));
    [bytes, work, work::weight(&catalog)]
}

fn check(places: &[&str], section: &str, in_credentials: bool) {
    let [small_bytes, small_work, small_weight] = cost(places, section, in_credentials, SIZE);
    let [bytes, work, weight] = cost(places, section, in_credentials, TIMES * SIZE);
    // Numbers have more digits, and what is searched in half after half is searched once more.
    let most = |small: usize| small * TIMES * 3 / 2 + 10_000;
    let told = format!("{places:?} {section:?} in {small_bytes} and {bytes} bytes");
    assert!(work <= most(small_work), "{small_work} and {work} steps: {told}");
    assert!(weight <= most(small_weight), "an outcome of {small_weight} and {weight}: {told}");
}

#[test]
fn eight_times_the_file_is_eight_times_the_work() {
    for place in PLACES {
        for section in SECTIONS {
            check(&[place], section, false);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn eight_times_a_file_of_several_things_is_eight_times_the_work(
        places in subsequence(PLACES.to_vec(), 2..5),
        sections in subsequence(SECTIONS.to_vec(), 1..4),
        in_credentials in any::<bool>(),
    ) {
        check(&places, &sections.join("\n"), in_credentials);
    }
}

/// So that the longest value of the smaller file is longer than what any value is allowed to be.
const SIZE: usize = 40;
const TIMES: usize = 8;
