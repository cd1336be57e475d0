//! What each setting changes, from the section to what an asker and the log are told.

use ipc_config::dovecot::sections::{Database, Passdb};

use super::*;

/// The users of these tests: `ann@x.org` has the password `p`.
const FILES: [(&str, &str); 5] = [
    ("/users", "ann@x.org:{PLAIN}p::::::\nann:{PLAIN}p::::::\nb.ob@x.org:{PLAIN}p::::::\n"),
    ("/plain", "ann@x.org:p\n"),
    ("/evil", "ann@x.org\n"),
    ("/other", "ann@x.org:{PLAIN}other::::::\n"),
    ("/empty", ""),
];

/// Dovecot's defaults over `/users`, with these changes.
fn changed(changes: &[(&str, &str)]) -> Section {
    let mut section = section();
    section.passdbs.push(passdb("passwd-file", "/users"));
    section.userdbs.push(database("static", "uid=5000 gid=5001 home=/home/%n"));
    for (name, value) in changes {
        section.mailbox.insert(*name, *value);
    }
    section
}

/// The section with these passdbs instead.
fn with_passdbs(passdbs: impl IntoIterator<Item = Passdb>) -> Section {
    Section { passdbs: passdbs.into_iter().collect(), ..changed(&[]) }
}

fn with_userdbs(userdbs: impl IntoIterator<Item = Database>) -> Section {
    Section { userdbs: userdbs.into_iter().collect(), ..changed(&[]) }
}

fn open(section: &Section) -> Office {
    let desk = Desk::new(Configuration::read(section), Box::new(Memory(HashMap::from(FILES))));
    Office { desk, ..Office::new(section) }
}

/// The reply to a login by PLAIN, and the log lines.
fn login_and_log(section: &Section, user: &str, password: &str) -> (String, Vec<String>) {
    let mut office = open(section);
    office.login(1, &format!(" {user} {password}"), false);
    let (_, answers) = office.wait();
    let Answer::Login(reply) = &answers[0].1 else { panic!("{answers:?}") };
    (reply.line(1), office.lines)
}

/// The reply to a login.
fn login(section: &Section, user: &str, password: &str) -> String {
    login_and_log(section, user, password).0
}

/// What a delivery to `user` hears.
fn find(section: &Section, user: &str) -> String {
    let mut office = open(section);
    let parameters = Box::new(Parameters::new("lmtp"));
    office.desk.question(Asker { channel: 1, id: 1 }, Question::User(user.into(), parameters));
    match office.run().pop() {
        Some((_, Answer::Userdb(reply))) => reply.line(1),
        other => panic!("{other:?}"),
    }
}

const RIGHT: &str = "OK\t1\tuser=ann@x.org";
const WRONG: &str = "FAIL\t1\tuser=ann@x.org";

#[test]
fn auth_username_format() {
    for (format, user) in [("%Lu", "ann@x.org"), ("%Ln", "ann"), ("", "Ann@x.org")] {
        let (reply, _) = login_and_log(&changed(&[("auth_username_format", format)]), "Ann@x.org", "p");
        assert!(reply.contains(&format!("user={user}")), "{format}: {reply}");
        assert_eq!(reply.starts_with("OK"), !format.is_empty(), "the file has no Ann: {reply}");
    }
}

#[test]
fn auth_username_chars() {
    let few = changed(&[("auth_username_chars", "an@x.org")]);
    assert_eq!(login(&few, "ann@x.org", "p"), RIGHT);
    assert!(login(&few, "b.ob@x.org", "p").starts_with("FAIL"));
    assert!(login(&changed(&[]), "b.ob@x.org", "p").starts_with("OK"));
}

#[test]
fn auth_username_translation() {
    assert!(login(&changed(&[]), "b%ob#x.org", "p").starts_with("FAIL"));
    let translated = login(&changed(&[("auth_username_translation", "%.#@")]), "b%ob#x.org", "p");
    assert!(translated.starts_with("OK\t1\tuser=b.ob@x.org"), "{translated}");
}

#[test]
fn auth_default_realm() {
    assert_eq!(login(&changed(&[]), "ann", "p"), "OK\t1\tuser=ann");
    let with_realm = login(&changed(&[("auth_default_realm", "x.org")]), "ann", "p");
    assert!(with_realm.starts_with(RIGHT), "{with_realm}");
}

#[test]
fn auth_mechanisms() {
    for (setting, expected) in
        [("plain", vec!["PLAIN"]), ("LOGIN, plain", vec!["LOGIN", "PLAIN"]), ("login", vec!["LOGIN"])]
    {
        let office = open(&changed(&[("auth_mechanisms", setting)]));
        let offered: Vec<&str> = office.desk.mechanisms().iter().map(|mechanism| mechanism.name()).collect();
        assert_eq!(offered, expected, "{setting}");
    }
}

