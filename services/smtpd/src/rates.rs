//! Commands that are counted: the session waits until anvil has told the rate, then the command goes its way or is refused.
//! When anvil is not there, or goes, nothing is limited.

use ipc_messages::anvil::{Event, ToAnvil};
use proto_smtp::server::{Answer, Question};
use worker::{ConnId, Cx, Hub, PeerId};

use crate::Smtpd;
use crate::client::{Asked, Client};
use crate::limits::{Refusal, Who};

impl Smtpd {
    /// Decides about a question of the session, once it is counted.
    pub(crate) fn decide(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client, question: Question) {
        if question == Question::Connect
            && let Some(refusal) = self.over_limit(client)
        {
            slog::warn!(cx.log(), "{}", refusal.warning);
            return client.session.answer(Answer::Reply(refusal.reply));
        }
        match self.config.limits.event(&question) {
            Some(event) if self.ask_rate(cx, conn, client, event, question == Question::StartTls) => {
                client.asked = Some(Asked::Rate { event, question: Some(question) });
            }
            _ => self.decide_counted(cx, conn, client, question),
        }
    }

    /// A TLS session was made: it is counted unless it was resumed.
    pub(crate) fn count_tls(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &mut Client) {
        let resumed = client.secured.as_ref().is_none_or(|how| how.resumed);
        if !resumed
            && self.config.limits.is_limited(Event::NewTls)
            && self.ask_rate(cx, conn, client, Event::NewTls, false)
        {
            client.asked = Some(Asked::Rate { event: Event::NewTls, question: None });
        }
    }

    /// Asks anvil; returns whether an answer will come. `only_look` does not count the event.
    fn ask_rate(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &Client, event: Event, only_look: bool) -> bool {
        let (Some(address), Some(anvil)) = (client.address(), cx.hub(Hub::Anvil)) else { return false };
        if self.config.limits.exempt(client.verified_name(), address) {
            return false;
        }
        let corr = self.numbers.next();
        self.counted.insert(corr, (conn, anvil));
        let service = self.service.clone();
        let question = match only_look {
            true => ToAnvil::Rate { corr, service, address, event },
            false => ToAnvil::Count { corr, service, address, event },
        };
        if cx.send(anvil, &question, Vec::new()).is_err() {
            // It does not keep up; its end lets the session go on.
            cx.drop_peer(anvil);
        }
        true
    }

    /// The rate of what a session waits with, or `None` when it will not come.
    pub(crate) fn rated(&mut self, cx: &mut Cx<()>, corr: u32, rate: Option<u32>) {
        let Some((conn, _)) = self.counted.remove(&corr) else { return };
        let Some(mut client) = self.clients.remove(&conn) else { return };
        match client.asked.take() {
            Some(Asked::Rate { event, question }) => {
                let refusal = rate.and_then(|rate| self.judge_rate(&client, event, rate, question.is_some()));
                if let Some(refusal) = &refusal {
                    slog::warn!(cx.log(), "{}", refusal.warning);
                }
                match (refusal, question) {
                    (None, Some(question)) => self.decide_counted(cx, conn, &mut client, question),
                    (None, None) => {}
                    (Some(refusal), Some(_)) => client.session.answer(Answer::Reply(refusal.reply)),
                    (Some(refusal), None) => {
                        cx.write(conn, format!("{}\r\n", refusal.reply.one_line()).as_bytes());
                        cx.close(conn);
                        return self.over(cx, conn, client);
                    }
                }
            }
            other => client.asked = other,
        }
        self.clients.insert(conn, client);
        self.drive(cx, conn);
    }

    /// An anvil has gone: nobody waits for its rates any more.
    pub(crate) fn anvil_is_down(&mut self, cx: &mut Cx<()>, gone: PeerId) {
        let asked = self.counted.iter().filter(|(_, (_, anvil))| *anvil == gone);
        let asked: Vec<u32> = asked.map(|(corr, _)| *corr).collect();
        for corr in asked {
            self.rated(cx, corr, None);
        }
    }

    fn over_limit(&self, client: &Client) -> Option<Refusal> {
        let (count, rate) = client.counts?;
        let address = client.address()?;
        if self.config.limits.exempt(client.verified_name(), address) {
            return None;
        }
        self.with_who(client, |who| self.config.limits.connection(count, rate, who))
    }

    fn judge_rate(&self, client: &Client, event: Event, rate: u32, command: bool) -> Option<Refusal> {
        self.with_who(client, |who| match command {
            true => self.config.limits.command(event, rate, who),
            false => self.config.limits.tls_session(rate, who),
        })
    }

    fn with_who(&self, client: &Client, judge: impl FnOnce(Who<'_>) -> Option<Refusal>) -> Option<Refusal> {
        let (service, hostname) = (&self.service, &self.config.hostname);
        judge(Who { label: client.label(), address: client.address()?, service, hostname })
    }
}
