//! Options of the classic names: getopt(3) without permutation, as Postfix parses them.

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

/// A parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Options in their order, with their values.
    pub options: Vec<(char, Option<String>)>,
    /// What follows them.
    pub rest: Vec<String>,
}

impl Parsed {
    /// Whether an option was given.
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(known, _)| *known == letter)
    }

    /// The value of an option; of several the last.
    pub fn value(&self, letter: char) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| *known == letter).and_then(|(_, value)| value.as_deref())
    }
}

/// Parses the words after a command's name. `known` lists the letters, each with `:` after it when it takes a value.
///
/// # Errors
/// What getopt(3) says after the program's name and a colon: `invalid option -- 'x'`.
pub fn parse(known: &str, words: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut parser = lexopt::Parser::from_args(words);
    loop {
        match parser.next().map_err(|error| error.to_string())? {
            None => return Ok(parsed),
            Some(Short(letter)) => {
                let Some((_, after)) = known.split_once(letter).filter(|_| letter != ':') else {
                    return Err(format!("invalid option -- '{letter}'"));
                };
                let value = match after.starts_with(':') {
                    true => Some(
                        parser
                            .value()
                            .and_then(ValueExt::string)
                            .map_err(|_| format!("option requires an argument -- '{letter}'"))?,
                    ),
                    false => None,
                };
                parsed.options.push((letter, value));
            }
            Some(Long(_)) => return Err("invalid option -- '-'".to_owned()),
            Some(Value(word)) => {
                let text = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
                parsed.rest.push(text(word));
                let rest = parser.raw_args().map_err(|error| error.to_string())?;
                parsed.rest.extend(rest.map(text));
                return Ok(parsed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(known: &str, line: &str) -> Result<Parsed, String> {
        parse(known, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_as_getopt_takes_them() {
        let all = parsed("c:fp#", "-pf -c/etc/x -# -- -f").unwrap();
        assert_eq!((all.has('p'), all.has('f'), all.has('#'), all.value('c')), (true, true, true, Some("/etc/x")));
        assert_eq!(all.rest, ["-f"]);
        assert_eq!(parsed("c:d:", "-c a -d b -c e").unwrap().value('c'), Some("e"));
    }

    #[test]
    fn the_first_word_ends_the_options() {
        let all = parsed("f", "name -f").unwrap();
        assert!(!all.has('f'));
        assert_eq!(all.rest, ["name", "-f"]);
        assert_eq!(parsed("q:", "-q -").unwrap().value('q'), Some("-"));
        assert_eq!(parsed("q:", "-").unwrap().rest, ["-"]);
    }

    #[test]
    fn mistakes_are_getopt_s() {
        assert_eq!(parsed("f", "-x").unwrap_err(), "invalid option -- 'x'");
        assert_eq!(parsed("f:", "-f").unwrap_err(), "option requires an argument -- 'f'");
        assert_eq!(parsed("f", "--force").unwrap_err(), "invalid option -- '-'");
        assert_eq!(parsed("f:", "-:").unwrap_err(), "invalid option -- ':'");
    }
}
