//! The log's rules on a real file, with a clock that stands still until it is told to move.

use super::*;
use crate::api::Handed;
use crate::ids::{AccountId, RoleName};
use crate::scratch::Scratch;

struct Hands(Mutex<u64>);

impl Clock for Hands {
    fn now(&self) -> Now {
        let seconds = *self.0.lock().unwrap();
        Now {
            wall: Timestamp::from_secs(1_700_000_000 + i64::try_from(seconds).unwrap()),
            mono: Mono::from_start(Duration::from_secs(seconds)),
        }
    }
}

struct Bench {
    scratch: Scratch,
    hands: Arc<Hands>,
    audit: Audit,
    account: AccountId,
    role: RoleName,
}

impl Bench {
    fn new(mode: AuditMode) -> Self {
        let scratch = Scratch::new();
        let hands = Arc::new(Hands(Mutex::new(0)));
        let programs = Programs::of_machine(&crate::env::Env::default());
        let audit = Audit::new(scratch.path().to_owned(), mode, programs, Arc::clone(&hands) as Arc<dyn Clock>);
        let (account, role) = ("111122223333".parse().unwrap(), "ReadOnly".parse().unwrap());
        Self { scratch, hands, audit, account, role }
    }

    fn wait(&self, seconds: u64) {
        *self.hands.0.lock().unwrap() += seconds;
    }

    fn hand_out(&self, key_id: &str) -> Result<(), NotWritten> {
        self.hand_out_of("corp", key_id)
    }

    fn hand_out_of(&self, session: &str, key_id: &str) -> Result<(), NotWritten> {
        let hand_out = HandOut {
            what: Handed::Credentials,
            session,
            role: Some((&self.account, &self.role)),
            assumed: None,
            key_id: Some(key_id),
            expires_at: Timestamp::from_secs(1_700_003_600),
        };
        self.audit.note(hand_out, &Asker::unknown())
    }

    fn read(&self) -> Vec<Line> {
        let reading = read(self.scratch.path()).unwrap();
        assert_eq!(reading.damaged, 0);
        reading.lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Key id, repeats and seconds since the start of every line.
    fn lines(&self) -> Vec<(String, u64, i64)> {
        let seconds = |time: Timestamp| time.as_millis() / 1000 - 1_700_000_000;
        self.read().into_iter().map(|line| (line.key_id.unwrap(), line.repeats, seconds(line.time))).collect()
    }

    /// From now on nothing can be written: a directory stands where the file should be.
    fn break_it(&self) {
        let path = self.scratch.path().join(FILES.name);
        let _ = std::fs::rename(&path, self.scratch.path().join("kept"));
        std::fs::create_dir(&path).unwrap();
    }

    fn mend_it(&self) {
        let path = self.scratch.path().join(FILES.name);
        std::fs::remove_dir(&path).unwrap();
        let _ = std::fs::rename(self.scratch.path().join("kept"), &path);
    }
}

fn line(key: &str, repeats: u64, second: i64) -> (String, u64, i64) {
    (key.to_owned(), repeats, second)
}

#[test]
fn a_hand_out_is_one_line_with_who_what_and_until_when() {
    let bench = Bench::new(AuditMode::BestEffort);
    bench.hand_out("ASIAEXAMPLE").unwrap();
    let text = std::fs::read_to_string(bench.scratch.path().join("audit.log")).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"time":"2023-11-14T22:13:20Z","what":"credentials","session":"corp","account":"111122223333","#,
            r#""role":"ReadOnly","key_id":"ASIAEXAMPLE","expires_at":"2023-11-14T23:13:20Z","#,
            r#""peer":{"pid":null,"uid":null,"exe":"unknown"},"caller":{"pid":null,"uid":null,"exe":"unknown"},"#,
            r#""repeats":0}"#,
            "\n"
        )
    );
}

#[test]
fn repeats_within_a_minute_are_counted_and_the_count_comes_with_the_next_line() {
    let bench = Bench::new(AuditMode::BestEffort);
    bench.hand_out("A").unwrap();
    for _ in 0..5 {
        bench.wait(10);
        bench.hand_out("A").unwrap();
    }
    assert_eq!(bench.lines(), [line("A", 0, 0)]);
    bench.wait(20);
    bench.hand_out("A").unwrap();
    assert_eq!(bench.lines(), [line("A", 0, 0), line("A", 5, 50), line("A", 0, 70)]);
}

