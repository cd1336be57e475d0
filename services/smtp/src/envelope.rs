//! From a job to the envelope that the client machine sends.

use ipc_messages::delivery::{Job, Target};
use proto_smtp::address::Address;
use proto_smtp::client;
use proto_smtp::params::{Body, MailParameters, Notify, OriginalRecipient, RcptParameters, Return};
use proto_smtp::xtext;

/// The envelope, and for each of its recipients the position in the job.
#[derive(Debug)]
pub struct Translated {
    /// What the client machine sends.
    pub envelope: client::Envelope,
    /// Positions of its recipients in [`Job::targets`].
    pub positions: Vec<usize>,
    /// Positions of targets whose address no server could read.
    pub bad: Vec<usize>,
}

/// Translates the job for the targets that `wanted` names by position.
///
/// # Errors
/// The sender's address cannot be written in a command.
pub fn translate(job: &Job, wanted: impl Iterator<Item = usize>) -> Result<Translated, String> {
    let bad_sender = |error| format!("bad sender address syntax: {error}");
    let sender = match job.sender.as_str() {
        "" => None,
        sender => Some(address(sender).map_err(bad_sender)?),
    };
    let (mut recipients, mut positions, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for position in wanted {
        let target = &job.targets[position];
        match address(&target.address) {
            Ok(address) => {
                recipients.push(client::Recipient { address, parameters: parameters(target) });
                positions.push(position);
            }
            Err(_) => bad.push(position),
        }
    }
    // Headers in UTF-8 go to any server that takes 8 bits; addresses in UTF-8 need one that knows them.
    let is_ascii = |address: &Address| address.is_ascii();
    let needed = !sender.as_ref().is_none_or(is_ascii) || !recipients.iter().all(|r| r.address.is_ascii());
    let envelope = client::Envelope {
        sender,
        parameters: MailParameters {
            size: Some(job.size),
            body: job.eight_bit.then_some(Body::EightBitMime),
            smtputf8: job.smtputf8,
            auth: None,
            ret: match job.dsn_ret {
                1 => Some(Return::Full),
                2 => Some(Return::Headers),
                _ => None,
            },
            // What does not decode was no xtext, and is passed on as it is.
            envid: job.dsn_envid.as_ref().map(|envid| xtext::decode(envid).unwrap_or_else(|| envid.clone())),
        },
        recipients,
        requires_smtputf8: job.smtputf8 && needed,
    };
    Ok(Translated { envelope, positions, bad })
}

/// An address that can stand in a command: a line end in it would begin another one.
fn address(text: &str) -> Result<Address, String> {
    if text.contains(['\r', '\n']) {
        return Err("a line end".into());
    }
    Address::from_internal(text, true).map_err(|error| error.to_string())
}

fn parameters(target: &Target) -> RcptParameters {
    let bits = target.dsn_notify;
    let notify = Notify { success: bits & 2 != 0, failure: bits & 4 != 0, delay: bits & 8 != 0 };
    let given = target.dsn_orcpt.as_deref().and_then(|given| given.split_once(';'));
    let orcpt = match (given, &target.original) {
        (Some((kind, address)), _) => {
            let is_utf8 = kind.eq_ignore_ascii_case("utf-8");
            let decoded = if is_utf8 { xtext::decode_utf8(address) } else { xtext::decode(address) };
            Some(OriginalRecipient { kind: kind.into(), address: decoded.unwrap_or_else(|| address.into()) })
        }
        (None, Some(original)) => Some(OriginalRecipient { kind: "rfc822".into(), address: original.clone() }),
        (None, None) => None,
    };
    RcptParameters { notify: (bits != 0).then_some(notify), orcpt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::job;

    #[test]
    fn parameters_are_those_of_the_job() {
        let mut job = job(1, &["a@example.jp", "b@exam ple.jp", "c@example.jp"]);
        job.sender = "x@example.com".into();
        job.eight_bit = true;
        job.dsn_ret = 2;
        job.dsn_envid = Some("a+20b".into());
        job.targets[0].dsn_notify = 1;
        job.targets[2].dsn_notify = 2 | 8;
        job.targets[2].dsn_orcpt = Some("rfc822;c+2Bd@example.jp".into());
        job.targets[0].original = Some("root@example.jp".into());
        let translated = translate(&job, 0..3).unwrap();
        assert_eq!((translated.positions, translated.bad), (vec![0, 2], vec![1]));
        let envelope = translated.envelope;
        assert_eq!(envelope.parameters.to_string(), " SIZE=12 BODY=8BITMIME ENVID=a+20b RET=HDRS");
        let texts: Vec<String> = envelope.recipients.iter().map(|r| r.parameters.to_string()).collect();
        assert_eq!(
            texts,
            [" NOTIFY=NEVER ORCPT=rfc822;root@example.jp", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2Bd@example.jp"]
        );
        assert!(!envelope.requires_smtputf8);
    }

    #[test]
    fn only_addresses_need_smtputf8() {
        let mut job = job(1, &["a@example.jp"]);
        job.smtputf8 = true;
        assert!(!translate(&job, 0..1).unwrap().envelope.requires_smtputf8);
        job.targets[0].address = "ä@example.jp".into();
        assert!(translate(&job, 0..1).unwrap().envelope.requires_smtputf8);
        for sender in ["a@b c", "a\nDATA@example.jp", "\r@example.jp"] {
            job.sender = sender.into();
            assert!(translate(&job, 0..1).is_err(), "{sender:?}");
        }
    }
}
