//! FETCH and its sections.

use super::{Command, INVALID_ARGUMENTS, MessageSet, Refusal, message_set};
use crate::limits;
use crate::token::{self, Arg, Args};

/// FETCH or UID FETCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Which messages.
    pub set: MessageSet,
    /// Numbers are UIDs.
    pub uid: bool,
    /// What is answered without opening the message's text, each once, in the order asked.
    pub items: Vec<FetchItem>,
    /// Text that is sent as a literal, after the items.
    pub bodies: Vec<BodyFetch>,
    /// Only messages whose mod-sequence is above this (RFC 7162).
    pub changed_since: Option<u64>,
}

/// An item that needs no text of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchItem {
    /// `UID`
    Uid,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `BODY`
    Body,
    /// `MODSEQ`
    ModSeq,
}

/// A section to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyFetch {
    /// Which.
    pub section: Section,
    /// `\Seen` stays as it is.
    pub peek: bool,
    /// First octet and number of octets; without a number all that follow.
    pub partial: Option<(u64, Option<u64>)>,
    /// How the answer calls it.
    pub label: Label,
}

/// The name of an answer: `BODY[1.HEADER]`, `RFC822.TEXT`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub Vec<u8>);

/// A section of a message (RFC 3501 section 6.4.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Section {
    /// Part numbers from the outside in; none for the message itself.
    pub part: Vec<u32>,
    /// What of that part.
    pub text: SectionText,
}

/// What of a part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SectionText {
    /// All of it.
    Whole,
    /// The header of a message.
    Header,
    /// These fields of the header, names in capitals.
    HeaderFields(Vec<String>),
    /// All fields of the header but these.
    HeaderFieldsNot(Vec<String>),
    /// The body of a message.
    Text,
    /// The MIME header of a part.
    Mime,
}

const INVALID_SECTION: Refusal = Refusal::bad("Invalid BODY[..] section");

/// ```text
/// fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
///         [SP "(" "CHANGEDSINCE" SP mod-sequence-value ")"]
/// ```
///
/// RFC 3501 section 9, RFC 7162 section 7.
pub(super) fn fetch(args: &mut Args<'_, '_>, uid: bool) -> Result<Command, Refusal> {
    let set = message_set(args, &INVALID_ARGUMENTS)?;
    let mut fetch = Fetch { set, uid, items: Vec::new(), bodies: Vec::new(), changed_since: None };
    if uid {
        fetch.add(FetchItem::Uid);
    }
    match args.peek() {
        Some(Arg::List(_)) => {
            let mut list = args.list().ok_or(INVALID_ARGUMENTS)?;
            if list.is_empty() {
                return Err(Refusal::bad("FETCH list is empty"));
            }
            while !list.is_empty() {
                let name = list.atom().ok_or(Refusal::bad("FETCH list contains non-atoms"))?;
                fetch_att(&mut fetch, name, &mut list)?;
            }
        }
        Some(Arg::Atom(_)) => {
            let name = args.atom().ok_or(INVALID_ARGUMENTS)?;
            match macro_items(name) {
                Some(items) => items.iter().for_each(|item| fetch.add(*item)),
                None => fetch_att(&mut fetch, name, args)?,
            }
        }
        _ => return Err(INVALID_ARGUMENTS),
    }
    if !args.is_empty() {
        let mut modifiers = args.list().ok_or(INVALID_ARGUMENTS)?;
        fetch.changed_since = Some(changed_since(&mut modifiers)?);
        fetch.add(FetchItem::ModSeq);
    }
    Ok(Command::Fetch(fetch))
}

impl Fetch {
    fn add(&mut self, item: FetchItem) {
        if !self.items.contains(&item) {
            self.items.push(item);
        }
    }
}