#[test]
fn another_key_is_another_line_at_once_and_has_a_count_of_its_own() {
    let bench = Bench::new(AuditMode::BestEffort);
    for key in ["A", "B", "A", "B", "B"] {
        bench.hand_out(key).unwrap();
    }
    bench.hand_out_of("other", "A").unwrap();
    assert_eq!(bench.lines(), [line("A", 0, 0), line("B", 0, 0), line("A", 0, 0)]);
    bench.audit.close();
    let mut counts: Vec<_> = bench.lines().split_off(3);
    counts.sort();
    assert_eq!(counts, [line("A", 1, 0), line("B", 2, 0)]);
}

#[test]
fn no_count_is_lost_at_the_end_and_none_is_told_twice() {
    let bench = Bench::new(AuditMode::Required);
    for _ in 0..10 {
        bench.hand_out("A").unwrap();
    }
    bench.audit.settle();
    assert_eq!(bench.lines(), [line("A", 0, 0)], "the window is open");
    bench.audit.close();
    bench.audit.close();
    assert_eq!(bench.lines(), [line("A", 0, 0), line("A", 9, 0)]);
}

#[test]
fn settling_writes_the_counts_that_are_complete() {
    let bench = Bench::new(AuditMode::BestEffort);
    bench.hand_out("A").unwrap();
    bench.hand_out("A").unwrap();
    bench.wait(60);
    bench.audit.settle();
    assert_eq!(bench.lines(), [line("A", 0, 0), line("A", 1, 0)]);
    assert!(bench.audit.book().windows.is_empty());
}

#[test]
fn so_many_keys_at_once_that_they_are_not_all_counted_lose_no_count() {
    let bench = Bench::new(AuditMode::BestEffort);
    for round in 0..2 {
        for key in 0..MOST_WINDOWS + 10 {
            bench.hand_out(&format!("K{key}")).unwrap();
        }
        assert!(bench.audit.book().windows.len() <= MOST_WINDOWS, "round {round}");
    }
    bench.audit.close();
    let told: u64 = bench.lines().iter().map(|(_, repeats, _)| (*repeats).max(1)).sum();
    assert_eq!(told, 2 * (MOST_WINDOWS as u64 + 10));
}

#[test]
fn best_effort_hands_out_and_counts_what_is_not_in_the_log() {
    let bench = Bench::new(AuditMode::BestEffort);
    bench.break_it();
    bench.hand_out("A").unwrap();
    bench.hand_out("A").unwrap();
    assert_eq!(bench.audit.status(), AuditStatus { mode: "best-effort".into(), failed: 2 });
    bench.mend_it();
    bench.hand_out("A").unwrap();
    assert_eq!(bench.lines(), [line("A", 0, 0)]);
    assert_eq!(bench.audit.status().failed, 2);
}

#[test]
fn required_hands_nothing_out_that_is_not_in_the_log() {
    let bench = Bench::new(AuditMode::Required);
    bench.hand_out("A").unwrap();
    bench.break_it();
    bench.hand_out("A").unwrap();
    let refused = bench.hand_out("B").unwrap_err();
    assert!(std::error::Error::source(&refused).is_some(), "{refused}");
    bench.wait(60);
    assert!(bench.hand_out("A").is_err(), "its minute is over");
    bench.mend_it();
    bench.hand_out("B").unwrap();
    assert_eq!(bench.lines(), [line("A", 0, 0), line("A", 1, 0), line("B", 0, 60)], "a count waits for better times");
    assert_eq!(bench.audit.status().failed, 2);
}

#[test]
fn counts_that_can_never_be_written_are_told_as_failed() {
    let bench = Bench::new(AuditMode::BestEffort);
    for _ in 0..4 {
        bench.hand_out("A").unwrap();
    }
    bench.break_it();
    bench.audit.close();
    assert_eq!(bench.audit.status().failed, 3);
}

#[test]
fn off_writes_nothing_until_it_is_switched_on() {
    let bench = Bench::new(AuditMode::Off);
    bench.hand_out("A").unwrap();
    assert_eq!(std::fs::read_dir(bench.scratch.path()).unwrap().count(), 0);
    bench.audit.set_mode(AuditMode::Required);
    assert_eq!(bench.audit.status().mode, "required");
    bench.hand_out("A").unwrap();
    assert_eq!(bench.lines(), [line("A", 0, 0)]);
}

