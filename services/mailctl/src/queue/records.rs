//! The envelope of a message as the records of a queue file of Postfix's, in the order in which its `smtpd` and `cleanup`
//! write them.

use ipc_messages::envelope::{BodyType, Client, Envelope, Origin, Return, RewriteContext, Trace};
use ipc_messages::queue::Listed;
use std::net::IpAddr;

use super::listing::asctime;

/// What stands before the colon, and what behind.
type Record = (&'static str, String);

/// All records of an envelope but the first, which has the sizes.
pub fn envelope(message: &Listed, envelope: &Envelope) -> Vec<Record> {
    let arrival = asctime(envelope.arrival / 1_000_000);
    let mut records = vec![("message_arrival_time", arrival.clone()), ("create_time", arrival)];
    let mut attribute = |name: &str, value: &str| records.push(("named_attribute", format!("{name}={value}")));
    if envelope.origin == Origin::Network {
        attribute("log_ident", message.queue_id.as_str());
        attribute("rewrite_context", if envelope.rewrite == RewriteContext::Local { "local" } else { "remote" });
    } else {
        attribute("log_message_origin", "local");
        attribute("trace_flags", if envelope.trace == Trace::None { "0" } else { "1" });
    }
    if let Some(sasl) = &envelope.sasl {
        attribute("sasl_method", &sasl.method);
        attribute("sasl_username", &sasl.username);
        sasl.sender.iter().for_each(|sender| attribute("sasl_sender", sender));
    }
    envelope.dsn_envid.iter().for_each(|id| attribute("envelope_id", &from_xtext(id)));
    envelope.dsn_ret.iter().for_each(|ret| attribute("ret_flags", if *ret == Return::Full { "1" } else { "2" }));
    records.push(("sender", envelope.sender.clone()));
    if envelope.body == BodyType::EightBitMime {
        records.push(("named_attribute", "encoding=8bit".to_owned()));
    }
    records.extend(envelope.client.iter().flat_map(client));
    recipients(message, envelope, &mut records);
    records
}

/// The client, first as it is logged.
fn client(client: &Client) -> Vec<Record> {
    let address = client.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let port = client.port.map_or_else(|| "unknown".to_owned(), |port| port.to_string());
    let kind = if matches!(client.address, Some(IpAddr::V6(_))) { "10" } else { "2" };
    let origin = format!("{}[{address}]", client.name);
    let mut records = Vec::new();
    let mut attribute = |name: &str, value: &str| records.push(("named_attribute", format!("{name}={value}")));
    attribute("log_client_name", &client.name);
    attribute("log_client_address", &address);
    attribute("log_client_port", &port);
    attribute("log_message_origin", &origin);
    client.helo.iter().for_each(|helo| attribute("log_helo_name", helo));
    attribute("log_protocol_name", &client.protocol);
    attribute("client_name", &client.name);
    attribute("reverse_client_name", &client.reverse_name);
    attribute("client_address", &address);
    attribute("client_port", &port);
    client.helo.iter().for_each(|helo| attribute("helo_name", helo));
    attribute("protocol_name", &client.protocol);
    attribute("client_address_type", kind);
    records
}

/// A recipient is done when the queue manager does not list it any more.
fn recipients(message: &Listed, envelope: &Envelope, records: &mut Vec<Record>) {
    let mut waiting: Vec<&str> = message.recipients.iter().map(|(address, _)| address.as_str()).collect();
    for recipient in &envelope.recipients {
        let original = recipient.original.as_ref().unwrap_or(&recipient.address);
        if recipient.notify.is_given() {
            records.push(("named_attribute", format!("notify_flags={}", recipient.notify.bits())));
        }
        let orcpt = recipient.dsn_orcpt.clone().unwrap_or_else(|| format!("rfc822;{original}"));
        records.push(("named_attribute", format!("dsn_orig_rcpt={orcpt}")));
        records.push(("original_recipient", original.clone()));
        let place = waiting.iter().position(|address| *address == recipient.address);
        let name = if place.is_some() { "recipient" } else { "done_recipient" };
        place.map(|place| waiting.remove(place));
        records.push((name, recipient.address.clone()));
    }
}

/// Text from xtext (RFC 3461, section 4): `+` and two hexadecimal digits are a character.
fn from_xtext(text: &str) -> String {
    let mut parts = text.split('+');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii_graphic);
        match code {
            Some(code) => result.extend([char::from(code)].into_iter().chain(part[2..].chars())),
            None => result.extend(["+", part]),
        }
    }
    result
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ipc_messages::envelope::{Notify, Recipient};

    /// A message that came by SMTP, and what the queue manager says of it.
    pub fn message() -> (Listed, Envelope) {
        let recipient = |address: &str, dsn_orcpt: Option<&str>, notify| Recipient {
            address: address.into(),
            original: None,
            dsn_orcpt: dsn_orcpt.map(str::to_owned),
            notify,
        };
        let queue_id = "AE9B93A".parse().unwrap();
        let notify = Notify::FAILURE.with(Notify::DELAY);
        let envelope = Envelope {
            queue_id,
            arrival: 1_795_231_321_000_000,
            sender: "a@b.test".into(),
            recipients: vec![
                recipient("x@y.test", Some("rfc822;o@y.test"), notify),
                recipient("z@y.test", None, Notify::default()),
            ],
            size: 280,
            origin: Origin::Network,
            client: Some(Client {
                name: "unknown".into(),
                reverse_name: "unknown".into(),
                address: Some("127.0.0.1".parse().unwrap()),
                port: Some(37210),
                helo: Some("me.test".into()),
                protocol: "ESMTP".into(),
            }),
            sasl: None,
            body: BodyType::EightBitMime,
            smtputf8: false,
            dsn_envid: Some("abc+2Bd".into()),
            dsn_ret: Some(Return::Headers),
            trace: Trace::None,
            message_id: None,
            rewrite: RewriteContext::Local,
            filter: None,
        };
        let listed = Listed {
            queue: "deferred".into(),
            queue_id,
            arrival: 1_795_231_321,
            size: 280,
            sender: "a@b.test".into(),
            recipients: vec![("x@y.test".into(), None), ("z@y.test".into(), None)],
            offset: 725,
        };
        (listed, envelope)
    }

    /// Recorded from Postfix 3.7.11, without the address of the server, which is not kept here.
    #[test]
    fn records_are_postfix_s() {
        let (listed, whole) = message();
        let time = asctime(1_795_231_321);
        let expected = format!(
            "message_arrival_time: {time}\ncreate_time: {time}\nnamed_attribute: log_ident=AE9B93A\n\
             named_attribute: rewrite_context=local\nnamed_attribute: envelope_id=abc+d\nnamed_attribute: ret_flags=2\n\
             sender: a@b.test\nnamed_attribute: encoding=8bit\nnamed_attribute: log_client_name=unknown\n\
             named_attribute: log_client_address=127.0.0.1\nnamed_attribute: log_client_port=37210\n\
             named_attribute: log_message_origin=unknown[127.0.0.1]\nnamed_attribute: log_helo_name=me.test\n\
             named_attribute: log_protocol_name=ESMTP\nnamed_attribute: client_name=unknown\n\
             named_attribute: reverse_client_name=unknown\nnamed_attribute: client_address=127.0.0.1\n\
             named_attribute: client_port=37210\nnamed_attribute: helo_name=me.test\n\
             named_attribute: protocol_name=ESMTP\nnamed_attribute: client_address_type=2\n\
             named_attribute: notify_flags=12\nnamed_attribute: dsn_orig_rcpt=rfc822;o@y.test\n\
             original_recipient: x@y.test\nrecipient: x@y.test\nnamed_attribute: dsn_orig_rcpt=rfc822;z@y.test\n\
             original_recipient: z@y.test\nrecipient: z@y.test\n"
        );
        let text = |listed: &Listed| -> String {
            envelope(listed, &whole).iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
        };
        assert_eq!(text(&listed), expected);
        let done = Listed { recipients: vec![listed.recipients[1].clone()], ..listed };
        assert_eq!(text(&done), expected.replace("\nrecipient: x@y", "\ndone_recipient: x@y"));
    }

    #[test]
    fn xtext_is_decoded_as_far_as_it_is_printable() {
        for (xtext, text) in [("a+2Bb", "a+b"), ("+3D", "="), ("plain", "plain"), ("a+0Ab", "a+0Ab"), ("a+", "a+")] {
            assert_eq!(from_xtext(xtext), text, "{xtext}");
        }
    }
}
