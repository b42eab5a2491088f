//! What `role_arn` and `source_profile` mean, alone, in chains, in circles, and which STS is asked.

use super::Catalog;
use crate::identity_center::Endpoint;
use crate::ids::{Assumption, Grant};

const BASE: &str = "[sso-session corp]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n\
                    [profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n\
                    [profile static]\naws_access_key_id = x\naws_secret_access_key = y\n";
const ARN: &str = "arn:aws:iam::444455556666:role/Ops";

fn catalog(text: &str, env: &[(&str, &str)]) -> Catalog {
    Catalog::of(&format!("{BASE}{text}").replace("ARN", ARN), env)
}

fn target(text: &str, name: &str) -> Result<String, String> {
    catalog(text, &[]).target_of(name)
}

fn assumption(catalog: &Catalog, name: &str) -> Assumption {
    let profile = catalog.profile(&name.parse().unwrap()).unwrap();
    match &profile.target.as_ref().unwrap().grant {
        Grant::Assumed(assumption) => (**assumption).clone(),
        other => panic!("{other:?}"),
    }
}

fn sts(text: &str, env: &[(&str, &str)]) -> (String, String) {
    let place = assumption(&catalog(text, env), "ops").sts;
    (Endpoint::from(&place.address).to_string(), place.region.to_string())
}

#[test]
fn a_profile_with_a_role_and_a_source_of_ours_is_a_target() {
    let text = "[profile ops]\nrole_arn = ARN\nsource_profile = dev\nexternal_id = a/b\nduration_seconds = 900\n\
                role_session_name = me@here\n";
    let catalog = catalog(text, &[("USER", "alice")]);
    assert_eq!(catalog.target_of("ops"), Ok(format!("corp {ARN}")));
    let ops = assumption(&catalog, "ops");
    assert_eq!(ops.source.role().as_str(), "Dev");
    assert_eq!((ops.external_id.unwrap().as_str(), ops.session_name.as_str()), ("a/b", "me@here"));
    assert_eq!(ops.duration.unwrap().get().as_secs(), 900);
}

#[test]
fn an_unnamed_role_session_is_named_after_the_user() {
    let text = "[profile ops]\nrole_arn = ARN\nsource_profile = dev\n";
    for (env, expected) in [
        (&[("USER", "alice")][..], "sso-agent-alice"),
        (&[("LOGNAME", "a b/é")][..], "sso-agent-a-b--"),
        (&[][..], "sso-agent"),
    ] {
        assert_eq!(assumption(&catalog(text, env), "ops").session_name.as_str(), expected);
    }
}

#[test]
fn role_arn_comes_before_everything_else_in_a_profile() {
    let own = "sso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Own\n";
    let text = format!("[profile ops]\n{own}role_arn = ARN\nsource_profile = dev\n");
    assert_eq!(assumption(&catalog(&text, &[]), "ops").source.role().as_str(), "Dev");
    let itself = format!("[profile ops]\n{own}role_arn = ARN\nsource_profile = ops\n");
    assert_eq!(assumption(&catalog(&itself, &[]), "ops").source.role().as_str(), "Own");
    let nowhere = format!("[profile ops]\n{own}role_arn = ARN\n");
    assert!(target(&nowhere, "ops").unwrap_err().contains("role_arn without source_profile"));
}

#[test]
fn what_gets_its_credentials_elsewhere_is_left_alone() {
    for keys in [
        "source_profile = static",
        "credential_source = Environment",
        "web_identity_token_file = /x\nsource_profile = dev",
        "external_id = x",
    ] {
        let text =
            format!("[profile ops]\nrole_arn = ARN\n{keys}\n[profile more]\nrole_arn = ARN\nsource_profile = ops\n");
        assert_eq!(target(&text, "ops"), Err("not ours".to_owned()), "{keys}");
        assert_eq!(target(&text, "more"), Err("not ours".to_owned()), "{keys}");
    }
}

