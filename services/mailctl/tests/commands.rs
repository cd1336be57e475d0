//! The commands as they are run, by their names, against output that Postfix 3.7.11 and Dovecot 2.3.19.1 gave.

mod common;

use common::{Bench, Outcome, said};

const MAIN: &str = "\
myhostname=mail.example.test
compatibility_level=3.6
mydestination = $myhostname,
   localhost
foo = bar
";

#[test]
fn postconf_prints_and_edits() {
    let bench = Bench::new();
    bench.write("main.cf", MAIN);
    bench.write("master.cf", "smtp inet n - y - - smtpd -o biff=no\n");
    let folder = bench.folder();
    let unused = format!("postconf: warning: {folder}/main.cf: unused parameter: foo=bar\n");
    let run = |words: &str| bench.run("postconf", words);
    assert_eq!(
        run("-n"),
        Outcome {
            status: 0,
            output: format!(
                "compatibility_level = 3.6\nconfig_directory = {folder}\nmydestination = $myhostname, localhost\n\
                 myhostname = mail.example.test\n"
            ),
            errors: unused.clone(),
        }
    );
    assert_eq!(run("-h mydestination").output, "$myhostname, localhost\n");
    assert_eq!(run("-x mydestination").output, "mydestination = mail.example.test, localhost\n");
    assert_eq!(run("-o myhostname=x -h myhostname").output, "x\n");
    assert_eq!(run("-M").output, "smtp       inet  n       -       y       -       -       smtpd -o biff=no\n");
    assert_eq!(run("nosuch"), said(0, &format!("postconf: warning: nosuch: unknown parameter\n{unused}")));
    assert_eq!(run("-d mail_version").output.split(' ').next(), Some("mail_version"));

    assert_eq!(run("-e mydestination=a b=c"), said(0, ""));
    assert_eq!(run("b=d"), said(0, ""));
    assert_eq!(run("-X myhostname"), said(0, ""));
    assert_eq!(run("-# foo"), said(0, ""));
    assert_eq!(bench.read("main.cf"), "compatibility_level=3.6\nmydestination = a\n#foo = bar\nb = d\n");

    for words in ["-Fe smtp/inet/chroot=n", "-P smtp/inet/biff=yes", "-Me qmgr/unix=qmgr unix n - n 300 1 qmgr"] {
        let (option, argument) = words.split_once(' ').unwrap();
        assert_eq!(bench.environment("postconf", &[option, argument]), said(0, ""), "{words}");
    }
    let row = "smtp       inet  n       -       n       -       -       smtpd\n    -o biff=yes\n";
    let qmgr = "qmgr       unix  n       -       n       300     1       qmgr\n";
    assert_eq!(bench.read("master.cf"), format!("{row}{qmgr}"));
    assert_eq!(run("-MX smtp/inet"), said(0, ""));
    assert_eq!(run("-M# qmgr/unix"), said(0, ""));
    assert_eq!(bench.read("master.cf"), format!("#{qmgr}"));
}

#[test]
fn postconf_knows_its_own_process() {
    let bench = Bench::new();
    bench.write("main.cf", "myhostname = $process_name-$process_id.test\n");
    bench.write("master.cf", "");
    let shown = bench.run("postconf", "-xh myhostname").output;
    let number = shown.strip_prefix("postconf-").and_then(|rest| rest.strip_suffix(".test\n")).unwrap_or_default();
    assert!(number.parse::<u32>().is_ok_and(|pid| pid > 1), "{shown}");
}

#[test]
fn postconf_refuses_as_postfix_does() {
    let bench = Bench::new();
    bench.write("main.cf", "");
    for (words, problem) in [
        ("-e", "-e requires name=value argument"),
        ("-e x", "missing '=' after attribute name: \"x\""),
        ("-X", "missing service argument"),
        ("-n -d", "specify one of -d -n"),
        ("-l -m", "specify one of -l -m"),
        ("-Mn", "with option -M, do not specify -n"),
        ("-o x", "invalid parameter override: x: missing '=' after attribute name"),
        ("-C foo", "unknown -C option value \"foo\" in \"foo\""),
    ] {
        assert_eq!(bench.run("postconf", words), said(1, &format!("postconf: fatal: {problem}\n")), "{words}");
    }
    let bad = Bench::new();
    bad.write("main.cf", "x = 1\nno assignment\n");
    let file = format!("{}/main.cf", bad.folder());
    assert_eq!(
        bad.run("postconf", "-n"),
        said(1, &format!("postconf: fatal: {file}, line 2: missing '=' after attribute name: \"no assignment\"\n"))
    );
    let letter = bench.run("postconf", "-Z");
    assert!(letter.errors.starts_with("postconf: invalid option -- 'Z'\npostconf: fatal: usage: postconf ["));
    for words in ["-A", "-b", "-t", "-T compile-version"] {
        let refused = bench.run("postconf", words);
        assert_eq!(refused.status, 69, "{words}");
        assert!(refused.errors.contains(words.split(' ').next().unwrap().get(..2).unwrap()), "{}", refused.errors);
    }
}

