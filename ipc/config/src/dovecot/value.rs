//! Values of settings: what Dovecot accepts for each kind, and how it prints it.
//!
//! Every value is kept as the text that `doveconf` prints ([`normalise`]); the typed readers here take that text. Pure.

use super::table::Kind;

/// Checks a value and gives it the form in which `doveconf` prints it, or says in Dovecot's words what is wrong.
pub fn normalise(kind: Kind, value: &str) -> Result<String, String> {
    Ok(match kind {
        Kind::Bool => (if bool(value)? { "yes" } else { "no" }).to_owned(),
        Kind::Uint => uint(value)?.to_string(),
        Kind::Octal => octal_text(octal(value)?),
        Kind::Port => port(value)?.to_string(),
        Kind::Time => time_text(time(value)?),
        Kind::TimeMsecs => match time_msecs(value)? {
            msecs if msecs % 1000 == 0 => time_text(msecs / 1000),
            msecs => format!("{msecs} ms"),
        },
        Kind::Size => size_text(size(value)?),
        Kind::Enum(words) if !words.contains(&value) => return Err(format!("Invalid value: {value}")),
        Kind::Str | Kind::Vars | Kind::List | Kind::Enum(_) => value.to_owned(),
    })
}

/// `yes`, `y` and `1`, or `no`.
pub fn bool(value: &str) -> Result<bool, String> {
    if value.eq_ignore_ascii_case("yes") || value.eq_ignore_ascii_case("y") || value == "1" {
        Ok(true)
    } else if value.eq_ignore_ascii_case("no") {
        Ok(false)
    } else {
        Err(format!("Invalid boolean value: {value} (use yes or no)"))
    }
}

/// A decimal number of up to 32 bits.
pub fn uint(value: &str) -> Result<u32, String> {
    let why = if is_number(value) { "Number is too large" } else { "Not a valid number" };
    let number = if is_number(value) { value.parse().ok() } else { None };
    number.ok_or_else(|| format!("Invalid number {value}: {why}"))
}

/// A file mode: octal when it begins with 0.
pub fn octal(value: &str) -> Result<u32, String> {
    match value.strip_prefix('0') {
        None => uint(value),
        Some("") => Ok(0),
        Some(digits) if is_number(digits) => {
            u32::from_str_radix(digits, 8).map_err(|_| format!("Invalid number: {value}"))
        }
        Some(_) => Err(format!("Invalid number: {value}")),
    }
}

/// A TCP port, 0 to 65535.
pub fn port(value: &str) -> Result<u16, String> {
    let number = if is_number(value) { value.parse().ok() } else { None };
    number.ok_or_else(|| format!("Invalid port number {value}"))
}

/// A time in whole seconds: `2 mins`, `30s`, `1 week`. A unit may be cut short; only 0 needs none.
pub fn time(value: &str) -> Result<u32, String> {
    time_in(value, false)
}

/// A time in milliseconds, written in the same way.
pub fn time_msecs(value: &str) -> Result<u32, String> {
    time_in(value, true)
}

/// Bytes: `64 k`, `256M`, `1 GiB`.
pub fn size(value: &str) -> Result<u64, String> {
    let invalid = || format!("Invalid size: {value}");
    let (digits, unit) = split_number(value).ok_or_else(invalid)?;
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    let mut letters = unit.bytes().map(|letter| letter.to_ascii_uppercase()).peekable();
    let shift = match letters.next() {
        None | Some(b'B') => 0,
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(_) => return Err(invalid()),
    };
    if shift > 0 {
        letters.next_if_eq(&b'I');
        letters.next_if_eq(&b'B');
    }
    if letters.next().is_some() {
        return Err(invalid());
    }
    number.checked_mul(1 << shift).ok_or_else(|| format!("Size is too large: {value}"))
}

/// The words of a list: separated by white space or commas.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split([' ', '\t', ',']).filter(|word| !word.is_empty())
}

fn time_in(value: &str, milliseconds: bool) -> Result<u32, String> {
    let invalid = || format!("Invalid time interval: {value}");
    let (digits, unit) = split_number(value).ok_or_else(invalid)?;
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    if unit.is_empty() && number != 0 {
        return Err(format!("Time interval '{value}' is missing units (add e.g. 's' for seconds)"));
    }
    let is = |names: &[&str]| {
        names.iter().any(|name| name.get(..unit.len()).is_some_and(|start| start.eq_ignore_ascii_case(unit)))
    };
    let per_second = if milliseconds { 1000 } else { 1 };
    let multiply = if unit.is_empty() || is(&["secs", "seconds"]) {
        per_second
    } else if is(&["mins", "minutes"]) {
        60 * per_second
    } else if is(&["msecs", "mseconds", "millisecs", "milliseconds"]) {
        return match (milliseconds, number % 1000) {
            (true, _) => u32::try_from(number).map_err(|_| format!("Time interval is too large: {value}")),
            (false, 0) => u32::try_from(number / 1000).map_err(|_| format!("Time interval is too large: {value}")),
            (false, _) => Err(format!("Milliseconds not supported for this setting: {value}")),
        };
    } else if is(&["hours"]) {
        3600 * per_second
    } else if is(&["days"]) {
        86_400 * per_second
    } else if is(&["weeks"]) {
        604_800 * per_second
    } else {
        return Err(invalid());
    };
    number
        .checked_mul(multiply)
        .and_then(|total| u32::try_from(total).ok())
        .ok_or_else(|| format!("Time interval is too large: {value}"))
}

