//! The work of `auth`, without sockets, clock or threads: requests in, [`Effect`]s out.
//!
//! Each request is a [`Task`] with a number. It may wait for its penalty, for the client, for a hash, for names of the name
//! service, for the master; what it waits for is its state, and every event looks the task up again, so that one that was
//! cancelled in between is simply gone. A task keeps the databases that it began with when the configuration changes.
//!
//! Tasks are bounded by [`MAX_TASKS`]; what comes above that fails for now. `now` is in whole seconds of a clock that does
//! not go back, and is told before each event.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::rc::Rc;
use std::time::Duration;

use ipc_messages::auth::User;
use ipc_messages::lookup::{FromNameService, ToNameService};
use proto_sasl::dovecot::server::{FailCode, Reply};
use proto_sasl::dovecot::{Parameters, userdb as master};
use proto_sasl::mechanism::{Credentials, Exchange, Mechanism};
use store_passwords::engine::{Attempt, Engine, Job, Outcome, Verdict};
use store_passwords::log::{Level, Line};
use store_passwords::passwd_file::Opener;
use store_passwords::policy::{Cache, FailureQueue, Penalties, TICK, Tickets};
use worker::ActingRequest;
use zeroize::Zeroizing;

use crate::environment::Surroundings;
use crate::names::{Name, Names};
use crate::session::Templates;
use crate::settings::{Configuration, Mail};

/// Most requests in progress.
pub const MAX_TASKS: usize = 20_000;
/// How long a request waits for the name service.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Seconds for which a login of a Dovecot client can be fetched with REQUEST.
const LOGIN_SECONDS: u64 = 60;
/// Logins that can be fetched at a time.
const MAX_LOGINS: usize = 1024;

/// Who waits for an answer: a connection or channel, and its number for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker<C> {
    /// The way to it.
    pub channel: C,
    /// Its number for the request.
    pub id: u32,
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Effect<C> {
    /// Tell an asker.
    Answer(Asker<C>, Answer),
    /// Run this on a thread and bring the verdict to [`Desk::hashed`]; or call [`Desk::no_thread`].
    Hash(u64, Job),
    /// Ask the name service; the answer comes to [`Desk::named`].
    Ask(ToNameService),
    /// Ask the master; the answer comes to [`Desk::acting`].
    Acting(ActingRequest),
    /// Call [`Desk::ring`] after this time.
    Wake(Duration, Alarm),
    /// Write a log line.
    Log(Line),
}

/// What an asker is told.
#[derive(Debug)]
pub enum Answer {
    /// About a login.
    Login(Reply),
    /// A session may start.
    Granted {
        /// The name.
        user: String,
        /// Good once, for this session.
        ticket: [u8; 16],
        /// The process that will act.
        inbox: crate::session::Inbox,
    },
    /// The password is right, but there can be no session.
    Refused {
        /// The name.
        user: String,
        /// Why, for the log.
        error: String,
    },
    /// About a user, on a master or userdb socket.
    Userdb(master::Reply),
    /// About a user, for a delivery.
    Found {
        /// The user.
        user: Result<Option<User>, String>,
        /// The process that acts for him, if it was asked for.
        inbox: Option<crate::session::Inbox>,
    },
}

/// Why [`Desk::ring`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Failures may be due.
    Failures,
    /// A task's penalty is over.
    Penalty(u64),
    /// A task has waited for names for long enough.
    Patience(u64),
}

/// A login as it is asked for.
#[derive(Debug)]
pub struct Opening {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The first response, if there is one.
    pub initial: Option<Zeroizing<Vec<u8>>>,
    /// What is known of the client.
    pub parameters: Parameters,
    /// Whether a session of ours shall follow.
    pub session: bool,
}

/// What is asked about a user.
#[derive(Debug, Clone)]
pub enum Question {
    /// USER.
    User(String, Box<Parameters>),
    /// PASS.
    Pass(String, Box<Parameters>),
    /// REQUEST, for a login that was fetched.
    Login(Box<Outcome>),
    /// Who is this, and (if the flag says so) the process that acts for him.
    Delivery(String, Box<Parameters>, bool),
}

pub(crate) type Databases = Rc<RefCell<Engine>>;

/// A request in progress.
pub(crate) struct Task<C> {
    pub asker: Asker<C>,
    pub databases: Databases,
    /// Of a login.
    pub login: Option<LoginTask>,
    pub state: State,
}

