//! What stands between the braces of a variable: a name with the filters of 2.4, `env:`, and `if;`.

use super::{Error, Vars, domain, expand_at, named, username};

/// What stands between braces.
pub(super) fn long(inside: &str, vars: &Vars<'_>, depth: usize) -> Result<String, Error> {
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
    crate::dovecot::glob::matches(&quoted, text)
}
