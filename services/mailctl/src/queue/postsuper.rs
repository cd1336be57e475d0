//! `postsuper` (postsuper(1)).
//!
//! What differs: it needs the running system (`EX_UNAVAILABLE` otherwise), and has no structure to mend and no temporary
//! files to purge, so `-s`, `-S` and `-p` find nothing. `-e` and `-f` are not built.

use std::collections::BTreeMap;
use std::io::BufRead;

use ipc_messages::queue::QueueRequest;
use ipc_messages::queue_id::QueueId;

use super::client::{Failure, Queue};
use crate::console::reason;
use crate::control;
use crate::files::{Transport, given_folder};
use crate::instance::Instance;
use crate::log::Reporter;
use crate::options;
use crate::status::Status;

pub const USAGE: &str = "[-c config_dir] [-d queue_id (delete)] [-h queue_id (hold)] [-H queue_id (un-hold)] \
    [-p (purge temporary files)] [-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)] \
    [-v (verbose)] [queue...]";

/// What can be done to a message: the option, the words for one and for the sum, and the request.
struct Verb {
    letter: char,
    done: &'static str,
    sum: &'static str,
    request: fn(Option<QueueId>) -> QueueRequest,
}

/// In the order of the summary.
const VERBS: [Verb; 4] = [
    Verb { letter: 'r', done: "requeued", sum: "Requeued", request: QueueRequest::Requeue },
    Verb { letter: 'd', done: "removed", sum: "Deleted", request: QueueRequest::Delete },
    Verb { letter: 'h', done: "placed on hold", sum: "Placed on hold", request: QueueRequest::Hold },
    Verb { letter: 'H', done: "released from hold", sum: "Released from hold", request: QueueRequest::Release },
];

/// The queues that may be named, and those that are meant when none is.
const QUEUES: [&str; 4] = ["hold", "incoming", "active", "deferred"];

/// Runs it.
pub fn run(words: &[String]) -> Status {
    let mut reporter = Reporter::new("postsuper");
    if !nix::unistd::getuid().is_root() {
        return reporter.fatal(Status::FAILURE, "use of this command is reserved for the superuser");
    }
    let parsed = match options::parse("c:d:e:f:h:H:pr:sSv", words) {
        Ok(parsed) => parsed,
        Err(mistake) => return reporter.usage(Status::FAILURE, Some(&mistake), &format!("postsuper {USAGE}")),
    };
    let transport = match Transport::read(parsed.value('c'), &reporter) {
        Ok(transport) => transport,
        Err(problem) => return reporter.fatal(Status::FAILURE, &problem),
    };
    reporter.log_as(&transport);
    if let Some(letter) = ['e', 'f'].into_iter().find(|letter| parsed.has(*letter)) {
        return reporter.fatal(Status::UNAVAILABLE, &format!("-{letter} is not built yet"));
    }
    if let Some(queue) = parsed.rest.iter().find(|queue| !QUEUES.contains(&queue.as_str())) {
        return reporter.fatal(Status::FAILURE, &format!("invalid directory name: {queue}"));
    }
    let requests: Vec<(&Verb, &str)> = parsed
        .options
        .iter()
        .filter_map(|(letter, value)| Some((VERBS.iter().find(|verb| verb.letter == *letter)?, value.as_deref()?)))
        .collect();
    if requests.is_empty() {
        return Status::OK;
    }
    let instance = Instance::new(given_folder(parsed.value('c')).as_deref());
    match act(&instance, &reporter, &requests, &parsed.rest) {
        Ok(status) => status,
        Err(Failure::System(error)) if control::is_down(&error) => {
            reporter.fatal(Status::UNAVAILABLE, "the mail system is down: start it, for it alone changes its queue")
        }
        Err(Failure::System(error)) => reporter.fatal(Status::UNAVAILABLE, &reason(&error)),
        Err(Failure::Refused(problem)) => reporter.fatal(Status::FAILURE, &problem),
    }
}

/// Carries out the requests, then says how many messages each kind changed.
fn act(
    instance: &Instance,
    reporter: &Reporter,
    requests: &[(&Verb, &str)],
    queues: &[String],
) -> Result<Status, Failure> {
    let mut queue = Queue::visit(&instance.spool)?;
    let mut sums: BTreeMap<char, u32> = BTreeMap::new();
    for (verb, name) in requests {
        let changed = match *name {
            "ALL" => all(&mut queue, verb, queues)?,
            "-" => {
                let mut sum = 0;
                for line in std::io::stdin().lock().lines() {
                    sum += one(&mut queue, reporter, verb, line?.trim(), queues)?;
                }
                sum
            }
            name => one(&mut queue, reporter, verb, name, queues)?,
        };
        *sums.entry(verb.letter).or_default() += changed;
    }
    for verb in &VERBS {
        if let Some(count) = sums.get(&verb.letter) {
            let plural = if *count == 1 { "" } else { "s" };
            reporter.info(&format!("{}: {count} message{plural}", verb.sum));
        }
    }
    Ok(Status::OK)
}

/// Every message, or every one in the named queues.
fn all(queue: &mut Queue, verb: &Verb, queues: &[String]) -> Result<u32, Failure> {
    if queues.is_empty() {
        return queue.act(&(verb.request)(None));
    }
    let mut sum = 0;
    for message in queue.list()? {
        if queues.contains(&message.queue) {
            sum += queue.act(&(verb.request)(Some(message.queue_id)))?;
        }
    }
    Ok(sum)
}

/// One message by its name; what cannot be a name is warned of, and a name that no message has changes nothing.
fn one(queue: &mut Queue, reporter: &Reporter, verb: &Verb, name: &str, queues: &[String]) -> Result<u32, Failure> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        reporter.warning(&format!("invalid mail queue id: {name}"));
        return Ok(0);
    }
    let Ok(id) = name.parse::<QueueId>() else { return Ok(0) };
    if !queues.is_empty()
        && !queue.list()?.iter().any(|message| message.queue_id == id && queues.contains(&message.queue))
    {
        return Ok(0);
    }
    let changed = queue.act(&(verb.request)(Some(id)))?;
    if changed > 0 {
        reporter.info(&format!("{name}: {}", verb.done));
    }
    Ok(changed)
}
