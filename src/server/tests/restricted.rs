//! Restricted sockets beside the main one: who gets which place, and what becomes of whom when one is closed.

use tokio::sync::watch;

use super::super::restricted::Restricted;
use super::*;
use crate::api::Reloaded;
use crate::aws_config::Place;
use crate::doors::{Doors, Serve};
use crate::ids::DoorName;

/// A server with the main socket and these restricted ones, and who says what the settings are.
fn serve_doors(limits: Limits, names: &[&str]) -> (Served, watch::Sender<Arc<Doors>>) {
    let dir = Scratch::new();
    let doors = names.iter().map(|name| (name.parse().unwrap(), Arc::new(section(&dir, name, vec![target()]))));
    let (say, doors) = watch::channel(Arc::new(Doors { serve: doors.collect(), ..Doors::default() }));
    let restricted = Restricted::open(doors, Vec::new(), Arc::new(SystemClock));
    (serve_on(dir, restricted, limits, AuditMode::BestEffort), say)
}

fn section(dir: &Scratch, name: &str, targets: Vec<TargetId>) -> Serve {
    let place = Place { file: PathBuf::from("config.toml"), line: 1 };
    Serve { socket: door(dir, name), targets, lifetime: None, allow_root: false, place }
}

fn door(dir: &Scratch, name: &str) -> PathBuf {
    dir.path().join(name).join("s")
}

async fn connect(served: &Served, name: &str) -> UnixStream {
    UnixStream::connect(door(&served.dir, name)).await.unwrap()
}

#[tokio::test]
async fn a_flood_on_a_restricted_socket_takes_no_place_of_the_main_one() {
    let limits = Limits { restricted: 12, restricted_each: 8, connections: 24, reserved: 2, ..Limits::default() };
    let (mut served, _say) = serve_doors(limits, &["a", "b"]);
    let (mut waiting, mut kept) = (Vec::new(), Vec::new());
    for name in [["a"; 8].as_slice(), &["b"; 4]].concat() {
        let mut stream = connect(&served, name).await;
        stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
        waiting.push(stream);
        // It waits for the engine, so it cannot be closed to make room.
        kept.push(served.questions.next().await.unwrap());
    }
    assert!(kept.iter().all(|question| question.within.is_some()));
    for name in ["a", "b"] {
        closed(connect(&served, name).await).await;
    }
    served.answer_all();
    let mut main = Vec::new();
    for _ in 0..12 {
        main.push(served.connect().await);
        assert_eq!(ask(main.last_mut().unwrap(), CREDENTIALS).await.status, 200);
    }
    assert_eq!(ask(&mut main[0], HEALTH).await.status, 200, "none of them was closed for another");
}

#[tokio::test]
async fn a_full_house_closes_the_idle_callers_of_restricted_sockets_first() {
    let limits = Limits { restricted: 4, restricted_each: 4, connections: 6, reserved: 1, ..Limits::default() };
    let (mut served, _say) = serve_doors(limits, &["a"]);
    served.answer_all();
    let mut main = Vec::new();
    for _ in 0..2 {
        main.push(served.connect().await);
        assert_eq!(ask(main.last_mut().unwrap(), HEALTH).await.status, 200);
    }
    let mut restricted = Vec::new();
    for _ in 0..4 {
        restricted.push(connect(&served, "a").await);
        assert_eq!(ask(restricted.last_mut().unwrap(), HEALTH).await.status, 200);
    }
    main.push(served.connect().await);
    assert_eq!(ask(main.last_mut().unwrap(), HEALTH).await.status, 200);
    for stream in &mut main {
        assert_eq!(ask(stream, HEALTH).await.status, 200, "though they have been idle longer");
    }
    let mut left = 0;
    for stream in &mut restricted {
        let answered = stream.write_all(HEALTH.as_bytes()).await.is_ok() && stream.read_u8().await.is_ok();
        left += usize::from(answered);
    }
    assert_eq!(left, 3, "one had to go");
}

#[tokio::test]
async fn an_answer_that_is_under_way_when_its_socket_is_closed_does_not_leave() {
    let (mut served, say) = serve_doors(Limits::default(), &["a"]);
    let mut stream = connect(&served, "a").await;
    let idle = connect(&served, "a").await;
    stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
    let question = served.questions.next().await.unwrap();
    say.send_replace(Arc::default());
    closed(idle).await;
    question.answer.send(Ok(Response::Credentials(credentials(), target()))).unwrap();
    let answer = answer(&mut stream).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(!answer.body.contains("SecretAccessKey") && answer.head.contains("connection: close\r\n"));
    assert!(!door(&served.dir, "a").exists());
}

#[tokio::test]
async fn an_answer_for_another_target_does_not_leave_whoever_made_it() {
    let (mut served, say) = serve_doors(Limits::default(), &["a"]);
    let other = Grant::Role { account: "111122223333".parse().unwrap(), role: "Administrator".parse().unwrap() };
    let other = TargetId { grant: other, ..target() };
    let name: DoorName = "a".parse().unwrap();
    let narrowed = Arc::new(section(&served.dir, "a", vec![other]));
    say.send_replace(Arc::new(Doors { serve: [(name, narrowed)].into(), ..Doors::default() }));
    // A reload is answered when the sockets are as it says.
    let mut main = served.connect().await;
    main.write_all(b"POST /v1/reload HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let reloaded = Response::Reloaded(Reloaded { changed: Vec::new(), warnings: Vec::new() });
    served.questions.next().await.unwrap().answer.send(Ok(reloaded)).unwrap();
    assert_eq!(answer(&mut main).await.status, 200);
    let mut stream = connect(&served, "a").await;
    stream.write_all(CREDENTIALS.as_bytes()).await.unwrap();
    let question = served.questions.next().await.unwrap();
    assert!(!question.within.as_ref().unwrap().contains(&target()));
    // As if the engine had understood it otherwise.
    question.answer.send(Ok(Response::encoded(&credentials(), target()).unwrap())).unwrap();
    let answer = answer(&mut stream).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("not_allowed") && !answer.body.contains("SecretAccessKey"));
}
