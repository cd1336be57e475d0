//! Logins and lookups over files in memory: what goes in, what comes out, when.

mod settings;

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use ipc_config::dovecot::sections::fields;
use ipc_config::section::Section;
use store_passwords::passwd_file::{OpenError, Stamp};

use super::*;
use crate::settings::tests::{database, passdb, section};

/// Files by path.
struct Memory(HashMap<&'static str, &'static str>);

impl Opener for Memory {
    fn stamp(&self, path: &str) -> Result<Stamp, OpenError> {
        let content = self.0.get(path).ok_or(OpenError::Missing)?;
        Ok(Stamp { modified: (0, 0), size: content.len() as u64, inode: 1 })
    }

    fn read(&self, path: &str) -> Result<(Stamp, Zeroizing<Vec<u8>>), OpenError> {
        Ok((self.stamp(path)?, Zeroizing::new(self.0[path].as_bytes().to_vec())))
    }
}

const USERS: &str = "info@example.jp:{PLAIN}secret::::::\nbarred@example.jp:{PLAIN}secret::::::nologin reason=Closed\n";
const NAMED: &str = "info@example.jp:{PLAIN}secret::::::\nnamed@example.jp:{PLAIN}secret:vmail:8::/srv/named::\n";

fn configuration() -> Section {
    let mut section = section();
    section.passdbs.push(passdb("passwd-file", "username_format=%u /users"));
    let mut userdb = database("passwd-file", "username_format=%u /users");
    userdb.default_fields = fields("uid=5000 gid=5001 home=/home/vmail/%d/%n");
    section.userdbs.push(userdb);
    section.mailbox.insert("mail_location", "maildir:~/Maildir");
    section.mailbox.insert("mail roots", "/home/vmail");
    section
}

/// A desk whose jobs run at once.
struct Office {
    desk: Desk<u8>,
    now: u64,
    alarms: Vec<(u64, Alarm)>,
    lines: Vec<String>,
    asked: Vec<ToNameService>,
    acting: Vec<ActingRequest>,
    hashes: usize,
}

impl Office {
    fn new(section: &Section) -> Office {
        Office::over(section, USERS)
    }

