//! SEARCH: conditions against messages, and the answer.

use super::view::View;
use super::{Done, Failure, NO_MAILBOX, Now, Session};
use crate::command::{DateField, ReturnOptions, Search, SearchKey, TextField};
use crate::date::Day;
use crate::flag::Flags;
use crate::mailbox::{self, ErrorKind, Mailboxes, Message, Selected};
use crate::response;
use crate::sequence::UidSet;

/// A condition made ready: sets resolved, keywords looked up, times absolute.
enum Test<'s> {
    All(Vec<Test<'s>>),
    Any([Box<Test<'s>>; 2]),
    Not(Box<Test<'s>>),
    Sequence(UidSet),
    Uid(UidSet),
    Flags(Flags),
    /// A bit of [`Message::keywords`]; no bit if the mailbox does not have the keyword.
    Keyword(u64),
    Larger(u64),
    Smaller(u64),
    /// Arrived at or before this.
    ArrivedUntil(i64),
    /// Arrived at or after this.
    ArrivedSince(i64),
    Day(DateField, Option<Day>, Option<Day>),
    ModSeq(u64),
    Text(&'s TextField, usize),
}

/// What was found.
#[derive(Default)]
struct Found {
    /// Sequence numbers, or UIDs for UID SEARCH.
    numbers: UidSet,
    uids: UidSet,
    modseq: u64,
}

impl<M: Mailboxes> Session<M> {
    pub(super) fn search(&mut self, tag: &[u8], search: &Search, now: Now) -> Result<Done, Failure> {
        if self.selected.is_none() {
            return Err(NO_MAILBOX);
        }
        let with_modseq = search.key.mentions_modseq();
        if with_modseq {
            self.enable_condstore();
        }
        let offset = self.settings.utc_offset;
        let view = self.selected.as_mut().ok_or(NO_MAILBOX)?;
        let test = Compiler { view, saved: &self.saved, now }.test(&search.key)?;
        let needles: Vec<_> = search.needles.iter().map(|text| view.selected.needle(text)).collect();
        let found = find(view, &test, &needles, search.uid, offset);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                // RFC 5182 section 2.1: a search that fails leaves an empty result.
                if search.returns.is_some_and(|returns| returns.save) {
                    self.saved = UidSet::default();
                }
                return Err(error.into());
            }
        };
        let modseq = (with_modseq && !found.numbers.is_empty()).then_some(found.modseq);
        match search.returns {
            None => write_search(&mut self.out, &found.numbers, modseq),
            Some(returns) => {
                write_esearch(&mut self.out, tag, search.uid, returns, &found.numbers, modseq);
                if returns.save {
                    self.saved = saved(&found.uids, returns);
                }
            }
        }
        Ok(Done::Sync { text: "OK Search completed".into(), expunges: search.uid, uid: search.uid })
    }
}

/// What SAVE keeps (RFC 5182 section 2.4): with MIN or MAX alone only these messages.
fn saved(uids: &UidSet, returns: ReturnOptions) -> UidSet {
    let ends = (returns.min || returns.max) && !returns.all && !returns.count;
    let (Some((min, _)), Some((_, max)), true) = (uids.ranges().first(), uids.ranges().last(), ends) else {
        return uids.clone();
    };
    let kept = [(returns.min, *min), (returns.max, *max)];
    UidSet::from_ascending(kept.iter().filter(|(keep, _)| *keep).map(|(_, uid)| *uid))
}

struct Compiler<'v, S> {
    view: &'v View<S>,
    saved: &'v UidSet,
    now: Now,
}

impl<S: Selected> Compiler<'_, S> {
    fn test<'s>(&self, key: &'s SearchKey) -> Result<Test<'s>, Failure> {
        let last = self.view.count();
        Ok(match key {
            SearchKey::All => Test::All(Vec::new()),
            SearchKey::And(keys) => Test::All(keys.iter().map(|key| self.test(key)).collect::<Result<_, Failure>>()?),
            SearchKey::Or(both) => Test::Any([Box::new(self.test(&both.0)?), Box::new(self.test(&both.1)?)]),
            SearchKey::Not(key) => Test::Not(Box::new(self.test(key)?)),
            SearchKey::Sequence(set) => Test::Sequence(set.resolve(last)),
            SearchKey::Uid(set) => Test::Uid(set.resolve(if last == 0 { 0 } else { self.view.uid(last) })),
            SearchKey::Saved => Test::Uid(self.saved.clone()),
            SearchKey::Flags(flags) => Test::Flags(*flags),
            SearchKey::Keyword(keyword) => {
                let known = |name: &String| keyword.as_ref().is_some_and(|k| k.as_str().eq_ignore_ascii_case(name));
                let bit = self.view.selected.keywords().iter().position(known);
                Test::Keyword(bit.and_then(|bit| 1u64.checked_shl(bit as u32)).unwrap_or(0))
            }
            SearchKey::Larger(size) => Test::Larger(*size),
            SearchKey::Smaller(size) => Test::Smaller(*size),
            SearchKey::Older(seconds) => Test::ArrivedUntil(self.now.unix - i64::from(*seconds)),
            SearchKey::Younger(seconds) => Test::ArrivedSince(self.now.unix - i64::from(*seconds)),
            SearchKey::Date(field, from, before) => Test::Day(*field, *from, *before),
            SearchKey::ModSeq(modseq) => Test::ModSeq(*modseq),
            SearchKey::Text(text) => Test::Text(&text.field, text.needle),
        })
    }
}

