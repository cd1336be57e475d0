//! The restriction lists at each stage of a session: which apply, what has to be asked of others first, what is logged.
//! What the lists decide is [`crate::policy`]'s business.

use ipc_messages::dns::{Failure, FromResolver, Source, ToResolver};
use ipc_messages::lookup::{FromLookup, ToLookup};
use proto_smtp::address::Address;
use proto_smtp::reply::Reply;
use proto_smtp::server::{Answer, Keywords, Level, Question};
use worker::{ConnId, Cx, Hub};

use crate::Smtpd;
use crate::client::{Asked, Client, internal};
use crate::config::Config;
use crate::policy::{Answers, Facts, Found, List, Note, Outcome, Query, Subject, Unlisted, Verdict, evaluate};
use crate::session::log;

/// The stages of a session whose `defer_if_permit` counts later, in their order.
const STAGES: [Subject; 3] = [Subject::Client, Subject::Helo, Subject::Sender];

/// What is evaluated for a question.
#[derive(Default)]
struct Stage<'a> {
    lists: Vec<List<'a>>,
    unlisted: Unlisted,
}

impl Config {
    fn list(&self, subject: Subject, name: &str) -> List<'_> {
        List { subject, rules: self.restrictions.get(name).map_or(&[], Vec::as_slice) }
    }

    fn client(&self) -> List<'_> {
        self.list(Subject::Client, "smtpd_client_restrictions")
    }

    fn helo(&self) -> List<'_> {
        self.list(Subject::Helo, "smtpd_helo_restrictions")
    }

    fn sender(&self) -> List<'_> {
        self.list(Subject::Sender, "smtpd_sender_restrictions")
    }

    /// The lists that apply to a question; `smtpd_delay_reject` puts the early ones off. `helo`: the client has greeted.
    fn stage(&self, question: &Question, helo: bool) -> Stage<'_> {
        let only = |list| Stage { lists: vec![list], unlisted: Unlisted::default() };
        match question {
            Question::Connect if !self.delay_reject => only(self.client()),
            Question::Helo { .. } if !self.delay_reject => only(self.helo()),
            Question::Mail { .. } if !self.delay_reject => {
                Stage { unlisted: Unlisted { recipient: false, ..self.unlisted }, ..only(self.sender()) }
            }
            // RFC 5321 section 3.6 wants this one accepted by everybody.
            Question::Rcpt { recipient, .. } | Question::Vrfy(recipient) if is_postmaster(recipient) => {
                Stage::default()
            }
            Question::Rcpt { .. } | Question::Vrfy(_) => {
                let mut lists = self.put_off(helo);
                lists.extend(self.delay_reject.then(|| self.sender()));
                lists.extend(self.recipient_lists());
                Stage { lists, unlisted: self.unlisted }
            }
            Question::Data => only(self.list(Subject::Data, "smtpd_data_restrictions")),
            Question::Etrn(_) => {
                let mut lists = self.put_off(helo);
                lists.push(self.list(Subject::Etrn, "smtpd_etrn_restrictions"));
                Stage { lists, unlisted: Unlisted::default() }
            }
            _ => Stage::default(),
        }
    }

    fn put_off(&self, helo: bool) -> Vec<List<'_>> {
        let client = self.delay_reject.then(|| self.client());
        client.into_iter().chain((self.delay_reject && helo).then(|| self.helo())).collect()
    }

    fn recipient_lists(&self) -> [List<'_>; 2] {
        let mut lists = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"]
            .map(|name| self.list(Subject::Recipient, name));
        if !self.relay_first {
            lists.reverse();
        }
        lists
    }
}

