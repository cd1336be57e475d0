//! What `mailq` and `postqueue -j` print of messages whose addresses are as people see them ([`showq::protocol::shown`]).

use ipc_jail::sys::local_time;
use ipc_messages::queue::Listed;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// The column before which a reason ends.
const REASON_END: usize = 76;

/// The whole of `mailq`. `long_ids` is `enable_long_queue_ids`, which widens the first column.
pub fn mailq(messages: &[Listed], long_ids: bool) -> String {
    if messages.is_empty() {
        return "Mail queue is empty\n".to_owned();
    }
    let mut text = match long_ids {
        true => "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n",
        false => "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n",
    }
    .to_owned();
    let blocks: Vec<String> = messages.iter().map(|message| block(message, long_ids)).collect();
    text += &blocks.join("\n");
    let bytes: u64 = messages.iter().map(|message| message.size).sum();
    let plural = if messages.len() == 1 { "" } else { "s" };
    text + &format!("\n-- {} Kbytes in {} Request{plural}.\n", bytes / 1024, messages.len())
}

/// One message.
fn block(message: &Listed, long_ids: bool) -> String {
    let mark = match message.queue.as_str() {
        "active" => "*",
        "hold" => "!",
        _ => "",
    };
    let id = format!("{}{mark}", message.queue_id);
    let (sender, arrival) = (&message.sender, asctime(message.arrival));
    let mut text = match long_ids {
        true => format!("{id:<17} {:>8} {arrival:.19} {sender}\n", message.size),
        false => format!("{id:<11} {:>7} {arrival:.20} {sender}\n", message.size),
    };
    let mut last = "";
    for (recipient, reason) in &message.recipients {
        let reason = reason.as_deref().unwrap_or_default();
        // A reason stands before all recipients that share it.
        if reason != last {
            last = reason;
            let shown = if reason.is_empty() { "reason unavailable" } else { reason };
            text += &format!("{:>width$}({shown})\n", "", width = REASON_END.saturating_sub(shown.len()));
        }
        text += &match long_ids {
            true => format!("{:<17} {:>8} {:<19} {recipient}\n", "", "", ""),
            false => format!("{:<11} {:>7} {:<20} {recipient}\n", "", "", ""),
        };
    }
    text
}

/// One message of `postqueue -j`, without the line end.
pub fn json(message: &Listed) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let recipients: Vec<String> = message
        .recipients
        .iter()
        .map(|(recipient, reason)| {
            let reason = reason.as_ref().map(|reason| format!(", \"delay_reason\": {}", quoted(reason)));
            format!("{{\"address\": {}{}}}", quoted(recipient), reason.unwrap_or_default())
        })
        .collect();
    format!(
        "{{\"queue_name\": {}, \"queue_id\": \"{}\", \"arrival_time\": {}, \"message_size\": {}, \
         \"forced_expire\": false, \"sender\": {}, \"recipients\": [{}]}}",
        quoted(&message.queue),
        message.queue_id,
        message.arrival,
        message.size,
        quoted(&message.sender),
        recipients.join(", ")
    )
}

/// asctime(3) of the local time, with its line end as a blank: `Fri Nov 20 23:58:36 2026`.
pub fn asctime(seconds: u64) -> String {
    let time = local_time(seconds as i64);
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        DAYS[time.weekday], MONTHS[time.month], time.day, time.hour, time.minute, time.second, time.year
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: &str = "connect to 127.0.0.1[127.0.0.1]:9: Connection refused";

    fn message(queue: &str, id: &str, recipients: &[(&str, Option<&str>)]) -> Listed {
        Listed {
            queue: queue.into(),
            queue_id: id.parse().unwrap(),
            arrival: 1_795_219_116,
            size: 255,
            sender: "me@a.test".into(),
            recipients: recipients.iter().map(|(to, why)| ((*to).into(), why.map(str::to_owned))).collect(),
            offset: 0,
        }
    }

    /// Recorded from Postfix 3.7; the arrival is put in because the time zone is the machine's.
    #[test]
    fn mailq_prints_what_postfix_prints() {
        let messages = [
            message("deferred", "6835060", &[("you@b.test", Some(REASON)), ("other@c.test", Some(REASON))]),
            message("hold", "69C4463", &[("you@b.test", Some(REASON))]),
        ];
        let time = format!("{:.20}", asctime(1_795_219_116));
        let expected = "\
-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
6835060         255 TIME me@a.test
                       (connect to 127.0.0.1[127.0.0.1]:9: Connection refused)
                                         you@b.test
                                         other@c.test

69C4463!        255 TIME me@a.test
                       (connect to 127.0.0.1[127.0.0.1]:9: Connection refused)
                                         you@b.test

-- 0 Kbytes in 2 Requests.
";
        assert_eq!(mailq(&messages, false), expected.replace("TIME", &time));
        assert_eq!(mailq(&[], false), "Mail queue is empty\n");
    }

    #[test]
    fn long_names_widen_the_first_column() {
        let time = format!("{:.19}", asctime(1_795_219_116));
        let one = message("active", "4W3Gq12X8vz1Gp", &[("you@b.test", None)]);
        let expected = format!(
            "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n\
             4W3Gq12X8vz1Gp*        255 {time} me@a.test\n{:47}you@b.test\n\n-- 0 Kbytes in 1 Request.\n",
            ""
        );
        assert_eq!(mailq(&[one], true), expected);
    }

    #[test]
    fn a_reason_that_ends_is_said() {
        let text = mailq(&[message("active", "6835060", &[("a@b", Some("x")), ("c@d", None)])], false);
        let reasons: Vec<&str> = text.lines().filter(|line| line.ends_with(')')).map(str::trim).collect();
        assert_eq!(reasons, ["(x)", "(reason unavailable)"]);
    }

    /// Recorded from Postfix 3.7.
    #[test]
    fn json_is_what_postqueue_writes() {
        let one = message("deferred", "6835060", &[("you@b.test", Some(REASON)), ("other@c.test", None)]);
        assert_eq!(
            json(&one),
            "{\"queue_name\": \"deferred\", \"queue_id\": \"6835060\", \"arrival_time\": 1795219116, \
             \"message_size\": 255, \"forced_expire\": false, \"sender\": \"me@a.test\", \"recipients\": \
             [{\"address\": \"you@b.test\", \"delay_reason\": \"connect to 127.0.0.1[127.0.0.1]:9: Connection refused\"}, \
             {\"address\": \"other@c.test\"}]}"
        );
    }
}
