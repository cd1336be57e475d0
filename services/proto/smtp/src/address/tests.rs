use super::*;
use proptest::prelude::*;

const TOLERANT: Syntax = Syntax { strict: false, smtputf8: false };
const STRICT: Syntax = Syntax { strict: true, smtputf8: false };
const UTF8: Syntax = Syntax { strict: false, smtputf8: true };

fn internal(text: &str, syntax: Syntax) -> Option<String> {
    parse(text, syntax).ok().map(|address| address.map_or(String::new(), |address| address.to_string()))
}

/// Each of these was tried on Postfix 3.7.11.
#[test]
fn what_postfix_takes() {
    for (text, expected) in [
        ("<>", ""),
        ("<user@example.org>", "user@example.org"),
        ("user@example.org", "user@example.org"),
        ("root", "root"),
        ("<postmaster>", "postmaster"),
        ("<@a,@b:c@d.e>", "c@d.e"),
        ("a@b.c.", "a@b.c"),
        ("<\"a b\"@c.d>", "a b@c.d"),
        ("<a@[127.0.0.1]>", "a@[127.0.0.1]"),
        ("<a@[IPv6:::1]>", "a@[IPv6:::1]"),
        ("<a@b_c>", "a@b_c"),
        ("<@b>", "@b"),
        ("<a@b@c>", "a@b@c"),
        ("<ä@c>", "ä@c"),
        ("(comment)a@b.c(another (nested))", "a@b.c"),
        ("<Some One <a@b.c>>", "a@b.c"),
        ("<a\\ b@c.d>", "a b@c.d"),
        ("<a . b @ c.d>", "a.b@c.d"),
    ] {
        assert_eq!(internal(text, TOLERANT).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(internal("<a@ä.c>", UTF8).as_deref(), Some("a@ä.c"));
}

#[test]
fn what_postfix_refuses() {
    let long_label = format!("<a@{}.y>", "a".repeat(limits::LABEL + 1));
    let long_domain = format!("<a@{}x.y>", "a.".repeat(limits::DOMAIN / 2));
    for text in [
        "<a b@x>",
        "<a@[x]>",
        "<a@b..c>",
        "<a@-b>",
        "<a@>",
        "<a@ä.c>",
        "<a\0b@c>",
        "<a@b,c@d>",
        "<\"a\0\"@c>",
        "<a@1.2.3.4>",
        &long_label,
        &long_domain,
    ] {
        assert_eq!(internal(text, TOLERANT), None, "{text}");
    }
    for text in ["a@b.c", "<a@b.c(comment)>", "<@b>", "<Some One <a@b.c>>"] {
        assert!(internal(text, TOLERANT).is_some(), "{text}");
        assert_eq!(internal(text, STRICT), None, "{text}");
    }
    assert_eq!(internal("<>", STRICT).as_deref(), Some(""));
}

/// Each of these was tried on Dovecot 2.3.19's LMTP server.
#[test]
fn dovecot_paths() {
    let path = |text| parse_path(text, false).map(|(path, rest)| (path.map(|path| path.to_string()), rest));
    assert_eq!(path("<>"), Ok((None, "")));
    assert_eq!(path("<root> X=1"), Ok((Some("root".into()), " X=1")));
    assert_eq!(path("<\"a \\\"b\"@c>"), Ok((Some("a \"b@c".into()), "")));
    assert_eq!(path("<@a,@b:c@d>"), Ok((Some("c@d".into()), "")));
    assert_eq!(path("a@b.c"), Err(AddressError("Missing '<' at beginning of path")));
    let long = format!("<{}@b>", "a".repeat(limits::LOCAL_PART + 1));
    for text in ["<", "<a", "<a@b", "<@b>", "<a b@c>", "<\"a@b>", "<a@b..c>", "<ä@b>", "<\"\u{1}\"@b>", &long] {
        assert!(path(text).is_err(), "{text}");
    }
}

#[test]
fn quoting() {
    let quoted = |text| Address::from_internal(text, true).unwrap().quoted();
    for (internal, expected) in [
        ("user@example.org", "user@example.org"),
        ("root", "root"),
        ("a b@c", "\"a b\"@c"),
        (".a@c", "\".a\"@c"),
        ("a.@c", "\"a.\"@c"),
        ("a..b@c", "\"a..b\"@c"),
        ("a\"\\@c", "\"a\\\"\\\\\"@c"),
        ("@c", "\"\"@c"),
        ("a@b@c", "\"a@b\"@c"),
        ("ä@c", "ä@c"),
    ] {
        assert_eq!(quoted(internal), expected, "{internal}");
    }
}

proptest! {
    #[test]
    fn quoted_addresses_read_back(local in "[^\0@\r\n]{1,60}", domain in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?") {
        let address = Address::from_internal(&format!("{local}@{domain}"), true).unwrap();
        prop_assert_eq!(parse(&format!("<{}>", address.quoted()), UTF8), Ok(Some(address)));
    }

    #[test]
    fn any_input(text in "[<>()\\[\\]@:;,. \"\\\\a\0é]*") {
        for syntax in [TOLERANT, STRICT, UTF8] {
            if let Ok(Some(address)) = parse(&text, syntax) {
                prop_assert!(!address.quoted().contains('\0'));
            }
        }
        let _ = parse_path(&text, true);
    }
}