impl Smtpd {
    /// Evaluates the lists that apply to a question, as far as that is possible now.
    pub(crate) fn check(
        &mut self,
        cx: &mut Cx<()>,
        conn: ConnId,
        client: &mut Client,
        question: Question,
        mut answers: Answers,
    ) {
        loop {
            let outcome = judge(&self.config, client, &question, &answers);
            let missing = match (outcome.verdict.clone(), &question) {
                (Verdict::Need(query), _) => Some(query),
                (Verdict::Pass, Question::Helo { .. }) => discard(&self.config, client, &answers).err(),
                _ => None,
            };
            if let Some(query) = missing {
                if let Some(found) = self.ask(cx, conn, client, &query) {
                    answers.insert(query, found);
                    continue;
                }
                client.asked = Some(Asked::Check { question: Box::new(question), query, answers });
                return;
            }
            for (level, line) in lines(&self.config, client, &question, &outcome) {
                log(cx, level, &line);
            }
            client.prepend(&outcome.notes);
            return match outcome.verdict {
                Verdict::Refuse(reply) => client.session.answer(Answer::Reply(reply)),
                _ => {
                    if let (Question::Helo { .. }, Ok(keywords)) = (&question, discard(&self.config, client, &answers))
                    {
                        let Some(keywords) = keywords else { return self.no_keywords(cx, client) };
                        client.session.set_discarded(keywords);
                    }
                    client.defer(&question, outcome.deferred);
                    self.permitted(cx, conn, client, question);
                }
            };
        }
    }

    /// It cannot be said what may be announced: as Postfix does, the session ends.
    fn no_keywords(&self, cx: &mut Cx<()>, client: &mut Client) {
        slog::warn!(cx.log(), "don't know what EHLO features to announce to {}", client.label());
        let text = format!("4.3.0 {} Server local data error", self.config.hostname);
        client.session.answer(Answer::Reply(Reply::new(421, &text)));
    }

    /// Asks another service. Returns the answer if it is clear already that none will come.
    fn ask(&mut self, cx: &mut Cx<()>, conn: ConnId, client: &Client, query: &Query) -> Option<Found> {
        let corr = self.numbers.next();
        let (hub, absent) = match query {
            // It comes back when it is replaced, and is asked then.
            Query::Address(_) | Query::Value { .. } => (Hub::Lookup, None),
            Query::Host(..) | Query::Exchanges(_) | Query::Texts(_) => (Hub::Resolver, unresolved(query)),
        };
        let Some(peer) = cx.hub(hub) else {
            if absent.is_none() {
                self.queries.insert(corr, conn);
            }
            return absent;
        };
        self.queries.insert(corr, conn);
        let sent = match query.clone() {
            Query::Address(address) => {
                let sender = client.mail.as_ref().and_then(|mail| mail.sender.as_ref());
                let sender = sender.map(internal).unwrap_or_default();
                cx.send(peer, &ToLookup::Check { corr, sender, address }, Vec::new())
            }
            Query::Value { table, key } => cx.send(peer, &ToLookup::Table { corr, table, key }, Vec::new()),
            Query::Host(name, family) => {
                cx.send(peer, &ToResolver::Host { corr, name, family, source: Source::Dns }, Vec::new())
            }
            Query::Exchanges(name) => cx.send(peer, &ToResolver::Mx { corr, name }, Vec::new()),
            Query::Texts(name) => cx.send(peer, &ToResolver::Txt { corr, name }, Vec::new()),
        };
        if sent.is_err() {
            cx.drop_peer(peer);
        }
        None
    }

    /// trivial-rewrite has answered.
    pub(crate) fn looked_up(&mut self, cx: &mut Cx<()>, answer: FromLookup) {
        match answer {
            FromLookup::Checked { corr, answer } => self.found(cx, corr, Found::Address(answer)),
            FromLookup::Value { corr, value } => self.found(cx, corr, Found::Value(value)),
            // Not asked for here.
            FromLookup::Resolved { .. } | FromLookup::Expanded { .. } | FromLookup::Rewritten { .. } => {}
        }
    }

    /// The resolver has answered.
    pub(crate) fn resolved(&mut self, cx: &mut Cx<()>, answer: FromResolver) {
        match answer {
            FromResolver::Name { corr, name } => self.named(cx, corr, name),
            FromResolver::Host { corr, answer } => {
                self.found(cx, corr, Found::Host(answer.map(|found| found.records)));
            }
            FromResolver::Mx { corr, answer } => {
                self.found(cx, corr, Found::Exchanges(answer.map(|found| found.records)));
            }
            FromResolver::Txt { corr, answer } => {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let texts = answer.map(|found| found.records.into_iter().map(text).collect());
                self.found(cx, corr, Found::Texts(texts));
            }
        }
    }

