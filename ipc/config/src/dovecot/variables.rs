//! `%`-variables in values: `mail_home = /var/vmail/%d/%n`.
//!
//! Both dialects: the 2.3 one with modifiers and widths (`%Lu`, `%2.256Nu`, `%{if;…}`), and the 2.4 one with filters
//! (`%{user|domain|lower}`). They are not expanded where the configuration is read but where a user is known, so what
//! goes in may come from a client: every length and depth is bounded, and a value that was put in is never read for
//! variables again.
//!
//! ```text
//! variable = "%" [ [ "-" ] [ "0" ] width ] [ "." [ "0" ] [ "-" ] width ] *modifier ( key / "{" long "}" / "%" )
//! long     = name *( "|" filter ) / "env:" name / "if;" value ";" operator ";" value ";" value [ ";" value ]
//! filter   = name [ "(" argument *( "," argument ) ")" ]
//! ```
//! With a `.`, the first number is how many characters are left out (from the end, if negative) and the second how many
//! are taken; for the hashes `H` and `N` they are the least number of digits and what the value is taken modulo.

mod format;
mod long;

use std::fmt;

use format::Format;
use long::long;

/// Longest result, in bytes.
pub const MAX_EXPANDED: usize = 64 * 1024;
/// How deep variables may stand in the arguments of others.
pub const MAX_DEPTH: usize = 8;

/// Why a template cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No such variable here; with its `%`.
    Unknown(String),
    /// A filter of 2.4 or a function that is not known.
    UnknownFilter(String),
    /// The arguments of `%{if}` or of a filter are wrong, for this reason.
    Argument(String),
    /// The MD5 modifiers need a digest that the caller did not bring.
    NoDigest,
    /// The result is longer than [`MAX_EXPANDED`].
    TooLong,
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// An MD5 of bytes.
pub type Md5 = fn(&[u8]) -> [u8; 16];

/// Where values come from.
///
/// This crate links no digest: a process that has one brings it for `%M` and `%N`.
#[derive(Clone, Copy)]
pub struct Vars<'a> {
    /// The value of a variable by its long name; `None` if it has none here. `user`, `home`, `service`, `lip`, `rip`,
    /// `pid`, `uid`, `gid`, `session`, `hostname`, `auth_user`, `login_user`, `master_user`, …; what `username` and
    /// `domain` stand for follows from `user`.
    pub value: &'a dyn Fn(&str) -> Option<String>,
    /// What a variable of the environment holds, for `%{env:NAME}`.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// MD5.
    pub md5: Option<Md5>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown(name) => write!(f, "Unknown variable '{name}'"),
            Error::UnknownFilter(name) => write!(f, "No such function '{name}'"),
            Error::Argument(why) => f.write_str(why),
            Error::NoDigest => f.write_str("MD5 is not available here"),
            Error::TooLong => write!(f, "the expanded value is longer than {MAX_EXPANDED} bytes"),
            Error::TooDeep => write!(f, "variables are nested deeper than {MAX_DEPTH}"),
        }
    }
}

impl std::error::Error for Error {}

/// Replaces every variable in a template. A lone `%` at its end is dropped, as in Dovecot.
pub fn expand(template: &str, vars: &Vars<'_>) -> Result<String, Error> {
    expand_at(template, vars, 0)
}

/// The folder that every expansion of a path is below: the part before the first variable, up to its last `/`. Without
/// a variable it is the folder of the path itself. Empty if the path is not absolute.
pub fn static_prefix(template: &str) -> &str {
    let fixed = template.split('%').next().unwrap_or_default();
    match fixed.rfind('/') {
        Some(0) => "/",
        Some(end) if fixed.starts_with('/') => &fixed[..end],
        _ => "",
    }
}

/// Whether a template uses a variable, under its short or long name.
pub fn uses(template: &str, key: char, long: &str) -> bool {
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('%') {
        let (_, after) = Format::parse(after);
        rest = match (after.strip_prefix('{').and_then(closing_brace), after.chars().next()) {
            (Some((inside, after)), _) => {
                let name = inside.split(['|', ':', ';']).next().unwrap_or_default();
                if name.trim() == long || uses(inside, key, long) {
                    return true;
                }
                after
            }
            (None, Some(found)) if found == key => return true,
            (None, Some(found)) => &after[found.len_utf8()..],
            (None, None) => "",
        };
    }
    false
}

