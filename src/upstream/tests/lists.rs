//! Lists of many pages.

use super::*;
use crate::upstream::{Answer, Failure, Unclear};

fn page(body: &str) -> Act {
    Act::Answer(response(200, &[], body))
}

async fn listed(make: Make, acts: Vec<Act>) -> (Reply, Vec<String>) {
    let (address, serving) = listener(acts);
    let endpoint = endpoint(address);
    let reply = call(make(&endpoint), &endpoint).await;
    let targets = serving.join().unwrap().iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
    (reply, targets)
}

fn account_ids(reply: &Reply) -> Vec<&str> {
    let Ok(Answer::Accounts(accounts)) = &reply.result else { panic!("{reply:?}") };
    accounts.iter().map(|account| account.account_id.as_str()).collect()
}

#[tokio::test]
async fn all_pages_are_read_and_what_is_not_legal_is_left_out() {
    let (reply, targets) = listed(
        accounts,
        vec![
            page(
                r#"{"nextToken":"n/1=","accountList":[{"accountId":"123456789012","accountName":"n","emailAddress":"e"},
                {"accountId":"12"},{"accountId":null},7,{"accountId":"1;curl x|sh"}]}"#,
            ),
            page(r#"{"nextToken":null,"accountList":[{"accountId":"210987654321","accountName":null,"x":1}]}"#),
        ],
    )
    .await;
    assert_eq!(account_ids(&reply), ["123456789012", "210987654321"]);
    assert_eq!(
        targets,
        [
            "GET /assignment/accounts?max_result=100 HTTP/1.1",
            "GET /assignment/accounts?max_result=100&next_token=n%2F1%3D HTTP/1.1"
        ]
    );
}

#[tokio::test]
async fn roles_are_listed_for_the_account_asked_for() {
    let (reply, targets) = listed(
        roles,
        vec![page(
            r#"{"roleList":[{"roleName":"R1","accountId":"123456789012"},{"roleName":"R2"},{"roleName":"R; curl"},
            {"roleName":"R3","accountId":"999999999999"}]}"#,
        )],
    )
    .await;
    let Ok(Answer::Roles(roles)) = reply.result else { panic!("{reply:?}") };
    assert_eq!(roles.iter().map(|role| role.role_name.as_str()).collect::<Vec<_>>(), ["R1", "R2"]);
    assert_eq!(targets, ["GET /assignment/roles?account_id=123456789012&max_result=100 HTTP/1.1"]);
}

#[tokio::test]
async fn a_list_that_leads_back_to_itself_ends() {
    let again = r#"{"nextToken":"again","accountList":[]}"#;
    let (reply, targets) = listed(accounts, vec![page(again), page(again)]).await;
    assert!(matches!(reply.result, Err(Failure::Unknown(Unclear::UnusableBody(_)))), "{reply:?}");
    assert_eq!(targets.len(), 2);
}

#[tokio::test]
async fn a_throttled_page_does_not_cost_the_pages_before_it() {
    let (reply, targets) = listed(
        accounts,
        vec![
            page(r#"{"nextToken":"2","accountList":[{"accountId":"123456789012"}]}"#),
            Act::Answer(response(429, &[("Retry-After", "0")], "{}")),
            page(r#"{"accountList":[{"accountId":"210987654321"}]}"#),
        ],
    )
    .await;
    assert_eq!(account_ids(&reply), ["123456789012", "210987654321"]);
    assert_eq!(targets[1], targets[2]);
}

#[tokio::test]
async fn a_pause_longer_than_the_call_is_left_to_the_caller() {
    let retry_after = Some(Duration::from_secs(60));
    let expected = Err(Failure::NotProcessed { status: 429, throttled: true, retry_after });
    let later = || Act::Answer(response(429, &[("Retry-After", "60")], "{}"));
    let first = page(r#"{"nextToken":"2","accountList":[{"accountId":"123456789012"}]}"#);
    assert_eq!(listed(accounts, vec![first, later()]).await.0.result, expected);
    assert_eq!(listed(accounts, vec![later()]).await.0.result, expected);
}

#[tokio::test]
async fn an_answer_without_a_list_is_not_an_empty_list() {
    for body in ["{}", "<html></html>", r#"{"accountList":null}"#] {
        let (reply, _) = listed(accounts, vec![page(body)]).await;
        assert!(matches!(reply.result, Err(Failure::Unknown(Unclear::UnusableBody(_)))), "{body}: {reply:?}");
    }
    assert_eq!(listed(accounts, vec![page(r#"{"accountList":[]}"#)]).await.0.result, Ok(Answer::Accounts(vec![])));
}
