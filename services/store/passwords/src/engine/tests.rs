//! Logins and lookups recorded from Dovecot 2.3.19, with its answers and its log.

use std::cell::RefCell;
use std::collections::HashMap;

use proto_sasl::dovecot::userdb as master;

use super::*;
use crate::config::{Passdb, PassdbSkip, Rule, Template, Userdb, UserdbSkip, VerbosePasswords};
use crate::passwd_file::{OpenError, Stamp};

const HASH: &str = "{CRYPT}$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// Files in memory, one account, and an expander that knows what the tests need.
#[derive(Default)]
struct World {
    files: RefCell<HashMap<String, Result<String, OpenError>>>,
}

impl World {
    fn with(files: &[(&str, &str)]) -> Self {
        let world = Self::default();
        files.iter().for_each(|(path, content)| world.write(path, content));
        world
    }

    fn write(&self, path: &str, content: &str) {
        self.files.borrow_mut().insert(path.into(), Ok(content.into()));
    }
}

impl Opener for World {
    fn stamp(&self, path: &str) -> Result<Stamp, OpenError> {
        self.read(path).map(|(stamp, _)| stamp)
    }

    fn read(&self, path: &str) -> Result<(Stamp, Zeroizing<Vec<u8>>), OpenError> {
        let content = self.files.borrow().get(path).cloned().unwrap_or(Err(OpenError::Missing))?;
        let stamp = Stamp { modified: (0, 0), size: content.len() as u64, inode: 1 };
        Ok((stamp, Zeroizing::new(content.into_bytes())))
    }
}

impl Accounts for World {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        Ok((name == "vmail").then_some(1001))
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        self.uid(name)
    }
}