/// `ALL`, `FAST` and `FULL`, which stand alone (RFC 3501 section 6.4.5).
fn macro_items(name: &[u8]) -> Option<&'static [FetchItem]> {
    const FULL: [FetchItem; 5] =
        [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size, FetchItem::Envelope, FetchItem::Body];
    match token::upper(name).as_str() {
        "FAST" => Some(&FULL[..3]),
        "ALL" => Some(&FULL[..4]),
        "FULL" => Some(&FULL),
        _ => None,
    }
}

fn changed_since(modifiers: &mut Args<'_, '_>) -> Result<u64, Refusal> {
    if !modifiers.keyword("CHANGEDSINCE") {
        return Err(Refusal::bad("Unknown FETCH modifier"));
    }
    let value = modifiers.atom().and_then(token::number).filter(|value| i64::try_from(*value).is_ok());
    let value = value.ok_or(Refusal::bad("Invalid CHANGEDSINCE modseq"))?;
    if modifiers.is_empty() { Ok(value) } else { Err(Refusal::bad("Unknown FETCH modifier")) }
}

/// ```text
/// fetch-att = "ENVELOPE" / "FLAGS" / "INTERNALDATE" / "RFC822" [".HEADER" / ".SIZE" / ".TEXT"] /
///             "BODY" ["STRUCTURE"] / "UID" / "MODSEQ" /
///             "BODY" section ["<" number "." nz-number ">"] / "BODY.PEEK" section ["<" number "." nz-number ">"]
/// ```
fn fetch_att(fetch: &mut Fetch, written: &[u8], args: &mut Args<'_, '_>) -> Result<(), Refusal> {
    let name = token::upper(written);
    if let Some(item) = item(&name) {
        fetch.add(item);
        return Ok(());
    }
    let body = if let Some(body) = rfc822(&name) {
        body
    } else if let Some(section) = name.strip_prefix("BODY[") {
        body(section, false, args)?
    } else if let Some(section) = name.strip_prefix("BODY.PEEK[") {
        body(section, true, args)?
    } else {
        return Err(Refusal::Bad(format!("Unknown parameter: {name}").into()));
    };
    fetch.bodies.push(body);
    Ok(())
}

fn item(name: &str) -> Option<FetchItem> {
    Some(match name {
        "UID" => FetchItem::Uid,
        "FLAGS" => FetchItem::Flags,
        "INTERNALDATE" => FetchItem::InternalDate,
        "RFC822.SIZE" => FetchItem::Size,
        "ENVELOPE" => FetchItem::Envelope,
        "BODYSTRUCTURE" => FetchItem::BodyStructure,
        "BODY" => FetchItem::Body,
        "MODSEQ" => FetchItem::ModSeq,
        _ => return None,
    })
}

/// The older names of three sections; of these, `RFC822.HEADER` leaves `\Seen` alone.
fn rfc822(name: &str) -> Option<BodyFetch> {
    let text = match name {
        "RFC822" => SectionText::Whole,
        "RFC822.HEADER" => SectionText::Header,
        "RFC822.TEXT" => SectionText::Text,
        _ => return None,
    };
    let peek = text == SectionText::Header;
    let section = Section { part: Vec::new(), text };
    Some(BodyFetch { section, peek, partial: None, label: Label(name.as_bytes().to_vec()) })
}

/// ```text
/// section         = "[" [section-spec] "]"
/// section-spec    = section-msgtext / (section-part ["." section-text])
/// section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
/// section-part    = nz-number *("." nz-number)
/// section-text    = section-msgtext / "MIME"
/// header-list     = "(" astring *(SP astring) ")"
/// ```
///
/// `start` is the rest of the atom after `[`, in capitals; a header list makes the section go on in two more arguments.
fn body(start: &str, peek: bool, args: &mut Args<'_, '_>) -> Result<BodyFetch, Refusal> {
    const MISSING: Refusal = Refusal::bad("Invalid BODY[..] parameter: Missing ']'");
    let (spec, fields, after) = match start.split_once(']') {
        Some((spec, after)) => (spec, None, after.to_owned()),
        None => {
            let mut list = match args.peek() {
                None => return Err(MISSING),
                Some(_) => args.list().ok_or(INVALID_ARGUMENTS)?,
            };
            let fields = header_list(&mut list)?;
            let after = token::upper(args.atom().ok_or(MISSING)?);
            let after = after.strip_prefix(']').ok_or(MISSING)?.to_owned();
            (start, Some(fields), after)
        }
    };
    let section = section(spec, fields)?;
    let partial = partial(&after)?;
    let mut label = b"BODY[".to_vec();
    label.extend_from_slice(spec.as_bytes());
    if let SectionText::HeaderFields(fields) | SectionText::HeaderFieldsNot(fields) = &section.text {
        write_header_list(&mut label, fields);
    }
    label.push(b']');
    if let Some((origin, _)) = partial {
        label.extend_from_slice(format!("<{origin}>").as_bytes());
    }
    Ok(BodyFetch { section, peek, partial, label: Label(label) })
}