/// Tries every message of the view. One that is gone meanwhile is not found.
fn find<S: Selected>(
    view: &mut View<S>,
    test: &Test<'_>,
    needles: &[S::Needle],
    uid: bool,
    utc_offset: i32,
) -> Result<Found, mailbox::Error> {
    let mut found = Found::default();
    for sequence in 1..=view.count() {
        let Some((index, message)) = view.message(sequence) else { continue };
        let mut candidate = Candidate { selected: &mut view.selected, needles, sequence, index, message, utc_offset };
        match candidate.passes(test) {
            Ok(false) => continue,
            Err(error) if error.kind == ErrorKind::Expunged => continue,
            Err(error) => return Err(error),
            Ok(true) => {}
        }
        found.numbers.push(if uid { message.uid } else { sequence });
        found.uids.push(message.uid);
        found.modseq = found.modseq.max(message.modseq);
    }
    Ok(found)
}

struct Candidate<'c, S: Selected> {
    selected: &'c mut S,
    needles: &'c [S::Needle],
    sequence: u32,
    index: usize,
    message: Message,
    utc_offset: i32,
}

impl<S: Selected> Candidate<'_, S> {
    fn passes(&mut self, test: &Test<'_>) -> Result<bool, mailbox::Error> {
        Ok(match test {
            Test::All(tests) => {
                for test in tests {
                    if !self.passes(test)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Any([first, second]) => self.passes(first)? || self.passes(second)?,
            Test::Not(test) => !self.passes(test)?,
            Test::Sequence(set) => set.contains(self.sequence),
            Test::Uid(set) => set.contains(self.message.uid),
            Test::Flags(flags) => self.message.flags.contains(*flags),
            Test::Keyword(bit) => self.message.keywords & bit != 0,
            Test::Larger(size) => self.selected.size(self.index)? > *size,
            Test::Smaller(size) => self.selected.size(self.index)? < *size,
            Test::ArrivedUntil(instant) => self.selected.internal_date(self.index)? <= *instant,
            Test::ArrivedSince(instant) => self.selected.internal_date(self.index)? >= *instant,
            Test::Day(field, from, before) => {
                let day = match field {
                    DateField::Internal => Some(Day::of(self.selected.internal_date(self.index)?, self.utc_offset)),
                    DateField::Sent => self.selected.sent_day(self.index)?,
                };
                day.is_some_and(|day| from.is_none_or(|from| day >= from) && before.is_none_or(|end| day < end))
            }
            Test::ModSeq(modseq) => self.message.modseq >= *modseq,
            Test::Text(field, needle) => self.selected.search(self.index, field, &self.needles[*needle])?,
        })
    }
}

/// ```text
/// mailbox-data =/ "SEARCH" [1*(SP nz-number) [SP "(" "MODSEQ" SP mod-sequence-value ")"]]
/// ```
fn write_search(out: &mut Vec<u8>, numbers: &UidSet, modseq: Option<u64>) {
    out.extend_from_slice(b"* SEARCH");
    for number in numbers.iter() {
        out.push(b' ');
        response::number(out, u64::from(number));
    }
    if let Some(modseq) = modseq {
        out.extend_from_slice(b" (MODSEQ ");
        response::number(out, modseq);
        out.push(b')');
    }
    out.extend_from_slice(b"\r\n");
}

/// ```text
/// esearch-response = "ESEARCH" [SP "(" "TAG" SP tag-string ")"] [SP "UID"] *(SP search-return-data)
/// ```
///
/// RFC 4466 section 6. SAVE alone answers nothing.
fn write_esearch(
    out: &mut Vec<u8>,
    tag: &[u8],
    uid: bool,
    returns: ReturnOptions,
    numbers: &UidSet,
    modseq: Option<u64>,
) {
    if !(returns.min || returns.max || returns.all || returns.count) {
        return;
    }
    out.extend_from_slice(b"* ESEARCH (TAG ");
    response::string(out, tag);
    out.push(b')');
    if uid {
        out.extend_from_slice(b" UID");
    }
    if let (Some((min, _)), Some((_, max))) = (numbers.ranges().first(), numbers.ranges().last()) {
        for (asked, name, value) in [(returns.min, " MIN ", *min), (returns.max, " MAX ", *max)] {
            if asked {
                out.extend_from_slice(name.as_bytes());
                response::number(out, u64::from(value));
            }
        }
        if returns.all {
            out.extend_from_slice(b" ALL ");
            response::uid_set(out, numbers);
        }
    }
    if returns.count {
        out.extend_from_slice(b" COUNT ");
        response::number(out, numbers.count());
    }
    if let Some(modseq) = modseq {
        out.extend_from_slice(b" MODSEQ ");
        response::number(out, modseq);
    }
    out.extend_from_slice(b"\r\n");
}
