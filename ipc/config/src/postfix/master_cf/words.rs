//! The words of a row.

use crate::postfix::logical::{BLANKS, is_space};

/// Splits text at white space into words with their offsets. White space within braces does not count; the braces stay.
pub(super) fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut level = 0_usize;
    for (index, character) in text.char_indices() {
        if level == 0 && BLANKS.contains(&character) {
            words.extend(start.take().map(|start| (start, &text[start..index])));
            continue;
        }
        start.get_or_insert(index);
        match character {
            '{' => level += 1,
            '}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    words.extend(start.map(|start| (start, &text[start..])));
    words
}

/// The text within `{ }` around a word, without the white space at its ends, and its offset in the word; any other word
/// as it is. The error says what is wrong with the braces.
pub(super) fn unbraced(word: &str) -> Result<(usize, &str), String> {
    let Some(inner) = word.strip_prefix('{') else { return Ok((0, word)) };
    let mut level = 1_usize;
    let close = inner.char_indices().find(|(_, character)| {
        match character {
            '{' => level += 1,
            '}' => level -= 1,
            _ => {}
        }
        level == 0
    });
    let Some((close, _)) = close else { return Err(format!("missing '}}' in \"{word}\"")) };
    if close + 1 < inner.len() {
        return Err(format!("syntax error after '}}' in \"{word}\""));
    }
    let text = inner[..close].trim_start_matches(is_space);
    Ok((1 + close - text.len(), text.trim_end_matches(is_space)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_outside_braces() {
        let split = |text| words(text).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
        assert_eq!(split(" a  b\t{ c  d }${x}e {f"), ["a", "b", "{ c  d }${x}e", "{f"]);
        assert_eq!(split(" "), [""; 0]);
        assert_eq!(words("a  bc"), [(0, "a"), (3, "bc")]);
    }

    #[test]
    fn braces_around_a_word_are_taken_off() {
        assert_eq!(unbraced("{ a = b }"), Ok((2, "a = b")));
        assert_eq!(unbraced("{}"), Ok((1, "")));
        assert_eq!(unbraced("${a}"), Ok((0, "${a}")));
        assert_eq!(unbraced("{a{b}}"), Ok((1, "a{b}")));
        assert_eq!(unbraced("{a"), Err("missing '}' in \"{a\"".to_owned()));
        assert_eq!(unbraced("{a}b"), Err("syntax error after '}' in \"{a}b\"".to_owned()));
    }
}
