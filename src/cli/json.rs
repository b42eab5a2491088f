//! JSON for a terminal.

use crate::untrusted::shown;

/// The same JSON, with everything that could steer a terminal or hide text written as `\u` escapes. Such characters
/// are legal only inside strings, so no value changes; line breaks between values stay.
pub(super) fn for_terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        let mut buffer = [0; 4];
        let alone: &str = character.encode_utf8(&mut buffer);
        if character.is_ascii_graphic() || matches!(character, ' ' | '\n') || shown(alone).to_string() == alone {
            safe.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_steered_and_no_value_changes() {
        let hostile = "a\u{9b}31m\u{7f}\u{202e}größer 日本 \u{e0041}\u{fffd}";
        let json = serde_json::to_string(hostile).unwrap();
        let safe = for_terminal(&json);
        assert_eq!(safe, "\"a\\u009b31m\\u007f\\u202egrößer 日本 \\udb40\\udc41\u{fffd}\"");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
        assert_eq!(for_terminal("{\n  \"a\": 1\n}\n"), "{\n  \"a\": 1\n}\n");
    }
}
