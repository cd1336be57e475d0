//! The sockets that the configuration names: the Dovecot protocol, for Postfix and other programs.

use proto_sasl::dovecot::server::{Event, Server as Authentication};
use proto_sasl::dovecot::userdb::{self, Reply, Request, Server as Userdb};
use proto_sasl::dovecot::{Broken, Cookie, Id};
use store_passwords::engine::wildcard;
use store_passwords::log;
use subtle::ConstantTimeEq;
use worker::{ConnId, Cx};

use crate::desk::{Answer, Asker, Opening, Question, random};
use crate::{Auth, Channel, Hashed};

/// Bytes that may wait for somebody who does not read; then he is dropped.
const MAX_UNSENT: usize = 1024 * 1024;

/// A connection, by what it speaks.
pub(crate) enum Connection {
    Authentication { server: Box<Authentication>, cookie: Cookie, pid: Option<u32> },
    Userdb(Box<Userdb>),
}

impl Auth {
    pub(crate) fn accept(&mut self, cx: &mut Cx<Hashed>, conn: ConnId, listener: usize) {
        if self.desk.broken().is_some() {
            // Dovecot's auth does not run then; a client sees the connection end.
            return cx.abort(conn);
        }
        let pid = std::process::id();
        let mut connection = match self.speaks.get(listener).copied().flatten() {
            Some(socket) => Connection::Userdb(Box::new(Userdb::new(socket, pid))),
            None => {
                let cookie = random();
                // The number of a connection is unique as long as the process lives; so is its lower half, in practice.
                let number = conn.number() as u32 ^ (conn.number() >> 32) as u32;
                let server = Box::new(Authentication::new(self.desk.mechanisms(), pid, number, &cookie));
                Connection::Authentication { server, cookie, pid: None }
            }
        };
        let greeting = connection.take_output();
        cx.write(conn, &greeting);
        self.connections.insert(conn, connection);
    }

    pub(crate) fn forget_connection(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
        self.desk.gone(Channel::Connection(conn));
    }

    pub(crate) fn read(&mut self, cx: &mut Cx<Hashed>, conn: ConnId) {
        let input = zeroize::Zeroizing::new(cx.take_input(conn));
        // Taken out while it is read, so that the desk can be spoken to in between.
        let Some(mut connection) = self.connections.remove(&conn) else { return };
        let intact = match &mut connection {
            Connection::Authentication { server, pid, .. } => {
                server.receive(&input);
                let mut intact = Ok(());
                while let Some(event) = server.poll() {
                    intact = self.event(conn, event, pid);
                }
                intact
            }
            Connection::Userdb(server) => {
                server.receive(&input);
                let mut intact = Ok(());
                while let Some(request) = server.poll() {
                    intact = request.map(|request| self.request(conn, server, request));
                }
                intact
            }
        };
        let output = connection.take_output();
        cx.write(conn, &output);
        self.connections.insert(conn, connection);
        if let Err(Broken(reason)) = intact {
            slog::error!(cx.log(), "{reason}");
            self.forget_connection(conn);
            cx.close(conn);
        }
    }

    fn event(&mut self, conn: ConnId, event: Event, pid: &mut Option<u32>) -> Result<(), Broken> {
        let asker = |id| Asker { channel: Channel::Connection(conn), id };
        match event {
            Event::Connected(number) => {
                *pid = Some(number);
                self.desk.debug(|_| format!("auth client connected (pid={number})"));
            }
            Event::Line(line) => self.desk.debug(|show| log::client_in(&line, show)),
            Event::Authenticate(request) => {
                let proto_sasl::dovecot::server::Request { id, mechanism, parameters, initial } = *request;
                self.desk.open(asker(id), Opening { mechanism, initial, parameters, session: false });
            }
            Event::Continue(id, response) => self.desk.respond(asker(id), &response),
            Event::Cancel(id) => self.desk.cancel(asker(id)),
            Event::Refused(id, reason) => {
                self.desk.cancel(asker(id));
                self.desk.verbose(|| reason.to_owned());
            }
            Event::Broken(broken) => return Err(broken),
        }
        Ok(())
    }

    fn request(&mut self, conn: ConnId, server: &mut Userdb, request: Request) {
        self.desk.debug(|_| log::master_in(&request.line()));
        let asker = Asker { channel: Channel::Connection(conn), id: request.id() };
        match request {
            Request::User { user, parameters, .. } => self.desk.question(asker, Question::User(user, parameters)),
            Request::Pass { user, parameters, .. } => self.desk.question(asker, Question::Pass(user, parameters)),
            Request::List { id, mask, .. } => self.list(server, id, &mask),
            Request::Login { id, client_pid, client_request, cookie, .. } => {
                let client = self.client_of(client_pid, &cookie);
                let client = client.map(|channel| Asker { channel, id: client_request });
                match client.and_then(|client| self.desk.take_login(client)) {
                    Some(outcome) => self.desk.question(asker, Question::Login(outcome)),
                    None => _ = server.reply(id, &Reply::Fail { reason: None }),
                }
            }
            Request::CacheFlush { id, users } => {
                let count = self.desk.flush_cache(&users);
                server.reply(id, &Reply::Flushed(u32::try_from(count).unwrap_or(u32::MAX)));
            }
        }
    }

    fn list(&mut self, server: &mut Userdb, id: Id, mask: &str) {
        let (names, complete) = self.desk.list();
        for name in names.into_iter().filter(|name| mask.is_empty() || wildcard(mask.as_bytes(), name.as_bytes())) {
            server.reply(id, &Reply::Listed(name));
        }
        server.reply(id, &Reply::ListDone { complete });
    }

    /// The connection of an authentication client that says to be `pid` and has this cookie.
    fn client_of(&self, wanted: u32, shown: &Cookie) -> Option<Channel> {
        let found = self.connections.iter().find(|(_, connection)| match connection {
            Connection::Authentication { cookie, pid, .. } => *pid == Some(wanted) && cookie.ct_eq(shown).into(),
            Connection::Userdb(_) => false,
        });
        found.map(|(&conn, _)| Channel::Connection(conn))
    }

    pub(crate) fn answer_connection(&mut self, cx: &mut Cx<Hashed>, conn: ConnId, id: Id, answer: Answer) {
        if cx.unsent(conn) > MAX_UNSENT {
            slog::error!(cx.log(), "A client does not read its answers, disconnecting it");
            self.forget_connection(conn);
            return cx.abort(conn);
        }
        match (self.connections.get_mut(&conn), answer) {
            (Some(Connection::Authentication { server, .. }), Answer::Login(reply)) => {
                server.reply(id, &reply);
            }
            (Some(Connection::Userdb(server)), Answer::Userdb(reply)) => {
                let line = server.reply(id, &reply);
                self.desk.debug(|show| match reply {
                    userdb::Reply::Pass(..) => log::passdb_out(&line),
                    _ => log::userdb_out(&line, show),
                });
            }
            (None, _) => return,
            (Some(_), answer) => panic!("a connection was answered with {answer:?}"),
        }
        let output = self.connections.get_mut(&conn).map(Connection::take_output).unwrap_or_default();
        cx.write(conn, &output);
    }
}

impl Connection {
    fn take_output(&mut self) -> Vec<u8> {
        match self {
            Connection::Authentication { server, .. } => server.take_output(),
            Connection::Userdb(server) => server.take_output(),
        }
    }
}
