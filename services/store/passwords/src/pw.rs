//! `doveadm pw` (doveadm-pw(1)) as a function: what it prints, and what it prints on failure.
//!
//! `-u user` is not here: of Dovecot's schemes only DIGEST-MD5 asks for the name, and that is not offered.

use zeroize::Zeroizing;

use crate::scheme::{self, SCHEMES, Stored};

/// The scheme without `-s`.
const DEFAULT_SCHEME: &str = "CRYPT";
/// How often a new password may be mistyped.
const TRIES: usize = 3;

/// The options of the command.
#[derive(Default)]
pub struct Options {
    /// `-l`: list the schemes.
    pub list: bool,
    /// `-p`: the password, instead of asking for it.
    pub plaintext: Option<Zeroizing<String>>,
    /// `-r`: rounds or cost; 0 is the scheme's default.
    pub rounds: u32,
    /// `-s`: the scheme, in any case.
    pub scheme: Option<String>,
    /// `-t`: verify this `{SCHEME}hash` instead of making one.
    pub test_hash: Option<String>,
    /// `-V`: verify what was made.
    pub reverse_verify: bool,
}

/// Runs the command. `ask` prints its argument as a prompt and returns one line, typed without echo.
///
/// Returns the line for standard output, without its newline.
///
/// # Errors
/// The line for standard error, without Dovecot's `Fatal: `.
pub fn run(
    options: &Options,
    ask: &mut dyn FnMut(&str) -> Result<Zeroizing<String>, String>,
) -> Result<String, String> {
    if options.list {
        return Ok(SCHEMES.map(scheme::Scheme::name).join(" "));
    }
    let plaintext = match (&options.plaintext, &options.test_hash) {
        (Some(plaintext), _) => plaintext.clone(),
        (None, Some(_)) => ask("Enter password to verify: ")?,
        (None, None) => ask_twice(ask)?,
    };
    let stored = match &options.test_hash {
        Some(text) => {
            let stored = Stored::parse(text, "");
            if stored.scheme().is_empty() {
                return Err("Missing {scheme} prefix from hash".into());
            }
            stored
        }
        None => {
            let scheme = options.scheme.as_deref().unwrap_or(DEFAULT_SCHEME).to_ascii_uppercase();
            scheme::generate(&scheme, plaintext.as_bytes(), options.rounds)?
        }
    };
    let line = format!("{{{}}}{}", stored.scheme(), stored.hash());
    if !options.reverse_verify && options.test_hash.is_none() {
        return Ok(line);
    }
    match stored.verify(plaintext.as_bytes()) {
        Ok(true) => Ok(format!("{line} (verified)")),
        Ok(false) => Err("reverse password verification check failed: Password mismatch".into()),
        Err(error @ scheme::HashError::Invalid { .. }) => {
            Err(format!("reverse password verification check failed: {}", error.reason()))
        }
        Err(error) => Err(format!("reverse decode check failed: {}", error.reason())),
    }
}

fn ask_twice(ask: &mut dyn FnMut(&str) -> Result<Zeroizing<String>, String>) -> Result<Zeroizing<String>, String> {
    for _ in 0..TRIES {
        let first = ask("Enter new password: ")?;
        if ask("Retype new password: ")? == first {
            return Ok(first);
        }
    }
    Err("Passwords don't match!".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(scheme: Option<&str>, plaintext: &str, test_hash: Option<&str>) -> Options {
        Options {
            plaintext: Some(Zeroizing::new(plaintext.into())),
            scheme: scheme.map(str::to_owned),
            test_hash: test_hash.map(str::to_owned),
            ..Options::default()
        }
    }

    fn never(_: &str) -> Result<Zeroizing<String>, String> {
        panic!("asked for a password that was given")
    }

    #[test]
    fn makes_and_verifies() {
        let line = run(&options(None, "secret", None), &mut never).unwrap();
        assert!(line.starts_with("{CRYPT}$2y$05$"), "{line}");
        let verified = run(&options(None, "secret", Some(&line)), &mut never).unwrap();
        assert_eq!(verified, format!("{line} (verified)"));
        assert_eq!(run(&options(Some("plain"), "x", None), &mut never).unwrap(), "{PLAIN}x");
        let reverse = Options { reverse_verify: true, ..options(Some("ssha"), "x", None) };
        assert!(run(&reverse, &mut never).unwrap().ends_with(" (verified)"));
    }

    /// Dovecot 2.3.19's words.
    #[test]
    fn fails_as_doveadm() {
        for (scheme, hash, expected) in [
            (Some("nope"), None, "Unknown scheme: NOPE"),
            (Some("plain.foo"), None, "Unknown scheme: PLAIN.FOO"),
            (None, Some("abc"), "Missing {scheme} prefix from hash"),
            (None, Some("{SSHA}AAAA"), "reverse password verification check failed: SSHA password is too short"),
            (None, Some("{PLAIN}secre"), "reverse password verification check failed: Password mismatch"),
            (None, Some("{FOO}x"), "reverse decode check failed: Unknown scheme"),
            (None, Some("{SHA}zz"), "reverse decode check failed: Input isn't valid base64 encoded data"),
        ] {
            assert_eq!(run(&options(scheme, "secret", hash), &mut never), Err(expected.to_owned()));
        }
    }

    #[test]
    fn asks_at_most_three_times() {
        let mut asked = Vec::new();
        let mut script = ["a", "b", "a", "a"].into_iter();
        let mut ask = |prompt: &str| {
            asked.push(prompt.to_owned());
            Ok(Zeroizing::new(script.next().unwrap().to_owned()))
        };
        let line = run(&Options { scheme: Some("PLAIN".into()), ..Options::default() }, &mut ask).unwrap();
        assert_eq!(line, "{PLAIN}a");
        assert_eq!(asked, ["Enter new password: ", "Retype new password: "].repeat(2));

        let mut count = 0;
        let mut ask = |_: &str| {
            count += 1;
            Ok(Zeroizing::new(count.to_string()))
        };
        assert_eq!(run(&Options::default(), &mut ask), Err("Passwords don't match!".into()));
        assert_eq!(count, 6);
    }
}