#[test]
fn tables_are_built_and_asked() {
    let bench = Bench::new();
    bench.write("main.cf", "");
    let aliases = bench.write("aliases", "root: me\nme: you, they\n");
    assert_eq!(bench.run("postalias", &format!("hash:{aliases}")), said(0, ""));
    assert_eq!(bench.run("postalias", &format!("-q me hash:{aliases}")).output, "you, they\n");
    assert_eq!(bench.run("postmap", &format!("-q nobody hash:{aliases}")), said(1, ""));
    assert_eq!(bench.run("postmap", "-q root inline:{root=a}").output, "a\n");
    assert_eq!(
        bench.run("postmap", "-q x hash:/nope"),
        said(1, "postmap: fatal: open database /nope.db: No such file or directory\n")
    );
    assert!(bench.run("postmap", "-q root unix:passwd.byname").output.starts_with("root:"));

    let plain = bench.write("plain", "a one\n");
    assert_eq!(bench.run("postmap", &format!("-q a {plain}")).status, 1, "hash is the default, and it was not built");
    bench.write("main.cf", "default_database_type = texthash\n");
    assert_eq!(bench.run("postmap", &format!("-q a {plain}")).output, "one\n");

    bench.write("main.cf", &format!("alias_database = hash:{aliases}\n"));
    std::fs::remove_file(format!("{aliases}.db")).unwrap();
    let made = bench.environment("newaliases", &[]);
    assert_eq!(made, said(0, ""));
    assert!(std::fs::metadata(format!("{aliases}.db")).is_ok());
    assert_eq!(
        bench.environment("newaliases", &["x"]),
        said(75, "newaliases: fatal: alias initialization mode requires no recipient\n")
    );
}

#[test]
fn nothing_runs() {
    let bench = Bench::new();
    bench.state_here("");
    let down = "mail system is down";
    let report = format!(
        "postqueue: fatal: Queue report unavailable - {down} (Connect to the Postfix showq service: No such file or directory)\n"
    );
    assert_eq!(bench.run("postqueue", "-p"), said(69, &report));
    assert_eq!(bench.run("mailq", ""), said(69, &report));
    assert_eq!(
        bench.run("postqueue", "-f"),
        said(69, &format!("postqueue: fatal: Cannot flush mail queue - {down}\n"))
    );
    assert_eq!(
        bench.run("postqueue", "-s foo.."),
        said(69, "postqueue: fatal: Cannot flush mail queue - invalid destination: \"foo..\"\n")
    );
    assert_eq!(
        bench.run("postqueue", "-i x/y"),
        said(69, "postqueue: fatal: Cannot flush queue ID - invalid name: \"x/y\"\n")
    );
    assert_eq!(
        bench.run("postqueue", "-i 12345ABC"),
        said(69, "postqueue: fatal: Cannot flush mail queue - mail system is down\n")
    );
    assert_eq!(
        bench.run("postqueue", ""),
        said(
            69,
            "postqueue: fatal: usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site\n"
        )
    );
    assert_eq!(
        bench.run("postcat", "-q xxx"),
        said(1, "postcat: fatal: open queue file xxx: No such file or directory\n")
    );
    // As Postfix's: what it says is for the log, and for a terminal.
    for command in ["status", "reload", "stop", "foo"] {
        assert_eq!(bench.run("postfix", command), said(1, ""), "{command}");
    }
    let log = bench.read("log");
    let lines: Vec<&str> = log.lines().filter_map(|line| line.split_once("]: ")).map(|(_, text)| text).collect();
    assert!(lines.contains(&"the Postfix mail system is not running"), "{log}");
    assert!(lines.contains(&"fatal: the Postfix mail system is not running"), "{log}");
    assert!(lines.iter().any(|line| line.starts_with("fatal: unknown command: 'foo'. Usage: postfix start (or stop,")));
    for command in ["stop", "reload", "services", "queue", "reopen"] {
        assert_eq!(bench.run("mailctl", command), said(69, "mailctl: the mail system is not running\n"), "{command}");
    }
    assert_eq!(bench.run("mailctl", "status").output, "the mail system is not running\n");
    assert_eq!(bench.run("mailctl", "status --json").output, "{\"running\":false}\n");
}

