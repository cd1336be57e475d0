//! CREATE, LIST and LSUB.

use super::{Command, INVALID_ARGUMENTS, Refusal, StatusItems, mailbox, status_items};
use crate::name::Pattern;
use crate::token::{self, Args};

/// A special use of a mailbox (RFC 6154, RFC 8457).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Important`
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    const NAMES: [(SpecialUse, &'static str); 8] = [
        (SpecialUse::All, "\\All"),
        (SpecialUse::Archive, "\\Archive"),
        (SpecialUse::Drafts, "\\Drafts"),
        (SpecialUse::Flagged, "\\Flagged"),
        (SpecialUse::Important, "\\Important"),
        (SpecialUse::Junk, "\\Junk"),
        (SpecialUse::Sent, "\\Sent"),
        (SpecialUse::Trash, "\\Trash"),
    ];

    /// The use by its name, whatever its case; also for `special_use` in the configuration.
    ///
    /// ```text
    /// use-attr = "\All" / "\Archive" / "\Drafts" / "\Flagged" / "\Important" / "\Junk" / "\Sent" / "\Trash"
    /// ```
    pub fn parse(name: &[u8]) -> Option<SpecialUse> {
        let known = SpecialUse::NAMES.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
        known.map(|(special_use, _)| *special_use)
    }

    /// The name with its backslash.
    pub fn name(self) -> &'static str {
        SpecialUse::NAMES.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCommand {
    /// The command has a selection, a list of patterns or RETURN (RFC 5258), and is answered by that RFC's rules.
    pub extended: bool,
    /// Which mailboxes.
    pub select: ListSelect,
    /// Patterns with the reference before them. None of them: the client asks for the separator alone.
    pub patterns: Vec<Pattern>,
    /// What about them.
    pub returns: ListReturn,
}

/// Selection options of LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListSelect {
    /// SUBSCRIBED
    pub subscribed: bool,
    /// SPECIAL-USE
    pub special_use: bool,
    /// RECURSIVEMATCH
    pub recursive_match: bool,
}

/// Return options of LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListReturn {
    /// SUBSCRIBED
    pub subscribed: bool,
    /// CHILDREN
    pub children: bool,
    /// SPECIAL-USE
    pub special_use: bool,
    /// STATUS (RFC 5819)
    pub status: Option<StatusItems>,
}

/// ```text
/// create       = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]
/// create-param =/ "USE" SP "(" [use-attr *(SP use-attr)] ")"
/// ```
///
/// RFC 3501 section 9, RFC 6154 section 6.
pub(super) fn create(args: &mut Args<'_, '_>) -> Result<Command, Refusal> {
    let mailbox = mailbox(args)?;
    let mut special_use = Vec::new();
    if let Some(mut params) = args.list() {
        while !params.is_empty() {
            if !params.keyword("USE") {
                return Err(Refusal::bad("Unknown CREATE parameter"));
            }
            let mut uses = params.list().ok_or(INVALID_ARGUMENTS)?;
            while !uses.is_empty() {
                let name = uses.atom().ok_or(INVALID_ARGUMENTS)?;
                let known = SpecialUse::parse(name).ok_or(Refusal::no("[USEATTR] Unknown special-use attribute"))?;
                if !special_use.contains(&known) {
                    special_use.push(known);
                }
            }
        }
    }
    Ok(Command::Create { mailbox, special_use })
}

/// ```text
/// list       = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
/// mbox-or-pat = list-mailbox / patterns
/// patterns   = "(" list-mailbox *(SP list-mailbox) ")"
/// ```
///
/// RFC 5258 section 6.
pub(super) fn list(args: &mut Args<'_, '_>) -> Result<Command, Refusal> {
    let mut extended = false;
    let mut select = ListSelect::default();
    let mut returns = ListReturn::default();
    if let Some(mut options) = args.list() {
        extended = true;
        select = select_options(&mut options)?;
    }
    let reference = args.astring().ok_or(Refusal::bad("Invalid reference"))?;
    let mut patterns = Vec::new();
    if let Some(mut list) = args.list() {
        extended = true;
        while !list.is_empty() {
            patterns.push(Pattern::new(reference, list.astring().ok_or(Refusal::bad("Invalid pattern list"))?));
        }
    } else {
        let pattern = args.astring().ok_or(Refusal::bad("Invalid pattern"))?;
        // RFC 3501 section 6.3.8: an empty name asks for separator and root.
        if !pattern.is_empty() || extended {
            patterns.push(Pattern::new(reference, pattern));
        }
    }
    if args.keyword("RETURN") {
        extended = true;
        returns = return_options(&mut args.list().ok_or(Refusal::bad("RETURN list missing"))?)?;
    }
    if !args.is_empty() {
        return Err(Refusal::bad("Extra arguments"));
    }
    returns.subscribed |= select.subscribed;
    Ok(Command::List(ListCommand { extended, select, patterns, returns }))
}

/// ```text
/// list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")"
/// list-select-opt  = "SUBSCRIBED" / "REMOTE" / "RECURSIVEMATCH" / "SPECIAL-USE"
/// ```
///
/// RFC 5258 section 6, RFC 6154 section 6. There are no remote mailboxes, so that REMOTE changes nothing.
fn select_options(options: &mut Args<'_, '_>) -> Result<ListSelect, Refusal> {
    let mut select = ListSelect::default();
    while !options.is_empty() {
        let name = token::upper(options.atom().ok_or(Refusal::bad("List options contains non-atoms"))?);
        match name.as_str() {
            "SUBSCRIBED" => select.subscribed = true,
            "SPECIAL-USE" => select.special_use = true,
            "RECURSIVEMATCH" => select.recursive_match = true,
            "REMOTE" => {}
            _ => return Err(Refusal::bad("Unknown select options")),
        }
    }
    if select.recursive_match && !select.subscribed && !select.special_use {
        return Err(Refusal::bad("RECURSIVEMATCH must not be the only selection"));
    }
    Ok(select)
}

/// ```text
/// list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"
/// return-option    = "SUBSCRIBED" / "CHILDREN" / "SPECIAL-USE" / status-option
/// status-option    = "STATUS" SP "(" status-att *(SP status-att) ")"
/// ```
///
/// RFC 5258 section 6, RFC 5819 section 4.
fn return_options(options: &mut Args<'_, '_>) -> Result<ListReturn, Refusal> {
    let mut returns = ListReturn::default();
    while !options.is_empty() {
        let name = token::upper(options.atom().ok_or(Refusal::bad("List options contains non-atoms"))?);
        match name.as_str() {
            "SUBSCRIBED" => returns.subscribed = true,
            "CHILDREN" => returns.children = true,
            "SPECIAL-USE" => returns.special_use = true,
            "STATUS" => {
                let mut items = options.list().ok_or(Refusal::bad("Invalid list of status items"))?;
                returns.status = Some(status_items(&mut items)?);
            }
            _ => return Err(Refusal::bad("Unknown return options")),
        }
    }
    Ok(returns)
}

/// ```text
/// lsub = "LSUB" SP mailbox SP list-mailbox
/// ```
pub(super) fn lsub(args: &mut Args<'_, '_>) -> Result<Command, Refusal> {
    let reference = args.astring().ok_or(Refusal::bad("Invalid reference"))?;
    let pattern = args.astring().ok_or(Refusal::bad("Invalid pattern"))?;
    Ok(Command::Lsub(Pattern::new(reference, pattern)))
}
