//! Path patterns of `!include`, as glob(3) with `GLOB_BRACE` matches them.

use std::path::Path;

use super::files::Files;

/// Files that one pattern may name.
pub const MAX_MATCHES: usize = 1000;
/// Alternatives that the braces of one pattern may make.
pub const MAX_BRACES: usize = 100;

/// The paths that a pattern names, sorted within each alternative of its braces. A pattern without `*`, `?`, `[`
/// names itself if there is such a file. `None` if it asks for more than [`MAX_MATCHES`] or [`MAX_BRACES`].
pub fn expand(pattern: &str, files: &dyn Files) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for pattern in braces(pattern)? {
        let mut paths = vec![if pattern.starts_with('/') { "/".to_owned() } else { String::new() }];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            paths = step(&paths, part, files);
            if paths.len() > MAX_MATCHES {
                return None;
            }
        }
        found.extend(paths);
    }
    (found.len() <= MAX_MATCHES).then_some(found)
}

/// One more component of a path: the names in each folder that match it.
fn step(folders: &[String], part: &str, files: &dyn Files) -> Vec<String> {
    let mut paths = Vec::new();
    for folder in folders {
        let look_in = if folder.is_empty() { "." } else { folder };
        if !part.contains(['*', '?', '[', '\\']) {
            let path = join(folder, part);
            if files.readable(Path::new(&path)).is_ok() || files.names(Path::new(&path)).is_ok() {
                paths.push(path);
            }
            continue;
        }
        let mut names = files.names(Path::new(look_in)).unwrap_or_default();
        names.retain(|name| (part.starts_with('.') || !name.starts_with('.')) && matches(part, name));
        names.sort_unstable();
        paths.extend(names.iter().map(|name| join(folder, name)));
    }
    paths
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() || folder.ends_with('/') { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

/// The patterns that `a{b,c}d` stands for.
fn braces(pattern: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() > MAX_BRACES {
            return None;
        }
        let Some((before, choices, after)) = first_brace(&pattern) else {
            done.push(pattern);
            continue;
        };
        open.extend(choices.iter().rev().map(|choice| format!("{before}{choice}{after}")));
    }
    Some(done)
}

/// The first group of braces: what is before it, its choices, and what follows.
fn first_brace(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let start = pattern.find('{')?;
    let mut depth = 0;
    let mut from = start + 1;
    let mut choices = Vec::new();
    for (at, byte) in pattern.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b',' if depth == 1 => {
                choices.push(&pattern[from..at]);
                from = at + 1;
            }
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            choices.push(&pattern[from..at]);
            return Some((&pattern[..start], choices, &pattern[at + 1..]));
        }
    }
    None
}

/// Whether a name matches a pattern of `*`, `?`, `[a-z]`, `[!a]` and `\x`. Time is the product of both lengths.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = one(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((at, from)) = star {
            // The star takes one character more.
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&rest| rest == '*')
}

/// Where the pattern goes on if its element at `p` matches one character.
fn one(pattern: &[char], p: usize, character: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match set(pattern, p, character) {
            Some((matched, next)) => matched.then_some(next),
            None => (character == '[').then_some(p + 1),
        },
        '\\' if p + 1 < pattern.len() => (pattern[p + 1] == character).then_some(p + 2),
        plain => (plain == character).then_some(p + 1),
    }
}

/// Whether the set that opens at `p` has the character, and where the pattern goes on; `None` if it does not close.
fn set(pattern: &[char], p: usize, character: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(p + 1), Some('!' | '^'));
    let first = p + 1 + usize::from(negated);
    let close = (first + 1..pattern.len()).find(|&at| pattern[at] == ']')?;
    let mut at = first;
    let mut found = false;
    while at < close {
        if pattern[at + 1] == '-' && at + 2 < close {
            found |= (pattern[at]..=pattern[at + 2]).contains(&character);
            at += 3;
        } else {
            found |= pattern[at] == character;
            at += 1;
        }
    }
    Some((found != negated, close + 1))
}

#[cfg(test)]
mod tests {
    use super::super::files::memory::Memory;
    use super::*;

    #[test]
    fn names_match_as_with_glob() {
        for (pattern, name, expected) in [
            ("*.conf", "10-auth.conf", true),
            ("*.conf", "auth.conf.ext", false),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("?.x", "a.x", true),
            ("?.x", ".x", false),
            ("[0-9][!a-c]", "5d", true),
            ("[0-9][!a-c]", "5b", false),
            ("[]x]", "]", true),
            ("[ab", "[ab", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("é?", "éa", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn matches_are_sorted_and_hidden_files_left_out() {
        let files = Memory::new([
            ("/d/b.conf", ""),
            ("/d/a.conf", ""),
            ("/d/.h.conf", ""),
            ("/d/a.ext", ""),
            ("/e/c.conf", ""),
        ]);
        let expand = |pattern: &str| expand(pattern, &files).unwrap();
        assert_eq!(expand("/d/*.conf"), ["/d/a.conf", "/d/b.conf"]);
        assert_eq!(expand("/*/?.conf"), ["/d/a.conf", "/d/b.conf", "/e/c.conf"]);
        assert_eq!(expand("/{e,d}/*.conf"), ["/e/c.conf", "/d/a.conf", "/d/b.conf"]);
        assert_eq!(expand("/d/a.conf"), ["/d/a.conf"]);
        assert_eq!(expand("/d/none.conf"), [""; 0]);
    }

    #[test]
    fn a_pattern_that_asks_for_too_much_is_refused() {
        let many: Vec<String> = (0..=MAX_MATCHES).map(|n| format!("/d/{n}.conf")).collect();
        let mut files = Memory::default();
        files.files.extend(many.iter().map(|path| (path.into(), Vec::new())));
        assert_eq!(expand("/d/*.conf", &files), None);
        assert_eq!(expand(&"{a,b}".repeat(8), &files), None);
    }
}