    fn found(&mut self, cx: &mut Cx<()>, corr: u32, found: Found) {
        let Some(conn) = self.queries.remove(&corr) else { return };
        let Some(mut client) = self.clients.remove(&conn) else { return };
        match client.asked.take() {
            Some(Asked::Check { question, query, mut answers }) => {
                if let Found::Address(Err(error)) | Found::Value(Err(error)) = &found {
                    slog::warn!(cx.log(), "{}: {error}", client.label());
                }
                answers.insert(query, found);
                self.check(cx, conn, &mut client, *question, answers);
            }
            other => client.asked = other,
        }
        self.clients.insert(conn, client);
        self.drive(cx, conn);
    }

    /// There is a new trivial-rewrite: what its predecessor was asked is asked again.
    pub(crate) fn ask_again(&mut self, cx: &mut Cx<()>) {
        for (corr, conn) in self.waiting_for(|query| unresolved(query).is_none()) {
            self.queries.remove(&corr);
            let Some(client) = self.clients.remove(&conn) else { continue };
            if let Some(Asked::Check { query, .. }) = &client.asked {
                self.ask(cx, conn, &client, query);
            }
            self.clients.insert(conn, client);
        }
    }

    /// The resolver has gone: what it was asked cannot be said now.
    pub(crate) fn resolver_is_down(&mut self, cx: &mut Cx<()>) {
        for (corr, conn) in self.waiting_for(|query| unresolved(query).is_some()) {
            let query = match self.clients.get(&conn).and_then(|client| client.asked.as_ref()) {
                Some(Asked::Check { query, .. }) => query.clone(),
                _ => continue,
            };
            if let Some(found) = unresolved(&query) {
                self.found(cx, corr, found);
            }
        }
    }

    /// Questions whose session waits with such a query.
    fn waiting_for(&self, wanted: impl Fn(&Query) -> bool) -> Vec<(u32, ConnId)> {
        let waits = |conn: &ConnId| match self.clients.get(conn).and_then(|client| client.asked.as_ref()) {
            Some(Asked::Check { query, .. }) => wanted(query),
            _ => false,
        };
        self.queries.iter().filter(|(_, conn)| waits(conn)).map(|(corr, conn)| (*corr, *conn)).collect()
    }
}

impl Client {
    /// Keeps what a stage put off; a later stage of the session refuses with it.
    pub(crate) fn defer(&mut self, question: &Question, deferred: Option<Reply>) {
        let stage = match question {
            Question::Connect => 0,
            Question::Helo { .. } => 1,
            Question::Mail { .. } => 2,
            _ => return,
        };
        self.deferred[stage] = deferred;
    }

