//! Message content in a session: DATA up to its dot, BDAT chunk by chunk.

use super::{Action, Config, Dialect, Level, Mode, Pending, Question, Session, Verb};
use crate::{
    body::{Decoder, Newlines},
    reply::Reply,
};

/// The content of the message that is being received.
#[derive(Debug)]
pub(super) struct Content {
    decoder: Decoder,
    /// Bytes of the current chunk that have not come yet, and whether it is the last; `None` in DATA.
    chunk: Option<(u64, bool)>,
    chunk_size: u64,
    too_big: bool,
}

impl Content {
    pub fn data(decoder: Decoder) -> Self {
        Self { decoder, chunk: None, chunk_size: 0, too_big: false }
    }

    pub fn chunks(decoder: Decoder) -> Self {
        Self { decoder, chunk: Some((0, false)), chunk_size: 0, too_big: false }
    }

    /// The next chunk begins.
    pub fn begin_chunk(&mut self, size: u64, last: bool) {
        self.chunk = Some((size, last));
        self.chunk_size = size;
    }

    /// Bytes so far, with CRLF.
    pub fn size(&self) -> u64 {
        self.decoder.size()
    }

    /// The message came by BDAT.
    pub fn is_chunked(&self) -> bool {
        self.chunk.is_some()
    }

    pub fn is_too_big(&self) -> bool {
        self.too_big
    }

    pub fn saw_bare_newline(&self) -> bool {
        self.decoder.saw_bare_newline()
    }

    /// Decodes what is at hand. Returns the bytes used, the text, and whether the message or chunk is complete.
    fn decode(&mut self, input: &[u8], limit: Option<u64>) -> (usize, Vec<u8>, bool) {
        let mut text = Vec::new();
        let (used, complete) = match &mut self.chunk {
            None => self.decoder.decode(input, &mut text),
            Some((left, last)) => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                self.decoder.decode(&input[..wanted], &mut text);
                *left -= wanted as u64;
                if *left == 0 && *last {
                    self.decoder.finish(&mut text);
                }
                (wanted, *left == 0)
            }
        };
        self.too_big |= limit.is_some_and(|limit| self.decoder.size() > limit);
        if self.too_big {
            text.clear();
        }
        (used, text, complete)
    }
}

impl Config {
    fn size_limit(&self) -> Option<u64> {
        match &self.dialect {
            Dialect::Smtp(config) => config.message_size_limit,
            Dialect::Lmtp(_) => None,
        }
    }
}

impl Session {
    /// Passes content on; `false` if there is none.
    pub(super) fn content_step(&mut self) -> bool {
        let limit = self.config.size_limit();
        let Mode::Content(content) = &mut self.mode else { unreachable!("called in this mode alone") };
        if self.input.pending().is_empty() && !matches!(content.chunk, Some((0, _))) {
            return false;
        }
        let was_too_big = content.too_big;
        let (used, text, complete) = content.decode(self.input.pending(), limit);
        let newly_too_big = content.too_big && !was_too_big;
        self.input.consume(used);
        if newly_too_big {
            let warning = format!("{}: queue file size limit exceeded", self.queue_id());
            self.log(Level::Warning, warning);
        }
        if !text.is_empty() {
            self.actions.push_back(Action::Body(text));
        }
        if complete {
            self.end_of_content();
        }
        true
    }

    fn end_of_content(&mut self) {
        let Mode::Content(content) = std::mem::replace(&mut self.mode, Mode::Command) else { return };
        self.bare_newline_noticed |= content.saw_bare_newline() && self.peer.newlines != Newlines::Accept;
        let refusal = self.content_refusal(&content);
        if let (None, Some((_, false))) = (&refusal, content.chunk) {
            let text = match self.config.dialect {
                Dialect::Smtp(_) => format!("2.0.0 Ok: {} bytes", content.chunk_size),
                Dialect::Lmtp(_) => format!("2.0.0 Added {} octets", content.chunk_size),
            };
            if let Some(transaction) = &mut self.transaction {
                transaction.content = Some(content);
            }
            return self.succeed(250, &text);
        }
        let last = content.chunk.is_none_or(|(_, last)| last);
        if last {
            self.stage = "END-OF-MESSAGE";
        }
        match refusal {
            None => {
                let size = content.size();
                self.ask(Question::EndOfMessage { size }, Pending::EndOfMessage(content));
            }
            Some(reply) => {
                if content.saw_bare_newline() && self.peer.newlines == Newlines::Reject {
                    self.log_bare_newline();
                }
                self.reply(&reply);
                self.abandon();
                self.chunks_failed = !last;
                self.finish(false);
            }
        }
    }

    /// Why the content is refused without asking anybody.
    fn content_refusal(&self, content: &Content) -> Option<Reply> {
        let Dialect::Smtp(config) = &self.config.dialect else { return None };
        if self.peer.newlines == Newlines::Reject && content.saw_bare_newline() {
            let text = format!("5.5.2 {} Error: bare <LF> received", self.config.hostname);
            Some(Reply::new(config.bare_newline_code, &text))
        } else {
            content.is_too_big().then(|| Reply::new(552, "5.3.4 Error: message file too big"))
        }
    }

    /// Reads and drops a chunk, then replies.
    pub(super) fn skip_chunk(&mut self, left: u64, last: bool, reply: Reply) {
        debug_assert_eq!(self.verb, Verb::Bdat);
        self.mode = Mode::Skip { left, last, reply };
    }
}