/// Splits `12 mins` into `12` and `mins`.
fn split_number(value: &str) -> Option<(&str, &str)> {
    let end = value.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    (end > 0).then(|| (&value[..end], value[end..].trim_start_matches(' ')))
}

fn is_number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn octal_text(mode: u32) -> String {
    format!("0{mode:o}")
}

fn time_text(seconds: u32) -> String {
    const UNITS: [(u32, &str); 5] = [(604_800, "weeks"), (86_400, "days"), (3600, "hours"), (60, "mins"), (1, "secs")];
    match UNITS.iter().find(|(unit, _)| seconds.is_multiple_of(*unit)) {
        Some((unit, name)) if seconds > 0 => format!("{} {name}", seconds / unit),
        _ => "0".to_owned(),
    }
}

fn size_text(bytes: u64) -> String {
    const UNITS: [(u32, char); 5] = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'k'), (0, 'B')];
    match UNITS.iter().find(|(shift, _)| bytes.trailing_zeros() >= *shift) {
        Some((shift, name)) if bytes > 0 => format!("{} {name}", bytes >> shift),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_doveconf_prints_them() {
        for (kind, value, expected) in [
            (Kind::Bool, "YES", "yes"),
            (Kind::Bool, "1", "yes"),
            (Kind::Bool, "No", "no"),
            (Kind::Uint, "0143", "143"),
            (Kind::Octal, "0660", "0660"),
            (Kind::Octal, "384", "0600"),
            (Kind::Octal, "0", "00"),
            (Kind::Port, "0143", "143"),
            (Kind::Time, "0", "0"),
            (Kind::Time, "120 s", "2 mins"),
            (Kind::Time, "90 min", "90 mins"),
            (Kind::Time, "24h", "1 days"),
            (Kind::Time, "7 d", "1 weeks"),
            (Kind::Time, "3000 ms", "3 secs"),
            (Kind::Time, "5m", "5 mins"),
            (Kind::TimeMsecs, "1500 ms", "1500 ms"),
            (Kind::TimeMsecs, "30 secs", "30 secs"),
            (Kind::Size, "0", "0"),
            (Kind::Size, "512M", "512 M"),
            (Kind::Size, "1024 kiB", "1 M"),
            (Kind::Size, "1536", "1536 B"),
            (Kind::Size, "3 gb", "3 G"),
            (Kind::Enum(&["a", "b"]), "b", "b"),
            (Kind::Str, " x ", " x "),
        ] {
            assert_eq!(normalise(kind, value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn bad_values_are_refused_in_dovecots_words() {
        for (kind, value, expected) in [
            (Kind::Bool, "maybe", "Invalid boolean value: maybe (use yes or no)"),
            (Kind::Bool, "Y es", "Invalid boolean value: Y es (use yes or no)"),
            (Kind::Uint, "abc", "Invalid number abc: Not a valid number"),
            (Kind::Uint, "-1", "Invalid number -1: Not a valid number"),
            (Kind::Octal, "0999", "Invalid number: 0999"),
            (Kind::Port, "99999", "Invalid port number 99999"),
            (Kind::Time, "5", "Time interval '5' is missing units (add e.g. 's' for seconds)"),
            (Kind::Time, "5 parsecs", "Invalid time interval: 5 parsecs"),
            (Kind::Time, "5 minutesx", "Invalid time interval: 5 minutesx"),
            (Kind::Time, "", "Invalid time interval: "),
            (Kind::Time, "5 ms", "Milliseconds not supported for this setting: 5 ms"),
            (Kind::Time, "99999 weeks", "Time interval is too large: 99999 weeks"),
            (Kind::Size, "5 Q", "Invalid size: 5 Q"),
            (Kind::Size, "M", "Invalid size: M"),
            (Kind::Size, "99999999999 G", "Size is too large: 99999999999 G"),
            (Kind::Enum(&["a", "b"]), "A", "Invalid value: A"),
        ] {
            assert_eq!(normalise(kind, value), Err(expected.to_owned()), "{value}");
        }
    }

    #[test]
    fn words_are_split_at_blanks_and_commas() {
        assert_eq!(words(" imap, lmtp\tpop3 ").collect::<Vec<_>>(), ["imap", "lmtp", "pop3"]);
    }
}
