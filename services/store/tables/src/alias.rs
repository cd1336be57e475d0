//! The text form of alias databases: `name: value, value`.
//!
//! A line is split into the tokens of an RFC 822 address, so that a quoted name may hold any character, and put together
//! again in Postfix's normal form: one space after a comma and between words, none elsewhere.

use crate::source::{LogicalLine, Record, logical_lines, utf8_line};
use crate::tokens::{Token, external, internal, tokenize};

/// Reads `name: value` records, the names without quotes and the values in normal form.
pub(crate) fn alias_records(path: &str, text: &[u8], warn: &dyn Fn(&str)) -> Vec<Record> {
    let mut records = Vec::new();
    for LogicalLine { number, text } in logical_lines(path, text, warn) {
        let Some(text) = utf8_line(path, number, text, warn) else { continue };
        let tokens = tokenize(&text);
        match split(&tokens) {
            Ok((name, value)) => records.push(Record { line: number, key: internal(name), value: external(value) }),
            Err(reason) => warn(&format!("{path}, line {number}: {reason}")),
        }
    }
    records
}

/// The addresses in a table's value, in internal form. They are separated by commas or white space; names and comments
/// around them are dropped.
pub(crate) fn addresses(value: &str) -> Vec<String> {
    let tokens: Vec<Token> = tokenize(value).into_iter().filter(|token| !matches!(token, Token::Comment(_))).collect();
    let mut found = Vec::new();
    for list in tokens.split(|token| matches!(token, Token::Operator(',' | ';'))) {
        if let Some(open) = list.iter().rposition(|token| *token == Token::Operator('<')) {
            let inside = &list[open + 1..];
            let close = inside.iter().position(|token| *token == Token::Operator('>')).unwrap_or(inside.len());
            found.push(internal(&inside[..close]));
            continue;
        }
        // Two words with no operator between them are two addresses.
        let mut rest = list;
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair[0].is_word() && pair[1].is_word());
            let (address, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            found.push(internal(address));
            rest = after;
        }
    }
    found.retain(|address| !address.is_empty());
    found
}

/// Whether `text` is written as an alias file: every record has a name, then a colon, before any white space that is not
/// quoted. It decides how to read the source of a Berkeley DB file, which does not say by which program it was made.
pub(crate) fn looks_like_aliases(text: &[u8]) -> bool {
    let lines = logical_lines("", text, &|_| {});
    !lines.is_empty() && lines.iter().all(|line| is_alias_line(&String::from_utf8_lossy(&line.text)))
}

fn is_alias_line(line: &str) -> bool {
    let word = crate::source::quoted_word(line).map_or(line, |length| &line[..length]);
    // An address prefix of IPv6 is the one key of a map that may hold a colon.
    let network = word.matches(':').count() > 1 && word.chars().all(|c| c.is_ascii_hexdigit() || ":./".contains(c));
    !network && split(&tokenize(line)).is_ok_and(|(name, _)| joined(name))
}

/// Whether the tokens are one name without spaces, such as `first.last`.
fn joined(name: &[Token]) -> bool {
    name.windows(2).all(|pair| !(pair[0].is_word() && pair[1].is_word()))
}

/// The tokens before and after the first colon.
fn split(tokens: &[Token]) -> Result<(&[Token], &[Token]), &'static str> {
    let colon = tokens.iter().position(|token| *token == Token::Operator(':')).unwrap_or(0);
    let (name, value) = (&tokens[..colon], tokens.get(colon + 1..).unwrap_or(&[]));
    if name.is_empty() || value.is_empty() || name.contains(&Token::Operator(',')) {
        return Err("need name:value pair");
    }
    if name.iter().any(|token| matches!(token, Token::Operator('@' | '%'))) {
        return Err("name must be local");
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Text and database as the real `postalias -s` lists it.
    #[test]
    fn alias_records_as_postalias_reads_them() {
        let text = r#"# c
a: b,c
b: b, c
c: "|/usr/bin/prog arg, x" , d
"foo bar": x
d (comment): y (com) , z
e:   :include:/etc/list
f: /var/mail/x
g: \root
h: "a b"@c.d, <x@y.z>, Foo Bar <f@b>
i: |prog
UPPER: Value
j
k@x: y
l:
n:a b c
o: [1.2.3.4]
p: a;b
q: ""
r: a%b!c
s: foo,, bar,
t: "|p \"q\""
"#;
        let seen = RefCell::new(Vec::new());
        let records = alias_records("al", text.as_bytes(), &|warning| seen.borrow_mut().push(warning.to_owned()));
        let pairs: Vec<_> = records.iter().map(|record| (record.key.as_str(), record.value.as_str())).collect();
        let expected = [
            ("a", "b, c"),
            ("b", "b, c"),
            ("c", r#""|/usr/bin/prog arg, x", d"#),
            ("foo bar", "x"),
            ("d (comment)", "y (com), z"),
            ("e", ":include:/etc/list"),
            ("f", "/var/mail/x"),
            ("g", "root"),
            ("h", r#""a b"@c.d, <x@y.z>, Foo Bar <f@b>"#),
            ("i", "|prog"),
            ("UPPER", "Value"),
            ("n", "a b c"),
            ("o", "[1.2.3.4]"),
            ("p", "a;b"),
            ("q", "\"\""),
            ("r", "a%b!c"),
            ("s", "foo, , bar, "),
            ("t", r#""|p \"q\"""#),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(
            seen.into_inner(),
            [
                "al, line 13: need name:value pair",
                "al, line 14: name must be local",
                "al, line 15: need name:value pair"
            ]
        );
    }

    #[test]
    fn tells_aliases_from_maps() {
        for (text, aliases) in [
            ("postmaster: root\n# c\nfirst.last:x\n\"a b\": c", true),
            ("root@example.com user\n", false),
            ("a b\nc: d\n", false),
            ("fe80: OK\n2001:db8:1 OK\n", false),
            ("2001:db8::: x\n", false),
            ("", false),
        ] {
            assert_eq!(looks_like_aliases(text.as_bytes()), aliases, "{text:?}");
        }
    }
}