#[derive(Clone)]
pub(crate) struct LoginTask {
    pub mechanism: Mechanism,
    pub parameters: Parameters,
    pub session: bool,
    /// Of user and password, once they are known.
    pub attempt: u64,
}

/// What a task waits for.
pub(crate) enum State {
    /// Its penalty.
    Penalty(Option<Zeroizing<Vec<u8>>>),
    /// The client.
    Client(Exchange),
    /// A thread.
    Hash(Box<Attempt>, Zeroizing<Vec<u8>>),
    /// Names; then the work is done from its beginning.
    Names(Work, Vec<Name>),
    /// The master.
    Inbox(Box<User>),
    /// Nothing: it is being worked on.
    Busy,
}

/// What can be done at once, provided that all names are known.
#[derive(Clone)]
pub(crate) enum Work {
    Authenticate(Box<Credentials>),
    Resume(Box<Attempt>, Verdict),
    Session(Box<Outcome>),
    Question(Question),
}

/// The desk at which requests are worked on.
pub struct Desk<C> {
    pub(crate) now: u64,
    pub(crate) mail: Mail,
    databases: Result<Databases, String>,
    mechanisms: Vec<Mechanism>,
    files: Box<dyn Opener>,
    pub(crate) names: Names,
    pub(crate) tasks: HashMap<u64, Task<C>>,
    numbers: HashMap<Asker<C>, u64>,
    next: u64,
    pub(crate) penalties: Penalties,
    pub(crate) failures: FailureQueue<(Asker<C>, Reply)>,
    pub(crate) checksums: RandomState,
    pub(crate) cache: Option<Cache>,
    pub(crate) tickets: Tickets<User>,
    pub(crate) templates: Templates,
    /// Logins that Dovecot's own processes may fetch.
    logins: VecDeque<(u64, Asker<C>, Box<Outcome>)>,
    pub(crate) effects: VecDeque<Effect<C>>,
}

impl<C: Copy + Eq + Hash> Desk<C> {
    /// A desk over this configuration; its first effects tell what is wrong with it and ask for the names it mentions.
    pub fn new(configuration: Configuration, files: Box<dyn Opener>) -> Desk<C> {
        let mut desk = Desk {
            now: 0,
            mail: configuration.mail.clone(),
            databases: Err(String::new()),
            mechanisms: Vec::new(),
            files,
            names: Names::default(),
            tasks: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            penalties: Penalties::default(),
            failures: FailureQueue::new(configuration.failure_delay),
            checksums: RandomState::new(),
            cache: None,
            tickets: Tickets::default(),
            templates: Templates::default(),
            logins: VecDeque::new(),
            effects: VecDeque::new(),
        };
        desk.configure(configuration);
        desk
    }

    /// Takes a new configuration over, for requests that begin from now on.
    pub fn configure(&mut self, configuration: Configuration) {
        let names = configuration.names();
        let Configuration { databases, mechanisms, failure_delay, cache, threads: _, mail } = configuration;
        let engine = databases.and_then(|settings| Engine::new(settings, &mechanisms));
        self.databases = engine.map(|engine| Rc::new(RefCell::new(engine)));
        self.mechanisms = mechanisms;
        self.mail = mail;
        self.cache = (cache.size > 0).then(|| Cache::new(cache, random()));
        self.templates.forget();
        let waiting: Vec<_> = self.failures.flush().collect();
        self.failures = FailureQueue::new(failure_delay);
        waiting.into_iter().for_each(|(asker, reply)| self.reply(asker, reply));
        self.ask(&names);
    }

    /// Why no password can be checked at all, if that is so.
    pub fn broken(&self) -> Option<&str> {
        self.databases.as_ref().err().map(String::as_str)
    }

    /// What can be offered; nothing while broken.
    pub fn mechanisms(&self) -> &[Mechanism] {
        if self.databases.is_ok() { &self.mechanisms } else { &[] }
    }

    /// Tells the time, in seconds.
    pub fn clock(&mut self, now: u64) {
        self.now = now;
        self.names.expire(now);
    }

    /// The next effect.
    pub fn effect(&mut self) -> Option<Effect<C>> {
        self.effects.pop_front()
    }

