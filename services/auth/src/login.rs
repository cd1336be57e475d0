//! A login: penalty, mechanism, password, and what follows from the decision.

use std::hash::Hash;
use std::time::Duration;

use proto_sasl::dovecot::server::{FailCode, Reply};
use proto_sasl::mechanism::{Exchange, Malformed, Step as Asked};
use store_passwords::engine::{Decision, Outcome, Step, Verdict};
use store_passwords::log::{self, Level, Subject};
use store_passwords::policy::{Attempt as Tried, Cache, TICK};
use zeroize::Zeroizing;

use crate::desk::{Alarm, Answer, Asker, Desk, Effect, LoginTask, Opening, State, Work};
use crate::work::Done;

impl<C: Copy + Eq + Hash> Desk<C> {
    /// Begins a login. An address that has failed lately waits first, whatever it sends.
    pub fn open(&mut self, asker: Asker<C>, opening: Opening) {
        let Opening { mechanism, initial, parameters, session } = opening;
        let address = parameters.remote_ip.filter(|_| !parameters.no_penalty);
        let wait = address.map_or(0, |address| self.penalties.wait(address, self.now));
        let login = LoginTask { mechanism, parameters, session, attempt: 0 };
        let Some(number) = self.add(asker, Some(login)) else {
            return self.reply(asker, Reply::fail(None, Some(FailCode::TemporaryFailure)));
        };
        self.set_state(number, State::Penalty(initial));
        match wait {
            0 => self.begin(number),
            seconds => {
                let wake = Effect::Wake(Duration::from_secs(seconds), Alarm::Penalty(number));
                self.effects.push_back(wake);
            }
        }
    }

    /// The client's next response.
    pub fn respond(&mut self, asker: Asker<C>, response: &[u8]) {
        let Some(number) = self.number(asker) else { return };
        match self.take_state(number) {
            State::Client(exchange) => {
                let asked = exchange.respond(response);
                self.asked(number, asked);
            }
            // It is not the client's turn; what the task waits for stands.
            state => self.set_state(number, state),
        }
    }

    /// The penalty is over.
    pub(crate) fn begin(&mut self, number: u64) {
        let Some(mechanism) = self.tasks.get(&number).and_then(|task| Some(task.login.as_ref()?.mechanism)) else {
            return;
        };
        if let State::Penalty(initial) = self.take_state(number) {
            self.asked(number, Exchange::begin(mechanism, initial.as_ref().map(|initial| &initial[..])));
        }
    }

    fn asked(&mut self, number: u64, asked: Asked) {
        match asked {
            Asked::Challenge(exchange, text) => {
                self.set_state(number, State::Client(exchange));
                if let Some(asker) = self.tasks.get(&number).map(|task| task.asker) {
                    self.reply(asker, Reply::Continue(text.to_vec()));
                }
            }
            Asked::Verify(credentials) => {
                let checksum = self.checksum(&credentials);
                if let Some(login) = self.tasks.get_mut(&number).and_then(|task| task.login.as_mut()) {
                    login.attempt = checksum;
                }
                self.work(number, Work::Authenticate(Box::new(credentials)));
            }
            Asked::Fail(malformed) => {
                self.log_malformed(number, malformed);
                self.refuse(number, Reply::fail(None, None), false);
            }
        }
    }

    fn log_malformed(&mut self, number: u64, malformed: Malformed) {
        let Some(task) = self.tasks.get(&number) else { return };
        let Some(login) = task.login.as_ref().filter(|_| task.databases.borrow().settings().verbose) else { return };
        let parameters = &login.parameters;
        let subject =
            Subject { remote_ip: parameters.remote_ip, session: parameters.session.as_deref(), ..Subject::default() };
        let prefix = subject.prefix(&login.mechanism.name().to_ascii_lowercase());
        self.log(Level::Info, format!("{prefix}{malformed}"));
    }

    /// What databases and names made of a task.
    pub(crate) fn done(&mut self, number: u64, done: Done) {
        match done {
            Done::Step(Step::Verify(attempt, job)) => {
                let known = |cache: &Cache| cache.is_right(&attempt.cache_key(), job.password(), self.now);
                if self.cache.as_ref().is_some_and(known) {
                    return self.work(number, Work::Resume(attempt, Verdict::cached()));
                }
                let password = Zeroizing::new(job.password().to_vec());
                self.set_state(number, State::Hash(attempt, password));
                self.effects.push_back(Effect::Hash(number, job));
            }
            Done::Step(Step::Done(outcome)) => self.decided(number, outcome),
            Done::Session(reply, name, user) => self.session(number, reply, name, user),
            Done::Userdb(reply) => self.end(number, Answer::Userdb(reply)),
            Done::Delivery(user, inbox) => self.delivery(number, user, inbox),
        }
    }

    /// A password was compared.
    pub fn hashed(&mut self, number: u64, verdict: Verdict) {
        let State::Hash(attempt, password) = self.take_state(number) else { return };
        if let Some(cache) = &mut self.cache {
            let key = attempt.cache_key();
            match verdict.is_right() {
                true => cache.insert(key, &password, self.now),
                false => cache.remove(&key),
            }
        }
        self.work(number, Work::Resume(attempt, verdict));
    }

    /// There is no thread to compare a password: too many wait.
    pub fn no_thread(&mut self, number: u64) {
        self.log(Level::Error, "Too many passwords wait to be verified, failing one for now".into());
        self.fail_for_now(number);
    }

    fn decided(&mut self, number: u64, outcome: Box<Outcome>) {
        let reply = outcome.reply();
        if outcome.decision != Decision::Success {
            return self.refuse(number, reply, outcome.no_delay);
        }
        let Some(task) = self.tasks.get(&number) else { return };
        let Some(login) = &task.login else { return };
        let (asker, session, keep) = (task.asker, login.session, !login.parameters.no_login);
        if let Some(address) = login.parameters.remote_ip {
            self.penalties.succeeded(address);
        }
        let barred = matches!(&reply, Reply::Ok { fields, .. } if fields.contains("nologin"));
        if session && !barred {
            self.log_reply(asker, &reply);
            return self.work(number, Work::Session(outcome));
        }
        self.forget(number);
        if keep && !session && !barred {
            self.keep_login(asker, outcome);
        }
        self.reply(asker, reply);
    }

    /// Ends a login with a failure: late, so that guessing is slow, unless the database says otherwise.
    pub(crate) fn refuse(&mut self, number: u64, failure: Reply, at_once: bool) {
        let Some(task) = self.forget(number) else { return };
        let Some(login) = task.login else { return };
        if at_once {
            return self.reply(task.asker, failure);
        }
        if let Some(address) = login.parameters.remote_ip.filter(|_| !login.parameters.no_penalty) {
            self.penalties.failed(address, Tried(login.attempt), self.now);
        }
        if self.failures.is_empty() {
            self.effects.push_back(Effect::Wake(TICK, Alarm::Failures));
        }
        self.failures.push(self.now, (task.asker, failure));
    }

    /// Tells the client of a login.
    pub(crate) fn reply(&mut self, asker: Asker<C>, reply: Reply) {
        self.log_reply(asker, &reply);
        self.effects.push_back(Effect::Answer(asker, Answer::Login(reply)));
    }

    fn log_reply(&mut self, asker: Asker<C>, reply: &Reply) {
        self.debug(|show| log::client_out(&reply.line(asker.id), show));
    }
}
