//! APPEND, which comes in parts: what stands before each message, and the end.

use super::{INVALID_ARGUMENTS, MISSING_ARGUMENTS, NON_ATOMS, Refusal, mailbox, store};
use crate::date;
use crate::flag::FlagList;
use crate::name::MailboxName;
use crate::token::{self, Arg, Args};

/// What is said about one message before its octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppendMessage {
    /// Flags and keywords.
    pub flags: FlagList,
    /// Seconds since 1970 in UTC, if given.
    pub internal_date: Option<i64>,
}

/// A part of an APPEND.
#[derive(Debug, PartialEq, Eq)]
pub enum AppendPart {
    /// A message follows. The first one names the mailbox.
    Message(Option<MailboxName>, AppendMessage),
    /// The command is over.
    End,
}

/// Parses what stands before an announced message (`announced`) or at the end of the command. `first`: nothing came
/// before, so the mailbox is named. A literal's announcement at the end of `rest` is left out of account.
///
/// ```text
/// append         = "APPEND" SP mailbox 1*append-message
/// append-message = [SP flag-list] [SP date-time] SP literal
/// ```
///
/// RFC 3501 section 9, RFC 3502 section 6.3.11 (MULTIAPPEND).
pub fn parse_append(rest: &[u8], first: bool, announced: bool) -> Result<AppendPart, Refusal> {
    let rest = if announced { without_announcement(rest) } else { rest };
    let arguments = token::arguments(rest)?;
    let mut args = Args::new(&arguments);
    let mailbox = if first { Some(mailbox(&mut args)?) } else { None };
    if args.is_empty() && !announced {
        return if first { Err(Refusal::bad("Missing message size")) } else { Ok(AppendPart::End) };
    }
    if mailbox.is_none() && !rest.starts_with(b" ") {
        return Err(if args.is_empty() && !first && announced { MISSING_ARGUMENTS } else { INVALID_ARGUMENTS });
    }
    let mut message = AppendMessage::default();
    if let Some(mut list) = args.list() {
        message.flags = store::flag_list(&mut list)?;
    }
    if let Some(Arg::String(_)) = args.peek() {
        let text = args.astring().ok_or(NON_ATOMS)?;
        message.internal_date = Some(date::parse_date_time(text).ok_or(Refusal::bad("Invalid internal date"))?);
    }
    if !args.is_empty() || !announced {
        return Err(INVALID_ARGUMENTS);
    }
    Ok(AppendPart::Message(mailbox, message))
}

fn without_announcement(rest: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b'{', rest).unwrap_or(rest.len());
    rest[..end].strip_suffix(b"~").unwrap_or(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::Flags;

    #[test]
    fn parts() {
        let AppendPart::Message(Some(mailbox), message) =
            parse_append(b"INBOX (\\Seen foo) \"20-Nov-2026 10:00:00 +0100\" {33+}", true, true).unwrap()
        else {
            panic!("a message");
        };
        assert!(mailbox.is_inbox());
        assert_eq!(message.flags.flags, Flags::SEEN);
        assert_eq!(message.internal_date, Some(1795165200));
        assert_eq!(parse_append(b" {3}", false, true), Ok(AppendPart::Message(None, AppendMessage::default())));
        assert_eq!(parse_append(b"", false, false), Ok(AppendPart::End));
    }

    #[test]
    fn refusals() {
        for (rest, first, announced, expected) in [
            (&b""[..], true, false, "Missing arguments"),
            (b"INBOX", true, false, "Missing message size"),
            (b"INBOX foo", true, false, "Invalid arguments"),
            (b"INBOX \"quoted\"", true, false, "Invalid internal date"),
            (b"INBOX (\\Foo) {3}", true, true, "Invalid system flag \\FOO"),
            (b"INBOX (\\Recent) {3}", true, true, "Invalid system flag \\RECENT"),
            (b"INBOX \"31-Feb-2026 10:00:00 +0100\" {3}", true, true, "Invalid internal date"),
            (b"INBOX CATENATE (TEXT {3}", true, true, "Missing ')'"),
            (b" x", false, false, "Invalid arguments"),
            (b"x", false, false, "Invalid arguments"),
        ] {
            assert_eq!(parse_append(rest, first, announced), Err(Refusal::Bad(expected.into())));
        }
    }
}
