//! The visits of users: who may, and what the queue manager says to each. It knows no socket.
//!
//! The queue manager answers one request after the other without saying whose it was, so visits stand in line and each is
//! finished before the next one begins. A visitor that leaves early is forgotten; what is still said to it is dropped.

use std::collections::{BTreeMap, VecDeque};

use ipc_config::postfix::match_list::Failure;
use ipc_messages::queue::{QueueAnswer, QueueRequest, Waiting};
use ipc_messages::queue_id::QueueId;
use showq::UNKNOWN;
use showq::protocol::{self, END, Nonsense, Request};
use worker::ConnId;

use crate::access::{Access, Missing};

/// What visitors come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see the queue.
    List,
    /// To have mail attempted.
    Flush,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the name service for the account of this uid.
    Name { corr: u32, uid: u32 },
    /// Ask a table for the name of a user.
    Table { corr: u32, table: String, key: String },
    /// Ask the queue manager.
    Queue(QueueRequest),
    /// Send to a visitor.
    Write(ConnId, Vec<u8>),
    /// The visit is over; what was sent may leave.
    Close(ConnId),
    /// The visit is refused, or it failed.
    Abort(ConnId),
    /// For the log.
    Warn(String),
}

/// All visits.
#[derive(Debug)]
pub struct Visits {
    purpose: Purpose,
    access: Access,
    visits: BTreeMap<ConnId, Visit>,
    /// Who asked what of the name service and of tables.
    questions: BTreeMap<u32, ConnId>,
    next_question: u32,
    /// Visits that wait for the queue manager.
    line: VecDeque<ConnId>,
    current: Option<Current>,
    queue_is_there: bool,
    actions: Vec<Action>,
}

#[derive(Debug)]
struct Visit {
    uid: u32,
    name: String,
    /// Which tables have the name.
    tables: BTreeMap<String, bool>,
    is_allowed: bool,
    request: Option<Request>,
}

/// The visit that the queue manager is answering.
#[derive(Debug)]
struct Current {
    visitor: ConnId,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// Passes a list on; whether the group of a message is open.
    List { is_open: bool },
    /// Looks for messages to a domain.
    Find { site: String, last: Option<QueueId>, found: Vec<QueueId> },
    /// Attempts these, and the one that is asked for just now.
    Attempt(Vec<QueueId>),
}

impl Visits {
    /// Nobody is here yet, nor the queue manager.
    pub fn new(purpose: Purpose, access: Access) -> Visits {
        Visits {
            purpose,
            access,
            visits: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_question: 0,
            line: VecDeque::new(),
            current: None,
            queue_is_there: false,
            actions: Vec::new(),
        }
    }

    /// What is to be done now.
    pub fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Visitors that come from now on are judged by this.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    /// Somebody has come.
    pub fn arrived(&mut self, visitor: ConnId, uid: u32) {
        let visit = Visit { uid, name: String::new(), tables: BTreeMap::new(), is_allowed: false, request: None };
        self.visits.insert(visitor, visit);
        if uid == 0 || self.access.is_open() {
            return self.allow(visitor);
        }
        let corr = self.question(visitor);
        self.actions.push(Action::Name { corr, uid });
    }

    /// The name service has answered, with a line of passwd(5).
    pub fn named(&mut self, corr: u32, line: Result<Option<String>, String>) {
        let Some(visitor) = self.questions.remove(&corr) else { return };
        match line {
            Ok(line) => {
                let name = line.as_deref().and_then(|line| line.split(':').next()).unwrap_or(UNKNOWN).to_owned();
                self.visits.entry(visitor).and_modify(|visit| visit.name = name);
                self.judge(visitor);
            }
            Err(problem) => self.refuse(visitor, &problem),
        }
    }

    /// A table has answered.
    pub fn looked_up(&mut self, corr: u32, table: String, value: Result<Option<String>, String>) {
        let Some(visitor) = self.questions.remove(&corr) else { return };
        match value {
            Ok(value) => {
                if let Some(visit) = self.visits.get_mut(&visitor) {
                    visit.tables.insert(table, value.is_some());
                }
                self.judge(visitor);
            }
            Err(problem) => self.refuse(visitor, &problem),
        }
    }

    /// Whoever was asked is gone: nobody who waits for an answer gets one.
    pub fn questions_lost(&mut self) {
        for visitor in std::mem::take(&mut self.questions).into_values() {
            self.refuse(visitor, "a service that was asked about a user is gone");
        }
    }

