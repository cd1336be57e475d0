//! The `Date` field (RFC 5322 §3.3 and §4.3).
//!
//! ```text
//! date = [day-name ","] day month year hour ":" minute [":" second] [zone]
//! zone = ("+" / "-") 4DIGIT / "UT" / "GMT" / "EST" / … / military letter
//! ```
//!
//! As Dovecot reads it: comments anywhere, a dot for a colon, a year of two digits, a missing or unknown zone as UTC. A
//! time that the calendar does not have is no date; second 60 counts as 59.

use crate::lexer::Lexer;

/// A date with the zone that it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Seconds since 1970 in UTC.
    pub time: i64,
    /// The zone's offset from UTC in minutes, positive to the east.
    pub zone: i32,
}

impl Date {
    /// Reads the value of a `Date` field.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut lexer = Lexer::new(value);
        let _ = lexer.skip_white_space();
        let mut token = next(&mut lexer)?;
        if token.len() == 3 {
            // The name of the day. It is not compared with the day.
            if !lexer.take(b',') {
                return None;
            }
            let _ = lexer.skip_white_space();
            token = next(&mut lexer)?;
        }
        let day = number(&token, 1..=2)?;
        let month = month(&next(&mut lexer)?)?;
        let year = year(&next(&mut lexer)?)?;
        let hour = number(&next(&mut lexer)?, 1..=2)?;
        take_separator(&mut lexer)?;
        let minute = number(&next(&mut lexer)?, 2..=2)?;
        let second = if matches!(lexer.peek(), Some(b':' | b'.')) {
            take_separator(&mut lexer)?;
            number(&next(&mut lexer)?, 2..=2)?
        } else {
            0
        };
        let zone = if lexer.peek().is_some() { zone(&next(&mut lexer)?) } else { 0 };
        let second = if second == 60 { 59 } else { second };
        if day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let time = (days_since_1970(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
        Some(Self { time: time - i64::from(zone) * 60, zone })
    }

    /// Seconds since 1970 of the clock on the wall where it was written: what `SENTSINCE` and its like compare, because
    /// RFC 3501 disregards the zone.
    #[must_use]
    pub fn local_time(self) -> i64 {
        self.time + i64::from(self.zone) * 60
    }
}

fn next(lexer: &mut Lexer<'_>) -> Option<Vec<u8>> {
    let mut token = Vec::new();
    lexer.atom(&mut token).ok().map(|_| token)
}

fn take_separator(lexer: &mut Lexer<'_>) -> Option<()> {
    if !lexer.take(b':') && !lexer.take(b'.') {
        return None;
    }
    let _ = lexer.skip_white_space();
    Some(())
}

fn number(token: &[u8], length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let digits = token.iter().all(u8::is_ascii_digit) && length.contains(&token.len());
    digits.then(|| token.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// January is 0. What follows the first three letters does not matter.
fn month(token: &[u8]) -> Option<i64> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let name = token.get(..3)?.to_ascii_lowercase();
    NAMES.chunks(3).zip(0..).find(|(known, _)| *known == name).map(|(_, month)| month)
}

fn year(token: &[u8]) -> Option<i64> {
    match token.len() {
        2 => number(token, 2..=2).map(|year| if year < 70 { year + 2000 } else { year + 1900 }),
        _ => number(token, 4..=4).filter(|year| *year >= 1900),
    }
}

/// Minutes east of UTC.
fn zone(token: &[u8]) -> i32 {
    let letter = |at: usize| token[at].to_ascii_uppercase();
    match token.len() {
        5 if matches!(token[0], b'+' | b'-') => {
            let Some(digits) = number(&token[1..], 4..=4) else { return 0 };
            let minutes = (digits / 100 * 60 + digits % 100) as i32;
            if token[0] == b'-' { -minutes } else { minutes }
        }
        1 => military_zone(letter(0)) * 60,
        3 if token[2] == b'T' => {
            let standard = match letter(0) {
                b'E' => -5,
                b'C' => -6,
                b'M' => -7,
                b'P' => -8,
                _ => return 0,
            };
            match letter(1) {
                b'D' => (standard + 1) * 60,
                b'S' => standard * 60,
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// Hours east of UTC: A is 1, M is 12, N is -1, Y is -12; J is none.
fn military_zone(letter: u8) -> i32 {
    match letter {
        b'A'..=b'I' => i32::from(letter - b'A') + 1,
        b'K'..=b'M' => i32::from(letter - b'A'),
        b'N'..=b'Y' => -i32::from(letter - b'M'),
        _ => 0,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        1 => 28 + i64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 2 { year - 1 } else { year };
    let months = (month + 10) % 12;
    let era_days = year * 365 + year / 4 - year / 100 + year / 400;
    era_days + (months * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_table() {
        for (value, expected) in [
            ("Thu, 1 Jan 1970 00:00:00 +0000", Some((0, 0))),
            ("Fri, 21 Nov 1997 09:55:06 -0600", Some((880_127_706, -360))),
            ("1 Mar 2000 00:00 +0130 (comment)", Some((951_863_400, 90))),
            ("29 Feb 2024 23.59.60 GMT", Some((1_709_251_199, 0))),
            ("(c) Mon , 5 October 98 1:02:03 EDT", Some((907_563_723, -240))),
            ("1 Jan 00 00:00:00", Some((946_684_800, 0))),
            ("1 Jan 2000 00:00:00 Z", Some((946_684_800, 0))),
            ("1 Jan 2000 00:00:00 N", Some((946_688_400, -60))),
            ("1 Jan 2000 00:00:00 XYZ", Some((946_684_800, 0))),
            ("31 Dec 2100 23:59:59 +0000", Some((4_133_980_799, 0))),
            ("30 Feb 2024 00:00:00 +0000", None),
            ("29 Feb 2100 00:00:00 +0000", None),
            ("1 Jan 2000 24:00:00 +0000", None),
            ("1 Jan 1899 00:00:00 +0000", None),
            ("1 Foo 2000 00:00:00 +0000", None),
            ("Thu 1 Jan 1970 00:00:00 +0000", None),
            ("2000-01-01", None),
            ("", None),
        ] {
            let parsed = Date::parse(value.as_bytes()).map(|date| (date.time, date.zone));
            assert_eq!(parsed, expected, "{value:?}");
        }
        assert_eq!(Date::parse(b"1 Jan 1970 01:00:00 +0100").unwrap().local_time(), 3600);
    }
}