fn expand_at(template: &str, vars: &Vars<'_>, depth: usize) -> Result<String, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some((plain, after)) = rest.split_once('%') {
        out += plain;
        let (format, after) = Format::parse(after);
        let Some(key) = after.chars().next() else {
            rest = "";
            break;
        };
        let (value, after) = match after.strip_prefix('{').and_then(closing_brace) {
            Some((inside, after)) => (long(inside, vars, depth)?, after),
            None => (short(key, vars)?, &after[key.len_utf8()..]),
        };
        format.write(value, vars, &mut out)?;
        rest = after;
        if out.len() > MAX_EXPANDED {
            return Err(Error::TooLong);
        }
    }
    out += rest;
    if out.len() > MAX_EXPANDED { Err(Error::TooLong) } else { Ok(out) }
}

/// Splits what follows `{` at the `}` that belongs to it. `\x` is never a brace.
fn closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

fn short(key: char, vars: &Vars<'_>) -> Result<String, Error> {
    let mut letter = [0; 4];
    let name = match key {
        '%' => return Ok("%".to_owned()),
        'u' => "user",
        'n' => "username",
        'd' => "domain",
        's' => "service",
        'h' => "home",
        'l' => "lip",
        'r' => "rip",
        'p' => "pid",
        'i' => "uid",
        'e' => "mail_pid",
        'w' => "password",
        'm' => "mech",
        'c' => "secured",
        'a' => "lport",
        'b' => "rport",
        'k' => "cert",
        // Some settings have letters of their own; who expands them is asked for the letter.
        _ => key.encode_utf8(&mut letter),
    };
    named(name, vars).ok_or_else(|| Error::Unknown(format!("%{key}")))
}

