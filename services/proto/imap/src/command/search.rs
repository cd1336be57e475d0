//! SEARCH.

use super::{Command, Refusal};
use crate::date::Day;
use crate::flag::{Flags, Keyword};
use crate::limits;
use crate::sequence::SequenceSet;
use crate::token::{self, Arg, Args};

/// SEARCH or UID SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The answer is UIDs.
    pub uid: bool,
    /// `RETURN (…)`: the answer is ESEARCH (RFC 4731), and what it holds.
    pub returns: Option<ReturnOptions>,
    /// What is looked for.
    pub key: SearchKey,
    /// The strings that [`TextKey`]s refer to, in Unicode.
    pub needles: Vec<String>,
}

/// Return options. With none of them, ALL is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReturnOptions {
    /// MIN
    pub min: bool,
    /// MAX
    pub max: bool,
    /// ALL
    pub all: bool,
    /// COUNT
    pub count: bool,
    /// SAVE (RFC 5182)
    pub save: bool,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// Every message.
    All,
    /// All of these. Conditions that open messages come last.
    And(Vec<SearchKey>),
    /// One of the two.
    Or(Box<(SearchKey, SearchKey)>),
    /// Not this.
    Not(Box<SearchKey>),
    /// By sequence number.
    Sequence(SequenceSet),
    /// By UID.
    Uid(SequenceSet),
    /// In the saved result.
    Saved,
    /// All of these flags.
    Flags(Flags),
    /// This keyword; `None` for a word that can be none.
    Keyword(Option<Keyword>),
    /// Size above, in octets.
    Larger(u64),
    /// Size below, in octets.
    Smaller(u64),
    /// At least that many seconds old (RFC 5032).
    Older(u32),
    /// At most that many seconds old.
    Younger(u32),
    /// On a day from the first up to before the second.
    Date(DateField, Option<Day>, Option<Day>),
    /// A mod-sequence at or above this.
    ModSeq(u64),
    /// Text.
    Text(TextKey),
}

/// Which date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateField {
    /// The internal date.
    Internal,
    /// The Date header.
    Sent,
}

/// A search in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextKey {
    /// Where.
    pub field: TextField,
    /// What: an index into [`Search::needles`].
    pub needle: usize,
}

/// Where text is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextField {
    /// In every header field of this name, in capitals. An empty string asks whether there is such a field.
    Header(String),
    /// In the body.
    Body,
    /// In header or body.
    Text,
}

impl SearchKey {
    /// What a message costs to be tried: flags and numbers, cached facts, its text.
    fn cost(&self) -> u8 {
        match self {
            SearchKey::Text(TextKey { field: TextField::Header(_), .. }) => 2,
            SearchKey::Text(_) => 3,
            SearchKey::Larger(_) | SearchKey::Smaller(_) | SearchKey::Date(..) => 1,
            SearchKey::Older(_) | SearchKey::Younger(_) => 1,
            SearchKey::And(keys) => keys.iter().map(SearchKey::cost).max().unwrap_or(0),
            SearchKey::Or(both) => both.0.cost().max(both.1.cost()),
            SearchKey::Not(key) => key.cost(),
            _ => 0,
        }
    }

    /// Whether any condition is about mod-sequences, which makes the answer carry one (RFC 7162 section 3.1.5).
    pub fn mentions_modseq(&self) -> bool {
        match self {
            SearchKey::ModSeq(_) => true,
            SearchKey::And(keys) => keys.iter().any(SearchKey::mentions_modseq),
            SearchKey::Or(both) => both.0.mentions_modseq() || both.1.mentions_modseq(),
            SearchKey::Not(key) => key.mentions_modseq(),
            _ => false,
        }
    }
}

/// ```text
/// search         = "SEARCH" [search-return-opts] [SP "CHARSET" SP astring] 1*(SP search-key)
/// search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
/// search-return-opt = "MIN" / "MAX" / "ALL" / "COUNT" / "SAVE"
/// ```
///
/// RFC 3501 section 9, RFC 4731, RFC 5182.
pub(super) fn search(args: &mut Args<'_, '_>, uid: bool) -> Result<Command, Refusal> {
    let mut ahead = args.clone();
    let mut returns = None;
    if ahead.keyword("RETURN")
        && let Some(mut options) = ahead.list()
    {
        returns = Some(return_options(&mut options)?);
        *args = ahead;
    }
    let mut charset = encoding_rs::UTF_8;
    if args.keyword("CHARSET") {
        let label = args.astring().ok_or(Refusal::bad("Invalid charset argument"))?;
        charset = encoding_rs::Encoding::for_label(label)
            .filter(|encoding| encoding.is_ascii_compatible())
            .ok_or(Refusal::no("[BADCHARSET] Unknown charset"))?;
    }
    if args.is_empty() {
        return Err(Refusal::bad("Missing search parameters"));
    }
    let mut parser = Parser { charset, needles: Vec::new() };
    let key = parser.all(args, 0)?;
    Ok(Command::Search(Search { uid, returns, key, needles: parser.needles }))
}

