//! A whole message on its way to the processes that file it, and their answers.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use ipc_jail::sys::local_time;
use ipc_messages::delivery::{Filed, Filing, ToDeliver};
use proto_smtp::reply::Reply;
use proto_smtp::server::Answer;
use worker::{ConnId, Cx, PeerId};

use crate::client::{Asked, Client};
use crate::content::Unkept;
use crate::lookup::temporary;
use crate::recipient::Recipient;
use crate::trace::Trace;
use crate::{Lmtp, own_log};

/// A filing that is being done.
pub struct Pending {
    /// Whose message it is.
    pub conn: ConnId,
    /// Who files it.
    pub peer: PeerId,
    /// Positions in the transaction of the recipients of this filing.
    pub positions: Vec<usize>,
}

impl Lmtp {
    /// Hands the message to the processes of its recipients' accounts.
    pub(crate) fn file(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client) {
        let Some(content) = client.content.take() else { return };
        let (file, size) = match content.finish() {
            Ok(content) => content,
            Err(unkept) => {
                if let Unkept::Failed(error) = &unkept {
                    slog::error!(own_log(cx), "message content: {error}");
                }
                return client.session.answer(Answer::Delivered(vec![refusal(&unkept); client.recipients.len()]));
            }
        };
        let prefix = self.prefix(client);
        let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (position, recipient) in client.recipients.iter().enumerate() {
            groups.entry(recipient.template).or_default().push(position);
        }
        let mut replies: Vec<Option<Reply>> = client.recipients.iter().map(|_| None).collect();
        let mut open = 0;
        for (template, positions) in groups {
            let corr = self.number();
            let request = ToDeliver::File {
                corr,
                sender: client.sender.clone(),
                recipients: positions.iter().map(|&position| filing(&client.recipients[position])).collect(),
                size,
                prefix: prefix.clone(),
                session_millis: u32::try_from((cx.now() - client.began).as_millis()).unwrap_or(u32::MAX),
                queued: client.queued,
            };
            let sent = self.deliverers.get(&template).copied().and_then(|peer| {
                let fd = file.as_fd().try_clone_to_owned().ok()?;
                cx.send(peer, &request, vec![fd]).ok().map(|()| peer)
            });
            match sent {
                Some(peer) => {
                    open += positions.len();
                    self.filings.insert(corr, Pending { conn, peer, positions });
                }
                None => positions.iter().for_each(|&at| replies[at] = Some(temporary())),
            }
        }
        client.asked = Some(Asked::Filing { replies, open });
        client.finish();
    }

    /// The header fields that this delivery adds.
    fn prefix(&self, client: &Client) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let trace = Trace {
            sender: &client.sender,
            helo: client.session.helo_name().unwrap_or("unknown"),
            remote: client.remote,
            protocol: &client.session.received_protocol(),
            session: &client.id,
            recipients: &client.recipients,
            date: &local_time(now as i64).header_date(),
        };
        trace.fields(&self.settings).into_bytes()
    }

    /// What became of one recipient of a filing.
    pub(crate) fn filed(&mut self, cx: &mut Cx<()>, corr: u32, position: u32, result: Filed) {
        let Some(filing) = self.filings.get(&corr) else { return };
        let Some(&at) = filing.positions.get(position as usize) else { return };
        let conn = filing.conn;
        let Some(client) = self.clients.get_mut(&conn) else {
            self.filings.remove(&corr);
            return;
        };
        let Some(recipient) = client.recipients.get(at) else { return };
        let reply = reply(&recipient.session, result);
        if client.replied(at, reply) {
            client.id = self.ids.next();
            self.filings.retain(|_, filing| filing.conn != conn);
            self.drive(cx, conn);
        }
    }

    /// A process that files is gone: what it had not answered is tried again by the client.
    pub(crate) fn deliverer_lost(&mut self, cx: &mut Cx<()>, peer: PeerId) {
        self.deliverers.retain(|_, known| *known != peer);
        let lost = self.filings.iter().filter(|(_, filing)| filing.peer == peer);
        let lost: Vec<(u32, usize)> = lost.map(|(corr, filing)| (*corr, filing.positions.len())).collect();
        for (corr, recipients) in lost {
            for position in 0..recipients as u32 {
                self.filed(cx, corr, position, Filed::Temporary("4.2.0 Temporary internal error".into()));
            }
        }
    }
}

fn filing(recipient: &Recipient) -> Filing {
    Filing {
        user: recipient.user.clone(),
        address: recipient.original.as_ref().unwrap_or(&recipient.address).clone(),
        mailbox: recipient.mailbox.clone(),
        session: recipient.session.clone(),
    }
}

/// The reply to each recipient of a message that could not be kept.
fn refusal(unkept: &Unkept) -> Reply {
    match unkept {
        Unkept::TooLarge => Reply::new(552, "5.3.4 Message size exceeds fixed limit"),
        Unkept::Failed(_) => Reply::new(452, "4.3.1 Insufficient system storage"),
    }
}

/// The reply to one recipient, to which the session adds its address. A full disk is 452 (RFC 5321, section 4.2.3).
fn reply(session: &str, result: Filed) -> Reply {
    match result {
        Filed::Saved => Reply::new(250, &format!("2.0.0 {session} Saved")),
        Filed::Temporary(text) if text.starts_with("4.2.2") => Reply::new(452, &text),
        Filed::Temporary(text) => Reply::new(451, &text),
        Filed::Permanent(text) => Reply::new(550, &text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_code_of_their_kind() {
        for (result, code) in [
            (Filed::Saved, 250),
            (Filed::Temporary("4.2.2 Not enough disk space".into()), 452),
            (Filed::Temporary("4.2.0 Internal error".into()), 451),
            (Filed::Permanent("5.1.1 User doesn't exist".into()), 550),
        ] {
            assert_eq!(reply("S", result).code(), code);
        }
        assert_eq!(refusal(&Unkept::TooLarge).code(), 552);
        assert_eq!(refusal(&Unkept::Failed(std::io::Error::other("no memory"))).code(), 452);
    }
}
