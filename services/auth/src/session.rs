//! What follows a login of ours, and a delivery: the process that acts for the account, and the ticket.
//!
//! The master is asked once for each account (program, ids, folders); the inbox of the process that it starts is kept and
//! a copy of it goes out with each answer. A ticket is bound to the session and to the uid of the process that may redeem
//! it: a template of another account can do nothing with it.

use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::{AsFd, OwnedFd};

use ipc_messages::auth::User;
use ipc_messages::control::Acting;
use proto_sasl::dovecot::server::{FailCode, Reply};
use proto_sasl::dovecot::userdb as master;
use store_passwords::log::{self, Level};
use store_passwords::policy::{Bearer, Ticket};
use worker::ActingRequest;

use crate::account::{self, Account};
use crate::desk::{Answer, Desk, Effect, State, random};

/// Most processes whose inboxes are kept; one more, and all are asked for again.
pub const MAX_TEMPLATES: usize = 512;

/// The way to a process that acts for an account.
#[derive(Debug)]
pub struct Inbox {
    /// Its number.
    pub template: u32,
    /// A copy of its inbox.
    pub fd: OwnedFd,
}

/// The processes that act, as far as they are known.
#[derive(Default)]
pub(crate) struct Templates {
    known: HashMap<(Acting, Account), Template>,
    next: u32,
}

struct Template {
    number: u32,
    way: Way,
}

enum Way {
    /// The master was asked; these tasks wait.
    Asked(Vec<u64>),
    /// Its inbox.
    Open(OwnedFd),
}

impl Templates {
    /// Forgets the inboxes: processes with other settings take the place of those that are running.
    pub(crate) fn forget(&mut self) {
        self.known.retain(|_, template| matches!(template.way, Way::Asked(_)));
    }

    fn remove(&mut self, number: u32) -> Option<((Acting, Account), Vec<u64>)> {
        let key = self.known.iter().find(|(_, template)| template.number == number)?.0.clone();
        match self.known.remove(&key)?.way {
            Way::Asked(tasks) => Some((key, tasks)),
            Way::Open(_) => None,
        }
    }
}

impl<C: Copy + Eq + Hash> Desk<C> {
    /// The user of a login is known, or cannot be.
    pub(crate) fn session(&mut self, number: u64, reply: master::Reply, name: String, user: Result<User, String>) {
        let Some(id) = self.tasks.get(&number).map(|task| task.asker.id) else { return };
        self.debug(|show| log::master_userdb_out(&reply.line(id), show));
        match user.and_then(|user| Ok((account::account(&user, &self.mail)?, user))) {
            Ok((account, user)) => self.want_inbox(number, Acting::Imap, account, user),
            Err(error) => self.end(number, Answer::Refused { user: name, error }),
        }
    }

    /// The user of a delivery is known, or cannot be.
    pub(crate) fn delivery(&mut self, number: u64, user: Result<Option<User>, String>, inbox: bool) {
        let user = match user {
            Ok(Some(user)) if inbox => user,
            user => return self.end(number, Answer::Found { user, inbox: None }),
        };
        match account::account(&user, &self.mail) {
            Ok(account) => self.want_inbox(number, Acting::Deliver, account, user),
            Err(error) => self.end(number, Answer::Found { user: Err(error), inbox: None }),
        }
    }

    fn want_inbox(&mut self, number: u64, program: Acting, account: Account, user: User) {
        self.set_state(number, State::Inbox(Box::new(user)));
        let key = (program, account);
        if let Some(template) = self.templates.known.get_mut(&key) {
            match &mut template.way {
                Way::Asked(tasks) => tasks.push(number),
                Way::Open(fd) => {
                    let copy = fd.as_fd().try_clone_to_owned();
                    let inbox = copy.map(|fd| Inbox { template: template.number, fd });
                    self.hand_over(number, inbox.map_err(|error| error.to_string()));
                }
            }
            return;
        }
        if self.templates.known.len() >= MAX_TEMPLATES {
            self.templates.forget();
        }
        self.templates.next = self.templates.next.wrapping_add(1);
        let corr = self.templates.next;
        let Account { uid, gid, roots } = key.1.clone();
        self.templates.known.insert(key, Template { number: corr, way: Way::Asked(vec![number]) });
        let request = ActingRequest { corr, program, uid, gid, groups: Vec::new(), roots };
        self.effects.push_back(Effect::Acting(request));
    }

    /// The master's answer.
    pub fn acting(&mut self, corr: u32, inbox: Result<OwnedFd, String>) {
        let Some((key, tasks)) = self.templates.remove(corr) else { return };
        for number in tasks {
            let copy = match &inbox {
                Ok(fd) => fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string()),
                Err(reason) => Err(format!("Couldn't drop privileges: {reason}")),
            };
            self.hand_over(number, copy.map(|fd| Inbox { template: corr, fd }));
        }
        if let Ok(fd) = inbox {
            self.templates.known.insert(key, Template { number: corr, way: Way::Open(fd) });
        }
    }

    /// Ends a task that waited for a process.
    fn hand_over(&mut self, number: u64, inbox: Result<Inbox, String>) {
        let State::Inbox(user) = self.take_state(number) else { return };
        let session = self.tasks.get(&number).and_then(|task| task.login.as_ref()?.parameters.session.clone());
        let login = self.tasks.get(&number).is_some_and(|task| task.login.is_some());
        match inbox {
            Err(error) if login => self.end(number, Answer::Refused { user: user.name, error }),
            Err(error) => self.end(number, Answer::Found { user: Err(error), inbox: None }),
            Ok(inbox) if login => self.grant(number, *user, session.unwrap_or_default(), inbox),
            Ok(inbox) => self.end(number, Answer::Found { user: Ok(Some(*user)), inbox: Some(inbox) }),
        }
    }

    fn grant(&mut self, number: u64, user: User, session: String, inbox: Inbox) {
        let name = user.name.clone();
        let bearer = bearer(user.uid.unwrap_or(u32::MAX), session);
        match self.tickets.issue(random(), bearer, user, self.now) {
            Ok(ticket) => self.end(number, Answer::Granted { user: name, ticket: *ticket.as_bytes(), inbox }),
            Err(error) => {
                self.log(Level::Error, error.to_string());
                self.end(number, Answer::Login(Reply::fail(Some(&name), Some(FailCode::TemporaryFailure))));
            }
        }
    }

    /// A template shows a ticket: the user, if it was issued for this session and for a process with its uid.
    pub fn redeem(&mut self, uid: u32, ticket: [u8; 16], session: String) -> Option<User> {
        match self.tickets.redeem(&Ticket::from_bytes(ticket), &bearer(uid, session), self.now) {
            Ok(user) => Some(user),
            Err(error) => {
                self.log(Level::Error, format!("imap (uid {uid}): {error}"));
                None
            }
        }
    }
}

fn bearer(uid: u32, session: String) -> Bearer {
    Bearer { service: "imap".into(), session, peer: u64::from(uid) }
}