fn header_list(list: &mut Args<'_, '_>) -> Result<Vec<String>, Refusal> {
    let mut fields: Vec<String> = Vec::new();
    while !list.is_empty() {
        let field = list.astring().ok_or(INVALID_SECTION)?;
        if field.is_empty() || !field.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(INVALID_SECTION);
        }
        fields.push(token::upper(field));
    }
    if fields.is_empty() { Err(INVALID_SECTION) } else { Ok(fields) }
}

fn write_header_list(label: &mut Vec<u8>, fields: &[String]) {
    let mut separator = &b" ("[..];
    for field in fields {
        label.extend_from_slice(separator);
        separator = b" ";
        crate::response::astring(label, field.as_bytes());
    }
    label.push(b')');
}

fn section(spec: &str, fields: Option<Vec<String>>) -> Result<Section, Refusal> {
    let mut part = Vec::new();
    let mut rest = spec;
    while rest.starts_with(|character: char| character.is_ascii_digit()) {
        let (number, after) = rest.split_once('.').unwrap_or((rest, ""));
        // A part beyond 32 bits does not exist any more than part 0 does, but is not a number of the grammar.
        let number = token::number32(number.as_bytes()).filter(|number| *number > 0).ok_or(INVALID_SECTION)?;
        if part.len() == limits::SECTION_DEPTH || (after.is_empty() && rest.ends_with('.')) {
            return Err(INVALID_SECTION);
        }
        part.push(number);
        rest = after;
    }
    let text = match (rest, fields) {
        ("", None) => SectionText::Whole,
        ("HEADER", None) => SectionText::Header,
        ("TEXT", None) => SectionText::Text,
        ("MIME", None) if !part.is_empty() => SectionText::Mime,
        ("HEADER.FIELDS", Some(fields)) => SectionText::HeaderFields(fields),
        ("HEADER.FIELDS.NOT", Some(fields)) => SectionText::HeaderFieldsNot(fields),
        _ => return Err(INVALID_SECTION),
    };
    Ok(Section { part, text })
}

/// ```text
/// partial = "<" number "." nz-number ">"
/// ```
///
/// As in Dovecot, the number of octets may be missing, and may be 0.
fn partial(text: &str) -> Result<Option<(u64, Option<u64>)>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let Some(inner) = text.strip_prefix('<') else {
        return Err(Refusal::bad("Invalid BODY[..] parameter: Unexpected data after ']'"));
    };
    let inner = inner.strip_suffix('>').ok_or(Refusal::bad("Invalid BODY[..] parameter: Missing '>'"))?;
    let number = |digits: &str, complaint| token::number32(digits.as_bytes()).map(u64::from).ok_or(complaint);
    let (origin, octets) = match inner.split_once('.') {
        Some((origin, octets)) => {
            let complaint = Refusal::bad("Invalid BODY[..] parameter: Too big partial end");
            (origin, Some(number(octets, complaint)?))
        }
        None => (inner, None),
    };
    let origin = number(origin, Refusal::bad("Invalid BODY[..] parameter: Too big partial start"))?;
    Ok(Some((origin, octets)))
}
