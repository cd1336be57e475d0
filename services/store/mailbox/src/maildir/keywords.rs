//! `dovecot-keywords`: the names of the keyword letters `a` to `z` in file names.
//!
//! ```text
//! file = *(number SP name LF)     ; number 0 is the letter a
//! ```
//! Changed only while the lock of `dovecot-uidlist` is held, replaced by rename, and its modification time grows.

/// How many keywords a Maildir can have.
pub const MAX: usize = 26;

/// No file is larger than this.
pub(crate) const MAX_FILE: u64 = 64 * 1024;

/// The names; a free letter has an empty one. What is not a line of the format is skipped, as Dovecot does.
pub fn parse(content: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for line in content.split(|b| *b == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((number, name)) = line.split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        if number >= MAX || name.is_empty() || find(&names, name).is_some() {
            continue;
        }
        if names.len() <= number {
            names.resize(number + 1, String::new());
        }
        names[number] = name.to_owned();
    }
    names
}

/// The file's content.
pub fn encode(names: &[String]) -> Vec<u8> {
    let lines = names.iter().enumerate().filter(|(_, name)| !name.is_empty());
    lines.map(|(number, name)| format!("{number} {name}\n")).collect::<String>().into_bytes()
}

/// The number of a keyword; keywords are compared without case.
pub fn find(names: &[String], name: &str) -> Option<usize> {
    names.iter().position(|known| known.eq_ignore_ascii_case(name))
}

/// The number of a keyword, which gets the first free place below `max` if it is new. `None` if there is none.
pub fn find_or_add(names: &mut Vec<String>, name: &str, max: usize) -> Option<usize> {
    if let Some(known) = find(names, name) {
        return Some(known);
    }
    let free = names.iter().position(String::is_empty).unwrap_or(names.len());
    if free >= max {
        return None;
    }
    if free == names.len() {
        names.push(String::new());
    }
    names[free] = name.to_owned();
    Some(free)
}

/// Gives a name to letters that are in use and have none, as Dovecot does: `unknown-N`.
pub fn name_unknown(names: &mut Vec<String>, used: u64) {
    for number in (0..MAX).filter(|number| used & (1 << number) != 0) {
        if names.len() <= number {
            names.resize(number + 1, String::new());
        }
        if names[number].is_empty() {
            let mut name = format!("unknown-{number}");
            while find(names, &name).is_some() {
                name.push('?');
            }
            names[number] = name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_with_a_gap() {
        let names = parse(b"junk\n0 $Forwarded\n2 foo\n2x bad\n26 far\n3 \n4 FOO\n");
        assert_eq!(names, ["$Forwarded", "", "foo"]);
        assert_eq!(encode(&names), b"0 $Forwarded\n2 foo\n");
        assert_eq!(find(&names, "$forwarded"), Some(0));
    }

    #[test]
    fn the_twenty_seventh_keyword_is_refused() {
        let mut names = parse(b"1 x\n");
        for n in 0..25 {
            assert!(find_or_add(&mut names, &format!("k{n}"), MAX).is_some());
        }
        assert_eq!(find_or_add(&mut names, "one-too-many", MAX), None);
        assert_eq!(find_or_add(&mut names, "K24", MAX), Some(25));
    }

    #[test]
    fn a_lost_name_is_replaced() {
        let mut names = vec!["unknown-1".to_owned()];
        name_unknown(&mut names, 0b11);
        assert_eq!(names, ["unknown-1", "unknown-1?"]);
    }
}