    /// What the stages before that of the first list have put off.
    fn deferred(&self, lists: &[List<'_>]) -> Option<Reply> {
        let before = match lists.first()?.subject {
            Subject::Data => return None,
            Subject::Etrn => 2,
            subject => STAGES.iter().position(|stage| *stage == subject).unwrap_or(STAGES.len()),
        };
        self.deferred[..before].iter().rev().find_map(Clone::clone)
    }
}

/// The EHLO keywords that are not announced to a client (`smtpd_discard_ehlo_keyword_address_maps`); `None` if a table
/// cannot be asked. The error is what has to be asked first.
pub(crate) fn discard(config: &Config, client: &Client, answers: &Answers) -> Result<Option<Keywords>, Query> {
    let Some(address) = client.address().map(|address| address.to_string()) else { return Ok(Some(config.discard)) };
    for table in &config.discard_maps {
        match answers.value(table, &address)? {
            Ok(None) => {}
            // A word that is no keyword is overlooked: the tables are not read before they are asked.
            Ok(Some(words)) => return Ok(Some(Keywords::known(words))),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(config.discard))
}

/// What the lists say about a question, as far as `answers` go.
pub(crate) fn judge(config: &Config, client: &Client, question: &Question, answers: &Answers) -> Outcome {
    let facts = facts(client, question, answers);
    let stage = config.stage(question, facts.helo.is_some());
    evaluate(&stage.lists, stage.unlisted, client.deferred(&stage.lists), &config.policy, &facts)
}

/// Postfix's lines: `NOQUEUE: reject: RCPT from …: 554 5.7.1 …; from=<…> to=<…> proto=ESMTP helo=<…>`.
pub(crate) fn lines(config: &Config, client: &Client, question: &Question, outcome: &Outcome) -> Vec<(Level, String)> {
    if outcome.notes.is_empty() && outcome.verdict == Verdict::Pass {
        return Vec::new();
    }
    let queue_id = client.mail.as_ref().and_then(|mail| mail.queue_id);
    let queue_id = queue_id.map_or("NOQUEUE".into(), |id| id.as_str().to_string());
    let (stage, label) = (client.session.stage(), client.label());
    let what = whatsup(&facts(client, question, &Answers::default()), client.session.protocol());
    let event =
        |kind: &str, text: &str| (Level::Info, format!("{queue_id}: {kind}: {stage} from {label}: {text};{what}"));
    let note = |note: &Note| match note {
        Note::Event(kind, text) => Some(event(kind, text)),
        Note::Warning(text) => Some((Level::Warning, text.clone())),
        Note::Header(_) => None,
    };
    let mut lines: Vec<_> = outcome.notes.iter().filter_map(note).collect();
    if let Verdict::Refuse(reply) = &outcome.verdict {
        let reply = if config.soft_bounce { reply.clone().softened() } else { reply.clone() };
        lines.push(event("reject", &reply.one_line()));
    }
    lines
}

fn facts<'a>(client: &'a Client, question: &'a Question, answers: &'a Answers) -> Facts<'a> {
    let mail = client.mail.as_ref();
    let accepted = mail.map_or(0, |mail| mail.recipients);
    let mut facts = Facts {
        client: client.address(),
        own: client.is_own(),
        label: client.label(),
        name: &client.name,
        user: client.session.user(),
        helo: client.session.helo_name(),
        sender: mail.map(|mail| mail.sender.as_ref()),
        recipient: None,
        etrn: None,
        tls: client.secured.is_some(),
        recipients: accepted,
        pipelining: client.session.is_unauthorized_pipelining(),
        answers,
    };
    match question {
        Question::Helo { name, .. } => facts.helo = Some(name),
        Question::Mail { sender, .. } => facts.sender = Some(sender.as_ref()),
        Question::Rcpt { recipient, .. } => (facts.recipient, facts.recipients) = (Some(recipient), accepted + 1),
        Question::Vrfy(recipient) => facts.recipient = Some(recipient),
        Question::Data => facts.recipient = mail.and_then(|mail| mail.only.as_ref()),
        Question::Etrn(domain) => facts.etrn = Some(domain),
        _ => {}
    }
    facts
}

/// What is known of the mail, as Postfix's lines end.
fn whatsup(facts: &Facts<'_>, protocol: &str) -> String {
    let mut what = String::new();
    if let Some(sender) = facts.sender {
        what.push_str(&format!(" from=<{}>", sender.map(Address::quoted).unwrap_or_default()));
    }
    if let Some(recipient) = facts.recipient {
        what.push_str(&format!(" to=<{}>", recipient.quoted()));
    }
    what.push_str(&format!(" proto={protocol}"));
    if let Some(helo) = facts.helo {
        what.push_str(&format!(" helo=<{helo}>"));
    }
    if let Some(user) = facts.user {
        what.push_str(&format!(" sasl_username=<{user}>"));
    }
    what
}

fn is_postmaster(recipient: &Address) -> bool {
    recipient.domain().is_none() && recipient.local().eq_ignore_ascii_case("postmaster")
}

/// What a question to the resolver is answered with when there is none.
fn unresolved(query: &Query) -> Option<Found> {
    let failure = Failure::Temporary("the resolver is not there".into());
    match query {
        Query::Host(..) => Some(Found::Host(Err(failure))),
        Query::Exchanges(_) => Some(Found::Exchanges(Err(failure))),
        Query::Texts(_) => Some(Found::Texts(Err(failure))),
        Query::Address(_) | Query::Value { .. } => None,
    }
}
