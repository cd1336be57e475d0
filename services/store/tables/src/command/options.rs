//! The command line of `postmap` and `postalias`.

use crate::Folding;
use crate::text::Duplicates;

/// Which command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Tables of `key whitespace value`.
    Postmap,
    /// Tables of `name: value`.
    Postalias,
}

impl Program {
    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postmap => "postmap",
            Self::Postalias => "postalias",
        }
    }

    fn usage(self) -> String {
        let name = self.name();
        format!("{name}: fatal: usage: {name} [-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...")
    }
}

/// What is done with the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Build each from its text file.
    Build,
    /// `-i`: add the records on the standard input.
    Add,
    /// `-q key`: look a key up; `-` reads keys from the standard input.
    Query(String),
    /// `-d key`: delete a key; `-` reads keys from the standard input.
    Delete(String),
    /// `-s`: list the first table.
    List,
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The command.
    pub program: Program,
    /// What it does.
    pub action: Action,
    /// `type:path`, or a path.
    pub tables: Vec<String>,
    /// `-c`: where `main.cf` is; the caller has to read it before it knows `default_database_type`.
    pub config_dir: Option<String>,
    /// Not `-o`: build with the rights of the source's owner.
    pub as_owner: bool,
    /// Not `-p`: the table may be read by those who may read the source.
    pub copy_mode: bool,
    /// How keys are folded: `-f` leaves them, `-u` folds ASCII letters alone.
    pub folding: Folding,
    /// `-v`: report each table that is opened.
    pub verbose: bool,
    /// `-r` or `-w`; otherwise a warning.
    pub(crate) duplicates: Option<Duplicates>,
}

impl Options {
    /// What the command does when only tables are named.
    #[must_use]
    pub fn for_tables(program: Program, tables: Vec<&str>) -> Self {
        Self {
            program,
            action: Action::Build,
            tables: tables.into_iter().map(str::to_owned).collect(),
            config_dir: None,
            as_owner: true,
            copy_mode: true,
            folding: Folding::Unicode,
            verbose: false,
            duplicates: None,
        }
    }

    /// Parses the arguments after the command's name.
    ///
    /// # Errors
    ///
    /// The lines for the standard error; the exit status is then 1.
    pub fn parse(program: Program, arguments: &[String]) -> Result<Self, Vec<String>> {
        let usage = || vec![program.usage()];
        let mut options = Self::for_tables(program, Vec::new());
        let mut action = None;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                options.tables = std::iter::once(argument).chain(rest).cloned().collect();
                break;
            };
            if letters == "-" {
                options.tables = rest.cloned().collect();
                break;
            }
            for (at, letter) in letters.char_indices() {
                let takes_value = matches!(letter, 'c' | 'd' | 'q');
                let value = || {
                    let attached = &letters[at + 1..];
                    if attached.is_empty() { rest.clone().next().cloned() } else { Some(attached.to_owned()) }
                };
                let wanted = match letter {
                    'c' => {
                        options.config_dir = Some(value().ok_or_else(usage)?);
                        None
                    }
                    'd' => Some(Action::Delete(value().ok_or_else(usage)?)),
                    'q' => Some(Action::Query(value().ok_or_else(usage)?)),
                    'i' => Some(Action::Add),
                    's' => Some(Action::List),
                    _ if options.switch(letter) => None,
                    _ => {
                        let name = program.name();
                        return Err(vec![format!("{name}: invalid option -- '{letter}'"), program.usage()]);
                    }
                };
                if wanted.is_some() && action.is_some() {
                    let name = program.name();
                    return Err(vec![format!("{name}: fatal: specify only one of -s -q or -d")]);
                }
                action = action.or(wanted);
                if takes_value {
                    if letters[at + 1..].is_empty() {
                        rest.next();
                    }
                    break;
                }
            }
        }
        if options.tables.is_empty() && !matches!(action, Some(Action::List)) {
            return Err(usage());
        }
        options.action = action.unwrap_or(Action::Build);
        Ok(options)
    }

    /// Applies an option without a value; `false` if there is no such option.
    fn switch(&mut self, letter: char) -> bool {
        match letter {
            'f' => self.folding = Folding::Exact,
            'u' if self.folding == Folding::Unicode => self.folding = Folding::Ascii,
            'o' => self.as_owner = false,
            'p' => self.copy_mode = false,
            'r' => self.duplicates = Some(Duplicates::Replace),
            'w' => self.duplicates = Some(Duplicates::Ignore),
            'v' => self.verbose = true,
            // A NUL after each key or not: our format stores lengths.
            'n' | 'N' | 'u' => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Vec<String>> {
        Options::parse(Program::Postmap, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_table() {
        assert_eq!(parse("-q key a b").unwrap().action, Action::Query("key".into()));
        assert_eq!(parse("-fqkey hash:a").unwrap().action, Action::Query("key".into()));
        assert_eq!(parse("-q - a").unwrap().action, Action::Query("-".into()));
        assert_eq!(parse("-s").unwrap().action, Action::List);
        assert_eq!(parse("-- -x").unwrap().tables, ["-x"]);
        let options = parse("-c /etc/x -opi -fw t1 t2").unwrap();
        assert_eq!((options.as_owner, options.copy_mode, options.action), (false, false, Action::Add));
        assert_eq!((options.config_dir.as_deref(), options.tables.len()), (Some("/etc/x"), 2));
        assert_eq!((options.folding, options.duplicates), (Folding::Exact, Some(Duplicates::Ignore)));
    }

    #[test]
    fn mistakes() {
        assert_eq!(parse("-Z a").unwrap_err()[0], "postmap: invalid option -- 'Z'");
        assert_eq!(parse("-d x -q y z").unwrap_err(), ["postmap: fatal: specify only one of -s -q or -d"]);
        assert!(parse("").unwrap_err()[0].starts_with("postmap: fatal: usage: postmap "));
        assert!(parse("-q").unwrap_err()[0].starts_with("postmap: fatal: usage: "));
    }
}
