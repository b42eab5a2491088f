//! Words of every kind: names, times, lengths of time, foreign text, the line in the lock file.

use super::is_one_line;
use crate::holder::Holder;
use crate::ids::{AccountId, ProfileName, Region, RoleName, SessionName};
use crate::time::{Timestamp, parse_duration};
use crate::untrusted::{Untrusted, shown};

/// Any text is shown harmlessly; what is a word of some kind is written as it is read.
pub fn words(bytes: &[u8]) {
    if let Ok(Some(holder)) = Holder::parse(bytes)
        && let Ok(line) = holder.to_line()
    {
        assert_eq!(line.lines().count(), 1, "one line");
        assert_eq!(Holder::parse(line.as_bytes()).ok(), Some(Some(holder)));
    }
    let text = String::from_utf8_lossy(bytes);
    harmless(&text);

    macro_rules! names {
        ($($name:ty)*) => {$(
            if let Ok(name) = text.parse::<$name>() {
                assert_eq!(name.to_string(), text);
                assert!(is_one_line(name.as_str()) || name.as_str().chars().all(|it| !it.is_control()));
                let json = serde_json::to_string(&name).expect("a name is a text");
                assert_eq!(serde_json::from_str::<$name>(&json).ok().as_ref(), Some(&name));
            }
        )*};
    }
    names!(SessionName ProfileName AccountId RoleName Region);

    if let Ok(duration) = parse_duration(&text) {
        assert!(duration.as_secs() <= u32::MAX.into() && duration.subsec_nanos() == 0);
        assert_eq!(parse_duration(&duration.as_secs().to_string()), Ok(duration));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        let written = time.to_string();
        // Whole seconds, rounded down.
        let read: Timestamp = written.parse().expect("what is written can be read");
        assert!(read <= time && time.since(read).as_millis() < 1000, "{written} for {}", time.as_millis());
        assert_eq!(read.to_string(), written);
    }
}

fn harmless(text: &str) {
    let clean = Untrusted::new(text).shown().to_string();
    assert!(is_one_line(&clean), "{clean:?}");
    assert!(clean.chars().count() <= 513, "it is cut");
    if text.chars().count() <= 512 {
        assert_eq!(clean.chars().count(), text.chars().count(), "nothing is left out, only replaced");
        assert_eq!(shown(&clean).to_string(), clean, "what is clean stays as it is");
    }
    if text.len() <= 512 && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        assert_eq!(clean, text, "plain text is not touched");
    }
}