    /// What a visitor has sent so far. Postfix's list service, too, reads nothing.
    pub fn input(&mut self, visitor: ConnId, bytes: &[u8]) {
        let Some(visit) = self.visits.get_mut(&visitor) else { return };
        if self.purpose == Purpose::List || visit.request.is_some() {
            return;
        }
        match Request::decode(bytes) {
            Ok(Some(request)) => {
                visit.request = Some(request);
                self.stand_in_line(visitor);
            }
            Ok(None) => {}
            Err(Nonsense) => self.refuse(visitor, "the request cannot be understood"),
        }
    }

    /// A visitor has left.
    pub fn gone(&mut self, visitor: ConnId) {
        self.visits.remove(&visitor);
        self.questions.retain(|_, asker| *asker != visitor);
        self.line.retain(|waiting| *waiting != visitor);
    }

    /// The queue manager is there.
    pub fn queue_up(&mut self) {
        self.queue_is_there = true;
        self.next();
    }

    /// The queue manager is gone, and with it what it was asked.
    pub fn queue_down(&mut self) {
        self.queue_is_there = false;
        if let Some(current) = self.current.take() {
            self.finish(current.visitor, Action::Abort);
        }
    }

    /// The queue manager says something.
    pub fn answered(&mut self, answer: QueueAnswer) {
        let Some(Current { visitor, mut work }) = self.current.take() else { return };
        match answer {
            QueueAnswer::Message(message) => {
                if let Work::List { is_open } = &mut work {
                    let end = if std::mem::replace(is_open, true) { END } else { b"" };
                    self.actions.push(Action::Write(visitor, [end, &protocol::message(&message)].concat()));
                }
                if let Work::Find { last, .. } = &mut work {
                    *last = Some(message.queue_id);
                }
                find(&mut work, &message.recipients);
            }
            QueueAnswer::Recipients(more) => {
                if let Work::List { .. } = work {
                    self.actions.push(Action::Write(visitor, protocol::recipients(&more)));
                }
                find(&mut work, &more);
            }
            QueueAnswer::End { .. } => return self.ended(visitor, work),
            QueueAnswer::Failed(problem) => {
                self.actions.push(Action::Warn(problem));
                self.finish(visitor, Action::Abort);
                return self.next();
            }
        }
        self.current = Some(Current { visitor, work });
    }

    fn ended(&mut self, visitor: ConnId, work: Work) {
        let mut left = match work {
            Work::List { is_open } => {
                let end = if is_open { END } else { b"" };
                self.actions.push(Action::Write(visitor, [end, END].concat()));
                self.finish(visitor, Action::Close);
                return self.next();
            }
            Work::Find { found, .. } => found,
            Work::Attempt(left) => left,
        };
        if let Some(id) = left.pop() {
            self.actions.push(Action::Queue(QueueRequest::FlushOne(id)));
            self.current = Some(Current { visitor, work: Work::Attempt(left) });
            return;
        }
        self.actions.push(Action::Write(visitor, protocol::flush_done()));
        self.finish(visitor, Action::Close);
        self.next();
    }

    /// Decides whether a visitor may, as far as that is known.
    fn judge(&mut self, visitor: ConnId) {
        let Some(visit) = self.visits.get(&visitor) else { return };
        match self.access.allows(&visit.name, &visit.tables) {
            Ok(true) => self.allow(visitor),
            Ok(false) => {
                let wanted = if self.purpose == Purpose::List { "view" } else { "flush" };
                let problem = format!("User {}({}) is not allowed to {wanted} the mail queue", visit.name, visit.uid);
                self.refuse(visitor, &problem);
            }
            Err(Failure::Lookup(Missing(table))) => {
                let key = visit.name.clone();
                let corr = self.question(visitor);
                self.actions.push(Action::Table { corr, table, key });
            }
            Err(Failure::Item(problem)) => self.refuse(visitor, &problem),
        }
    }

    fn question(&mut self, visitor: ConnId) -> u32 {
        self.next_question = self.next_question.wrapping_add(1);
        self.questions.insert(self.next_question, visitor);
        self.next_question
    }

    fn allow(&mut self, visitor: ConnId) {
        if let Some(visit) = self.visits.get_mut(&visitor) {
            visit.is_allowed = true;
            if self.purpose == Purpose::Flush {
                self.actions.push(Action::Write(visitor, protocol::flush_begin()));
            }
            self.stand_in_line(visitor);
        }
    }

    fn refuse(&mut self, visitor: ConnId, problem: &str) {
        self.actions.push(Action::Warn(problem.to_owned()));
        self.finish(visitor, Action::Abort);
    }

    fn finish(&mut self, visitor: ConnId, how: fn(ConnId) -> Action) {
        self.gone(visitor);
        self.actions.push(how(visitor));
    }

    fn stand_in_line(&mut self, visitor: ConnId) {
        let Some(visit) = self.visits.get(&visitor) else { return };
        if visit.is_allowed && (self.purpose == Purpose::List || visit.request.is_some()) {
            self.line.push_back(visitor);
            self.next();
        }
    }

