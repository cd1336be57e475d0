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

use std::fmt;

/// Longest result, in bytes.
pub const MAX_EXPANDED: usize = 64 * 1024;
/// How deep variables may stand in the arguments of others.
pub const MAX_DEPTH: usize = 8;
/// Greatest width or offset.
const MAX_WIDTH: i64 = 1 << 32;
/// Modifiers of one variable; Dovecot's own limit.
const MAX_MODIFIERS: usize = 10;

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
    pub md5: Option<fn(&[u8]) -> [u8; 16]>,
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
        let (format, after) = Format::parse(after);
        rest = match (after.strip_prefix('{').and_then(closing_brace), after.chars().next()) {
            (Some((inside, after)), _) => {
                let name = inside.split(['|', ':', ';']).next().unwrap_or_default();
                if name.trim() == long || uses(inside, key, long) {
                    return true;
                }
                after
            }
            (None, Some(found)) if found == key && format.modifiers.len() <= MAX_MODIFIERS => return true,
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

/// What stands between `%` and the key.
#[derive(Debug, Default)]
struct Format {
    /// Characters left out; negative counts from the end.
    offset: i64,
    /// Characters taken; 0 is all, negative leaves that many out at the end.
    width: i64,
    zeros: bool,
    modifiers: Vec<char>,
}

impl Format {
    /// Reads a format, and gives what follows it.
    fn parse(text: &str) -> (Format, &str) {
        let mut format = Format::default();
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix('-').unwrap_or(text);
        format.zeros = rest.starts_with('0');
        (format.width, rest) = number(rest);
        if let Some(after) = rest.strip_prefix('.') {
            format.offset = if negative { -format.width } else { format.width };
            format.zeros = after.starts_with('0');
            let after = after.strip_prefix('0').unwrap_or(after);
            let negative = after.starts_with('-');
            (format.width, rest) = number(after.strip_prefix('-').unwrap_or(after));
            format.width = if negative { -format.width } else { format.width };
        }
        while format.modifiers.len() < MAX_MODIFIERS
            && let Some(modifier) = rest.chars().next().filter(|letter| "LUEXRHNMDT".contains(*letter))
        {
            format.modifiers.push(modifier);
            rest = &rest[1..];
        }
        (format, rest)
    }

    /// Applies the modifiers to a value, cuts it and adds it to the result.
    fn write(mut self, value: String, vars: &Vars<'_>, out: &mut String) -> Result<(), Error> {
        let mut value = value;
        for modifier in std::mem::take(&mut self.modifiers) {
            value = self.modify(modifier, &value, vars)?;
        }
        let length = value.chars().count() as i64;
        let skipped = if self.offset < 0 { (length + self.offset).max(0) } else { self.offset.min(length) };
        let left = length - skipped;
        let taken = match self.width {
            0 => left,
            _ if self.zeros && self.width > 0 => {
                if self.width > MAX_EXPANDED as i64 {
                    return Err(Error::TooLong);
                }
                out.extend((left..self.width).map(|_| '0'));
                left
            }
            width if width < 0 => (left + width).max(0),
            width => width.min(left),
        };
        out.extend(value.chars().skip(skipped as usize).take(taken as usize));
        Ok(())
    }

    fn modify(&mut self, modifier: char, value: &str, vars: &Vars<'_>) -> Result<String, Error> {
        Ok(match modifier {
            'L' => value.to_ascii_lowercase(),
            'U' => value.to_ascii_uppercase(),
            'E' => super::doveconf::escape(value),
            'X' => format!("{:x}", value.parse::<u64>().unwrap_or(0)),
            'R' => value.chars().rev().collect(),
            'D' => value.replace('.', ",dc="),
            'T' => value.trim_end_matches(|c: char| c.is_ascii_whitespace()).to_owned(),
            'H' => self.bucket(u64::from(string_hash(value))),
            'M' => md5(value, vars)?.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => {
                let digest = md5(value, vars)?;
                self.bucket(digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            }
        })
    }

    /// A hash modulo the width, in hex, with the offset as its least number of digits. Both are used up by that.
    fn bucket(&mut self, hash: u64) -> String {
        let hash = match std::mem::take(&mut self.width).unsigned_abs() {
            0 => hash,
            width => hash % width,
        };
        let digits = std::mem::take(&mut self.offset).clamp(0, 64) as usize;
        format!("{:0digits$x}", hash as u32)
    }
}

/// Leading digits as a number, and what follows them.
fn number(text: &str) -> (i64, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].bytes().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(MAX_WIDTH));
    (number, &text[end..])
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
        'w' => "password",
        'm' => "mech",
        'c' => "secured",
        'a' => "lport",
        'b' => "rport",
        'k' => "cert",
        _ => "",
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

/// What stands between braces.
fn long(inside: &str, vars: &Vars<'_>, depth: usize) -> Result<String, Error> {
    if let Some(arguments) = inside.strip_prefix("if;") {
        return condition(arguments, vars, depth);
    }
    if let Some(name) = inside.strip_prefix("env:") {
        return Ok((vars.environment)(name).unwrap_or_default());
    }
    let mut parts = inside.split('|').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let mut value = named(name, vars);
    for filter in parts {
        value = apply(filter, value, vars, depth)?;
    }
    value.ok_or_else(|| Error::Unknown(format!("%{name}")))
}

/// One filter of 2.4. Only `default` takes a variable that has no value.
fn apply(filter: &str, value: Option<String>, vars: &Vars<'_>, depth: usize) -> Result<Option<String>, Error> {
    let (name, arguments) = match filter.split_once('(') {
        Some((name, rest)) => (name.trim(), arguments(rest.strip_suffix(')').unwrap_or(rest))),
        None => (filter, Vec::new()),
    };
    let argument = |at: usize| {
        let text = arguments.get(at).ok_or_else(|| Error::Argument(format!("{name}: missing parameter(s)")))?;
        expand_at(text, vars, depth + 1)
    };
    let count = |at: usize| {
        let text = argument(at)?;
        text.parse::<usize>().map_err(|_| Error::Argument(format!("{name}: '{text}' is not a number")))
    };
    if name == "default" {
        let empty = value.as_ref().is_none_or(String::is_empty);
        return if empty {
            if arguments.is_empty() { Ok(Some(String::new())) } else { argument(0).map(Some) }
        } else {
            Ok(value)
        };
    }
    let Some(value) = value else { return Ok(None) };
    Ok(Some(match name {
        "username" => username(&value).to_owned(),
        "domain" => domain(&value).to_owned(),
        "lower" => value.to_lowercase(),
        "upper" => value.to_uppercase(),
        "reverse" => value.chars().rev().collect(),
        "rtrim" => value.trim_end().to_owned(),
        "ltrim" => value.trim_start().to_owned(),
        "length" => value.len().to_string(),
        "hex" => format!("{:x}", value.parse::<u64>().unwrap_or(0)),
        "hexlify" => value.bytes().map(|byte| format!("{byte:02x}")).collect(),
        "ldap_dn" => value.replace('.', ",dc="),
        "concat" => value + &argument(0)?,
        "substr" => {
            let from = count(0)?;
            let taken = if arguments.len() > 1 { count(1)? } else { usize::MAX };
            value.chars().skip(from).take(taken).collect()
        }
        _ => return Err(Error::UnknownFilter(name.to_owned())),
    }))
}

/// Arguments between parentheses, without white space and quotes around them.
fn arguments(text: &str) -> Vec<String> {
    let plain = |argument: &str| {
        let argument = argument.trim();
        let unquoted = ['\'', '"'].iter().find_map(|quote| argument.strip_prefix(*quote)?.strip_suffix(*quote));
        unquoted.unwrap_or(argument).to_owned()
    };
    text.split(',').map(plain).collect()
}

/// `value;operator;value;then;else`, in which each part may have variables.
fn condition(text: &str, vars: &Vars<'_>, depth: usize) -> Result<String, Error> {
    let mut parts = split_condition(text);
    if parts.len() == 4 {
        parts.push(String::new());
    }
    let parts: Vec<String> = parts.iter().map(|part| expand_at(part, vars, depth + 1)).collect::<Result<_, Error>>()?;
    let [left, operator, right, then, otherwise] = parts.as_slice() else {
        return Err(Error::Argument(format!("if: requires four or five parameters, got {}", parts.len())));
    };
    Ok(if compare(left, operator, right)? { then.clone() } else { otherwise.clone() })
}

/// Splits at `;` outside of variables. `\x` stands for `x`.
fn split_condition(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    let mut previous = ' ';
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match character {
            '\\' => parts[last].extend(characters.next()),
            ';' if depth == 0 => parts.push(String::new()),
            _ => {
                depth = match character {
                    '{' if previous == '%' || depth > 0 => depth + 1,
                    '}' => depth.saturating_sub(1),
                    _ => depth,
                };
                parts[last].push(character);
            }
        }
        previous = character;
    }
    // Dovecot takes no notice of an empty part at the end.
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

fn compare(left: &str, operator: &str, right: &str) -> Result<bool, Error> {
    let numbers = || {
        let number = |text: &str, side: &str| {
            text.parse::<i64>().map_err(|_| Error::Argument(format!("if: {text} ({side}) is not a number")))
        };
        Ok((number(left, "lhs")?, number(right, "rhs")?))
    };
    Ok(match operator {
        "==" => numbers().map(|(one, other)| one == other)?,
        "!=" => numbers().map(|(one, other)| one != other)?,
        "<" => numbers().map(|(one, other)| one < other)?,
        "<=" => numbers().map(|(one, other)| one <= other)?,
        ">" => numbers().map(|(one, other)| one > other)?,
        ">=" => numbers().map(|(one, other)| one >= other)?,
        "eq" => left == right,
        "ne" => left != right,
        "lt" => left < right,
        "le" => left <= right,
        "gt" => left > right,
        "ge" => left >= right,
        "*" => wildcard(right, left),
        "!*" => !wildcard(right, left),
        // A regular expression on what a client sends would need an engine in the process that holds privileges.
        "~" | "!~" => return Err(Error::Argument(format!("if: comparator '{operator}' is not supported yet"))),
        _ => return Err(Error::Argument(format!("if: Unsupported comparator '{operator}'"))),
    })
}

/// `*` stands for any text and `?` for one character, and nothing else for anything but itself.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut quoted = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        if matches!(character, '[' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    super::glob::matches(&quoted, text)
}

fn md5(value: &str, vars: &Vars<'_>) -> Result<[u8; 16], Error> {
    vars.md5.map(|md5| md5(value.as_bytes())).ok_or(Error::NoDigest)
}

/// Dovecot's string hash (`%H`), which is that of ELF symbol tables.
fn string_hash(text: &str) -> u32 {
    text.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) ^ high
    })
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
    fn hashes_are_dovecots() {
        // The ELF hash of these names, as in the System V ABI.
        for (text, expected) in [("", 0), ("printf", 0x077905a6), ("exit", 0x0006cf04), ("syscall", 0x0b09985c)] {
            assert_eq!(string_hash(text), expected, "{text}");
        }
        assert_eq!(run("%Hs").as_deref(), Ok("70380"));
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
