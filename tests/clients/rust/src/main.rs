//! Says who it is with credentials from its profile, by the AWS SDK for Rust. The endpoints are this machine's.
//!
//! With `--key-id` it does not ask STS and only says which access key the profile leads to. With a number after that
//! (`--key-id 3`) it says so that many times, once more for each line it reads, as a program that runs for long would.

use std::error::Error;
use std::io::BufRead;

use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--key-id") {
        let times: usize = arguments.next().map_or(Ok(1), |times| times.parse())?;
        let provider = config.credentials_provider().ok_or("there is no credentials provider")?;
        for time in 0..times {
            if time > 0 && std::io::stdin().lock().read_line(&mut String::new())? == 0 {
                break;
            }
            let credentials = provider.provide_credentials().await.map_err(whole)?;
            println!("{}", credentials.access_key_id());
        }
        return Ok(());
    }
    let mut config = aws_sdk_sts::config::Builder::from(&config);
    if let Ok(stub) = std::env::var("STS_STUB") {
        config = config.endpoint_url(stub);
    }
    let identity = aws_sdk_sts::Client::from_conf(config.build()).get_caller_identity().send().await.map_err(whole)?;
    println!("{}", identity.arn().unwrap_or_default());
    Ok(())
}

/// An error with its causes: the SDK's own words stop at the first.
fn whole(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