fn return_options(options: &mut Args<'_, '_>) -> Result<ReturnOptions, Refusal> {
    let mut returns = ReturnOptions::default();
    while !options.is_empty() {
        let name = options.atom().ok_or(Refusal::bad("SEARCH return options contain non-atoms"))?;
        match token::upper(name).as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            _ => return Err(Refusal::bad("Unknown SEARCH return option")),
        }
    }
    // RFC 4731 section 3.1: an empty list means ALL; SAVE alone answers nothing (RFC 5182 section 2.1).
    if returns == ReturnOptions::default() {
        returns.all = true;
    }
    Ok(returns)
}

struct Parser {
    charset: &'static encoding_rs::Encoding,
    needles: Vec<String>,
}

impl Parser {
    /// All keys of a list, as one condition.
    fn all(&mut self, args: &mut Args<'_, '_>, depth: usize) -> Result<SearchKey, Refusal> {
        let mut keys = Vec::new();
        while !args.is_empty() {
            keys.push(self.key(args, depth)?);
        }
        keys.sort_by_key(SearchKey::cost);
        Ok(if keys.len() == 1 { keys.remove(0) } else { SearchKey::And(keys) })
    }

    /// ```text
    /// search-key = "ALL" / "ANSWERED" / "BCC" SP astring / "BEFORE" SP date / "BODY" SP astring / "CC" SP astring /
    ///              "DELETED" / "FLAGGED" / "FROM" SP astring / "KEYWORD" SP flag-keyword / "NEW" / "OLD" /
    ///              "ON" SP date / "RECENT" / "SEEN" / "SINCE" SP date / "SUBJECT" SP astring / "TEXT" SP astring /
    ///              "TO" SP astring / "UNANSWERED" / "UNDELETED" / "UNFLAGGED" / "UNKEYWORD" SP flag-keyword /
    ///              "UNSEEN" / "DRAFT" / "HEADER" SP header-fld-name SP astring / "LARGER" SP number /
    ///              "NOT" SP search-key / "OR" SP search-key SP search-key / "SENTBEFORE" SP date / "SENTON" SP date /
    ///              "SENTSINCE" SP date / "SMALLER" SP number / "UID" SP sequence-set / "UNDRAFT" / sequence-set /
    ///              "(" search-key *(SP search-key) ")" / "OLDER" SP nz-number / "YOUNGER" SP nz-number /
    ///              "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer
    /// ```
    ///
    /// RFC 3501 section 9, RFC 5032, RFC 7162.
    fn key(&mut self, args: &mut Args<'_, '_>, depth: usize) -> Result<SearchKey, Refusal> {
        if depth == limits::DEPTH {
            return Err(Refusal::bad("Too many nested search keys"));
        }
        let name = match args.peek() {
            None => return Err(Refusal::bad("Missing argument")),
            Some(Arg::List(_)) => {
                let mut list = args.list().ok_or(Refusal::bad("Missing argument"))?;
                if list.is_empty() {
                    return Err(Refusal::bad("No search parameters inside list"));
                }
                return self.all(&mut list, depth + 1);
            }
            Some(_) => args.atom().ok_or(Refusal::bad("Search keys contain non-atoms"))?,
        };
        if name == b"$" {
            return Ok(SearchKey::Saved);
        }
        if matches!(name.first(), Some(b'0'..=b'9' | b'*')) {
            return SequenceSet::parse(name).map(SearchKey::Sequence).ok_or(super::INVALID_MESSAGESET);
        }
        let name = token::upper(name);
        if let Some(flags) = flag_key(&name) {
            return Ok(flags);
        }
        let mut argument = Argument { args, name: &name };
        match name.as_str() {
            "ALL" => Ok(SearchKey::All),
            "NOT" => Ok(SearchKey::Not(Box::new(self.key(args, depth + 1)?))),
            "OR" => Ok(SearchKey::Or(Box::new((self.key(args, depth + 1)?, self.key(args, depth + 1)?)))),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => {
                let text = argument.text()?;
                self.text(TextField::Header(name), text)
            }
            "HEADER" => {
                let field = token::upper(argument.text()?);
                let text = argument.text()?;
                self.text(TextField::Header(field), text)
            }
            "BODY" => self.text(TextField::Body, argument.text()?),
            "TEXT" => self.text(TextField::Text, argument.text()?),
            "KEYWORD" => Ok(SearchKey::Keyword(Keyword::parse(argument.text()?).ok())),
            "UNKEYWORD" => Ok(SearchKey::Not(Box::new(SearchKey::Keyword(Keyword::parse(argument.text()?).ok())))),
            "UID" => {
                let text = argument.text()?;
                if text == b"$" {
                    return Ok(SearchKey::Saved);
                }
                SequenceSet::parse(text).map(SearchKey::Uid).ok_or(Refusal::bad("Invalid UID messageset"))
            }
            "LARGER" => argument.size().map(SearchKey::Larger),
            "SMALLER" => argument.size().map(SearchKey::Smaller),
            "OLDER" => argument.interval().map(SearchKey::Older),
            "YOUNGER" => argument.interval().map(SearchKey::Younger),
            "MODSEQ" => argument.modseq().map(SearchKey::ModSeq),
            _ => argument.date(),
        }
    }

