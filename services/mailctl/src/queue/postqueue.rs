//! `postqueue` and `mailq` (postqueue(1)).
//!
//! What differs: the queue is not read when the system is down, and `-s` attempts mail for any site, not only for those of
//! `fast_flush_domains`. It has no rights of its own: root asks over the control socket, everybody else at [`public`].

use std::io;

use ipc_messages::queue::QueueRequest;
use showq::protocol::{Request, shown};

use super::client::{Failure, Queue, in_order};
use super::{listing, public};
use crate::console::{self, reason};
use crate::control;
use crate::files::{Transport, given_folder};
use crate::instance::Instance;
use crate::log::Reporter;
use crate::options;
use crate::status::Status;

pub const USAGE: &str = "-f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site";

/// What is to be done.
enum Action {
    Flush,
    FlushOne(String),
    FlushSite(String),
    List,
    Json,
}

/// `mailq`: `postqueue -p`.
pub fn mailq(words: &[String]) -> Status {
    let mut all = vec!["-p".to_owned()];
    all.extend_from_slice(words);
    run(&all)
}

/// `postfix flush` and `sendmail -q`: `postqueue -f`, in the folder that is given.
pub fn flush(folder: Option<&str>) -> Status {
    let words = folder.into_iter().flat_map(|folder| ["-c", folder]).chain(["-f"]);
    run(&words.map(str::to_owned).collect::<Vec<_>>())
}

/// `postqueue`. Whatever ends it early, the exit status is `EX_UNAVAILABLE`, as the real one's is.
pub fn run(words: &[String]) -> Status {
    let mut reporter = Reporter::new("postqueue");
    let usage =
        |reporter: &Reporter, mistake| reporter.usage(Status::UNAVAILABLE, mistake, &format!("postqueue {USAGE}"));
    let parsed = match options::parse("c:fi:jps:v", words) {
        Ok(parsed) => parsed,
        Err(mistake) => return usage(&reporter, Some(&mistake)),
    };
    let mut actions = parsed.options.iter().filter_map(|(letter, value)| {
        let value = || value.clone().unwrap_or_default();
        match letter {
            'f' => Some(Action::Flush),
            'i' => Some(Action::FlushOne(value())),
            'j' => Some(Action::Json),
            'p' => Some(Action::List),
            's' => Some(Action::FlushSite(value())),
            _ => None,
        }
    });
    let (Some(action), None, true) = (actions.next(), actions.next(), parsed.rest.is_empty()) else {
        return usage(&reporter, None);
    };
    let transport = match Transport::read(parsed.value('c'), &reporter) {
        Ok(transport) => transport,
        Err(problem) => return reporter.fatal(Status::UNAVAILABLE, &problem),
    };
    reporter.log_as(&transport);
    let folder = given_folder(parsed.value('c'));
    act(&action, &Instance::new(folder.as_deref()), &transport)
        .unwrap_or_else(|problem| reporter.fatal(Status::UNAVAILABLE, &problem))
}

fn act(action: &Action, instance: &Instance, transport: &Transport) -> Result<Status, String> {
    let request = match action {
        Action::List | Action::Json => return list(action, instance, transport),
        Action::Flush => Request::All,
        Action::FlushSite(site) if is_site(site) => Request::Site(site.clone()),
        Action::FlushSite(site) => {
            return Err(format!("Cannot flush mail queue - invalid destination: \"{}\"", cut(site)));
        }
        Action::FlushOne(name) => match name.parse() {
            Ok(id) => Request::File(id),
            // It may be a name, but no message has it: Postfix does nothing, too.
            Err(_) if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                return Ok(Status::OK);
            }
            Err(_) => return Err(format!("Cannot flush queue ID - invalid name: \"{}\"", cut(name))),
        },
    };
    let done = match Queue::visit(&instance.spool) {
        Ok(queue) => attempt(queue, &request),
        Err(Failure::System(error)) if is_closed(&error) => {
            public::flush(&instance.spool, &transport.value("flush_service_name"), &request)
        }
        Err(failure) => Err(failure),
    };
    done.map(|()| Status::OK).map_err(flush_failed)
}

/// The control socket is root's.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn list(action: &Action, instance: &Instance, transport: &Transport) -> Result<Status, String> {
    let listed = match Queue::visit(&instance.spool).and_then(|mut queue| queue.list()) {
        Err(Failure::System(error)) if is_closed(&error) => {
            public::list(&instance.spool, &transport.value("showq_service_name")).map(in_order)
        }
        listed => listed.map(|messages| messages.into_iter().map(shown).collect()),
    };
    let messages = listed.map_err(|failure| match failure {
        Failure::System(error) if control::is_down(&error) => {
            format!("Queue report unavailable - mail system is down ({})", connect(&error))
        }
        Failure::System(error) => connect(&error),
        Failure::Refused(reason) => reason,
    })?;
    match action {
        Action::Json => messages.iter().for_each(|message| console::line(&listing::json(message))),
        _ => console::print(&listing::mailq(&messages, transport.value("enable_long_queue_ids") == "yes")),
    }
    Ok(Status::OK)
}

/// What Postfix says when its `showq` does not answer.
fn connect(error: &io::Error) -> String {
    format!("Connect to the Postfix showq service: {}", reason(error))
}

fn flush_failed(failure: Failure) -> String {
    match failure {
        Failure::System(error) if control::is_down(&error) => {
            "Cannot flush mail queue - mail system is down".to_owned()
        }
        Failure::System(error) => format!("Cannot flush mail queue - {}", reason(&error)),
        Failure::Refused(reason) => reason,
    }
}

/// Has mail attempted: all that waits, one message, or every message that has a recipient in a domain.
fn attempt(mut queue: Queue, request: &Request) -> Result<(), Failure> {
    let site = match request {
        Request::All => return queue.act(&QueueRequest::Flush).map(drop),
        Request::File(id) => return queue.act(&QueueRequest::FlushOne(*id)).map(drop),
        Request::Site(site) => site,
    };
    let is_there =
        |address: &str| address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(site));
    for message in queue.list()? {
        if message.recipients.iter().any(|(recipient, _)| is_there(recipient)) {
            queue.act(&QueueRequest::FlushOne(message.queue_id))?;
        }
    }
    Ok(())
}

/// A host name, or an address in brackets.
fn is_site(site: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match site.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.trim_start_matches("IPv6:").parse::<std::net::IpAddr>().is_ok(),
        None => site.len() <= 255 && site.split('.').all(label),
    }
}

/// As much of a bad argument as is shown.
fn cut(text: &str) -> String {
    let shown: String = text.chars().take(100).collect();
    if shown.len() < text.len() { format!("{shown}...") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_hosts_or_addresses() {
        for (site, valid) in [
            ("example.com", true),
            ("foo..", false),
            ("-a.b", false),
            ("", false),
            ("[127.0.0.1]", true),
            ("[IPv6:::1]", true),
            ("[x]", false),
        ] {
            assert_eq!(is_site(site), valid, "{site}");
        }
    }

    #[test]
    fn long_arguments_are_cut() {
        assert_eq!(cut(&"x".repeat(100)), "x".repeat(100));
        assert_eq!(cut(&"x".repeat(101)), format!("{}...", "x".repeat(100)));
    }
}