#[test]
fn a_source_may_be_chained_itself_or_go_through_our_shim_in_any_order_of_writing() {
    let text = "[profile d]\nrole_arn = ARN\nsource_profile = c\n\
                [profile c]\ncredential_process = /x/sso-credential-process --profile b\n\
                [profile b]\nrole_arn = ARN\nsource_profile = a\n\
                [profile a]\ncredential_process = /x/sso-credential-process --session corp --account 111122223333 --role Shim\n";
    let catalog = catalog(text, &[]);
    let deep = assumption(&catalog, "d");
    assert_eq!(deep.source.assumption().unwrap().source.role().as_str(), "Shim");
    assert!(catalog.profile(&"c".parse().unwrap()).unwrap().through_shim);
    assert!(catalog.warnings.is_empty(), "{:?}", catalog.warnings);
}

#[test]
fn circles_and_long_chains_end_with_a_rejection() {
    let text = "[profile a]\nrole_arn = ARN\nsource_profile = b\n[profile b]\nrole_arn = ARN\nsource_profile = c\n\
                [profile c]\ncredential_process = sso-credential-process --profile a\n\
                [profile d]\nrole_arn = ARN\nsource_profile = a\n";
    for name in ["a", "b", "c"] {
        assert!(target(text, name).unwrap_err().contains("lead back to this one"), "{name}");
    }
    assert!(target(text, "d").unwrap_err().contains("profile a cannot be used"));
    let chain = |length: usize| -> String {
        let link = |number: usize| format!("[profile p{number}]\nrole_arn = ARN\nsource_profile = p{}\n", number - 1);
        let first = "[profile p1]\nrole_arn = ARN\nsource_profile = dev\n".to_owned();
        std::iter::once(first).chain((2..=length).map(link)).collect()
    };
    let catalog = catalog(&chain(40), &[]);
    assert!(catalog.target_of("p5").is_ok());
    for name in ["p6", "p7", "p40"] {
        let error = catalog.target_of(name).unwrap_err();
        assert!(error.contains("more than 5 roles") && error.len() < 400, "{error}");
    }
}

#[test]
fn what_is_wrong_in_a_chained_profile_is_named_with_its_line() {
    for (keys, line, words) in [
        ("mfa_serial = arn:aws:iam::444455556666:mfa/me", 14, "nobody could type the code"),
        ("external_id = a b", 14, "external_id is not a valid external id"),
        ("duration_seconds = 12", 14, "900 to 43200"),
        ("role_session_name = a/b", 14, "role_session_name is not a valid"),
        ("region = EU West", 14, "region is not a valid region"),
        ("credential_source = Environment", 14, "leave one of them out"),
        ("endpoint_url = http://example.com", 14, "plain http"),
    ] {
        let text = format!("[profile ops]\nrole_arn = ARN\nsource_profile = dev\n{keys}\n");
        let error = target(&text, "ops").unwrap_err();
        assert!(error.starts_with(&format!("/config:{line}: ")) && error.contains(words), "{keys}: {error}");
    }
    let error = target("[profile ops]\nrole_arn = nonsense\nsource_profile = dev\n", "ops").unwrap_err();
    assert!(error.contains("role_arn is not a valid role ARN"), "{error}");
    let error = target("[profile ops]\nrole_arn = ARN\nsource_profile = dve\n", "ops").unwrap_err();
    assert_eq!(error, "/config:13: source_profile: there is no profile dve (did you mean dev?)");
    let nameless = "[profile s]\nsso_session = corp\n[profile ops]\nrole_arn = ARN\nsource_profile = s\n";
    assert!(target(nameless, "ops").unwrap_err().contains("names no account and role"));
}