    fn text(&mut self, field: TextField, text: &[u8]) -> Result<SearchKey, Refusal> {
        let (decoded, malformed) = self.charset.decode_without_bom_handling(text);
        if malformed {
            return Err(Refusal::bad("Invalid search string for the charset"));
        }
        self.needles.push(decoded.into_owned());
        Ok(SearchKey::Text(TextKey { field, needle: self.needles.len() - 1 }))
    }
}

/// Keys that are a flag, or the lack of one.
fn flag_key(name: &str) -> Option<SearchKey> {
    let flag = |name: &str| match name {
        "ANSWERED" => Some(Flags::ANSWERED),
        "DELETED" => Some(Flags::DELETED),
        "DRAFT" => Some(Flags::DRAFT),
        "FLAGGED" => Some(Flags::FLAGGED),
        "SEEN" => Some(Flags::SEEN),
        _ => None,
    };
    let not = |flags| SearchKey::Not(Box::new(SearchKey::Flags(flags)));
    match name {
        "RECENT" => Some(SearchKey::Flags(Flags::RECENT)),
        "OLD" => Some(not(Flags::RECENT)),
        "NEW" => Some(SearchKey::And(vec![SearchKey::Flags(Flags::RECENT), not(Flags::SEEN)])),
        _ => match name.strip_prefix("UN") {
            Some(positive) => flag(positive).map(not),
            None => flag(name).map(SearchKey::Flags),
        },
    }
}

/// The arguments of one key.
struct Argument<'r, 't, 'a> {
    args: &'r mut Args<'t, 'a>,
    name: &'r str,
}

impl<'t> Argument<'_, 't, '_> {
    fn text(&mut self) -> Result<&'t [u8], Refusal> {
        let complaint = match self.args.peek() {
            None => "Missing parameter for search key",
            Some(Arg::List(_)) => "Unexpected (",
            Some(_) => "",
        };
        let missing = || Refusal::Bad(format!("{complaint} (for search key: {})", self.name).into());
        self.args.astring().ok_or_else(missing)
    }

    fn size(&mut self) -> Result<u64, Refusal> {
        let size = token::number32(self.text()?).map(u64::from);
        size.ok_or(Refusal::bad("Invalid search size parameter"))
    }

    fn interval(&mut self) -> Result<u32, Refusal> {
        let interval = token::number32(self.text()?).filter(|seconds| *seconds > 0);
        interval.ok_or(Refusal::bad("Invalid search interval parameter"))
    }

    /// Entry name and type are accepted; all flags share one mod-sequence, as RFC 7162 section 3.1.5 allows.
    fn modseq(&mut self) -> Result<u64, Refusal> {
        const INVALID: Refusal = Refusal::bad("Invalid MODSEQ value");
        if let Some(Arg::String(_)) = self.args.peek() {
            self.text()?;
            let entry_type = token::upper(self.text()?);
            if !matches!(entry_type.as_str(), "PRIV" | "SHARED" | "ALL") {
                return Err(Refusal::bad("Invalid MODSEQ type"));
            }
        }
        token::number(self.text()?).filter(|value| i64::try_from(*value).is_ok()).ok_or(INVALID)
    }

    fn date(&mut self) -> Result<SearchKey, Refusal> {
        let (field, relation) = match self.name.strip_prefix("SENT") {
            Some(relation) => (DateField::Sent, relation),
            None => (DateField::Internal, self.name),
        };
        if !matches!(relation, "BEFORE" | "ON" | "SINCE") {
            return Err(Refusal::Bad(format!("Unknown argument {}", self.name).into()));
        }
        let day = Day::parse(self.text()?).ok_or(Refusal::bad("Invalid search date parameter"))?;
        Ok(match relation {
            "BEFORE" => SearchKey::Date(field, None, Some(day)),
            "SINCE" => SearchKey::Date(field, Some(day), None),
            _ => SearchKey::Date(field, Some(day), Some(Day(day.0 + 1))),
        })
    }
}
