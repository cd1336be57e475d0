//! The part of a request that needs databases and names, and nothing else: it can be done again from its beginning.

use ipc_messages::auth::User;
use proto_sasl::dovecot::userdb as master;
use store_passwords::engine::{Engine, Environment, Lookup, Step};

use crate::account;
use crate::desk::{LoginTask, Question, Work};
use crate::settings::Mail;

/// What came of it.
pub(crate) enum Done {
    /// Of a login.
    Step(Step),
    /// Of the lookup after a login: the reply as Dovecot's master would see it, for the log; the name; and the user, or why
    /// there can be no session.
    Session(master::Reply, String, Result<User, String>),
    /// Of a question on a master or userdb socket.
    Userdb(master::Reply),
    /// Of a question for a delivery; whether the process that acts is wanted.
    Delivery(Result<Option<User>, String>, bool),
}

/// Does it. Whatever is returned is void if a name was wanted that is not known.
pub(crate) fn run(
    work: Work,
    login: Option<&LoginTask>,
    engine: &mut Engine,
    mail: &Mail,
    environment: &impl Environment,
) -> Done {
    match work {
        Work::Authenticate(credentials) => {
            let login = login.expect("only a login has credentials");
            Done::Step(engine.authenticate(&credentials, login.mechanism, &login.parameters, environment))
        }
        Work::Resume(attempt, verdict) => Done::Step(attempt.resume(engine, verdict, environment)),
        Work::Session(outcome) => {
            let name = outcome.user().unwrap_or_default().to_owned();
            let found = engine.lookup_login(*outcome, environment);
            let user = match found.record() {
                Ok(Some(record)) => account::user(record, mail, environment),
                Ok(None) => Err("Authenticated user not found from userdb".into()),
                Err(reason) => Err(reason),
            };
            Done::Session(found.user_reply(), name, user)
        }
        Work::Question(Question::User(name, parameters)) => {
            Done::Userdb(engine.lookup_user(&name, &parameters, environment).user_reply())
        }
        Work::Question(Question::Pass(name, parameters)) => {
            Done::Userdb(engine.lookup_passdb(&name, &parameters, environment).pass_reply())
        }
        Work::Question(Question::Login(outcome)) => {
            Done::Userdb(engine.lookup_login(*outcome, environment).user_reply())
        }
        Work::Question(Question::Delivery(name, parameters, inbox)) => {
            let found: Lookup = engine.lookup_user(&name, &parameters, environment);
            let user = found
                .record()
                .and_then(|record| record.map(|record| account::user(record, mail, environment)).transpose());
            Done::Delivery(user, inbox)
        }
    }
}