#[test]
fn callers_of_a_restricted_socket_cannot_fill_the_log() {
    let bench = Bench::new(AuditMode::BestEffort);
    bench.hand_out("A").unwrap();
    let refuse = |asked: &str, via: &str| {
        let refusal = Refusal { what: "credentials", target: None, asked: Some(asked), setting: "serve" };
        bench.audit.note_refusal(refusal, &Asker::unknown().via(Some(via.parse().unwrap())));
    };
    for number in 0..1000 {
        refuse(&number.to_string(), "box");
    }
    refuse("0", "other");
    bench.audit.close();
    let lines = bench.read();
    let of_box: Vec<_> = lines.iter().filter(|line| line.via.as_deref() == Some("box")).collect();
    assert!(of_box.len() <= MOST_LINES_OF_A_DOOR + 2, "{} lines", of_box.len());
    let told: u64 = of_box.iter().map(|line| line.repeats.max(u64::from(line.repeats == 0))).sum();
    assert_eq!(told, 1000, "each of them is counted");
    assert_eq!(lines.iter().filter(|line| line.via.as_deref() == Some("other")).count(), 1);
    assert_eq!((lines[0].via.as_ref(), lines[0].refused.as_ref()), (None, None));
}

#[test]
fn hostile_names_are_one_line_that_is_bounded_and_steers_nothing() {
    let bench = Bench::new(AuditMode::BestEffort);
    let session = format!("a\"\\\u{1b}]0;x\u{7}\n{{\"time\":0}}\u{202e}{}", "é".repeat(3000));
    bench.hand_out_of(&session, "A").unwrap();
    bench.hand_out_of(&session, "A").unwrap();
    let text = std::fs::read_to_string(bench.scratch.path().join("audit.log")).unwrap();
    assert_eq!(text.lines().count(), 1, "and its repeat is known as one");
    assert!(text.len() < 4096 && !text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
    assert!(bench.read()[0].session.starts_with("a\"\\\u{fffd}]0;x"));
}

#[test]
fn damaged_lines_are_counted_and_the_others_read_from_all_files_oldest_first() {
    let bench = Bench::new(AuditMode::BestEffort);
    for key in ["A", "B", "C"] {
        bench.hand_out(key).unwrap();
        let path = bench.scratch.path().join("audit.log");
        match key {
            "A" => std::fs::rename(path, bench.scratch.path().join("audit.log.4")).unwrap(),
            "B" => std::fs::rename(path, bench.scratch.path().join("audit.log.1")).unwrap(),
            _ => {
                let text = std::fs::read_to_string(&path).unwrap();
                let damaged = [b"{\"time\":\n\n\xff\xfe\nnull\n".as_slice(), text.as_bytes(), b"{\"ti"].concat();
                std::fs::write(path, damaged).unwrap();
            }
        }
    }
    let reading = read(bench.scratch.path()).unwrap();
    assert_eq!(reading.damaged, 4);
    let keys: Vec<_> = reading.lines.iter().map(|(_, line)| line.key_id.clone().unwrap()).collect();
    assert_eq!(keys, ["A", "B", "C"]);
    assert!(reading.lines.iter().all(|(text, _)| text.starts_with("{\"time\":\"2023")), "as they stand there");
}

#[test]
fn a_log_that_others_can_write_is_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new(AuditMode::BestEffort);
    bench.hand_out("A").unwrap();
    let path = bench.scratch.path().join("audit.log");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o622)).unwrap();
    let error = read(bench.scratch.path()).unwrap_err();
    assert_eq!(error.path, path);
    assert!(read(&bench.scratch.path().join("nowhere")).unwrap().lines.is_empty(), "nothing is no error");
}

#[test]
fn no_line_is_told_twice_while_the_files_are_rotated() {
    use std::collections::HashSet;
    let bench = Bench::new(AuditMode::BestEffort);
    bench.hand_out("A").unwrap();
    let template = bench.read().remove(0);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let mut log = LogFile::new(bench.scratch.path().to_owned(), FILES);
            for number in 0..200 {
                // So long that a file holds a dozen.
                let session = "x".repeat(80_000);
                let line = Line { session, key_id: Some(number.to_string()), ..template.clone() };
                log.append(&line.encode(0)).unwrap();
            }
        });
        let mut most = 0;
        while !writer.is_finished() {
            let reading = read(bench.scratch.path()).unwrap();
            let mut seen = HashSet::new();
            for (_, line) in &reading.lines {
                assert!(seen.insert(line.key_id.clone()), "{:?} twice", line.key_id);
            }
            most = most.max(seen.len());
        }
        assert!(most > 1);
    });
}