#[test]
fn sts_is_in_the_region_of_the_profile_then_of_the_environment_then_of_the_roles_partition() {
    let plain = "[profile ops]\nrole_arn = ARN\nsource_profile = dev\n";
    let own = format!("{plain}region = eu-central-1\n");
    let pair = |url: &str, region: &str| (url.to_owned(), region.to_owned());
    let env = &[("AWS_REGION", "ap-south-1"), ("AWS_DEFAULT_REGION", "us-west-2")];
    assert_eq!(sts(&own, env), pair("https://sts.eu-central-1.amazonaws.com", "eu-central-1"));
    assert_eq!(sts(plain, env), pair("https://sts.ap-south-1.amazonaws.com", "ap-south-1"));
    assert_eq!(sts(plain, &env[1..]), pair("https://sts.us-west-2.amazonaws.com", "us-west-2"));
    assert_eq!(sts(plain, &[]), pair("https://sts.us-east-1.amazonaws.com", "us-east-1"));
    let china = plain.replace("ARN", "arn:aws-cn:iam::444455556666:role/Ops");
    assert_eq!(sts(&china, &[]), pair("https://sts.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1"));
    let global = format!("{plain}region = aws-global\n");
    assert_eq!(sts(&global, &[]), pair("https://sts.amazonaws.com", "us-east-1"));
    let switched = format!("{own}use_fips_endpoint = true\nuse_dualstack_endpoint = true\n");
    assert_eq!(sts(&switched, &[]).0, "https://sts-fips.eu-central-1.api.aws");
}

#[test]
fn a_custom_sts_is_taken_from_environment_services_and_profile_in_that_order() {
    let plain = "[services s]\nsts =\n  endpoint_url = https://b.example\n[profile ops]\nrole_arn = ARN\n\
                 source_profile = dev\nendpoint_url = https://c.example\n";
    let services = format!("{plain}services = s\n");
    let env = &[("AWS_ENDPOINT_URL_STS", "https://a.example"), ("AWS_ENDPOINT_URL_SSO", "https://z.example")];
    assert_eq!(sts(&services, env).0, "https://a.example");
    assert_eq!(sts(&services, &[("AWS_ENDPOINT_URL", "http://localhost:4566")]).0, "http://localhost:4566");
    assert_eq!(sts(&services, &[]).0, "https://b.example");
    assert_eq!(sts(plain, &[]).0, "https://c.example");
    let ignored = &[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
    assert_eq!(sts(&services, ignored).0, "https://sts.us-east-1.amazonaws.com");
}

#[test]
fn a_single_profile_cannot_lead_a_sessions_credentials_to_an_sts_of_its_own() {
    let chained = |name: &str, more: &str| format!("[profile {name}]\nrole_arn = ARN\nsource_profile = dev\n{more}");
    let local = "endpoint_url = http://localhost:4566\n";
    let text = chained("ops", "")
        + &chained("lab", local)
        + "[profile on]\nrole_arn = ARN\nsource_profile = lab\n"
        + "[profile via]\ncredential_process = sso-credential-process --profile lab\n";
    let catalog = catalog(&text, &[]);
    assert!(catalog.target_of("ops").is_ok());
    let error = catalog.target_of("lab").unwrap_err();
    assert!(error.contains("http://localhost:4566") && error.contains("does not say the same"), "{error}");
    for name in ["on", "via"] {
        assert!(catalog.target_of(name).unwrap_err().contains("profile lab cannot be used"), "{name}");
    }
    let agreed = chained("ops", local) + &chained("lab", local);
    assert_eq!(sts(&agreed, &[]).0, "http://localhost:4566");
    let bundle = chained("ops", "") + &chained("lab", "ca_bundle = /x.pem\n");
    assert!(target(&bundle, "lab").unwrap_err().contains("ca_bundle"));
    let alone = chained("ops", "ca_bundle = /x.pem\n");
    assert_eq!(assumption(&self::catalog(&alone, &[]), "ops").sts.ca_bundle.unwrap().to_str(), Some("/x.pem"));
    let everybody = &[("AWS_ENDPOINT_URL_STS", "http://localhost:1")];
    assert!(self::catalog(&text, everybody).target_of("lab").is_ok());
}
