//! Our own services: which program may ask what, and the answers in the words of the hop.

use ipc_messages::auth::{Failure, FromAuth, Origin, ToAuth};
use proto_sasl::dovecot::server::{FailCode, Reply};
use proto_sasl::dovecot::{Parameters, Secured};
use proto_sasl::mechanism::Mechanism;
use store_passwords::log;
use worker::{Cx, PeerId};
use zeroize::Zeroizing;

use crate::desk::{Answer, Asker, Opening, Question};
use crate::{Auth, Channel, Hashed};

/// A process of ours.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub program: String,
    pub pid: u32,
    pub uid: u32,
}

/// Whether a program may ask this: the login services about logins, a template with a ticket, deliveries about users.
fn may_ask(program: &str, question: &ToAuth) -> bool {
    match question {
        ToAuth::Start { origin, .. } => program.strip_suffix("-login") == Some(&origin.service),
        ToAuth::Continue { .. } | ToAuth::Cancel { .. } => program.ends_with("-login"),
        ToAuth::Redeem { .. } => program == "imap",
        ToAuth::User { .. } => matches!(program, "lmtp" | "deliver"),
    }
}

impl Auth {
    pub(crate) fn introduce(&mut self, cx: &mut Cx<Hashed>, id: PeerId, client: Client) {
        self.desk.debug(|_| format!("auth client connected (pid={})", client.pid));
        self.clients.insert(id, client);
        self.tell_mechanisms(cx, id);
    }

    pub(crate) fn tell_mechanisms(&self, cx: &mut Cx<Hashed>, id: PeerId) {
        let names = self.desk.mechanisms().iter().map(|mechanism| mechanism.name().to_owned()).collect();
        let broken = self.desk.broken().is_some();
        tell(cx, id, &FromAuth::Mechanisms { names, broken }, Vec::new());
    }

    pub(crate) fn peer(&mut self, cx: &mut Cx<Hashed>, id: PeerId, question: ToAuth) {
        let Some(client) = self.clients.get(&id) else { return };
        if !may_ask(&client.program, &question) {
            slog::error!(
                cx.log(),
                "{}[{}] asked what it may not ask; its channel is closed",
                client.program,
                client.pid
            );
            return cx.drop_peer(id);
        }
        let uid = client.uid;
        let asker = |corr| Asker { channel: Channel::Peer(id), id: corr };
        match question {
            ToAuth::Start { corr, mechanism, initial, origin } => {
                self.start_login(cx, asker(corr), id, &mechanism, initial.map(Zeroizing::new), &origin);
            }
            ToAuth::Continue { corr, data } => {
                let data = Zeroizing::new(data);
                self.desk.debug(|show| client_in(&format!("CONT\t{corr}\t"), &data, show));
                self.desk.respond(asker(corr), &data);
            }
            ToAuth::Cancel { corr } => {
                self.desk.debug(|show| log::client_in(&format!("CANCEL\t{corr}"), show));
                self.desk.cancel(asker(corr));
            }
            ToAuth::Redeem { corr, ticket, session } => {
                let user = self.desk.redeem(uid, ticket, session);
                tell(cx, id, &FromAuth::Redeemed { corr, user }, Vec::new());
            }
            ToAuth::User { corr, user, origin, inbox } => {
                let parameters = Box::new(parameters(&origin));
                self.desk.question(asker(corr), Question::Delivery(user, parameters, inbox));
            }
        }
    }

    fn start_login(
        &mut self,
        cx: &mut Cx<Hashed>,
        asker: Asker<Channel>,
        id: PeerId,
        mechanism: &str,
        initial: Option<Zeroizing<Vec<u8>>>,
        origin: &Origin,
    ) {
        let parameters = parameters(origin);
        let known = Mechanism::from_name(mechanism).filter(|known| self.desk.mechanisms().contains(known));
        let Some(mechanism) = known else {
            let failure = if self.desk.broken().is_some() { Failure::Broken } else { Failure::Mechanism };
            let answer = FromAuth::Failed { corr: asker.id, failure, user: None, reason: None };
            return tell(cx, id, &answer, Vec::new());
        };
        self.desk.debug(|show| {
            let mut line = format!("AUTH\t{}\t{}", asker.id, mechanism.name());
            parameters.write(&mut line);
            match &initial {
                Some(initial) => client_in(&format!("{line}\tresp="), initial, show),
                None => log::client_in(&line, show),
            }
        });
        self.desk.open(asker, Opening { mechanism, initial, parameters, session: true });
    }