/// The value of a variable by its long name, also by an alias of it.
fn named(name: &str, vars: &Vars<'_>) -> Option<String> {
    const ALIASES: [(&str, &str); 8] = [
        ("local_ip", "lip"),
        ("remote_ip", "rip"),
        ("local_port", "lport"),
        ("remote_port", "rport"),
        ("mechanism", "mech"),
        ("original_user", "orig_user"),
        ("original_username", "orig_username"),
        ("original_domain", "orig_domain"),
    ];
    if let Some(value) = (vars.value)(name) {
        return Some(value);
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    if let Some(value) = (vars.value)(name) {
        return Some(value);
    }
    for prefix in ["", "auth_", "login_", "orig_"] {
        match name.strip_prefix(prefix) {
            Some("username") => return (vars.value)(&format!("{prefix}user")).map(|user| username(&user).to_owned()),
            Some("domain") => return (vars.value)(&format!("{prefix}user")).map(|user| domain(&user).to_owned()),
            _ => {}
        }
    }
    let of_user = |part: fn(&str) -> &str| (vars.value)("user").map(|user| part(&user).to_owned());
    match name {
        "domain_first" => of_user(domain),
        "domain_last" => of_user(|user| user.rsplit_once('@').map_or("", |(_, domain)| domain)),
        _ => None,
    }
}

/// The part before the first `@`.
fn username(user: &str) -> &str {
    user.split('@').next().unwrap_or_default()
}

/// The part after the first `@`.
fn domain(user: &str) -> &str {
    user.split_once('@').map_or("", |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        let value = match name {
            "user" => "Joe.Doe@Example.ORG",
            "home" => "/home/joe ",
            "service" => "imap",
            "uid" => "1000",
            "rip" => "192.0.2.1",
            "login_user" => "other@x.org",
            "session" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn environment(name: &str) -> Option<String> {
        (name == "TZ").then(|| "UTC".to_owned())
    }

    /// Not MD5: the last byte tells that the input came through.
    fn digest(input: &[u8]) -> [u8; 16] {
        let mut digest = [0; 16];
        digest[7] = input.len() as u8;
        digest[6] = 1;
        digest
    }

    fn run(template: &str) -> Result<String, Error> {
        expand(template, &Vars { value: &value, environment: &environment, md5: Some(digest) })
    }

    #[test]
    fn templates_of_both_dialects() {
        for (template, expected) in [
            ("/var/vmail/%d/%n", "/var/vmail/Example.ORG/Joe.Doe"),
            ("%u%%%s", "Joe.Doe@Example.ORG%imap"),
            ("%Lu", "joe.doe@example.org"),
            ("%LRn", "eod.eoj"),
            ("%Un", "JOE.DOE"),
            ("%Dn", "Joe,dc=Doe"),
            ("%Th|", "/home/joe|"),
            ("%Xi", "3e8"),
            ("%1n", "J"),
            ("%4.3n", "Doe"),
            ("%-3.2n", "Do"),
            ("%0.32n", "Joe.Doe"),
            ("%2.-1n", "e.Do"),
            ("%08i", "00001000"),
            ("%02i", "1000"),
            ("%2.256Nu", "13"),
            ("%4.0Ni", "0104"),
            ("%Mi", "00000000000001040000000000000000"),
            ("%{user}", "Joe.Doe@Example.ORG"),
            ("%L{user}", "joe.doe@example.org"),
            ("%3{username}", "Joe"),
            ("%{user|username}", "Joe.Doe"),
            ("%{ user | domain | lower }", "example.org"),
            ("%{user|username|upper|substr(0,3)}", "JOE"),
            ("%{session|default('none')}", "none"),
            ("%{nothing|default(%{service})}", "imap"),
            ("%{user|username|concat('-%s')}", "Joe.Doe-imap"),
            ("%{login_username}", "other"),
            ("%{login_user|domain}", "x.org"),
            ("%{domain_last}", "Example.ORG"),
            ("%{remote_ip}", "192.0.2.1"),
            ("%{env:TZ}%{env:NONE}", "UTC"),
            ("%{if;%s;eq;imap;yes;no}", "yes"),
            ("%{if;%d;ne;;%d;%{service}}", "Example.ORG"),
            ("%{if;%i;>=;1001;big;small}", "small"),
            ("%{if;%u;*;Joe*@*;a\\;b}", "a;b"),
            ("%{if;%s;eq;pop3;yes}|", "|"),
            ("%{if;%{if;1;==;1;a;b};eq;a;in;out}", "in"),
            ("100%", "100"),
            ("", ""),
        ] {
            assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
        }
    }

    /// What the real auth process made of these in the home of a user.
    #[test]
    fn recorded_expansions() {
        let value = |name: &str| match name {
            "user" => Some("joe.doe@example.org".to_owned()),
            "service" => Some("doveadm".to_owned()),
            _ => None,
        };
        let md5 = |input: &[u8]| <md5::Md5 as md5::Digest>::digest(input).into();
        let vars = Vars { value: &value, environment: &|_| None, md5: Some(md5) };
        for (template, expected) in [
            ("%u", "joe.doe@example.org"),
            ("%LRn", "eod.eoj"),
            ("%Dn", "joe,dc=doe"),
            ("%1n", "j"),
            ("%4.3n", "doe"),
            ("%-3.2n", "do"),
            ("%0.32n", "joe.doe"),
            ("%2.-1n", "e.do"),
            ("%08n", "0joe.doe"),
            ("%2.256Nu", "b8"),
            ("%4.0Nu", "22043eb8"),
            ("%4.16Nu", "0008"),
            ("%Nu", "22043eb8"),
            ("%Hu", "f14fbe7"),
            ("%2.256Hu", "e7"),
            ("%3.0Hu", "f14fbe7"),
            ("%Mu", "d65226bb22043eb8e9a9c6c92f117630"),
            ("%20MRu", "036711f29c6c9a9e8be3"),
            ("%Xn", "0"),
            ("%En", "joe.doe"),
            ("%Tn|", "joe.doe|"),
            ("%3{username}", "joe"),
            ("%{if;%s;eq;imap;yes;no}", "no"),
            ("%{if;3;>=;10;big;small}", "small"),
            ("%{if;%u;*;joe*@*;a\\;b}", "a;b"),
            ("%{if;%s;eq;pop3;yes}|", "|"),
            ("%{if;%{if;1;==;1;a;b};eq;a;in;out}", "in"),
            ("%{env:PATH}|", "|"),
            ("%{domain_first}.%{domain_last}", "example.org.example.org"),
            ("%%x", "%x"),
            ("%05.02n", "oe"),
            ("%-2n", "jo"),
            ("%2.n", "e.doe"),
            ("%UULn", "joe.doe"),
            ("%1.03n", "oe.doe"),
            ("%010.3n", ""),
            ("%.3n", "joe"),
        ] {
            assert_eq!(expand(template, &vars).as_deref(), Ok(expected), "{template}");
        }
        for bad in ["%{user", "%~"] {
            let name = bad[..2].to_owned();
            assert_eq!(expand(bad, &vars), Err(Error::Unknown(name)), "{bad}");
        }
    }

    #[test]
    fn bad_templates_say_why() {
        let argument = |why: &str| Error::Argument(why.to_owned());
        for (template, error) in [
            ("%q", Error::Unknown("%q".to_owned())),
            ("%{nothing}", Error::Unknown("%nothing".to_owned())),
            ("%{user|nothing}", Error::UnknownFilter("nothing".to_owned())),
            ("%{user|substr}", argument("substr: missing parameter(s)")),
            ("%{user|substr(x)}", argument("substr: 'x' is not a number")),
            ("%{if;1;==}", argument("if: requires four or five parameters, got 2")),
            ("%{if;a;==;1;x;y}", argument("if: a (lhs) is not a number")),
            ("%{if;a;is;1;x;y}", argument("if: Unsupported comparator 'is'")),
            ("%{if;a;~;b;x;y}", argument("if: comparator '~' is not supported yet")),
            ("%099999999d", Error::TooLong),
        ] {
            assert_eq!(run(template), Err(error), "{template}");
        }
        let without = Vars { value: &value, environment: &environment, md5: None };
        assert_eq!(expand("%Mu", &without), Err(Error::NoDigest));
    }

    #[test]
    fn results_and_depths_are_bounded() {
        assert_eq!(run(&"%u".repeat(MAX_EXPANDED / 19)).map(|text| text.len()), Ok(MAX_EXPANDED / 19 * 19));
        assert_eq!(run(&"%u".repeat(MAX_EXPANDED / 19 + 1)), Err(Error::TooLong));
        let nested = |depth: usize| format!("{}x{}", "%{if;1;==;1;".repeat(depth), "}".repeat(depth));
        assert_eq!(run(&nested(MAX_DEPTH)).as_deref(), Ok("x"));
        assert_eq!(run(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep));
    }

    #[test]
    fn what_a_client_sends_is_not_expanded_again() {
        let value = |name: &str| (name == "user").then(|| "%{env:TZ}%u@%d".to_owned());
        let vars = Vars { value: &value, environment: &environment, md5: None };
        assert_eq!(expand("%u", &vars).as_deref(), Ok("%{env:TZ}%u@%d"));
        assert_eq!(expand("%{if;%u;eq;x;a;%n}", &vars).as_deref(), Ok("%{env:TZ}%u"));
    }

    #[test]
    fn the_folder_before_the_first_variable() {
        for (template, expected) in [
            ("/var/vmail/auth.d/%d/passwd", "/var/vmail/auth.d"),
            ("/var/vmail/x%d", "/var/vmail"),
            ("/%d", "/"),
            ("/etc/dovecot/users", "/etc/dovecot"),
            ("/users", "/"),
            ("~/mail/%u", ""),
            ("%h/mail", ""),
            ("", ""),
        ] {
            assert_eq!(static_prefix(template), expected, "{template}");
        }
    }

    #[test]
    fn uses_sees_short_long_and_nested_names() {
        for (template, expected) in [
            ("%h/x", true),
            ("%Lh", true),
            ("%{home}", true),
            ("%{home|lower}", true),
            ("%{if;%h;eq;x;y}", true),
            ("%%h", false),
            ("%u/home", false),
        ] {
            assert_eq!(uses(template, 'h', "home"), expected, "{template}");
        }
    }

    #[test]
    fn no_template_makes_it_panic() {
        let pieces = ["%", "{", "}", "u", "-", "0", "9", ".", "|", "if;", ";", "\\", "L", "H", "é", "(", ")", "substr"];
        let mut state = 1_u64;
        for _ in 0..50_000 {
            let mut template = String::new();
            for _ in 0..10 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                template.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            let _ = run(&template);
            uses(&template, 'u', "user");
            assert!(template.starts_with(static_prefix(&template)));
        }
    }
}
