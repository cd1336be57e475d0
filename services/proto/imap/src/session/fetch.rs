//! FETCH, which yields whenever enough output waits.
//!
//! Messages that get `\Seen` are marked all at once at the end, before the tagged OK: a client that was cut off in the
//! middle finds them unseen, which is the safe side.

use super::{Done, Failure, NO_MAILBOX, Now, Running, Session};
use crate::command::{BodyFetch, Fetch, FetchItem, SectionText, StoreMode};
use crate::flag::Flags;
use crate::mailbox::{self, Content, ErrorKind, FlagChange, Mailboxes, Message, Selected};
use crate::{date, limits, response};

/// A FETCH in progress.
pub(super) struct FetchProgress<C> {
    tag: Vec<u8>,
    fetch: Fetch,
    /// Ranges of sequence numbers that are left, lowest first.
    left: std::vec::IntoIter<(u32, u32)>,
    /// What is left of the range begun.
    range: Option<(u32, u32)>,
    /// The message whose sections are being written.
    current: Option<Current<C>>,
    /// UIDs to be marked `\Seen`.
    seen: Vec<u32>,
    /// Some messages do not exist any more.
    expunged: bool,
    /// The last failure of the store.
    failed: Option<mailbox::Error>,
}

/// A message whose items are written and whose sections are on their way.
struct Current<C> {
    /// Its index in the store, which stays valid because nothing is synced meanwhile.
    index: usize,
    /// No value was written to its line yet.
    first: bool,
    /// Which of [`Fetch::bodies`] comes next.
    next_body: usize,
    /// The section being sent, and which octets of it are left.
    content: Option<(C, u64, u64)>,
}

impl<C> FetchProgress<C> {
    fn next_sequence(&mut self) -> Option<u32> {
        let (first, last) = self.range.take().or_else(|| self.left.next())?;
        if first < last {
            self.range = Some((first + 1, last));
        }
        Some(first)
    }

    /// A message could not be read: the command goes on with the others.
    fn note(&mut self, error: mailbox::Error) {
        match error.kind {
            ErrorKind::Expunged => self.expunged = true,
            _ => self.failed = Some(error),
        }
    }
}

/// A literal was announced and its octets cannot be had.
struct Broken;

impl<M: Mailboxes> Session<M> {
    pub(super) fn fetch(&mut self, tag: &[u8], fetch: Fetch) -> Result<Done, Failure> {
        let view = self.selected.as_ref().ok_or(NO_MAILBOX)?;
        let sequences = view.sequences(&fetch.set, fetch.uid, &self.saved)?;
        if fetch.items.contains(&FetchItem::ModSeq) {
            self.enable_condstore();
        }
        self.running = Running::Fetch(Box::new(FetchProgress {
            tag: tag.to_vec(),
            fetch,
            left: sequences.ranges().to_vec().into_iter(),
            range: None,
            current: None,
            seen: Vec::new(),
            expunged: false,
            failed: None,
        }));
        Ok(Done::Later)
    }

    /// Whether output stopped in the middle of a reply, where nothing else may be said.
    pub(super) fn is_inside_reply(&self) -> bool {
        matches!(&self.running, Running::Fetch(progress) if progress.current.is_some())
    }

    /// Goes on with the FETCH in progress, if there is one, until enough output waits.
    pub(super) fn continue_fetch(&mut self, now: Now) {
        if !matches!(self.running, Running::Fetch(_)) {
            return;
        }
        let Running::Fetch(mut progress) = std::mem::replace(&mut self.running, Running::Nothing) else {
            return;
        };
        while self.out.len() < limits::OUTPUT_HIGH_WATER {
            match self.fetch_step(&mut progress) {
                Ok(true) => {}
                Ok(false) => return self.fetch_end(*progress, now),
                Err(Broken) => {
                    // Only the end of the connection can tell the client.
                    self.closed = true;
                    return;
                }
            }
        }
        self.running = Running::Fetch(progress);
    }

    /// Writes a message's items, or a bounded piece of a section. False when all is written.
    fn fetch_step(&mut self, progress: &mut Progress<M>) -> Result<bool, Broken> {
        let Some(mut current) = progress.current.take() else {
            let Some(sequence) = progress.next_sequence() else { return Ok(false) };
            self.fetch_message(progress, sequence);
            return Ok(true);
        };
        if let Some((content, offset, end)) = &mut current.content {
            let before = self.out.len();
            let limit = (*end - *offset).min(limits::CONTENT_STEP as u64) as usize;
            let read = content.read(*offset, limit, &mut self.out);
            *offset += (self.out.len() - before) as u64;
            if read.is_err() || *offset > *end || self.out.len() == before {
                return Err(Broken);
            }
            if offset == end {
                current.content = None;
            }
        } else if let Some(body) = progress.fetch.bodies.get(current.next_body) {
            current.next_body += 1;
            match self.open_section(body, &mut current) {
                Ok(()) => {}
                Err(error) => {
                    self.write_label(body, &mut current);
                    self.out.extend_from_slice(b"NIL");
                    progress.note(error);
                }
            }
        } else {
            self.out.extend_from_slice(b")\r\n");
            return Ok(true);
        }
        progress.current = Some(current);
        Ok(true)
    }