impl Environment for World {
    fn expand(&self, template: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = template;
        while let Some((text, variable)) = rest.split_once('%') {
            out.push_str(text);
            let (lower, variable) = variable.strip_prefix('L').map_or((false, variable), |rest| (true, rest));
            let (name, after) = match variable.strip_prefix('{') {
                Some(long) => long.split_once('}').ok_or("unclosed variable")?,
                None => variable.split_at(variable.len().min(1)),
            };
            rest = after;
            let long = match name {
                "u" => "user",
                "n" => "username",
                "d" => "domain",
                "s" => "service",
                "r" => "rip",
                "w" => "password",
                "%" => {
                    out.push('%');
                    continue;
                }
                other if other.len() > 1 => other,
                other => return Err(format!("unknown variable %{other}")),
            };
            let expanded = value(long).unwrap_or_default();
            out.push_str(&if lower { expanded.to_lowercase() } else { expanded });
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn passdb(driver: &str, args: &str) -> Passdb {
    Passdb::new(PassdbDriver::parse(driver, args).unwrap())
}

fn userdb(driver: &str, args: &str) -> Userdb {
    Userdb::new(UserdbDriver::parse(driver, args).unwrap())
}

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn engine(passdbs: Vec<Passdb>, userdbs: Vec<Userdb>) -> Engine {
    Engine::new(Settings { passdbs, userdbs, debug_passwords: true, ..Settings::default() }, &Mechanism::ALL).unwrap()
}

/// Tutorial 000's configuration.
fn tutorial() -> Engine {
    let users = userdb("passwd-file", "username_format=%u /etc/dovecot/users");
    let default_fields = template("uid=vmail gid=vmail home=/home/vmail/%d/%n mail=sdbox:~/dbox");
    engine(
        vec![passdb("passwd-file", "scheme=CRYPT username_format=%u /etc/dovecot/users")],
        vec![Userdb { default_fields, ..users }],
    )
}

fn parameters() -> Parameters {
    Parameters { remote_ip: Some([127, 0, 0, 1].into()), session: Some("abc".into()), ..Parameters::new("imap") }
}

/// Logs in by PLAIN; `as_user` may be empty.
fn outcome(engine: &mut Engine, world: &World, user: &str, password: &str, as_user: &str) -> Outcome {
    let credentials = Credentials {
        authorization: Some(as_user.to_owned()).filter(|name| !name.is_empty()),
        user: user.into(),
        password: Zeroizing::new(password.into()),
    };
    let mut step = engine.authenticate(&credentials, Mechanism::Plain, &parameters(), world);
    loop {
        match step {
            Step::Verify(attempt, job) => step = attempt.resume(engine, job.run(), world),
            Step::Done(outcome) => return *outcome,
        }
    }
}

fn login(engine: &mut Engine, world: &World, user: &str, password: &str) -> String {
    outcome(engine, world, user, password, "").reply().line(1)
}

fn find(engine: &mut Engine, world: &World, user: &str) -> String {
    engine.lookup_user(user, &Parameters::new("lmtp"), world).user_reply().line(1)
}

fn log(engine: &mut Engine) -> Vec<String> {
    engine.take_log().iter().map(ToString::to_string).collect()
}

#[test]
fn a_login_and_its_log() {
    let world = World::with(&[("/etc/dovecot/users", &format!("info@example.jp:{HASH}::::::\n"))]);
    let mut engine = tutorial();
    assert_eq!(login(&mut engine, &world, "info@example.jp", "secret"), "OK\t1\tuser=info@example.jp");
    assert_eq!(
        log(&mut engine),
        [
            "Debug: passwd-file(info@example.jp,127.0.0.1,<abc>): Performing passdb lookup",
            "Debug: passwd-file /etc/dovecot/users:Read 1 users in 0 secs",
            "Debug: passwd-file(info@example.jp,127.0.0.1,<abc>): lookup: user=info@example.jp file=/etc/dovecot/users",
            "Debug: passwd-file(info@example.jp,127.0.0.1,<abc>): Finished passdb lookup",
            "Debug: auth(info@example.jp,127.0.0.1,<abc>): Auth request finished",
        ]
    );
    assert_eq!(
        login(&mut engine, &world, "Info@Example.jp", "bad"),
        "FAIL\t1\tuser=info@example.jp\toriginal_user=Info@Example.jp"
    );
    assert_eq!(
        log(&mut engine)[2..4],
        [
            "passwd-file(info@example.jp,127.0.0.1,<abc>): Password mismatch",
            "Debug: passwd-file(info@example.jp,127.0.0.1,<abc>): CRYPT(bad) != \
             '$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a'",
        ]
    );
    assert_eq!(login(&mut engine, &world, "nobody@example.jp", "x"), "FAIL\t1\tuser=nobody@example.jp");
    assert_eq!(log(&mut engine)[2], "passwd-file(nobody@example.jp,127.0.0.1,<abc>): unknown user");
}

#[test]
fn names_that_are_refused() {
    let world = World::with(&[("/etc/dovecot/users", "")]);
    let mut engine = tutorial();
    for (user, password, reply, line) in [
        (
            "bad user!",
            "x",
            "FAIL\t1\tuser=bad user!\toriginal_user=bad user!",
            "plain(?,127.0.0.1,<abc>): Username character disallowed by auth_username_chars: 0x20 (username: bad user!)",
        ),
        ("", "x", "FAIL\t1\tuser=", "plain(?,127.0.0.1,<abc>): Empty username"),
        ("info", "sec\tret", "FAIL\t1\tuser=info", "Attempted login with password having illegal chars"),
    ] {
        assert_eq!(login(&mut engine, &world, user, password), reply);
        assert_eq!(log(&mut engine)[0], line);
    }
    let refused = outcome(&mut engine, &world, "info", "x", "other");
    assert_eq!(refused.reply().line(1), "FAIL\t1\tuser=info");
    let line = "plain(info,127.0.0.1,<abc>): login user: Master user login attempted without master passdbs";
    assert_eq!(log(&mut engine)[0], line);
}

#[test]
fn names_are_brought_into_form() {
    let world = World::with(&[("/u", "a.b@r:{PLAIN}x\n")]);
    let settings = Settings {
        passdbs: vec![passdb("passwd-file", "/u")],
        default_realm: "r".into(),
        username_translation: "%.#.".into(),
        ..Settings::default()
    };
    let mut engine = Engine::new(settings, &Mechanism::ALL).unwrap();
    for name in ["A.B", "a%b@R", "a#b@r"] {
        assert!(login(&mut engine, &world, name, "x").starts_with("OK\t1\tuser=a.b@r"), "{name}");
    }
    assert_eq!(engine.take_log(), [], "auth_verbose is off");
}

/// What the userdb says of each kind of line (defaults, overrides, `%d` taken literally in the home field).
#[test]
fn users_of_a_passwd_file() {
    let users = format!(
        "info@example.jp:{HASH}::::::\nfull@example.jp:{HASH}:vmail:1234::/home/vmail/%d/%n::userdb_mail=sdbox:~/%d/dbox \
         userdb_quota_rule=*:storage=1G nopassword\nextra@example.jp:{HASH}:1001:1002:a:/h:/s:allow_nets=1.2.3.4 \
         userdb_x=a:b\nbad@example.jp:x:nouser:1\nonly\nnog@example.jp:{HASH}:\nold@example.jp:x:1:2:g:/h:/s::maildir:/x y:z\n"
    );
    let world = World::with(&[("/etc/dovecot/users", &users)]);
    let mut engine = tutorial();
    for (user, expected) in [
        (
            "INFO@example.jp",
            "USER\t1\tinfo@example.jp\tuid=1001\tgid=1001\thome=/home/vmail/example.jp/info\tmail=sdbox:~/dbox",
        ),
        (
            "full@example.jp",
            "USER\t1\tfull@example.jp\tuid=1001\tgid=1234\thome=/home/vmail/%d/%n\tmail=sdbox:~/example.jp/dbox\tquota_rule=*:storage=1G",
        ),
        ("extra@example.jp", "USER\t1\textra@example.jp\tuid=1001\tgid=1002\thome=/h\tmail=sdbox:~/dbox\tx=a:b"),
        ("old@example.jp", "USER\t1\told@example.jp\tuid=1\tgid=2\thome=/h\tmail=maildir:/x"),
        ("bad@example.jp", "NOTFOUND\t1"),
        ("only", "NOTFOUND\t1"),
        ("nog@example.jp", "NOTFOUND\t1"),
        ("nobody@example.jp", "NOTFOUND\t1"),
        ("b d", "NOTFOUND\t1"),
    ] {
        assert_eq!(find(&mut engine, &world, user), expected);
    }
    for (user, expected) in [
        ("info@example.jp", "PASS\t1\tuser=info@example.jp"),
        ("extra@example.jp", "NOTFOUND\t1"),
        ("nobody@example.jp", "NOTFOUND\t1"),
        ("only", "PASS\t1\tuser=only"),
    ] {
        assert_eq!(engine.lookup_passdb(user, &Parameters::new("lmtp"), &world).pass_reply().line(1), expected);
    }
    let (names, complete) = engine.list_users(&world);
    assert_eq!((names.len(), complete), (6, true));
    log(&mut engine);

    assert_eq!(login(&mut engine, &world, "extra@example.jp", "secret"), "FAIL\t1\tuser=extra@example.jp");
    let line =
        "passwd-file(extra@example.jp,127.0.0.1,<abc>): allow_nets check failed: IP 127.0.0.1 not in allowed networks";
    assert!(log(&mut engine).contains(&line.to_owned()));
}

#[test]
fn a_changed_file_counts_at_once() {
    let world = World::with(&[("/etc/dovecot/users", "")]);
    let mut engine = tutorial();
    assert!(login(&mut engine, &world, "new@example.jp", "secret").starts_with("FAIL"));
    world.write("/etc/dovecot/users", &format!("new@example.jp:{HASH}::::::\n"));
    assert!(login(&mut engine, &world, "new@example.jp", "secret").starts_with("OK"));
}

/// A fixed path that is missing is a failure for now; a domain without a file has no users.
#[test]
fn missing_files() {
    let world = World::with(&[("/a/example.jp/passwd", &format!("info:{HASH}\n"))]);
    let mut domains = engine(vec![passdb("passwd-file", "username_format=%n /a/%d/passwd")], vec![]);
    assert!(login(&mut domains, &world, "info@example.jp", "secret").starts_with("OK"));
    log(&mut domains);
    assert_eq!(login(&mut domains, &world, "info@nowhere", "x"), "FAIL\t1\tuser=info@nowhere");
    assert_eq!(log(&mut domains)[1], "missing passwd file: /a/nowhere/passwd");
    assert_eq!(find(&mut domains, &world, "info@nowhere"), "NOTFOUND\t1");

    let mut fixed = engine(vec![passdb("passwd-file", "/missing")], vec![userdb("passwd-file", "/missing")]);
    assert_eq!(login(&mut fixed, &world, "info", "x"), "FAIL\t1\tuser=info\tcode=temp_fail");
    assert_eq!(log(&mut fixed)[1], "Error: passwd-file(info,127.0.0.1,<abc>): missing passwd file: /missing");
    assert_eq!(find(&mut fixed, &world, "info"), "FAIL\t1");
    world.files.borrow_mut().insert("/missing".into(), Err(OpenError::Failed("Permission denied".into())));
    assert_eq!(login(&mut fixed, &world, "info", "x"), "FAIL\t1\tuser=info\tcode=temp_fail");
    assert_eq!(fixed.list_users(&world), (vec![], false));
}

/// No name leads out of the folder that the path names.
#[test]
fn paths_stay_where_they_are() {
    const USER: &str = "info:{PLAIN}x\n";
    let world =
        World::with(&[("/a//passwd", USER), ("/a/../passwd", USER), ("/a/./passwd", USER), ("/a/../b/passwd", USER)]);
    let passdbs = vec![passdb("passwd-file", "username_format=%n /a/%d/passwd")];
    let settings = Settings { passdbs, username_chars: String::new(), ..Settings::default() };
    let mut engine = Engine::new(settings, &Mechanism::ALL).unwrap();
    for (name, expected) in
        [("info@/b", "OK"), ("info@../b", "FAIL"), ("info@..", "FAIL"), ("info@.", "FAIL"), ("info@b/", "FAIL")]
    {
        assert!(login(&mut engine, &world, name, "x").starts_with(expected), "{name}");
    }
    assert!(login(&mut engine, &world, "in\0fo@x", "x").starts_with("FAIL"));
}

/// Tutorial 003 without a userdb: an empty static one, which asks the passdb.
#[test]
fn no_userdb_at_all() {
    let world = World::with(&[("/etc/dovecot/users.db", "mailuser@mail-domain.test:123456\n")]);
    let mut engine = engine(vec![passdb("passwd-file", "scheme=PLAIN /etc/dovecot/users.db")], vec![]);
    let found = engine.lookup_user("mailuser@mail-domain.test", &Parameters::new("lmtp"), &world);
    let record = found.record().unwrap().unwrap();
    assert_eq!((record.user.as_str(), record.uid), ("mailuser@mail-domain.test", None));
    assert!(record.ids(None, None).unwrap_err().contains("User is missing UID (see mail_uid setting)"));
    assert_eq!(find(&mut engine, &world, "other@mail-domain.test"), "NOTFOUND\t1");
}

#[test]
fn no_passdb() {
    let error = Engine::new(Settings::default(), &[Mechanism::Plain]).err().unwrap();
    assert_eq!(error, "No passdbs specified in configuration file. PLAIN mechanism needs one");
    assert!(Engine::new(Settings::default(), &[]).is_ok());
}

/// Tutorial 003's last file: `scheme=PLAIN` over a `$6$` hash.
#[test]
fn a_hash_that_does_not_fit_fails_the_login() {
    let world = World::with(&[("/u", "six:$6$rounds=1000$ab$x\nshort:{SSHA}AAAA\nunknown:{FOO}x\n")]);
    let mut engine = engine(vec![passdb("passwd-file", "scheme=PLAIN /u")], vec![]);
    for (user, expected) in [
        ("six", "passwd-file(six,127.0.0.1,<abc>): Password mismatch"),
        (
            "short",
            "Error: passwd-file(short,127.0.0.1,<abc>): Invalid password 'AAAA' in passdb: SSHA password is too short",
        ),
        ("unknown", "Error: passwd-file(unknown,127.0.0.1,<abc>): Unknown scheme FOO"),
    ] {
        assert_eq!(login(&mut engine, &world, user, "secret"), format!("FAIL\t1\tuser={user}"));
        assert!(log(&mut engine).contains(&expected.to_owned()), "{user}");
    }
}

/// Master, deny, default and override fields, prefetch and static, as recorded.
fn rules() -> (World, Engine) {
    let world = World::with(&[
        ("/masters", "boss:{PLAIN}m\n"),
        ("/denied", "evil\n"),
        (
            "/users",
            "info:p\nevil:p\nnp:::::::nopassword\nlu:p::::::user=other\nnl:p::::::nologin nodelay\nfa:p::::::fail reason=why\n",
        ),
    ]);
    let masters = Passdb { master: true, pass: true, ..passdb("passwd-file", "/masters") };
    let denied = Passdb { deny: true, ..passdb("passwd-file", "/denied") };
    let users = Passdb {
        default_fields: template("userdb_home=/home/%u x=y"),
        override_fields: template("z=%n"),
        ..passdb("passwd-file", "scheme=PLAIN /users")
    };
    let fixed = userdb("static", "uid=vmail gid=vmail home=/srv/%d/%n mail=maildir:~/M");
    let settings = Settings {
        passdbs: vec![masters, denied, users],
        userdbs: vec![userdb("prefetch", ""), fixed],
        master_user_separator: Some('*'),
        debug_passwords: true,
        ..Settings::default()
    };
    (world, Engine::new(settings, &Mechanism::ALL).unwrap())
}

#[test]
fn chains_of_databases() {
    let (world, mut engine) = rules();
    for (as_user, user, password, expected) in [
        ("", "info", "p", "OK\t1\tuser=info\tx=y\tz=info"),
        ("", "info*boss", "m", "OK\t1\tuser=info\tx=y\tz=info\toriginal_user=boss\tauth_user=boss"),
        ("info", "boss", "m", "OK\t1\tuser=info\tx=y\tz=info\toriginal_user=boss\tauth_user=boss"),
        ("", "nosuch*boss", "m", "FAIL\t1\tuser=nosuch\tcode=authz_fail\toriginal_user=boss\tauth_user=boss"),
        ("", "info*boss", "bad", "FAIL\t1\tuser=boss"),
        ("", "evil", "p", "FAIL\t1\tuser=evil\tcode=user_disabled"),
        ("", "np", "x", "OK\t1\tuser=np\tx=y\tz=np"),
        ("", "lu", "p", "OK\t1\tuser=other\tx=y\tz=other\toriginal_user=lu"),
        ("", "nl", "p", "OK\t1\tuser=nl\tx=y\tnologin\tnodelay\tz=nl"),
        ("", "nl", "bad", "FAIL\t1\tuser=nl"),
        ("", "fa", "p", "FAIL\t1\tuser=fa"),
        ("", "info", "", "FAIL\t1\tuser=info"),
    ] {
        assert_eq!(outcome(&mut engine, &world, user, password, as_user).reply().line(1), expected, "{as_user} {user}");
    }
    for (user, expected) in [
        ("info", "USER\t1\tinfo\thome=/srv//info\tuid=1001\tgid=1001\tmail=maildir:~/M"),
        ("no", "NOTFOUND\t1"),
        ("evil", "NOTFOUND\t1"),
        ("np", "USER\t1\tnp\thome=/srv//np\tuid=1001\tgid=1001\tmail=maildir:~/M"),
        ("lu", "USER\t1\tother\thome=/srv//other\tuid=1001\tgid=1001\tmail=maildir:~/M"),
    ] {
        assert_eq!(find(&mut engine, &world, user), expected);
    }
}

/// The lookup of who logged in: prefetched fields, and the names of master and original user.
#[test]
fn a_login_becomes_a_user() {
    let (world, mut engine) = rules();
    let boss = outcome(&mut engine, &world, "info*boss", "m", "");
    let found = engine.lookup_login(boss, &world).user_reply().line(7);
    assert_eq!(found, "USER\t7\tinfo\thome=/home/info\tmaster_user=boss\tauth_user=boss\tauth_mech=PLAIN");
    let failed = outcome(&mut engine, &world, "info", "bad", "");
    assert_eq!(engine.lookup_login(failed, &world), Lookup::Failed(None));
    assert!(log(&mut engine).iter().any(|line| line.contains("Master user logging in as info")));
}

#[test]
fn result_rules() {
    let world = World::with(&[("/a", "u:a\n"), ("/b", "u:b\nv:b\n")]);
    let first = || passdb("passwd-file", "scheme=PLAIN /a");
    let second = || passdb("passwd-file", "scheme=PLAIN /b");
    let gone = || passdb("passwd-file", "/gone");
    let open = || passdb("static", "nopassword");
    for (passdbs, user, password, expected) in [
        (vec![first(), second()], "u", "b", Decision::Success),
        (vec![Passdb { result_failure: Rule::Return, ..first() }, second()], "u", "b", Decision::Failure),
        (vec![Passdb { result_success: Rule::Continue, ..first() }, second()], "u", "a", Decision::Success),
        (vec![Passdb { result_success: Rule::Continue, ..first() }], "u", "a", Decision::Failure),
        (vec![Passdb { result_success: Rule::ContinueOk, ..first() }], "u", "a", Decision::Success),
        (vec![Passdb { result_success: Rule::ContinueFail, ..first() }], "u", "a", Decision::Failure),
        (vec![Passdb { result_success: Rule::ReturnFail, ..first() }, open()], "u", "a", Decision::Failure),
        (vec![gone(), second()], "u", "b", Decision::Success),
        (vec![gone(), second()], "u", "x", Decision::TemporaryFailure),
        (vec![Passdb { deny: true, ..gone() }, open()], "u", "x", Decision::TemporaryFailure),
        (vec![open()], "anybody", "x", Decision::Success),
        (vec![passdb("static", "password=%u")], "u", "u", Decision::Success),
        (vec![passdb("static", "password=%u")], "u", "v", Decision::Failure),
        (vec![passdb("static", "a=b")], "u", "v", Decision::Failure),
        (vec![Passdb { skip: PassdbSkip::Unauthenticated, ..open() }, second()], "u", "x", Decision::Failure),
        (vec![Passdb { mechanisms: vec!["LOGIN".into()], ..open() }, second()], "u", "x", Decision::Failure),
        (vec![Passdb { username_filter: vec!["!u*".into()], ..open() }, second()], "u", "x", Decision::Failure),
        (vec![Passdb { username_filter: vec!["u?".into(), "*v".into()], ..open() }], "v", "x", Decision::Success),
        (vec![Passdb { mechanisms: vec!["LOGIN".into()], ..open() }], "u", "x", Decision::TemporaryFailure),
        (vec![Passdb { default_fields: template("noauthenticate"), ..second() }], "u", "b", Decision::TemporaryFailure),
    ] {
        let shown = format!("{passdbs:?}");
        let mut engine = engine(passdbs, vec![]);
        assert_eq!(outcome(&mut engine, &world, user, password, "").decision, expected, "{shown}");
    }
}

/// A database that may not make a login successful still tells that a user exists.
#[test]
fn existence_needs_no_success() {
    let open = Passdb { result_success: Rule::Continue, ..passdb("static", "nopassword") };
    let (world, mut engine) = (World::default(), engine(vec![open], vec![]));
    assert_eq!(outcome(&mut engine, &world, "u", "x", "").decision, Decision::Failure);
    assert_eq!(find(&mut engine, &world, "u"), "USER\t1\tu");
    assert_eq!(engine.lookup_passdb("u", &Parameters::new("lmtp"), &world), Lookup::Failed(None));
}

#[test]
fn userdb_rules() {
    let world = World::with(&[("/a", "u:x:1:1::/a::\n"), ("/b", "u:x:2:2::/b::\nv:x:2:2::/b::\n")]);
    let first = || userdb("passwd-file", "/a");
    let second = || userdb("passwd-file", "/b");
    let all = || userdb("static", "home=/all allow_all_users=yes");
    for (userdbs, user, expected) in [
        (vec![first(), second()], "u", "USER\t1\tu\tuid=1\tgid=1\thome=/a"),
        (vec![first(), second()], "v", "USER\t1\tv\tuid=2\tgid=2\thome=/b"),
        (
            vec![Userdb { result_success: Rule::ContinueOk, ..first() }, all()],
            "u",
            "USER\t1\tu\tuid=1\tgid=1\thome=/all",
        ),
        (vec![Userdb { result_failure: Rule::ReturnFail, ..first() }, all()], "v", "NOTFOUND\t1"),
        (vec![first(), Userdb { skip: UserdbSkip::Found, ..all() }], "w", "USER\t1\tw\thome=/all"),
        (vec![userdb("passwd-file", "/gone"), first()], "w", "FAIL\t1"),
        (vec![userdb("static", "uid=nobody allow_all_users")], "w", "FAIL\t1"),
        (vec![userdb("static", "tempfail reason=later allow_all_users")], "w", "FAIL\t1\treason=later"),
        (
            vec![Userdb { override_fields: template("home=/o/%n"), ..first() }],
            "u",
            "USER\t1\tu\tuid=1\tgid=1\thome=/o/u",
        ),
        (vec![Userdb { default_fields: template("home=%q"), ..first() }], "u", "FAIL\t1"),
        (vec![userdb("prefetch", "")], "u", "FAIL\t1"),
    ] {
        let shown = format!("{userdbs:?}");
        let mut engine = engine(vec![passdb("static", "nopassword")], userdbs);
        assert_eq!(find(&mut engine, &world, user), expected, "{shown}");
    }
}

#[test]
fn field_suffixes_and_imports() {
    let world = World::default();
    let fields = "a=1 a:protected=2 b=3 b:remove userdb_uid=7 userdb_userdb_import=gid=8\thome=/h userdb_x:protected=9 nopassword";
    let mut engine = engine(vec![passdb("static", fields)], vec![userdb("prefetch", "")]);
    let done = outcome(&mut engine, &world, "u", "x", "");
    assert_eq!(done.reply().line(1), "OK\t1\tuser=u\ta=1");
    let found = engine.lookup_login(done, &world).user_reply().line(1);
    assert_eq!(found, "USER\t1\tu\tuid=7\tgid=8\thome=/h\tx=9\tauth_mech=PLAIN");
}

#[test]
fn passwords_are_logged_only_where_a_switch_says_so() {
    let world = World::with(&[("/u", &format!("info:{HASH}\n"))]);
    for (settings, expected) in [
        (Settings::default(), vec![]),
        (
            Settings { verbose: true, ..Settings::default() },
            vec!["passwd-file(info,127.0.0.1,<abc>): Password mismatch"],
        ),
        (
            Settings { verbose_passwords: VerbosePasswords::Plain(1024), ..Settings::default() },
            vec!["passwd-file(info,127.0.0.1,<abc>): Password mismatch (given password: wrongpw)"],
        ),
    ] {
        let settings = Settings { passdbs: vec![passdb("passwd-file", "/u")], ..settings };
        let mut engine = Engine::new(settings, &Mechanism::ALL).unwrap();
        login(&mut engine, &world, "info", "wrongpw");
        assert_eq!(log(&mut engine), expected);
    }
    let mut engine = Engine::new(
        Settings { passdbs: vec![passdb("passwd-file", "/u")], debug: true, ..Settings::default() },
        &Mechanism::ALL,
    )
    .unwrap();
    login(&mut engine, &world, "info", "wrongpw");
    assert!(log(&mut engine).iter().all(|line| !line.contains("wrongpw") && !line.contains("$2y$")));
}

#[test]
fn replies_of_lookups() {
    assert_eq!(Lookup::NotFound.pass_reply(), master::Reply::NotFound);
    assert_eq!(Lookup::Failed(Some("why".into())).record(), Err("why".into()));
    assert_eq!(Lookup::NotFound.record(), Ok(None));
}

proptest::proptest! {
    #[test]
    fn wildcards_agree_with_the_obvious_definition(pattern in "[ab*?]{0,6}", text in "[ab]{0,6}") {
        fn obvious(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, _) => text.is_empty(),
                (Some((b'*', rest)), _) => (0..=text.len()).any(|skip| obvious(rest, &text[skip..])),
                (Some((byte, rest)), Some((first, text))) => (*byte == b'?' || byte == first) && obvious(rest, text),
                (Some(_), None) => false,
            }
        }
        let expected = obvious(pattern.as_bytes(), text.as_bytes());
        proptest::prop_assert_eq!(passdb::wildcard(pattern.as_bytes(), text.as_bytes()), expected);
    }
}