#[test]
fn auth_failure_delay() {
    for (delay, expected) in [("2", 2), ("10", 10)] {
        let mut office = open(&changed(&[("auth_failure_delay", delay)]));
        office.login(1, " ann@x.org wrong", false);
        assert_eq!(office.wait().0, expected);
    }
    let mut office = open(&changed(&[("auth_failure_delay", "0")]));
    office.login(1, " ann@x.org wrong", false);
    assert!(office.wait().0 <= 1);
}

#[test]
fn auth_cache_ttl() {
    for (ttl, hashes) in [("100", 1), ("10", 2), ("0", 2)] {
        let mut office = open(&changed(&[("auth_cache_size", "100000"), ("auth_cache_ttl", ttl)]));
        for now in [0, 50] {
            office.desk.clock(now);
            office.login(1, " ann@x.org p", false);
            office.run();
        }
        assert_eq!(office.hashes, hashes, "{ttl}");
    }
}

#[test]
fn what_is_logged_of_a_failure() {
    let mismatch = "passwd-file(ann@x.org,10.1.1.1,<S>): Password mismatch";
    let given = |given: &str| format!("{mismatch} (given password: {given})");
    for (changes, expected) in [
        (vec![], vec![]),
        (vec![("auth_verbose", "yes")], vec![mismatch.to_owned()]),
        (vec![("auth_verbose_passwords", "plain")], vec![given("wrong")]),
        (vec![("auth_verbose_passwords", "plain:2")], vec![given("wr")]),
        (vec![("auth_verbose_passwords", "sha1:6")], vec![format!("{mismatch} (SHA1 of given password: a4b48a)")]),
    ] {
        assert_eq!(login_and_log(&changed(&changes), "ann@x.org", "wrong").1, expected, "{changes:?}");
    }
}

#[test]
fn what_is_logged_for_debugging() {
    let lines = |changes: &[(&str, &str)]| login_and_log(&changed(changes), "ann@x.org", "wrong").1.join("\n");
    assert_eq!(lines(&[]), "");
    let debug = lines(&[("auth_debug", "yes")]);
    assert!(debug.contains("Performing passdb lookup") && debug.contains("Password mismatch"), "{debug}");
    assert!(!debug.contains("wrong"), "{debug}");
    let passwords = lines(&[("auth_debug_passwords", "yes")]);
    assert!(passwords.contains("Performing passdb lookup") && passwords.contains("PLAIN(wrong) != 'p'"), "{passwords}");
}

#[test]
fn a_passdb_is_what_its_driver_and_arguments_say() {
    for (driver, args, password, expected) in [
        ("passwd-file", "/users", "p", RIGHT),
        ("passwd-file", "/other", "p", WRONG),
        ("passwd-file", "/other", "other", RIGHT),
        ("passwd-file", "scheme=PLAIN /plain", "p", RIGHT),
        ("passwd-file", "scheme=CRYPT /plain", "p", WRONG),
        ("passwd-file", "username_format=%n /users", "p", RIGHT),
        ("static", "password=%u", "ann@x.org", RIGHT),
        ("static", "password=other", "p", WRONG),
    ] {
        let reply = login(&with_passdbs([passdb(driver, args)]), "ann@x.org", password);
        assert_eq!(reply, expected, "{driver} {args}");
    }
}

#[test]
fn passdb_deny() {
    for (deny, expected) in [(false, RIGHT), (true, "FAIL\t1\tuser=ann@x.org\tcode=user_disabled")] {
        let evil = Passdb { deny, ..passdb("passwd-file", "/evil") };
        assert_eq!(login(&with_passdbs([evil, passdb("passwd-file", "/users")]), "ann@x.org", "p"), expected);
    }
}

#[test]
fn passdb_fields() {
    let mut users = passdb("passwd-file", "/users");
    users.database.default_fields = fields("a=1 b=%n");
    assert_eq!(login(&with_passdbs([users.clone()]), "ann@x.org", "p"), "OK\t1\tuser=ann@x.org\ta=1\tb=ann");
    users.database.override_fields = fields("b=3");
    assert_eq!(login(&with_passdbs([users]), "ann@x.org", "p"), "OK\t1\tuser=ann@x.org\ta=1\tb=3");
}

