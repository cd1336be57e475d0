//! `log_timestamp`: the part of strftime(3) that has a meaning in a log.

use ipc_jail::sys::{LocalTime, local_time};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `seconds` since 1970 in the form that `format` describes. What is no conversion, or none that is known, stays as it is.
pub fn timestamp(format: &str, seconds: u64) -> String {
    let time = local_time(seconds as i64);
    let mut text = String::with_capacity(format.len() + 16);
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let conversion = rest.next();
        match conversion.and_then(|letter| convert(letter, &time, seconds)) {
            Some(part) => text += &part,
            None => text.extend(std::iter::once('%').chain(conversion)),
        }
    }
    text
}

fn convert(letter: char, time: &LocalTime, seconds: u64) -> Option<String> {
    let LocalTime { year, month, day, weekday, hour, minute, second, offset, ref zone } = *time;
    Some(match letter {
        'Y' => year.to_string(),
        'y' => format!("{:02}", year % 100),
        'm' => format!("{:02}", month + 1),
        'B' => MONTHS[month].to_owned(),
        'b' | 'h' => MONTHS[month][..3].to_owned(),
        'd' => format!("{day:02}"),
        'e' => format!("{day:2}"),
        'A' => DAYS[weekday].to_owned(),
        'a' => DAYS[weekday][..3].to_owned(),
        'H' => format!("{hour:02}"),
        'M' => format!("{minute:02}"),
        'S' => format!("{second:02}"),
        'F' => format!("{year}-{:02}-{day:02}", month + 1),
        'T' => format!("{hour:02}:{minute:02}:{second:02}"),
        's' => seconds.to_string(),
        'z' => {
            let (sign, east) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
            format!("{sign}{:02}{:02}", east / 3600, east / 60 % 60)
        }
        'Z' => zone.clone(),
        '%' => "%".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_strftime_s() {
        // The zone is the machine's: what is expected comes from date(1).
        const SECONDS: u64 = 1_793_500_385;
        for format in ["%b %d %H:%M:%S ", "%Y-%m-%d %T", "%F %e %a %A %B %h %y", "%s %z %Z %%"] {
            let words = [format!("--date=@{SECONDS}"), format!("+{format}")];
            let expected = std::process::Command::new("date").env("LC_ALL", "C").args(words).output().unwrap().stdout;
            assert_eq!(timestamp(format, SECONDS), String::from_utf8(expected).unwrap().trim_end_matches('\n'));
        }
        assert_eq!(timestamp("no conversion %Q %", 0), "no conversion %Q %");
    }
}