    /// Begins with the next in line, if the queue manager is there and has nothing else to answer.
    fn next(&mut self) {
        if !self.queue_is_there || self.current.is_some() {
            return;
        }
        let Some(visitor) = self.line.pop_front() else { return };
        let request = self.visits.get_mut(&visitor).and_then(|visit| visit.request.take());
        let (ask, work) = match request {
            None => {
                self.actions.push(Action::Write(visitor, protocol::list_begin()));
                (QueueRequest::List, Work::List { is_open: false })
            }
            Some(Request::All) => (QueueRequest::Flush, Work::Attempt(Vec::new())),
            Some(Request::File(id)) => (QueueRequest::FlushOne(id), Work::Attempt(Vec::new())),
            Some(Request::Site(site)) => (QueueRequest::List, Work::Find { site, last: None, found: Vec::new() }),
        };
        self.actions.push(Action::Queue(ask));
        self.current = Some(Current { visitor, work });
    }
}

/// Notes the message if one of these recipients is in the domain that is looked for.
fn find(work: &mut Work, recipients: &[Waiting]) {
    let Work::Find { site, last, found } = work else { return };
    let is_there =
        |address: &str| address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(site));
    if found.last() != last.as_ref() && recipients.iter().any(|(address, _)| is_there(address)) {
        found.extend(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_config::postfix::match_list::{Item, MatchList, Pattern, Style};
    use ipc_messages::queue::Listed;

    fn visits(purpose: Purpose, items: &[&str]) -> Visits {
        let pattern = |text: &str| match text.contains(':') {
            true => Pattern::Table(text.into()),
            false => Pattern::Text(text.into()),
        };
        let items = items.iter().map(|text| Item { negated: false, pattern: pattern(text) }).collect();
        let list = MatchList { style: Style::Strings, items };
        let mut visits = Visits::new(purpose, Access::new(list, "postfix"));
        visits.queue_up();
        visits
    }

    fn visitor(number: u64) -> ConnId {
        ConnId::for_tests(number)
    }

    fn message(id: &str, recipients: &[&str]) -> Listed {
        Listed {
            queue: "deferred".into(),
            queue_id: id.parse().unwrap(),
            arrival: 1,
            size: 2,
            sender: "me@a.test".into(),
            recipients: recipients.iter().map(|to| ((*to).to_owned(), None)).collect(),
            offset: 0,
        }
    }

    /// What a visitor was sent, and how the visit ended.
    fn sent(visits: &mut Visits, to: ConnId) -> (Vec<u8>, Vec<Action>) {
        let (mut bytes, mut rest) = (Vec::new(), Vec::new());
        for action in visits.actions() {
            match action {
                Action::Write(visitor, more) if visitor == to => bytes.extend(more),
                other => rest.push(other),
            }
        }
        (bytes, rest)
    }

    #[test]
    fn visitors_are_served_one_after_the_other() {
        let mut visits = visits(Purpose::List, &["static:anyone"]);
        visits.arrived(visitor(1), 1000);
        visits.arrived(visitor(2), 1001);
        let first = message("6835060", &["you@b.test"]);
        visits.answered(QueueAnswer::Message(Listed { recipients: vec![], ..first.clone() }));
        visits.answered(QueueAnswer::Recipients(first.recipients.clone()));
        visits.answered(QueueAnswer::Message(message("69C4463", &["you@b.test"])));
        visits.answered(QueueAnswer::End { count: 2 });
        visits.answered(QueueAnswer::End { count: 0 });
        let actions = visits.actions();
        let bytes = |to| -> Vec<u8> {
            let mine = actions.iter().filter_map(|action| match action {
                Action::Write(visitor, bytes) if *visitor == to => Some(bytes.clone()),
                _ => None,
            });
            mine.flatten().collect()
        };
        let listed = protocol::read_list(&bytes(visitor(1))).unwrap();
        assert_eq!(listed, [first, message("69C4463", &["you@b.test"])]);
        assert_eq!(protocol::read_list(&bytes(visitor(2))), Some(vec![]));
        let others: Vec<&Action> = actions.iter().filter(|action| !matches!(action, Action::Write(..))).collect();
        let list = Action::Queue(QueueRequest::List);
        assert_eq!(others, [&list, &Action::Close(visitor(1)), &list, &Action::Close(visitor(2))]);
    }

    #[test]
    fn the_list_of_users_decides() {
        for (name, uid, problem) in [
            (Some("games"), 5, Some("User games(5) is not allowed to view the mail queue")),
            (None, 12345, Some("User unknown(12345) is not allowed to view the mail queue")),
            (Some("nobody"), 65534, None),
        ] {
            let mut visits = visits(Purpose::List, &["nobody"]);
            visits.arrived(visitor(1), uid);
            assert_eq!(visits.actions(), [Action::Name { corr: 1, uid }]);
            visits.named(1, Ok(name.map(|name| format!("{name}:x:{uid}:1::/:/bin/sh"))));
            let (_, rest) = sent(&mut visits, visitor(1));
            match problem {
                Some(problem) => assert_eq!(rest, [Action::Warn(problem.into()), Action::Abort(visitor(1))]),
                None => assert_eq!(rest, [Action::Queue(QueueRequest::List)]),
            }
        }
        let mut visits = visits(Purpose::List, &["nobody"]);
        visits.arrived(visitor(1), 0);
        assert_eq!(sent(&mut visits, visitor(1)).1, [Action::Queue(QueueRequest::List)], "root always may");
    }

    #[test]
    fn tables_are_asked_and_what_fails_is_a_no() {
        for (value, expected) in [(Ok(Some("x".to_owned())), true), (Ok(None), false), (Err("gone".to_owned()), false)]
        {
            let mut visits = visits(Purpose::List, &["hash:/users"]);
            visits.arrived(visitor(1), 5);
            visits.named(1, Ok(Some("games:x:5".into())));
            visits.actions();
            visits.looked_up(2, "hash:/users".into(), value);
            let (_, rest) = sent(&mut visits, visitor(1));
            assert_eq!(rest.contains(&Action::Queue(QueueRequest::List)), expected);
            assert_eq!(rest.contains(&Action::Abort(visitor(1))), !expected);
        }
    }

    #[test]
    fn a_question_that_is_lost_is_a_no() {
        let mut visits = visits(Purpose::List, &["nobody"]);
        visits.arrived(visitor(1), 5);
        visits.questions_lost();
        assert!(visits.actions().contains(&Action::Abort(visitor(1))));
        visits.named(1, Ok(Some("nobody:x:5".into())));
        assert_eq!(visits.actions(), []);
    }

    #[test]
    fn mail_is_attempted_as_it_is_asked_for() {
        let ask = |visits: &mut Visits, request: Request| {
            visits.arrived(visitor(1), 5);
            visits.input(visitor(1), &request.encode());
        };
        let id = "69C4463".parse().unwrap();
        for (request, asked) in [(Request::All, QueueRequest::Flush), (Request::File(id), QueueRequest::FlushOne(id))] {
            let mut visits = visits(Purpose::Flush, &["static:anyone"]);
            ask(&mut visits, request);
            visits.answered(QueueAnswer::End { count: 1 });
            let (bytes, rest) = sent(&mut visits, visitor(1));
            assert_eq!(protocol::read_flushed(&bytes), Some(()));
            assert_eq!(rest, [Action::Queue(asked), Action::Close(visitor(1))]);
        }
        let mut visits = visits(Purpose::Flush, &["static:anyone"]);
        ask(&mut visits, Request::Site("C.test".into()));
        visits.answered(QueueAnswer::Message(message("6835060", &["you@b.test"])));
        visits.answered(QueueAnswer::Recipients(vec![("one@c.test".into(), None), ("two@c.test".into(), None)]));
        visits.answered(QueueAnswer::Message(message("69C4463", &["you@b.test"])));
        visits.answered(QueueAnswer::End { count: 2 });
        visits.answered(QueueAnswer::End { count: 1 });
        let (bytes, rest) = sent(&mut visits, visitor(1));
        assert_eq!(protocol::read_flushed(&bytes), Some(()));
        let one = Action::Queue(QueueRequest::FlushOne("6835060".parse().unwrap()));
        assert_eq!(rest, [Action::Queue(QueueRequest::List), one, Action::Close(visitor(1))]);
    }

    #[test]
    fn nonsense_and_early_leavers_disturb_nobody() {
        let mut visits = visits(Purpose::Flush, &["static:anyone"]);
        visits.arrived(visitor(1), 5);
        visits.input(visitor(1), b"request\0nonsense\0\0");
        assert!(visits.actions().contains(&Action::Abort(visitor(1))));
        visits.arrived(visitor(2), 5);
        visits.input(visitor(2), &Request::All.encode());
        visits.arrived(visitor(3), 5);
        visits.input(visitor(3), &Request::All.encode());
        visits.gone(visitor(2));
        visits.actions();
        visits.answered(QueueAnswer::End { count: 0 });
        visits.queue_down();
        let (_, rest) = sent(&mut visits, visitor(3));
        assert!(rest.contains(&Action::Abort(visitor(3))), "what was asked is lost with the queue manager: {rest:?}");
    }
}
