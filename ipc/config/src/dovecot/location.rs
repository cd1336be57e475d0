//! `mail_location`: the format of a mailbox and where its files are.
//!
//! ```text
//! location = [ driver ":" ] root *( ":" key [ "=" value ] )
//! ```
//! A `:` in a path is written `::`. Variables in paths are expanded before this is read, or left in place.

/// A mailbox format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Maildir++
    Maildir,
    /// Single-file dbox.
    Sdbox,
    /// Multi-file dbox.
    Mdbox,
    /// One file per mailbox.
    Mbox,
    /// Another one, by its name.
    Other(String),
    /// Not named: found out by looking at the files.
    Auto,
}

/// A location, in its parts. An empty path is one that was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailLocation {
    /// The format.
    pub driver: Driver,
    /// Folder of the mail.
    pub path: String,
    /// `INBOX=`
    pub inbox: String,
    /// `INDEX=`; `MEMORY` keeps no index files.
    pub index: String,
    /// `INDEXPVT=`
    pub index_private: String,
    /// `INDEXCACHE=`
    pub index_cache: String,
    /// `CONTROL=`
    pub control: String,
    /// `ALT=`
    pub alt: String,
    /// `LAYOUT=`
    pub layout: String,
    /// `SUBSCRIPTIONS=`
    pub subscriptions: String,
    /// `DIRNAME=` or `FULLDIRNAME=`
    pub dirname: String,
    /// Whether it was `FULLDIRNAME=`, which holds for index and control files as well.
    pub full_dirname: bool,
    /// `MAILBOXDIR=`
    pub mailbox_dir: String,
    /// `VOLATILEDIR=`
    pub volatile_dir: String,
    /// `LISTINDEX=`
    pub list_index: String,
    /// `BROKENCHAR=`
    pub broken_char: Option<char>,
    /// `UTF-8`: names on disk are UTF-8 and not modified UTF-7.
    pub utf8: bool,
    /// `NO-NOSELECT`: folders without mail are removed and not shown.
    pub no_noselect: bool,
    /// `NO-FS-VALIDATION`
    pub no_fs_validation: bool,
    /// `ITERINDEX`
    pub iter_index: bool,
    /// `ALTNOCHECK`
    pub alt_unchecked: bool,
}

impl Driver {
    /// The name of the format, as in the configuration; empty for [`Driver::Auto`].
    pub fn name(&self) -> &str {
        match self {
            Driver::Maildir => "maildir",
            Driver::Sdbox => "sdbox",
            Driver::Mdbox => "mdbox",
            Driver::Mbox => "mbox",
            Driver::Other(name) => name,
            Driver::Auto => "",
        }
    }

    /// Whether mailboxes of this format can be used here.
    pub fn is_built(&self) -> bool {
        matches!(self, Driver::Maildir | Driver::Sdbox | Driver::Auto)
    }

    fn named(name: &str) -> Driver {
        match name {
            "maildir" => Driver::Maildir,
            "sdbox" => Driver::Sdbox,
            "mdbox" => Driver::Mdbox,
            "mbox" => Driver::Mbox,
            other => Driver::Other(other.to_owned()),
        }
    }
}

impl MailLocation {
    /// Reads a location. An empty one has [`Driver::Auto`]; an error is in Dovecot's words.
    pub fn parse(text: &str) -> Result<MailLocation, String> {
        let (driver, rest) = split_driver(text);
        let mut arguments = split_arguments(rest).into_iter();
        let path = arguments.next().unwrap_or_default();
        if path.starts_with("INBOX=") {
            return Err(format!("Mail root directory not given: {rest}"));
        }
        let mut location = MailLocation::empty(driver, path);
        for argument in arguments {
            location.argument(&argument)?;
        }
        if location.iter_index && (location.index.is_empty() || location.index == "MEMORY") {
            return Err("ITERINDEX requires INDEX to be explicitly set".to_owned());
        }
        Ok(location)
    }

    /// A part of the location that would put files elsewhere than we do, by its key. `VOLATILEDIR=` and `LISTINDEX=` are for
    /// files that only Dovecot has.
    pub fn unbuilt_part(&self) -> Option<&'static str> {
        let parts = [
            ("INBOX=", !self.inbox.is_empty()),
            ("INDEX=", !self.index.is_empty() && self.index != "MEMORY"),
            ("INDEXPVT=", !self.index_private.is_empty()),
            ("CONTROL=", !self.control.is_empty()),
            ("ALT=", !self.alt.is_empty()),
            ("LAYOUT=", !self.layout.is_empty() && !self.layout.eq_ignore_ascii_case("maildir++")),
            ("SUBSCRIPTIONS=", !self.subscriptions.is_empty()),
            ("DIRNAME=", !self.dirname.is_empty()),
            ("MAILBOXDIR=", !self.mailbox_dir.is_empty()),
            ("BROKENCHAR=", self.broken_char.is_some()),
            ("UTF-8", self.utf8),
        ];
        parts.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }

    fn empty(driver: Driver, path: String) -> MailLocation {
        MailLocation {
            driver,
            path,
            inbox: String::new(),
            index: String::new(),
            index_private: String::new(),
            index_cache: String::new(),
            control: String::new(),
            alt: String::new(),
            layout: String::new(),
            subscriptions: String::new(),
            dirname: String::new(),
            full_dirname: false,
            mailbox_dir: String::new(),
            volatile_dir: String::new(),
            list_index: String::new(),
            broken_char: None,
            utf8: false,
            no_noselect: false,
            no_fs_validation: false,
            iter_index: false,
            alt_unchecked: false,
        }
    }

    fn argument(&mut self, argument: &str) -> Result<(), String> {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        let path = match key {
            "INBOX" => &mut self.inbox,
            "INDEX" => &mut self.index,
            "INDEXPVT" => &mut self.index_private,
            "INDEXCACHE" => &mut self.index_cache,
            "CONTROL" => &mut self.control,
            "ALT" => &mut self.alt,
            "LAYOUT" => &mut self.layout,
            "SUBSCRIPTIONS" => &mut self.subscriptions,
            "DIRNAME" => &mut self.dirname,
            "FULLDIRNAME" => {
                self.full_dirname = true;
                &mut self.dirname
            }
            "MAILBOXDIR" => &mut self.mailbox_dir,
            "VOLATILEDIR" => &mut self.volatile_dir,
            "LISTINDEX" => &mut self.list_index,
            _ => return self.switch(key, value),
        };
        value.clone_into(path);
        Ok(())
    }

    fn switch(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "UTF-8" => self.utf8 = true,
            "NO-NOSELECT" => self.no_noselect = true,
            "NO-FS-VALIDATION" => self.no_fs_validation = true,
            "ITERINDEX" => self.iter_index = true,
            "ALTNOCHECK" => self.alt_unchecked = true,
            "BROKENCHAR" => {
                let mut characters = value.chars();
                self.broken_char = characters.next();
                if self.broken_char.is_none() || characters.next().is_some() {
                    return Err("BROKENCHAR value must be a single character".to_owned());
                }
            }
            _ => return Err(format!("Unknown setting: {key}")),
        }
        Ok(())
    }
}