    fn over(section: &Section, users: &'static str) -> Office {
        let files = Memory(HashMap::from([("/users", users)]));
        let desk = Desk::new(Configuration::read(section), Box::new(files));
        let (alarms, lines, asked, acting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Office { desk, now: 0, alarms, lines, asked, acting, hashes: 0 }
    }

    /// Carries out what the desk wants; returns what askers are told.
    fn run(&mut self) -> Vec<(u32, Answer)> {
        let mut answers = Vec::new();
        while let Some(effect) = self.desk.effect() {
            match effect {
                Effect::Answer(asker, answer) => answers.push((asker.id, answer)),
                Effect::Hash(number, job) => {
                    self.hashes += 1;
                    self.desk.hashed(number, job.run());
                }
                Effect::Ask(question) => self.asked.push(question),
                Effect::Acting(request) => self.acting.push(request),
                Effect::Wake(after, alarm) => self.alarms.push((self.now + after.as_secs().max(1), alarm)),
                Effect::Log(line) => self.lines.push(line.to_string()),
            }
        }
        answers
    }

    /// Lets time pass until somebody is told something; the answers, and when.
    fn wait(&mut self) -> (u64, Vec<(u32, Answer)>) {
        let mut answers = self.run();
        while answers.is_empty() {
            let (at, alarm) = self.alarms.remove(0);
            self.now = at;
            self.desk.clock(at);
            self.desk.ring(alarm);
            answers = self.run();
        }
        (self.now, answers)
    }

    fn login(&mut self, id: u32, response: &str, session: bool) {
        let mut parameters = Parameters::new("imap");
        parameters.session = Some("S".into());
        parameters.remote_ip = Some([10, 1, 1, 1].into());
        parameters.no_login = true;
        let initial = Some(Zeroizing::new(response.replace(' ', "\0").into_bytes()));
        let opening = Opening { mechanism: Mechanism::Plain, initial, parameters, session };
        self.desk.open(Asker { channel: 1, id }, opening);
    }
}

fn inbox() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn failed(answers: &[(u32, Answer)]) -> Vec<(u32, Option<&str>)> {
    let failed = |answer: &(u32, Answer)| match &answer.1 {
        Answer::Login(Reply::Fail { .. }) => answer.0,
        other => panic!("{other:?}"),
    };
    let user = |answer: &Answer| match answer {
        Answer::Login(Reply::Fail { user, .. }) => user.clone(),
        _ => None,
    };
    answers.iter().map(|answer| (failed(answer), user(&answer.1).map(|user| &*user.leak()))).collect()
}

#[test]
fn a_failure_is_late_and_the_next_try_waits_longer() {
    let mut office = Office::new(&configuration());
    office.login(1, " info@example.jp wrong", true);
    let (at, answers) = office.wait();
    assert_eq!((at, failed(&answers)), (2, vec![(1, Some("info@example.jp"))]));
    office.login(2, " info@example.jp secret", false);
    assert!(office.run().is_empty(), "the address has a penalty");
    let (at, answers) = office.wait();
    assert!(matches!(&answers[..], [(2, Answer::Login(Reply::Ok { .. }))]), "{answers:?}");
    assert_eq!(at, 2 + 4);
    office.login(3, " info@example.jp secret", false);
    assert_eq!(office.run().len(), 1, "success forgets the penalty");
    assert!(office.desk.is_idle());
}

#[test]
fn a_session_gets_a_ticket_for_its_template_alone() {
    let mut office = Office::new(&configuration());
    office.login(1, " info@example.jp secret", true);
    assert!(office.run().is_empty());
    let request = office.acting.pop().unwrap();
    assert_eq!((request.uid, request.gid, request.roots), (5000, 5001, vec!["/home/vmail".into()]));
    office.desk.acting(request.corr, Ok(inbox()));
    let (ticket, template) = match office.run().pop() {
        Some((1, Answer::Granted { user, ticket, inbox })) if user == "info@example.jp" => (ticket, inbox.template),
        other => panic!("{other:?}"),
    };
    assert_eq!(office.desk.redeem(5001, ticket, "S".into()), None, "a template of another account");
    assert_eq!(office.desk.redeem(5000, ticket, "S".into()), None, "and the ticket is void");
    // The inbox is known now.
    office.login(2, " info@example.jp secret", true);
    let ticket = match office.run().pop() {
        Some((2, Answer::Granted { ticket, inbox, .. })) if inbox.template == template => ticket,
        other => panic!("{other:?}"),
    };
    let user = office.desk.redeem(5000, ticket, "S".into()).unwrap();
    assert_eq!((user.uid, user.home.as_deref()), (Some(5000), Some("/home/vmail/example.jp/info")));
    assert_eq!(office.desk.redeem(5000, ticket, "S".into()), None);
    assert!(office.acting.is_empty());
    // After a new configuration the master is asked again.
    office.desk.configure(Configuration::read(&configuration()));
    office.login(3, " info@example.jp secret", true);
    assert!(office.run().is_empty() && office.acting.len() == 1);
}

#[test]
fn what_the_master_or_the_userdb_refuses_is_told_to_the_log() {
    let mut section = configuration();
    section.userdbs.clear();
    let mut office = Office::new(&section);
    office.login(1, " info@example.jp secret", true);
    let answers = office.run();
    let Answer::Refused { user, error } = &answers[0].1 else { panic!("{answers:?}") };
    assert_eq!(user, "info@example.jp");
    assert_eq!(error, "Couldn't drop privileges: User is missing UID (see mail_uid setting)");

    let mut office = Office::new(&configuration());
    office.login(1, " info@example.jp secret", true);
    office.login(2, " info@example.jp secret", true);
    office.run();
    assert_eq!(office.acting.len(), 1, "one question for both");
    office.desk.acting(office.acting[0].corr, Err("Mail access not allowed for root".into()));
    let answers = office.run();
    assert_eq!(answers.len(), 2);
    let told = |answer: &Answer| matches!(answer, Answer::Refused { error, .. } if error == "Couldn't drop privileges: Mail access not allowed for root");
    assert!(answers.iter().all(|(_, answer)| told(answer)), "{answers:?}");
}

#[test]
fn a_barred_user_is_told_why_and_gets_no_session() {
    let mut office = Office::new(&configuration());
    office.login(1, " barred@example.jp secret", true);
    let answers = office.run();
    let Answer::Login(Reply::Ok { fields, .. }) = &answers[0].1 else { panic!("{answers:?}") };
    assert_eq!((fields.contains("nologin"), fields.get("reason")), (true, Some("Closed")));
    assert!(office.acting.is_empty());
}

/// The first read of the file meets a name that is not known; nothing that was read then is kept.
#[test]
fn a_request_waits_for_names_and_then_sees_them() {
    let mut office = Office::over(&configuration(), NAMED);
    office.login(1, " named@example.jp secret", true);
    assert!(office.run().is_empty());
    assert_eq!(office.asked, [ToNameService::User { corr: 1, name: "vmail".into() }]);
    let line = Some("vmail::5000:5001::/home/vmail:".to_owned());
    office.desk.named(FromNameService::Entry { corr: 1, line: Ok(line) });
    office.run();
    let request = office.acting.pop().unwrap();
    assert_eq!((request.uid, request.gid, request.roots), (5000, 8, vec!["/srv/named".into()]));
    assert_eq!(office.lines, Vec::<String>::new());
}

#[test]
fn a_name_service_that_does_not_answer_is_not_waited_for_forever() {
    let mut office = Office::over(&configuration(), NAMED);
    office.desk.question(
        Asker { channel: 1, id: 7 },
        Question::Delivery("named@example.jp".into(), Box::new(Parameters::new("lmtp")), true),
    );
    let (at, answers) = office.wait();
    assert!(matches!(&answers[..], [(7, Answer::Found { user: Err(_), .. })]), "{answers:?}");
    assert_eq!(at, PATIENCE.as_secs());
    assert_eq!(office.lines, ["Error: The name service does not answer"]);
}

#[test]
fn deliveries_find_users_and_their_process() {
    let mut office = Office::over(&configuration(), NAMED);
    let ask = |office: &mut Office, name: &str, inbox| {
        let question = Question::Delivery(name.into(), Box::new(Parameters::new("lmtp")), inbox);
        office.desk.question(Asker { channel: 2, id: 1 }, question);
        office.run()
    };
    // The file mentions a name; all wait for it.
    assert!(ask(&mut office, "info@example.jp", false).is_empty());
    office.desk.named(FromNameService::Entry { corr: 1, line: Ok(None) });
    let answers = office.run();
    let Answer::Found { user: Ok(Some(user)), inbox: None } = &answers[0].1 else { panic!("{answers:?}") };
    assert_eq!((user.name.as_str(), user.uid), ("info@example.jp", Some(5000)));
    assert!(ask(&mut office, "info@example.jp", true).is_empty());
    office.desk.acting(office.acting[0].corr, Ok(inbox()));
    assert!(matches!(&office.run()[..], [(1, Answer::Found { user: Ok(Some(_)), inbox: Some(_) })]));
    let answers = ask(&mut office, "nobody@example.jp", true);
    assert!(matches!(&answers[..], [(1, Answer::Found { user: Ok(None), inbox: None })]), "{answers:?}");
}

#[test]
fn the_cache_spares_the_hash_and_not_the_decision() {
    let mut section = configuration();
    section.mailbox.insert("auth_cache_size", "100000");
    let mut office = Office::new(&section);
    for (id, password, hashes) in [(1, "secret", 1), (2, "secret", 1), (3, "wrong", 2)] {
        office.login(id, &format!(" info@example.jp {password}"), false);
        office.run();
        assert_eq!(office.hashes, hashes, "{password}");
    }
    assert_eq!(office.desk.flush_cache(&[]), 0, "a wrong password voids what was known");
}

#[test]
fn what_is_cancelled_is_answered_no_more() {
    let mut office = Office::new(&configuration());
    let opening =
        Opening { mechanism: Mechanism::Login, initial: None, parameters: Parameters::new("imap"), session: true };
    let asker = Asker { channel: 1, id: 1 };
    office.desk.open(asker, opening);
    assert!(matches!(&office.run()[..], [(1, Answer::Login(Reply::Continue(_)))]));
    office.desk.cancel(asker);
    office.desk.respond(asker, b"info@example.jp");
    office.login(2, " info@example.jp secret", true);
    office.run();
    office.desk.gone(1);
    office.desk.acting(office.acting[0].corr, Ok(inbox()));
    assert!(office.run().is_empty() && office.desk.is_idle());
}

#[test]
fn a_login_of_a_dovecot_client_can_be_fetched_once() {
    let mut office = Office::new(&configuration());
    let asker = Asker { channel: 3, id: 9 };
    let initial = Some(Zeroizing::new(b"\0info@example.jp\0secret".to_vec()));
    let parameters = Parameters::new("imap");
    office.desk.open(asker, Opening { mechanism: Mechanism::Plain, initial, parameters, session: false });
    assert!(matches!(&office.run()[..], [(9, Answer::Login(Reply::Ok { .. }))]));
    let outcome = office.desk.take_login(asker).unwrap();
    assert!(office.desk.take_login(asker).is_none());
    office.desk.question(Asker { channel: 4, id: 1 }, Question::Login(outcome));
    let answers = office.run();
    let Answer::Userdb(master::Reply::User(user, fields)) = &answers[0].1 else { panic!("{answers:?}") };
    assert_eq!((user.as_str(), fields.get("uid")), ("info@example.jp", Some("5000")));
}

#[test]
fn requests_are_bounded() {
    let mut office = Office::new(&configuration());
    for id in 1..=MAX_TASKS as u32 {
        let opening =
            Opening { mechanism: Mechanism::Login, initial: None, parameters: Parameters::new("imap"), session: true };
        office.desk.open(Asker { channel: 1, id }, opening);
    }
    office.run();
    office.login(MAX_TASKS as u32 + 1, " info@example.jp secret", true);
    let answers = office.run();
    assert!(matches!(&answers[..], [(_, Answer::Login(Reply::Fail { code: Some(FailCode::TemporaryFailure), .. }))]));
}

#[test]
fn without_a_passdb_nothing_is_offered() {
    let office = Office::new(&section());
    assert_eq!(office.desk.broken(), Some("No passdbs specified in configuration file. PLAIN mechanism needs one"));
    assert!(office.desk.mechanisms().is_empty());
}