    /// The connection or channel is gone, and with it all that it asked.
    pub fn gone(&mut self, channel: C) {
        self.tasks.retain(|_, task| task.asker.channel != channel);
        self.numbers.retain(|asker, _| asker.channel != channel);
        self.logins.retain(|(_, asker, _)| asker.channel != channel);
    }

    /// The asker does not want its answer any more.
    pub fn cancel(&mut self, asker: Asker<C>) {
        if let Some(number) = self.numbers.remove(&asker) {
            self.tasks.remove(&number);
        }
    }

    /// Rings an alarm.
    pub fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Failures => {
                let pick = |n: usize| (u64::from_le_bytes(random()) % n.max(1) as u64) as usize;
                let due = self.failures.tick(self.now, pick);
                due.into_iter().for_each(|(asker, reply)| self.reply(asker, reply));
                if !self.failures.is_empty() {
                    self.effects.push_back(Effect::Wake(TICK, Alarm::Failures));
                }
            }
            Alarm::Penalty(number) => self.begin(number),
            Alarm::Patience(number) => {
                if matches!(self.tasks.get(&number), Some(Task { state: State::Names(..), .. })) {
                    self.log(Level::Error, "The name service does not answer".into());
                    self.fail_for_now(number);
                }
            }
        }
    }

    /// An answer of the name service: whoever waited for its last name goes on.
    pub fn named(&mut self, answer: FromNameService) {
        if !self.names.answer(answer, self.now) {
            return;
        }
        let names = &self.names;
        let ready = |task: &Task<C>| match &task.state {
            State::Names(_, wanted) => !wanted.iter().any(|name| names.is_asked(name)),
            _ => false,
        };
        let ready: Vec<u64> = self.tasks.iter().filter(|(_, task)| ready(task)).map(|(number, _)| *number).collect();
        for number in ready {
            if let State::Names(work, _) = self.take_state(number) {
                self.work(number, work);
            }
        }
    }

    /// The name service has been replaced: what was asked is asked again.
    pub fn name_service_up(&mut self) {
        let questions = self.names.ask_again();
        self.effects.extend(questions.into_iter().map(Effect::Ask));
    }

    /// Asks about a user.
    pub fn question(&mut self, asker: Asker<C>, question: Question) {
        match self.add(asker, None) {
            Some(number) => self.work(number, Work::Question(question)),
            None => {
                let answer = match question {
                    Question::Delivery(..) => Answer::Found { user: Err("Internal auth failure".into()), inbox: None },
                    _ => Answer::Userdb(master::Reply::Fail { reason: None }),
                };
                self.effects.push_back(Effect::Answer(asker, answer));
            }
        }
    }

    /// A login that this client's request made, once.
    pub fn take_login(&mut self, client: Asker<C>) -> Option<Box<Outcome>> {
        let at = self
            .logins
            .iter()
            .position(|(since, asker, _)| *asker == client && self.now.saturating_sub(*since) < LOGIN_SECONDS)?;
        self.logins.remove(at).map(|(_, _, outcome)| outcome)
    }

    /// All users that the userdbs can tell, and whether all could.
    pub fn list(&mut self) -> (Vec<String>, bool) {
        let Ok(databases) = self.databases.clone() else { return (Vec::new(), false) };
        let mut engine = databases.borrow_mut();
        let found = engine.list_users(&Surroundings { files: &*self.files, names: &self.names });
        let lines = engine.take_log();
        self.effects.extend(lines.into_iter().map(Effect::Log));
        // Ids play no part in a list: a file that was read without them is read anew for those who need them.
        if !self.names.take_wanted().is_empty() {
            engine.forget_files();
        }
        found
    }

    /// Forgets what is cached of these users, or of all.
    pub fn flush_cache(&mut self, users: &[String]) -> usize {
        self.cache.as_mut().map_or(0, |cache| cache.flush(users))
    }

    /// Logs for the administrator who wants every line of the protocol; `text` makes it, and is told whether secrets may show.
    pub fn debug(&mut self, text: impl FnOnce(bool) -> String) {
        let Ok(databases) = &self.databases else { return };
        let (debug, passwords) = {
            let engine = databases.borrow();
            (engine.settings().debug, engine.settings().debug_passwords)
        };
        if debug {
            self.log(Level::Debug, text(passwords));
        }
    }

    /// Logs for the administrator who wants to know why logins fail.
    pub fn verbose(&mut self, text: impl FnOnce() -> String) {
        if self.databases.as_ref().is_ok_and(|databases| databases.borrow().settings().verbose) {
            self.log(Level::Info, text());
        }
    }

    /// Whether nobody waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.failures.is_empty()
    }

    pub(crate) fn log(&mut self, level: Level, text: String) {
        self.effects.push_back(Effect::Log(Line { level, text }));
    }

    pub(crate) fn databases(&self) -> Option<Databases> {
        self.databases.as_ref().ok().cloned()
    }

    /// A new task; `None` when there are too many, or nothing to ask.
    pub(crate) fn add(&mut self, asker: Asker<C>, login: Option<LoginTask>) -> Option<u64> {
        let databases = self.databases().filter(|_| self.tasks.len() < MAX_TASKS)?;
        self.next += 1;
        self.tasks.insert(self.next, Task { asker, databases, login, state: State::Busy });
        self.numbers.insert(asker, self.next);
        Some(self.next)
    }

    pub(crate) fn number(&self, asker: Asker<C>) -> Option<u64> {
        self.numbers.get(&asker).copied()
    }

    /// Ends a task with its answer.
    pub(crate) fn end(&mut self, number: u64, answer: Answer) {
        if let Some(task) = self.forget(number) {
            self.effects.push_back(Effect::Answer(task.asker, answer));
        }
    }

    pub(crate) fn forget(&mut self, number: u64) -> Option<Task<C>> {
        let task = self.tasks.remove(&number)?;
        self.numbers.remove(&task.asker);
        Some(task)
    }

    pub(crate) fn keep_login(&mut self, asker: Asker<C>, outcome: Box<Outcome>) {
        if self.logins.len() >= MAX_LOGINS {
            self.logins.pop_front();
        }
        self.logins.push_back((self.now, asker, outcome));
    }

    pub(crate) fn take_state(&mut self, number: u64) -> State {
        self.tasks.get_mut(&number).map_or(State::Busy, |task| std::mem::replace(&mut task.state, State::Busy))
    }

    pub(crate) fn set_state(&mut self, number: u64, state: State) {
        if let Some(task) = self.tasks.get_mut(&number) {
            task.state = state;
        }
    }

    /// Does what can be done at once; if it turns out that a name is not known, the databases forget what they read without
    /// it, and the work is done again when the name is known.
    pub(crate) fn work(&mut self, number: u64, work: Work) {
        let Some(task) = self.tasks.get(&number) else { return };
        let databases = task.databases.clone();
        let mut engine = databases.borrow_mut();
        let surroundings = Surroundings { files: &*self.files, names: &self.names };
        let done = crate::work::run(work.clone(), task.login.as_ref(), &mut engine, &self.mail, &surroundings);
        let lines = engine.take_log();
        let wanted = self.names.take_wanted();
        if wanted.is_empty() {
            drop(engine);
            self.effects.extend(lines.into_iter().map(Effect::Log));
            return self.done(number, done);
        }
        engine.forget_files();
        self.ask(&wanted);
        self.effects.push_back(Effect::Wake(PATIENCE, Alarm::Patience(number)));
        self.set_state(number, State::Names(work, wanted));
    }

    fn ask(&mut self, names: &[Name]) {
        let questions = self.names.ask(names);
        self.effects.extend(questions.into_iter().map(Effect::Ask));
    }

    /// Ends a task whose answer cannot be told now.
    pub(crate) fn fail_for_now(&mut self, number: u64) {
        let Some(task) = self.tasks.get(&number) else { return };
        match (&task.login, &task.state) {
            (Some(_), _) => {
                let failure = Reply::fail(None, Some(FailCode::TemporaryFailure));
                self.refuse(number, failure, false);
            }
            (None, State::Names(Work::Question(Question::Delivery(..)), _)) => {
                self.end(number, Answer::Found { user: Err("Internal auth failure".into()), inbox: None });
            }
            (None, _) => self.end(number, Answer::Userdb(master::Reply::Fail { reason: None })),
        }
    }

    /// A keyed number that tells attempts apart.
    pub(crate) fn checksum(&self, credentials: &Credentials) -> u64 {
        self.checksums.hash_one((&credentials.user, &credentials.password[..]))
    }
}

/// Random bytes. Without them nothing here is safe.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has no random bytes");
    bytes
}

#[cfg(test)]
mod tests;