#[test]
fn passdb_mechanisms_and_username_filter() {
    let filtered = |mechanisms: &[&str], users: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let users = Passdb { username_filter: words(users), ..passdb("passwd-file", "/users") };
        login(&with_passdbs([Passdb { mechanisms: words(mechanisms), ..users }]), "ann@x.org", "p")
    };
    for (mechanisms, users, asked) in [
        (vec![], vec![], true),
        (vec!["PLAIN"], vec![], true),
        (vec!["login", "none"], vec![], false),
        (vec![], vec!["*@x.org"], true),
        (vec![], vec!["*@y.org"], false),
        (vec![], vec!["!ann@*"], false),
    ] {
        let reply = filtered(&mechanisms, &users);
        assert_eq!(reply.starts_with("OK"), asked, "{mechanisms:?} {users:?}: {reply}");
    }
}

#[test]
fn databases_are_called_by_their_names_and_say_as_much_as_they_are_told_to() {
    let log = |name: &str, verbose: Option<bool>, everywhere: &str| {
        let mut users = passdb("passwd-file", "/users");
        (users.database.name, users.database.auth_verbose) = (name.into(), verbose);
        let section = Section { passdbs: vec![users], ..changed(&[("auth_verbose", everywhere)]) };
        login_and_log(&section, "ann@x.org", "wrong").1
    };
    assert_eq!(log("staff", Some(true), "no"), ["staff(ann@x.org,10.1.1.1,<S>): Password mismatch"]);
    assert_eq!(log("", None, "yes"), ["passwd-file(ann@x.org,10.1.1.1,<S>): Password mismatch"]);
    assert_eq!(log("staff", Some(false), "yes"), Vec::<String>::new());
}

/// The first database knows the user by another password, the second by the right one, and a third has no file.
#[test]
fn passdb_results() {
    let reply = |success: &str, failure: &str, internalfail: &str, password: &str, first: &str| {
        let mut one = passdb("passwd-file", first);
        one.database.result_success = success.into();
        one.database.result_failure = failure.into();
        one.database.result_internalfail = internalfail.into();
        login(&with_passdbs([one, passdb("passwd-file", "/users")]), "ann@x.org", password)
    };
    let right = |reply: String| reply.starts_with("OK");
    assert!(right(reply("return-ok", "continue", "continue", "other", "/other")));
    assert!(!right(reply("return-fail", "continue", "continue", "other", "/other")));
    assert!(right(reply("return-ok", "continue", "continue", "p", "/other")));
    assert!(!right(reply("return-ok", "return-fail", "continue", "p", "/other")));
    assert!(right(reply("return-ok", "return-ok", "continue", "nonsense", "/other")));
    assert!(right(reply("return-ok", "continue", "continue", "p", "/none")));
    assert!(!right(reply("return-ok", "continue", "return-fail", "p", "/none")));
    let mut only = passdb("passwd-file", "/users");
    only.database.result_success = "continue".into();
    assert!(!right(login(&with_passdbs([only]), "ann@x.org", "p")), "nobody has said yes");
    let passed = Passdb { pass: true, ..passdb("passwd-file", "/users") };
    assert!(!right(login(&with_passdbs([passed]), "ann@x.org", "p")), "the same, said in the old way");
}

#[test]
fn passdb_skip() {
    for (skip, asked) in [("never", true), ("authenticated", false), ("unauthenticated", true)] {
        let mut first = passdb("passwd-file", "/users");
        first.database.result_success = "continue-ok".into();
        let mut second = passdb("passwd-file", "/users");
        second.database.skip = skip.into();
        second.database.override_fields = fields("second=1");
        let reply = login(&with_passdbs([first, second]), "ann@x.org", "p");
        assert_eq!(reply.contains("\tsecond=1"), asked, "{skip}: {reply}");
    }
    let mut only = passdb("passwd-file", "/users");
    only.database.skip = "unauthenticated".into();
    assert!(login(&with_passdbs([only]), "ann@x.org", "p").starts_with("FAIL"));
}

#[test]
fn a_userdb_is_what_its_driver_and_arguments_say() {
    for (driver, args, user, expected) in [
        ("static", "uid=1 gid=2 home=/h/%n", "ann@x.org", "USER\t1\tann@x.org\tuid=1\tgid=2\thome=/h/ann"),
        ("static", "uid=1 gid=2", "eve@x.org", "NOTFOUND\t1"),
        ("static", "uid=1 gid=2 allow_all_users=yes", "eve@x.org", "USER\t1\teve@x.org\tuid=1\tgid=2"),
        ("passwd-file", "/users", "ann@x.org", "USER\t1\tann@x.org"),
        ("passwd-file", "username_format=%n /users", "ann@y.org", "USER\t1\tann@y.org"),
        ("passwd-file", "/users", "eve@x.org", "NOTFOUND\t1"),
    ] {
        assert_eq!(find(&with_userdbs([database(driver, args)]), user), expected, "{driver} {args}");
    }
}

