//! `queue`: the mail queue for administrators who do not know the classic names.

use std::time::{SystemTime, UNIX_EPOCH};

use ipc_messages::queue::{Listed, QueueRequest};
use ipc_messages::queue_id::QueueId;
use serde_json::json;
use showq::protocol::shown;

use super::run::{not_running, unreachable};
use super::{Context, usage};
use crate::console;
use crate::control;
use crate::queue::client::{Failure, Queue};
use crate::status::Status;

/// Lists the queue, or does something to messages: to those that are named, or to all of them for `all`.
pub fn run(context: &Context, words: &[String]) -> Status {
    let (verb, ids) = words.split_first().map_or(("list", &[][..]), |(verb, ids)| (verb.as_str(), ids));
    let act: fn(Option<QueueId>) -> QueueRequest = match verb {
        "list" if ids.is_empty() => return list(context),
        "show" if ids.len() == 1 => return show(context, &ids[0]),
        "flush" => |id| id.map_or(QueueRequest::Flush, QueueRequest::FlushOne),
        "delete" => QueueRequest::Delete,
        "hold" => QueueRequest::Hold,
        "release" => QueueRequest::Release,
        "requeue" => QueueRequest::Requeue,
        _ => {
            return usage(
                "queue takes flush, delete, hold, release or requeue with queue IDs or all, or show with one",
            );
        }
    };
    let everything = ids.iter().any(|word| word == "all") || (verb == "flush" && ids.is_empty());
    if ids.is_empty() && !everything {
        return usage(&format!("queue {verb}: which messages? Name queue IDs, or all"));
    }
    let mut targets = Vec::new();
    for word in ids.iter().filter(|word| *word != "all") {
        match word.parse() {
            Ok(id) => targets.push(Some(id)),
            Err(_) => return usage(&format!("not a queue ID: {word}")),
        }
    }
    if everything {
        targets = vec![None];
    }
    let changed = open(context)
        .and_then(|mut queue| targets.iter().try_fold(0, |sum, id| Ok(sum + queue.act(&act(*id)).map_err(failed)?)));
    match changed {
        Ok(count) => {
            match context.json {
                true => console::line(&json!({ "changed": count }).to_string()),
                false => console::line(&format!("{count} {}", if count == 1 { "message" } else { "messages" })),
            }
            Status::OK
        }
        Err(status) => status,
    }
}

fn open(context: &Context) -> Result<Queue, Status> {
    Queue::visit(&context.instance.spool).map_err(failed)
}

fn failed(failure: Failure) -> Status {
    match failure {
        Failure::System(error) if control::is_down(&error) => not_running(),
        Failure::System(error) => unreachable(&error),
        Failure::Refused(reason) => {
            console::complain(&format!("mailctl: {reason}"));
            Status::NO_INPUT
        }
    }
}

fn list(context: &Context) -> Status {
    let messages = match open(context).and_then(|mut queue| queue.list().map_err(failed)) {
        Ok(messages) => messages,
        Err(status) => return status,
    };
    if context.json {
        messages.into_iter().for_each(|message| console::line(&crate::queue::listing::json(&shown(message))));
        return Status::OK;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let rows: Vec<Vec<String>> = messages.iter().flat_map(|message| rows(message, now)).collect();
    let heading = ["queue ID", "queue", "age", "bytes", "sender", "recipient", "reason"];
    console::print(&console::table(&heading, &rows, console::has_colours()));
    Status::OK
}

/// A line for each recipient.
fn rows(message: &Listed, now: u64) -> Vec<Vec<String>> {
    let line = |(recipient, reason): &(String, Option<String>)| {
        vec![
            message.queue_id.to_string(),
            message.queue.clone(),
            age(now.saturating_sub(message.arrival)),
            message.size.to_string(),
            format!("<{}>", message.sender),
            format!("<{recipient}>"),
            reason.clone().unwrap_or_default(),
        ]
    };
    message.recipients.iter().map(line).collect()
}

/// Seconds in their largest unit.
fn age(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds}s"), |(length, name)| format!("{}{name}", seconds / length))
}

fn show(context: &Context, word: &str) -> Status {
    let Ok(id) = word.parse() else { return usage(&format!("not a queue ID: {word}")) };
    match open(context).and_then(|mut queue| queue.content(id).map_err(failed)) {
        Ok((_, content)) => {
            console::print_bytes(&content);
            Status::OK
        }
        Err(status) => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (7_300, "2h"), (200_000, "2d")] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn each_recipient_has_a_line() {
        let message = Listed {
            queue: "deferred".into(),
            queue_id: "3AD1F520F6".parse().unwrap(),
            arrival: 100,
            size: 5,
            sender: String::new(),
            recipients: vec![("a@x".into(), Some("refused".into())), ("b@x".into(), None)],
            offset: 0,
        };
        let rows = rows(&message, 170);
        assert_eq!(rows[0], ["3AD1F520F6", "deferred", "1m", "5", "<>", "<a@x>", "refused"]);
        assert_eq!((rows.len(), rows[1][5].as_str()), (2, "<b@x>"));
    }
}
