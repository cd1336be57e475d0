//! STORE and flag lists.

use super::{Command, INVALID_ARGUMENTS, MessageSet, NON_ATOMS, Refusal, message_set};
use crate::flag::{FlagList, Flags, Keyword, KeywordError};
use crate::limits;
use crate::token::{self, Arg, Args};

/// STORE or UID STORE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Which messages.
    pub set: MessageSet,
    /// Numbers are UIDs.
    pub uid: bool,
    /// What happens to the flags.
    pub mode: StoreMode,
    /// `.SILENT`
    pub silent: bool,
    /// Which flags.
    pub flags: FlagList,
    /// Only messages whose mod-sequence is not above this (RFC 7162).
    pub unchanged_since: Option<u64>,
}

/// What STORE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// ```text
/// store           = "STORE" SP sequence-set [store-modifiers] SP store-att-flags
/// store-modifiers = SP "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")"
/// store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
/// ```
///
/// RFC 3501 section 9, RFC 7162 section 7.
pub(super) fn store(args: &mut Args<'_, '_>, uid: bool) -> Result<Command, Refusal> {
    let set = message_set(args, &INVALID_ARGUMENTS)?;
    let unchanged_since = match args.list() {
        Some(mut modifiers) => Some(unchanged_since(&mut modifiers)?),
        None => None,
    };
    let item = token::upper(args.atom().ok_or(INVALID_ARGUMENTS)?);
    let (item, silent) = match item.strip_suffix(".SILENT") {
        Some(item) => (item, true),
        None => (item.as_str(), false),
    };
    let mode = match item {
        "FLAGS" => StoreMode::Replace,
        "+FLAGS" => StoreMode::Add,
        "-FLAGS" => StoreMode::Remove,
        _ => return Err(INVALID_ARGUMENTS),
    };
    let flags = match args.list() {
        Some(mut list) => flag_list(&mut list)?,
        None => flag_list(args)?,
    };
    Ok(Command::Store(Store { set, uid, mode, silent, flags, unchanged_since }))
}

fn unchanged_since(modifiers: &mut Args<'_, '_>) -> Result<u64, Refusal> {
    if !modifiers.keyword("UNCHANGEDSINCE") {
        return Err(Refusal::bad("Unknown STORE modifier"));
    }
    let value = modifiers.atom().ok_or(Refusal::bad("Invalid STORE modifiers"))?;
    if !modifiers.is_empty() {
        return Err(Refusal::bad("Unknown STORE modifier"));
    }
    token::number(value).filter(|value| i64::try_from(*value).is_ok()).ok_or(Refusal::bad("Invalid modseq"))
}

/// ```text
/// flag-list = "(" [flag *(SP flag)] ")"
/// ```
///
/// The parentheses are gone already. RFC 3501 section 9.
pub(super) fn flag_list(list: &mut Args<'_, '_>) -> Result<FlagList, Refusal> {
    let mut flags = FlagList::default();
    while let Some(arg) = list.peek() {
        let Arg::Atom(name) = arg else { return Err(NON_ATOMS) };
        list.atom();
        if name.starts_with(b"\\") {
            let flag = Flags::parse(name)
                .ok_or_else(|| Refusal::Bad(format!("Invalid system flag {}", token::upper(name)).into()))?;
            flags.flags = flags.flags | flag;
            continue;
        }
        let keyword = Keyword::parse(name).map_err(|error| match error {
            KeywordError::Characters => Refusal::no("[CANNOT] Invalid characters in keyword"),
            KeywordError::Length => Refusal::no("[CANNOT] Keyword length too long"),
        })?;
        let known = |other: &Keyword| other.as_str().eq_ignore_ascii_case(keyword.as_str());
        if flags.keywords.iter().any(known) {
            continue;
        }
        if flags.keywords.len() == limits::KEYWORDS {
            return Err(Refusal::no("[LIMIT] Too many keywords"));
        }
        flags.keywords.push(keyword);
    }
    Ok(flags)
}