    fn fetch_message(&mut self, progress: &mut Progress<M>, sequence: u32) {
        let Some(view) = &mut self.selected else { return };
        let Some((index, mut message)) = view.message(sequence) else {
            progress.expunged = true;
            return;
        };
        if progress.fetch.changed_since.is_some_and(|modseq| message.modseq <= modseq) {
            return;
        }
        let marks = !view.read_only
            && !message.flags.contains(Flags::SEEN)
            && progress.fetch.bodies.iter().any(|body| !body.peek);
        if marks {
            message.flags = message.flags | Flags::SEEN;
            progress.seen.push(message.uid);
        }
        let line = self.out.len();
        self.out.extend_from_slice(b"* ");
        response::number(&mut self.out, u64::from(sequence));
        self.out.extend_from_slice(b" FETCH (");
        let start = self.out.len();
        let offset = self.settings.utc_offset;
        for item in &progress.fetch.items {
            if let Err(error) = write_item(&mut view.selected, *item, index, &message, offset, start, &mut self.out) {
                self.out.truncate(line);
                return progress.note(error);
            }
        }
        // The client learns of a flag that its own command sets, whether it asked for flags or not.
        if marks && !progress.fetch.items.contains(&FetchItem::Flags) {
            write_flags(&view.selected, &message, start, &mut self.out);
        }
        let first = self.out.len() == start;
        progress.current = Some(Current { index, first, next_body: 0, content: None });
    }

    fn write_label(&mut self, body: &BodyFetch, current: &mut Current<ContentOf<M>>) {
        if !std::mem::replace(&mut current.first, false) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(&body.label.0);
        self.out.push(b' ');
    }

    /// Opens a section and announces its literal.
    fn open_section(&mut self, body: &BodyFetch, current: &mut Current<ContentOf<M>>) -> Result<(), mailbox::Error> {
        let Some(view) = &mut self.selected else { return Ok(()) };
        let content = view.selected.content(current.index, &body.section)?;
        let (origin, octets) = body.partial.unwrap_or((0, None));
        let start = origin.min(content.len());
        let length = (content.len() - start).min(octets.unwrap_or(u64::MAX));
        let statistics = &mut self.statistics;
        let (count, bytes) = match body.section.text {
            SectionText::Whole | SectionText::Text => (&mut statistics.bodies, &mut statistics.body_bytes),
            _ => (&mut statistics.headers, &mut statistics.header_bytes),
        };
        *count += 1;
        *bytes += length;
        self.write_label(body, current);
        self.out.push(b'{');
        response::number(&mut self.out, length);
        self.out.extend_from_slice(b"}\r\n");
        current.content = (length > 0).then_some((content, start, start + length));
        Ok(())
    }

    /// Marks what was read, tells the news and answers.
    fn fetch_end(&mut self, mut progress: Progress<M>, now: Now) {
        if !progress.seen.is_empty()
            && let Some(view) = &mut self.selected
        {
            let change = FlagChange { mode: StoreMode::Add, flags: Flags::SEEN, keywords: &[], unchanged_since: None };
            match view.selected.store(&progress.seen, &change) {
                Ok(stored) => view.keep_silent(std::mem::take(&mut progress.seen), stored.modseq),
                Err(error) => progress.failed = Some(error),
            }
        }
        let uid = progress.fetch.uid;
        let done = match progress.failed.take() {
            Some(error) => Err(error.into()),
            None if progress.expunged => Ok("OK [EXPUNGEISSUED] Some messages were already expunged"),
            None => Ok("OK Fetch completed"),
        };
        let done = done.map(|text| Done::Sync { text: text.into(), expunges: uid, uid });
        self.finish(&progress.tag, if uid { "UID FETCH" } else { "FETCH" }, done, now);
    }
}

type ContentOf<M> = <<M as Mailboxes>::Selected as Selected>::Content;
type Progress<M> = FetchProgress<ContentOf<M>>;

/// Appends one item; `start` is where the values of the line began.
fn write_item<S: Selected>(
    selected: &mut S,
    item: FetchItem,
    index: usize,
    message: &Message,
    utc_offset: i32,
    start: usize,
    out: &mut Vec<u8>,
) -> Result<(), mailbox::Error> {
    match item {
        FetchItem::Uid => {
            response::word(out, start, "UID ");
            response::number(out, u64::from(message.uid));
        }
        FetchItem::Flags => write_flags(selected, message, start, out),
        FetchItem::InternalDate => {
            response::word(out, start, "INTERNALDATE ");
            date::write_date_time(out, selected.internal_date(index)?, utc_offset);
        }
        FetchItem::Size => {
            response::word(out, start, "RFC822.SIZE ");
            response::number(out, selected.size(index)?);
        }
        FetchItem::Envelope => {
            response::word(out, start, "ENVELOPE ");
            selected.envelope(index, out)?;
        }
        FetchItem::BodyStructure => {
            response::word(out, start, "BODYSTRUCTURE ");
            selected.body_structure(index, true, out)?;
        }
        FetchItem::Body => {
            response::word(out, start, "BODY ");
            selected.body_structure(index, false, out)?;
        }
        FetchItem::ModSeq => {
            response::word(out, start, "MODSEQ (");
            response::number(out, message.modseq);
            out.push(b')');
        }
    }
    Ok(())
}

fn write_flags<S: Selected>(selected: &S, message: &Message, start: usize, out: &mut Vec<u8>) {
    response::word(out, start, "FLAGS (");
    response::flags(out, message.flags, message.keywords, selected.keywords());
    out.push(b')');
}
