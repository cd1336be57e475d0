//! The text form of tables: logical lines, and `key whitespace value`.
//!
//! ```text
//! # comment                     a comment or blank line does not end a logical line
//! key value
//!     more value                a line that starts with white space continues the one before
//! "quoted key"@example.com value
//! ```

/// One logical line: continuation lines joined, comments and blank lines left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogicalLine {
    /// Number of the first physical line, from 1.
    pub number: usize,
    /// The text, without line ends.
    pub text: Vec<u8>,
}

/// One record of a table's text form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Number of its first physical line.
    pub line: usize,
    /// The key as written.
    pub key: String,
    /// The value, without white space around it.
    pub value: String,
}

/// `isspace` of the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Splits `text`, the content of `path`, into logical lines.
pub(crate) fn logical_lines(path: &str, text: &[u8], warn: &dyn Fn(&str)) -> Vec<LogicalLine> {
    let mut lines: Vec<LogicalLine> = Vec::new();
    let mut open: Option<LogicalLine> = None;
    for (index, physical) in text.split(|byte| *byte == b'\n').enumerate() {
        let Some(first) = physical.iter().find(|byte| !is_space(**byte)) else { continue };
        if *first == b'#' {
            continue;
        }
        if !is_space(physical[0]) {
            lines.extend(open.replace(LogicalLine { number: index + 1, text: physical.to_vec() }));
        } else if let Some(line) = &mut open {
            line.text.extend_from_slice(physical);
        } else {
            let shown: String = String::from_utf8_lossy(physical).chars().take(30).collect();
            let more = if physical.len() > 30 { "..." } else { "" };
            warn(&format!("{path}: logical line must not start with whitespace: \"{shown}{more}\""));
        }
    }
    lines.extend(open);
    lines
}

/// Reads `key whitespace value` records. `ending` is added to the warning about a malformed line: `postmap` and
/// `texthash:` word it differently.
pub(crate) fn map_records(path: &str, text: &[u8], ending: &str, warn: &dyn Fn(&str)) -> Vec<Record> {
    let mut records = Vec::new();
    for LogicalLine { number, text } in logical_lines(path, text, warn) {
        let Some(text) = utf8_line(path, number, text, warn) else { continue };
        let Some(key_length) = quoted_word(&text) else {
            warn(&format!("{path}, line {number}: unbalanced '\"' in '{text}' -- ignoring this line"));
            continue;
        };
        let (key, value) = text.split_at(key_length);
        let value = trim(value);
        if key.is_empty() || value.is_empty() {
            warn(&format!("{path}, line {number}: expected format: key whitespace value{ending}"));
            continue;
        }
        if key.ends_with(':') {
            warn(&format!("{path}, line {number}: record is in \"key: value\" format; is this an alias file?"));
        }
        records.push(Record { line: number, key: key.to_owned(), value: value.to_owned() });
    }
    records
}

/// The line as text, or a warning.
pub(crate) fn utf8_line(path: &str, number: usize, text: Vec<u8>, warn: &dyn Fn(&str)) -> Option<String> {
    String::from_utf8(text)
        .map_err(|error| {
            let shown = String::from_utf8_lossy(error.as_bytes());
            warn(&format!("{path}, line {number}: non-UTF-8 input \"{shown}\" -- ignoring this line"));
        })
        .ok()
}

/// The length of the first word, in which white space may stand between double quotes or after a backslash; `None` if a
/// quote is left open.
pub(crate) fn quoted_word(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => quoted = !quoted,
            _ if is_space(byte) && !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

/// Without white space at either end.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_ascii() && is_space(letter as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn warnings(run: impl FnOnce(&dyn Fn(&str))) -> Vec<String> {
        let seen = RefCell::new(Vec::new());
        run(&|text| seen.borrow_mut().push(text.to_owned()));
        seen.into_inner()
    }

    fn lines(text: &str) -> Vec<(usize, String)> {
        logical_lines("f", text.as_bytes(), &|_| {})
            .into_iter()
            .map(|line| (line.number, String::from_utf8(line.text).unwrap()))
            .collect()
    }

    #[test]
    fn logical_line_table() {
        for (text, expected) in [
            ("abc\n def\n", vec![(1, "abc def")]),
            ("abc\n #def\n ghi", vec![(1, "abc ghi")]),
            ("abc\n#def\n ghi", vec![(1, "abc ghi")]),
            ("abc\n\n ghi\njkl", vec![(1, "abc ghi"), (4, "jkl")]),
            (" abc\nfghij\n", vec![(2, "fghij")]),
            ("#abc", vec![]),
            ("\n \n", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(at, line)| (at, line.to_owned())).collect();
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn map_records_as_postmap_reads_them() {
        let text = b"k1 v1\n cont\n# c\nK2\tV2   \nk3\nk4: v\nk5 \"a b\" c\n\"a b\" c\n\"unb v\n\\  x y\nk\xff v\n";
        let mut records = Vec::new();
        let warned = warnings(|warn| records = map_records("m", text, "", warn));
        let pairs: Vec<_> = records.iter().map(|record| (record.key.as_str(), record.value.as_str())).collect();
        assert_eq!(
            pairs,
            [("k1", "v1 cont"), ("K2", "V2"), ("k4:", "v"), ("k5", "\"a b\" c"), ("\"a b\"", "c"), ("\\ ", "x y")]
        );
        assert_eq!(
            warned,
            [
                "m, line 5: expected format: key whitespace value",
                "m, line 6: record is in \"key: value\" format; is this an alias file?",
                "m, line 9: unbalanced '\"' in '\"unb v' -- ignoring this line",
                "m, line 11: non-UTF-8 input \"k\u{fffd} v\" -- ignoring this line",
            ]
        );
    }

    #[test]
    fn leading_white_space_is_reported() {
        let long = format!(" {}\nk v\n", "x".repeat(40));
        let warned = warnings(|warn| drop(logical_lines("f", long.as_bytes(), warn)));
        assert_eq!(warned, [format!("f: logical line must not start with whitespace: \" {}...\"", "x".repeat(29))]);
    }
}
