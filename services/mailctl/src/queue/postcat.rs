//! `postcat -q` (postcat(1)): a message in the queue.
//!
//! What differs: only messages of the running system are shown, by queue ID (`-q`). `-d`, `-o`, `-r`, `-s` show the bytes of
//! Postfix's own queue files and are refused.

use ipc_messages::envelope::{BodyType, Envelope};
use ipc_messages::queue::Listed;
use ipc_messages::queue_id::QueueId;

use super::client::{Failure, Queue};
use super::records;
use crate::console::{self, reason};
use crate::control;
use crate::files::{Transport, given_folder};
use crate::instance::Instance;
use crate::log::Reporter;
use crate::options;
use crate::status::Status;

pub const USAGE: &str = "[-b (body text)] [-c config_dir] [-e (envelope records)] [-h (header text)] \
    [-q (access queue)] [-v] [queue_id...]";

/// Which parts are shown.
#[derive(Debug, Clone, Copy)]
struct Parts {
    envelope: bool,
    header: bool,
    body: bool,
}

/// Runs it.
pub fn run(words: &[String]) -> Status {
    let reporter = Reporter::new("postcat");
    let parsed = match options::parse("bc:dehoqrs:v", words) {
        Ok(parsed) => parsed,
        Err(mistake) => return reporter.usage(Status::FAILURE, Some(&mistake), &format!("postcat {USAGE}")),
    };
    if let Some(letter) = ['d', 'o', 'r', 's'].into_iter().find(|letter| parsed.has(*letter)) {
        let problem = format!("-{letter} is for the records of Postfix's queue files; here a message has none");
        return reporter.fatal(Status::UNAVAILABLE, &problem);
    }
    if !parsed.has('q') || parsed.rest.is_empty() {
        return reporter.fatal(Status::UNAVAILABLE, "only messages in the queue are shown: give -q and queue IDs");
    }
    if let Err(problem) = Transport::read(parsed.value('c'), &reporter) {
        return reporter.fatal(Status::FAILURE, &problem);
    }
    let parts = Parts { envelope: parsed.has('e'), header: parsed.has('h'), body: parsed.has('b') };
    let parts = match parts {
        Parts { envelope: false, header: false, body: false } => Parts { envelope: true, header: true, body: true },
        some => some,
    };
    let instance = Instance::new(given_folder(parsed.value('c')).as_deref());
    for name in &parsed.rest {
        if let Err((status, problem)) = show(&instance, name, parts) {
            return reporter.fatal(status, &problem);
        }
    }
    Status::OK
}

fn show(instance: &Instance, name: &str, parts: Parts) -> Result<(), (Status, String)> {
    let missing = || (Status::FAILURE, format!("open queue file {name}: No such file or directory"));
    let id: QueueId = name.parse().map_err(|_| missing())?;
    let opened = Queue::visit(&instance.spool).and_then(|mut queue| queue.content(id));
    let (message, envelope, content) = opened.map_err(|failure| match failure {
        Failure::System(error) if control::is_down(&error) => {
            (Status::UNAVAILABLE, "the mail system is down: start it, for it alone reads its queue".to_owned())
        }
        Failure::System(error) => (Status::UNAVAILABLE, format!("open queue file {name}: {}", reason(&error))),
        Failure::Refused(_) => missing(),
    })?;
    console::print_bytes(&text(&message, &envelope, &content, parts));
    Ok(())
}

/// What is printed of a message.
fn text(message: &Listed, envelope: &Envelope, content: &[u8], parts: Parts) -> Vec<u8> {
    let place = format!("{}/{}", message.queue, message.queue_id);
    let mut text = Vec::new();
    if parts.envelope {
        let (size, offset, count) = (message.size, message.offset, envelope.recipients.len());
        text.extend(format!("*** ENVELOPE RECORDS {place} ***\n").bytes());
        text.extend(format!("message_size: {size:15} {offset:15} {count:15} {:15} {size:15} {:15}\n", 0, 0).bytes());
        records::envelope(message, envelope).iter().for_each(|(name, value)| {
            text.extend(format!("{name}: {value}\n").bytes());
        });
        text.extend(format!("*** MESSAGE CONTENTS {place} ***\n").bytes());
    }
    // The empty line between the two belongs to the body, as Postfix has it.
    let (header, body) = content.split_at(header_end(content));
    if parts.header {
        text.extend_from_slice(header);
    }
    if parts.body {
        text.extend_from_slice(body);
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    if parts.envelope {
        text.extend(format!("*** HEADER EXTRACTED {place} ***\n").bytes());
        if envelope.body == BodyType::EightBitMime {
            text.extend(b"named_attribute: encoding=8bit\n");
        }
        text.extend(format!("*** MESSAGE FILE END {place} ***\n").bytes());
    }
    text
}

/// Where the header ends: before the first line that is neither a field nor the continuation of one.
fn header_end(content: &[u8]) -> usize {
    let mut at = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let name = line.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
        let field = name > 0 && line.get(name..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"));
        if !(field || matches!(line.first(), Some(b' ' | b'\t'))) {
            break;
        }
        at += line.len();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] =
        b"Received: by mail.example.test (Postfix, from userid 0)\n\tid 69C4463; now\nSubject: hi\n\nbody\n";

    fn shown(envelope: bool, header: bool, body: bool) -> String {
        let (message, whole) = records::tests::message();
        String::from_utf8(text(&message, &whole, CONTENT, Parts { envelope, header, body })).unwrap()
    }

    #[test]
    fn a_message_is_shown_as_postcat_shows_it() {
        let whole = shown(true, true, true);
        let (head, rest) = whole.split_once("message_arrival_time: ").unwrap();
        assert_eq!(
            head,
            "*** ENVELOPE RECORDS deferred/AE9B93A ***\n\
             message_size:             280             725               2               0             280               0\n"
        );
        assert!(rest.ends_with(
            "recipient: z@y.test\n*** MESSAGE CONTENTS deferred/AE9B93A ***\n\
             Received: by mail.example.test (Postfix, from userid 0)\n\tid 69C4463; now\nSubject: hi\n\nbody\n\
             *** HEADER EXTRACTED deferred/AE9B93A ***\nnamed_attribute: encoding=8bit\n\
             *** MESSAGE FILE END deferred/AE9B93A ***\n"
        ));
        assert!(shown(false, true, false).ends_with("\nSubject: hi\n"));
        assert_eq!(shown(false, false, true), "\nbody\n");
    }

    #[test]
    fn headers_end_where_postfix_ends_them() {
        for (content, end) in [("a: b\n\nc: d\n", 5), ("a: b\nno field\n", 5), ("no field\n", 0), ("", 0), ("a : b", 5)]
        {
            assert_eq!(header_end(content.as_bytes()), end, "{content:?}");
        }
    }
}
