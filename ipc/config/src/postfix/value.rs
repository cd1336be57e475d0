//! The forms that a value has, once `$name` in it is expanded.
//!
//! What is accepted is exactly what Postfix accepts; an error is the text that Postfix ends with.

use std::time::Duration;

use super::logical::is_space;

/// `yes` or `no`, in any case.
pub(super) fn boolean(name: &str, value: &str) -> Result<bool, String> {
    if value.eq_ignore_ascii_case("yes") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("no") {
        Ok(false)
    } else {
        Err(format!("bad boolean configuration: {name} = {value}"))
    }
}

/// A decimal number within `min` and `max`, of which 0 is no limit.
pub(super) fn integer(name: &str, value: &str, min: i64, max: i64) -> Result<i32, String> {
    let number = size(name, value, min, max)?;
    i32::try_from(number).map_err(|_| format!("bad numerical configuration: {name} = {value}"))
}

/// The same in 64 bits.
pub(super) fn size(name: &str, value: &str, min: i64, max: i64) -> Result<i64, String> {
    let number: i64 = value
        .trim_start_matches(is_space)
        .parse()
        .map_err(|_| format!("bad numerical configuration: {name} = {value}"))?;
    if min != 0 && number < min {
        return Err(format!("invalid {name} parameter value {number} < {min}"));
    }
    if max != 0 && number > max {
        return Err(format!("invalid {name} parameter value {number} > {max}"));
    }
    Ok(number)
}

/// A time; `default` is the expanded default value, whose unit applies when the value has none. What follows the
/// letter of the unit is not looked at.
pub(super) fn time(name: &str, value: &str, default: &str, min: i64, max: i64) -> Result<Duration, String> {
    let bad = || format!("parameter {name}: bad time value or unit: {value}");
    let trimmed = value.trim_start_matches(is_space);
    let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    let default_unit = default.chars().find(char::is_ascii_alphabetic).unwrap_or('s');
    let factor: u64 = match unit.chars().next().unwrap_or(default_unit) {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let seconds = number.checked_mul(factor).and_then(|seconds| i32::try_from(seconds).ok()).ok_or_else(bad)?;
    if min != 0 && i64::from(seconds) < min {
        return Err(format!("invalid {name}: {seconds} (min {min})"));
    }
    if max != 0 && i64::from(seconds) > max {
        return Err(format!("invalid {name}: {seconds} (max {max})"));
    }
    Ok(Duration::from_secs(number * factor))
}

/// One of `words`, in the form in which it is listed.
pub(super) fn choice(name: &str, value: &str, words: &[&'static str]) -> Result<&'static str, String> {
    words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(value))
        .copied()
        .ok_or_else(|| format!("bad value: {name} = {value}"))
}

/// Splits a list at commas and white space. Separators within braces do not count; the braces stay.
pub fn words(list: &str) -> Vec<String> {
    let is_separator = |c: char| matches!(c, ',' | ' ' | '\t' | '\r' | '\n');
    let mut words = Vec::new();
    let mut word = String::new();
    let mut level = 0_usize;
    for character in list.chars() {
        match character {
            _ if level == 0 && is_separator(character) => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            '{' => level += 1,
            '}' => level = level.saturating_sub(1),
            _ => {}
        }
        word.push(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_yes_and_no() {
        assert_eq!(boolean("x", "YES"), Ok(true));
        assert_eq!(boolean("x", "no"), Ok(false));
        for bad in ["", "true", "1", "yes ", "y"] {
            assert_eq!(boolean("x", bad), Err(format!("bad boolean configuration: x = {bad}")));
        }
    }

    #[test]
    fn numbers_keep_to_their_limits() {
        assert_eq!(integer("x", "20", 1, 0), Ok(20));
        assert_eq!(integer("x", "-3", 0, 0), Ok(-3));
        assert_eq!(integer("x", "0", 1, 0), Err("invalid x parameter value 0 < 1".to_owned()));
        assert_eq!(integer("x", "101", 0, 100), Err("invalid x parameter value 101 > 100".to_owned()));
        for bad in ["", "1k", "0x10", "1 ", "2147483648", "1.5"] {
            assert_eq!(integer("x", bad, 0, 0), Err(format!("bad numerical configuration: x = {bad}")), "{bad}");
        }
        assert_eq!(size("x", "2147483648", 0, 0), Ok(2_147_483_648));
        assert!(size("x", "9223372036854775808", 0, 0).is_err());
    }

    #[test]
    fn times_have_units() {
        let seconds = |value, default| time("x", value, default, 0, 0).map(|time| time.as_secs());
        for (value, default, result) in [
            ("5", "300s", 5),
            ("5", "3d", 432_000),
            ("5m", "3d", 300),
            ("2h", "1s", 7_200),
            ("1w", "1s", 604_800),
            ("1day", "1s", 86_400),
            ("0", "0s", 0),
        ] {
            assert_eq!(seconds(value, default), Ok(result), "{value}");
        }
        for bad in ["", "s", "-1s", "5x", "5 s", "5D", "2147483648", "99999999999999999999w", "3551w"] {
            assert_eq!(seconds(bad, "1s"), Err(format!("parameter x: bad time value or unit: {bad}")), "{bad}");
        }
        assert_eq!(time("x", "0", "1s", 1, 0), Err("invalid x: 0 (min 1)".to_owned()));
        assert_eq!(time("x", "11", "1s", 0, 10), Err("invalid x: 11 (max 10)".to_owned()));
    }

    #[test]
    fn lists_are_split_outside_braces() {
        for (list, expected) in [
            ("", vec![]),
            (" , \t", vec![]),
            ("a,b c,, d\t", vec!["a", "b", "c", "d"]),
            ("permit, { check_x { a, b } }, reject", vec!["permit", "{ check_x { a, b } }", "reject"]),
            ("inline:{ a=b, c=d }", vec!["inline:{ a=b, c=d }"]),
            ("a} b", vec!["a}", "b"]),
            ("{a b", vec!["{a b"]),
        ] {
            assert_eq!(words(list), expected, "{list}");
        }
    }
}