#[test]
fn dovecot_s_names() {
    let bench = Bench::new();
    let conf = bench.write("dovecot.conf", "protocols = imap\nssl = no\nbase_dir = /nowhere\n");
    let run = |name: &str, words: &str| bench.with_file(name, &conf, words);
    assert_eq!(run("doveconf", "-h protocols").output, "imap\n");
    assert_eq!(run("doveconf", "protocols ssl").output, "protocols = imap\nssl = no\n");
    assert_eq!(run("doveconf", "-d protocols").output, "protocols = \n");
    assert_eq!(run("doveconf", "nosuch"), said(0, ""));
    assert_eq!(run("doveconf", "-f protocol=imap protocols").output, "protocols = imap\n");
    assert_eq!(run("doveconf", "-f foo protocols"), said(89, "doveconf: Fatal: Unknown filter argument: foo\n"));
    assert_eq!(run("doveconf", "-Z"), said(89, "doveconf: invalid option -- 'Z'\n"));
    let all = run("dovecot", "-n").output;
    assert!(all.starts_with(&format!("# 2.3.19.1 (Posthorn {}): {conf}\n", env!("CARGO_PKG_VERSION"))), "{all}");
    assert!(all.ends_with("\nprotocols = imap\nssl = no\n"), "{all}");
    assert!(bench.plain("dovecot", "--version").output.starts_with("2.3.19.1 "));
    assert_eq!(
        bench.plain("dovecot", "-c /none"),
        said(89, "Fatal: Error reading configuration: stat(/none) failed: No such file or directory\n")
    );
    assert_eq!(run("doveadm", "pw -p x -s PLAIN").output, "{PLAIN}x\n");
    assert_eq!(run("doveadm", "pw -p x -t {PLAIN}x").output, "{PLAIN}x (verified)\n");
    assert_eq!(run("doveadm", "pw -s foo -p x"), said(75, "Fatal: Unknown scheme: FOO\n"));
    assert_eq!(run("doveadm", "pw x"), said(64, "Error: Extraneous arguments found: x\n"));
    assert_eq!(run("doveadm", "pw -Z"), said(64, "pw: invalid option -- 'Z'\n"));
    assert_eq!(run("doveadm", "index INBOX"), said(69, "Fatal: the command 'index INBOX' is not built yet\n"));
    assert_eq!(run("doveadm", "foo").status, 64);
    assert_eq!(run("doveadm", "auth test").status, 64);
    let refused = "Error: auth-client: conn unix:/nowhere/auth-client: connect(/nowhere/auth-client) failed: No such file or directory\n";
    assert_eq!(run("doveadm", "auth test me secret"), said(77, refused));
    let refused =
        "Error: auth-master: userdb lookup(me): connect(/nowhere/auth-userdb) failed: No such file or directory\n";
    assert_eq!(run("doveadm", "user me"), said(75, refused));
    bench.write(
        "dovecot.conf",
        "protocols = imap\nbase_dir = /nowhere\nlog_path = /var/log/d\ninfo_log_path = /var/log/i\n",
    );
    let found = "Debug: /var/log/i\nInfo: /var/log/i\nWarning: /var/log/d\nError: /var/log/d\nFatal: /var/log/d\n";
    assert_eq!(run("doveadm", "log find").output, found);

    bench.write("dovecot.conf", "protocols = imap\nfoo = bar\n");
    assert_eq!(
        run("doveconf", "protocols"),
        said(89, &format!("doveconf: Fatal: Error in configuration file {conf} line 2: Unknown setting: foo\n"))
    );
}

#[test]
fn check_lists_everything_at_once() {
    let bench = Bench::new();
    bench.write("main.cf", "compatibility_level = 3.6\nbiff = maybe\nmydestinaton = x\n");
    bench.write("master.cf", "smtp inet n - y - - smtpt\n");
    bench.write("dovecot.conf", "protocols = imap\nfoo = bar\n");
    let folder = bench.folder();
    let checked = bench.run("mailctl", "check");
    assert_eq!((checked.status, checked.errors.as_str()), (78, ""));
    for line in [
        format!("error: {folder}/main.cf:2:8: biff: "),
        format!("warning: {folder}/main.cf:3:16: mydestinaton: unused parameter: mydestinaton=x: did you mean"),
        format!("warning: {folder}/master.cf:1:1: command: unknown command \"smtpt\""),
        format!("error: {folder}/dovecot.conf:2"),
    ] {
        assert!(checked.output.lines().any(|said| said.starts_with(&line)), "{line}\n{}", checked.output);
    }
    let lines = bench.run("mailctl", "--json check").output;
    assert!(
        lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()) && lines.lines().count() > 3
    );
    let config = bench.run("mailctl", "config biff").output;
    assert!(config.contains("\"biff\": \"maybe\""), "{config}");
}

#[test]
fn sendmail_refuses_mail_that_it_cannot_take() {
    let bench = Bench::new();
    let refused = bench.plain("sendmail", "root");
    assert_eq!((refused.status, refused.output.as_str()), (69, ""));
    assert!(refused.errors.starts_with("sendmail: fatal: "));
}

#[test]
fn every_name_has_help_and_a_version() {
    let bench = Bench::new();
    for name in [
        "mailctl",
        "postfix",
        "postconf",
        "postmap",
        "postalias",
        "newaliases",
        "mailq",
        "postqueue",
        "postsuper",
        "postcat",
        "postlog",
        "sendmail",
        "doveadm",
        "doveconf",
        "dovecot",
    ] {
        let help = bench.plain(name, "--help");
        assert_eq!((help.status, help.errors.as_str()), (0, ""), "{name}");
        assert!(help.output.starts_with(&format!("usage: {name}")), "{}", help.output);
        assert!(bench.plain(name, "--version").output.contains(env!("CARGO_PKG_VERSION")), "{name}");
    }
}
