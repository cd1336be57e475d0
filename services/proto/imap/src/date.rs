//! Dates of SEARCH, APPEND and INTERNALDATE.
//!
//! A day is counted from 1970-01-01 in the proleptic Gregorian calendar; an instant is seconds since then in UTC. A
//! date that the calendar does not have is refused (Dovecot takes 31 February for 3 March).

/// Months as they stand in dates.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const DAY: i64 = 24 * 60 * 60;

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i32);

impl Day {
    /// Parses a date; quotes are gone already.
    ///
    /// ```text
    /// date      = date-text / DQUOTE date-text DQUOTE
    /// date-text = date-day "-" date-month "-" date-year
    /// date-day  = 1*2DIGIT
    /// date-year = 4DIGIT
    /// ```
    ///
    /// RFC 3501 section 9.
    pub fn parse(text: &[u8]) -> Option<Day> {
        let mut parts = text.split(|byte| *byte == b'-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || day.len() > 2 {
            return None;
        }
        day_of(digits(day)?, month, year)
    }

    /// The day of an instant in a zone that is `offset` seconds ahead of UTC.
    pub fn of(instant: i64, offset: i32) -> Day {
        let days = instant.saturating_add(i64::from(offset)).div_euclid(DAY);
        Day(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }
}

/// Parses the date-time of APPEND into an instant; quotes are gone already.
///
/// ```text
/// date-time      = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
/// date-day-fixed = (SP DIGIT) / 2DIGIT
/// time           = 2DIGIT ":" 2DIGIT ":" 2DIGIT
/// zone           = ("+" / "-") 4DIGIT
/// ```
///
/// RFC 3501 section 9. A second may be 60, once in a while. A day of one digit without the space is taken as well, as
/// Dovecot does.
pub fn parse_date_time(text: &[u8]) -> Option<i64> {
    let mut padded = [b' '; 26];
    let missing = padded.len().checked_sub(text.len()).filter(|missing| *missing <= 1)?;
    padded[missing..].copy_from_slice(text);
    let text = &padded;
    let punctuation = [(2, b'-'), (6, b'-'), (11, b' '), (14, b':'), (17, b':'), (20, b' ')];
    if punctuation.iter().any(|(at, expected)| text[*at] != *expected) {
        return None;
    }
    let day = if text[0] == b' ' { digits(&text[1..2])? } else { digits(&text[..2])? };
    let day = day_of(day, &text[3..6], &text[7..11])?;
    let (hour, minute, second) = (digits(&text[12..14])?, digits(&text[15..17])?, digits(&text[18..20])?);
    let (zone_hours, zone_minutes) = (digits(&text[22..24])?, digits(&text[24..26])?);
    if hour > 23 || minute > 59 || second > 60 || zone_hours > 23 || zone_minutes > 59 {
        return None;
    }
    let offset = i64::from(zone_hours * 3600 + zone_minutes * 60);
    let offset = match text[21] {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    Some(i64::from(day.0) * DAY + i64::from(hour * 3600 + minute * 60 + second) - offset)
}

/// Appends an instant as a date-time with its quotes, in a zone that is `offset` seconds ahead of UTC.
pub fn write_date_time(out: &mut Vec<u8>, instant: i64, offset: i32) {
    let local = instant.saturating_add(i64::from(offset));
    let (year, month, day) = civil(local.div_euclid(DAY));
    let second = local.rem_euclid(DAY);
    let zone = offset.unsigned_abs() / 60;
    out.push(b'"');
    two_digits(out, day);
    out.push(b'-');
    out.extend_from_slice(MONTHS[month as usize - 1].as_bytes());
    out.push(b'-');
    let year = year.clamp(0, 9999) as u32;
    two_digits(out, year / 100);
    two_digits(out, year % 100);
    for (before, value) in [(b' ', second / 3600), (b':', second / 60 % 60), (b':', second % 60)] {
        out.push(before);
        two_digits(out, value as u32);
    }
    out.extend_from_slice(if offset < 0 { b" -" } else { b" +" });
    two_digits(out, zone / 60);
    two_digits(out, zone % 60);
    out.push(b'"');
}

fn two_digits(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

fn digits(text: &[u8]) -> Option<u32> {
    crate::token::number32(text)
}

/// The day that a date names, if the calendar has it.
fn day_of(day: u32, month: &[u8], year: &[u8]) -> Option<Day> {
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name.as_bytes()))? as u32 + 1;
    let year = digits(year).filter(|_| year.len() == 4)?;
    if day == 0 || day > days_in_month(month, year) {
        return None;
    }
    // Days of the months before in a year that begins in March, so that the leap day is the last.
    let (shifted_year, shifted_month) =
        if month > 2 { (i64::from(year), month - 3) } else { (i64::from(year) - 1, month + 9) };
    let before = (153 * shifted_month + 2) / 5;
    let leap = shifted_year.div_euclid(4) - shifted_year.div_euclid(100) + shifted_year.div_euclid(400);
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    let days = shifted_year * 365 + leap + i64::from(before + day - 1) - 719_468;
    i32::try_from(days).ok().map(Day)
}

fn days_in_month(month: u32, year: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a count of days: the inverse of [`day_of`].
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        for (text, expected) in [
            ("1-Jan-1970", Some(0)),
            ("01-jan-1970", Some(0)),
            ("31-Dec-1969", Some(-1)),
            ("29-Feb-2000", Some(11016)),
            ("20-Nov-2026", Some(20777)),
            ("29-Feb-2026", None),
            ("31-Feb-2026", None),
            ("29-Feb-1900", None),
            ("0-Jan-2026", None),
            ("32-Jan-2026", None),
            ("1-Foo-2026", None),
            ("1-Jan-26", None),
            ("1-Jan-02026", None),
            ("001-Jan-2026", None),
            ("1-Jan-2026-1", None),
            ("", None),
        ] {
            assert_eq!(Day::parse(text.as_bytes()), expected.map(Day), "{text}");
        }
    }

    #[test]
    fn date_times_are_exact() {
        for (text, expected) in [
            ("20-Nov-2026 10:00:00 +0100", Some(1795165200)),
            (" 1-Jan-1970 00:00:00 +0000", Some(0)),
            ("1-Jan-1970 00:00:00 +0000", Some(0)),
            ("  -Jan-1970 00:00:00 +0000", None),
            ("20-Nov-2026 10:00:00 +01000", None),
            ("01-Jan-1970 00:00:00 -0130", Some(5400)),
            ("31-Feb-2026 10:00:00 +0100", None),
            ("20-Nov-2026 24:00:00 +0100", None),
            ("20-Nov-2026 10:60:00 +0100", None),
            ("20-Nov-2026 10:00:61 +0100", None),
            ("20-Nov-2026 10:00:00 0100 ", None),
            ("20-Nov-2026 10:00:00 +2400", None),
            ("20-Nov-2026 10:00:00", None),
            ("blah", None),
        ] {
            assert_eq!(parse_date_time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn instants_round_trip_in_every_zone() {
        for offset in [0, 3600, -12600, 50400, -43200] {
            for instant in (-62_000_000_000i64..250_000_000_000).step_by(777_777_777) {
                let mut text = Vec::new();
                write_date_time(&mut text, instant, offset);
                let inner = &text[1..text.len() - 1];
                assert_eq!(parse_date_time(inner), Some(instant), "{}", String::from_utf8_lossy(inner));
            }
        }
        let mut text = Vec::new();
        write_date_time(&mut text, i64::MAX, 0);
        write_date_time(&mut text, i64::MIN, 0);
        assert_eq!(Day::of(i64::MAX, 1), Day(i32::MAX));
    }
}