    pub(crate) fn answer_peer(&mut self, cx: &mut Cx<Hashed>, id: PeerId, corr: u32, answer: Answer) {
        let mut fds = Vec::new();
        let message = match answer {
            Answer::Login(Reply::Continue(data)) => FromAuth::Challenge { corr, data },
            // A right password, but this database does not let the user in.
            Answer::Login(Reply::Ok { user, fields }) => FromAuth::Failed {
                corr,
                failure: Failure::Barred,
                user: Some(user),
                reason: fields.get("reason").map(str::to_owned),
            },
            Answer::Login(Reply::Fail { user, code, reason, .. }) => {
                FromAuth::Failed { corr, failure: failure(code), user, reason }
            }
            Answer::Granted { user, ticket, inbox } => {
                fds.push(inbox.fd);
                FromAuth::Succeeded { corr, user, ticket, template: inbox.template }
            }
            Answer::Refused { user, error } => FromAuth::Refused { corr, user, error },
            Answer::Found { user, inbox } => {
                let template = inbox.as_ref().map_or(0, |inbox| inbox.template);
                fds.extend(inbox.map(|inbox| inbox.fd));
                FromAuth::Found { corr, user, template }
            }
            Answer::Userdb(reply) => panic!("a service of ours was answered with {reply:?}"),
        };
        tell(cx, id, &message, fds);
    }
}

fn tell(cx: &mut Cx<Hashed>, id: PeerId, message: &FromAuth, fds: Vec<std::os::fd::OwnedFd>) {
    // A peer that does not read what it asked for gets no answer and is closed.
    if cx.send(id, message, fds).is_err() {
        cx.drop_peer(id);
    }
}

/// The line that a login process of Dovecot's would have sent.
fn client_in(start: &str, secret: &[u8], show: bool) -> String {
    use base64::Engine;
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(secret));
    log::client_in(&Zeroizing::new(format!("{start}{}", encoded.as_str())), show)
}

fn parameters(origin: &Origin) -> Parameters {
    let Origin { service, session, remote, local, secured } = origin;
    Parameters {
        secured: match secured.as_deref() {
            None => Secured::No,
            Some("TLS") => Secured::Tls,
            Some(_) => Secured::Trusted,
        },
        session: Some(session.clone()).filter(|session| !session.is_empty()),
        local_ip: local.map(|local| local.ip()),
        remote_ip: remote.map(|remote| remote.ip()),
        local_port: local.map(|local| local.port()),
        remote_port: remote.map(|remote| remote.port()),
        ..Parameters::new(service)
    }
}

fn failure(code: Option<FailCode>) -> Failure {
    match code {
        None | Some(FailCode::AuthenticationFailed) => Failure::Credentials,
        Some(FailCode::TemporaryFailure) => Failure::Temporary,
        Some(FailCode::AuthorizationFailed) => Failure::Authorization,
        Some(FailCode::UserDisabled) => Failure::Disabled,
        Some(FailCode::PasswordExpired) => Failure::Expired,
        Some(FailCode::InvalidBase64) => Failure::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(service: &str) -> Origin {
        Origin {
            service: service.into(),
            session: "abc".into(),
            remote: Some("10.1.1.1:5".parse().unwrap()),
            local: Some("10.1.1.2:143".parse().unwrap()),
            secured: Some("TLS".into()),
        }
    }

    #[test]
    fn each_program_has_its_questions() {
        let start =
            |service| ToAuth::Start { corr: 1, mechanism: "PLAIN".into(), initial: None, origin: origin(service) };
        let redeem = ToAuth::Redeem { corr: 1, ticket: [0; 16], session: String::new() };
        let user = ToAuth::User { corr: 1, user: "u".into(), origin: origin("lmtp"), inbox: true };
        for (program, question, expected) in [
            ("imap-login", start("imap"), true),
            ("imap-login", start("pop3"), false),
            ("imap", start("imap"), false),
            ("imap-login", ToAuth::Cancel { corr: 1 }, true),
            ("lmtp", ToAuth::Cancel { corr: 1 }, false),
            ("imap", redeem.clone(), true),
            ("imap-login", redeem.clone(), false),
            ("deliver", redeem, false),
            ("lmtp", user.clone(), true),
            ("deliver", user.clone(), true),
            ("imap-login", user, false),
        ] {
            assert_eq!(may_ask(program, &question), expected, "{program}: {question:?}");
        }
    }

    #[test]
    fn a_login_is_logged_as_dovecots_clients_write_it() {
        let mut line = "AUTH\t1\tPLAIN".to_owned();
        parameters(&origin("imap")).write(&mut line);
        let expected = "client in: AUTH\t1\tPLAIN\tservice=imap\tsecured=tls\tsession=abc\tlip=10.1.1.2\trip=10.1.1.1\t\
                        lport=143\trport=5\tresp=";
        let hidden = client_in(&format!("{line}\tresp="), b"\0u\0p", false);
        assert_eq!(hidden, format!("{expected}<hidden>"));
        let shown = client_in(&format!("{line}\tresp="), b"\0u\0p", true);
        assert_eq!(shown, format!("{expected}AHUAcA== (previous base64 data may contain sensitive data)"));
    }
}