#[test]
fn userdb_fields() {
    let mut one = database("static", "uid=1 gid=2");
    one.default_fields = fields("uid=8 home=/default");
    assert_eq!(find(&with_userdbs([one.clone()]), "ann@x.org"), "USER\t1\tann@x.org\tuid=1\thome=/default\tgid=2");
    one.override_fields = fields("home=/%d/%n");
    assert_eq!(find(&with_userdbs([one]), "ann@x.org"), "USER\t1\tann@x.org\tuid=1\thome=/x.org/ann\tgid=2");
}

#[test]
fn a_userdb_says_as_much_as_it_is_told_to() {
    let log = |name: &str, verbose: Option<bool>, everywhere: &str| {
        let mut users = database("passwd-file", "/users");
        (users.name, users.auth_verbose) = (name.into(), verbose);
        let section = Section { userdbs: vec![users], ..changed(&[("auth_verbose", everywhere)]) };
        let mut office = open(&section);
        let question = Question::User("eve@x.org".into(), Box::new(Parameters::new("lmtp")));
        office.desk.question(Asker { channel: 1, id: 1 }, question);
        office.run();
        office.lines
    };
    assert_eq!(log("staff", Some(true), "no"), ["staff(eve@x.org): unknown user"]);
    assert_eq!(log("", None, "yes"), ["passwd-file(eve@x.org): unknown user"]);
    assert_eq!(log("staff", Some(false), "yes"), Vec::<String>::new());
}

#[test]
fn userdb_results_and_skip() {
    let found = |success: &str, failure: &str, internalfail: &str, first: &str, skip: &str| {
        let mut one = database("passwd-file", first);
        one.result_success = success.into();
        one.result_failure = failure.into();
        one.result_internalfail = internalfail.into();
        let mut two = database("static", "uid=7 gid=7 allow_all_users=yes");
        two.skip = skip.into();
        find(&with_userdbs([one, two]), "ann@x.org")
    };
    let (first, second) = ("USER\t1\tann@x.org", "USER\t1\tann@x.org\tuid=7\tgid=7");
    for (success, failure, internalfail, file, skip, expected) in [
        ("return-ok", "continue", "continue", "/users", "never", first),
        ("continue-ok", "continue", "continue", "/users", "never", second),
        ("continue-ok", "continue", "continue", "/users", "found", first),
        ("return-fail", "continue", "continue", "/users", "never", "NOTFOUND\t1"),
        ("return-ok", "continue", "continue", "/none", "never", second),
        ("return-ok", "continue", "return-fail", "/none", "never", "FAIL\t1"),
        ("return-ok", "return-fail", "continue", "/empty", "never", "NOTFOUND\t1"),
        ("return-ok", "continue", "continue", "/empty", "never", second),
        ("continue-ok", "continue", "continue", "/users", "notfound", second),
    ] {
        let reply = found(success, failure, internalfail, file, skip);
        assert_eq!(reply, expected, "{success} {failure} {internalfail} {file} {skip}");
    }
}

#[test]
fn mail_uid_gid_and_home_fill_in_what_the_userdb_leaves_out() {
    let request = |changes: &[(&str, &str)]| {
        let section = Section { userdbs: vec![database("passwd-file", "/users")], ..changed(changes) };
        let mut office = open(&section);
        let question = Question::Delivery("ann@x.org".into(), Box::new(Parameters::new("lmtp")), true);
        office.desk.question(Asker { channel: 1, id: 1 }, question);
        let answers = office.run();
        match (office.acting.pop(), answers.into_iter().next()) {
            (Some(request), None) => Ok((request.uid, request.gid, request.roots)),
            (None, Some((_, Answer::Found { user, .. }))) => Err(user.unwrap_err()),
            other => panic!("{other:?}"),
        }
    };
    let missing = "Couldn't drop privileges: User is missing UID (see mail_uid setting)";
    assert_eq!(request(&[("mail_gid", "8")]), Err(missing.into()));
    let base = [("mail_uid", "7"), ("mail_gid", "8"), ("mail_home", "/srv/%d/%n"), ("mail roots", "")];
    assert_eq!(request(&base), Ok((7, 8, vec!["/srv/x.org/ann".into()])));
    let elsewhere = [&base[..], &[("mail_location", "maildir:/data/%n")]].concat();
    assert_eq!(request(&elsewhere), Ok((7, 8, vec!["/data/ann".into(), "/srv/x.org/ann".into()])));
}