/// `path` as one part of a location, where `:` separates parts.
pub fn escape(path: &str) -> String {
    path.replace(':', "::")
}

/// The driver before the first `:`, if only letters, digits and `_` stand there.
fn split_driver(text: &str) -> (Driver, &str) {
    match text.split_once(':') {
        Some((name, rest)) if !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') => {
            (Driver::named(name), rest)
        }
        _ => (Driver::Auto, text),
    }
}

/// The parts between single colons; `::` is a colon.
fn split_arguments(text: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ':' && characters.next_if_eq(&':').is_none() {
            arguments.push(String::new());
        } else if let Some(last) = arguments.last_mut() {
            last.push(character);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_in_their_parts() {
        let stock = MailLocation::parse("mbox:~/mail:INBOX=/var/mail/%u").unwrap();
        let expected =
            MailLocation { inbox: "/var/mail/%u".to_owned(), ..MailLocation::empty(Driver::Mbox, "~/mail".to_owned()) };
        assert_eq!(stock, expected);

        let long =
            "sdbox:/m/%d/%n:INDEX=MEMORY:CONTROL=/c:LAYOUT=fs:ALT=/a::b:UTF-8:NO-NOSELECT:FULLDIRNAME=x:BROKENCHAR=~";
        let expected = MailLocation {
            index: "MEMORY".to_owned(),
            control: "/c".to_owned(),
            layout: "fs".to_owned(),
            alt: "/a:b".to_owned(),
            utf8: true,
            no_noselect: true,
            dirname: "x".to_owned(),
            full_dirname: true,
            broken_char: Some('~'),
            ..MailLocation::empty(Driver::Sdbox, "/m/%d/%n".to_owned())
        };
        assert_eq!(MailLocation::parse(long).unwrap(), expected);
    }

    #[test]
    fn parts_that_are_not_built_are_named() {
        for (text, expected) in [
            ("maildir:~/m", None),
            ("maildir:~/m:LAYOUT=Maildir++:INDEX=MEMORY:VOLATILEDIR=/v", None),
            ("maildir:~/m:INBOX=/i", Some("INBOX=")),
            ("maildir:~/m:INDEX=/i", Some("INDEX=")),
            ("maildir:~/m:INDEXPVT=/i", Some("INDEXPVT=")),
            ("maildir:~/m:CONTROL=/i", Some("CONTROL=")),
            ("sdbox:~/m:ALT=/i", Some("ALT=")),
            ("maildir:~/m:LAYOUT=fs", Some("LAYOUT=")),
            ("maildir:~/m:SUBSCRIPTIONS=x", Some("SUBSCRIPTIONS=")),
            ("sdbox:~/m:FULLDIRNAME=x", Some("DIRNAME=")),
            ("sdbox:~/m:MAILBOXDIR=x", Some("MAILBOXDIR=")),
            ("maildir:~/m:BROKENCHAR=~", Some("BROKENCHAR=")),
            ("maildir:~/m:UTF-8", Some("UTF-8")),
        ] {
            assert_eq!(MailLocation::parse(text).unwrap().unbuilt_part(), expected, "{text}");
        }
    }

    #[test]
    fn a_location_without_a_driver_is_looked_at() {
        for (text, path) in [("", ""), ("~/Maildir", "~/Maildir"), ("/m/%u:INDEX=/i", "/m/%u")] {
            let location = MailLocation::parse(text).unwrap();
            assert_eq!((location.driver, location.path.as_str()), (Driver::Auto, path));
        }
    }

    #[test]
    fn bad_locations_are_refused_in_dovecots_words() {
        for (text, problem) in [
            ("mbox:INBOX=/var/mail/%u", "Mail root directory not given: INBOX=/var/mail/%u"),
            ("maildir:~/m:INDX=/x", "Unknown setting: INDX"),
            ("maildir:~/m:BROKENCHAR=ab", "BROKENCHAR value must be a single character"),
            ("maildir:~/m:ITERINDEX", "ITERINDEX requires INDEX to be explicitly set"),
        ] {
            assert_eq!(MailLocation::parse(text), Err(problem.to_owned()), "{text}");
        }
    }
}
