//! What parameters do to the table: each test compiles two configurations that differ in one of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Configuration, Files};
use crate::table::{At, Foreign, Spec, Table};

/// Rows of a master.cf: a server, tables, the queue, an agent.
const MASTER: &str = "\
smtp      inet  n       -       y       -       -       smtpd
rewrite   unix  -       -       y       1000?   1       trivial-rewrite
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
lmtp      unix  -       -       y       -       -       lmtp
";
/// A mailbox half that runs.
const DOVECOT: &str = "\
protocols = imap lmtp
ssl = no
mail_location = maildir:/var/mail/%u
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = static
  args = uid=5000 gid=5000 home=/var/mail/%u
}
";

fn read(main: Option<&str>, master: &str, dovecot: Option<&str>) -> (Configuration, Table) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> Option<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let files = Files {
        main_cf: main
            .and_then(|text| write("main.cf", format!("compatibility_level = 3.6\nmail_owner = root\n{text}\n"))),
        master_cf: main.and_then(|_| write("master.cf", master.into())),
        dovecot_conf: dovecot.and_then(|text| write("dovecot.conf", format!("{DOVECOT}{text}\n"))),
    };
    let mut configuration = Configuration::read(&files);
    let table = configuration.table();
    (configuration, table)
}

fn spec(table: &Table, program: &str) -> Spec {
    let mut found = table.services.iter().filter(|spec| spec.program.name == program);
    found.next().unwrap_or_else(|| panic!("{program} does not run")).clone()
}

/// A service of the transport half under these lines of main.cf.
fn transport(main: &str, program: &str) -> Spec {
    spec(&read(Some(main), MASTER, None).1, program)
}

/// A service of the mailbox half under these lines of dovecot.conf.
fn mailbox(dovecot: &str, program: &str) -> Spec {
    spec(&read(None, "", Some(dovecot)).1, program)
}

fn inet(spec: &Spec) -> Vec<String> {
    let listeners = spec.listeners.iter().filter(|listener| matches!(listener.at, At::Inet(_)));
    listeners.map(|listener| listener.at.to_string()).collect()
}

fn unix<'a>(spec: &'a Spec, path: &str) -> &'a At {
    let at = |at: &At| matches!(at, At::Unix { path: at, .. } if at == Path::new(path));
    &spec.listeners.iter().find(|listener| at(&listener.at)).unwrap_or_else(|| panic!("{path}: {spec:?}")).at
}

#[test]
fn inet_interfaces_and_inet_protocols() {
    let at = |main: &str| inet(&transport(main, "smtpd"));
    assert_eq!(at("inet_protocols = all"), ["0.0.0.0:25", "[::]:25"]);
    assert_eq!(at("inet_protocols = ipv4"), ["0.0.0.0:25"]);
    assert_eq!(at("inet_protocols = ipv4\ninet_interfaces = 127.0.0.1, 127.0.0.2"), ["127.0.0.1:25", "127.0.0.2:25"]);
}

#[test]
fn known_tcp_ports() {
    let row = "ours  inet  n  -  y  -  -  smtpd\n";
    let table = read(Some("inet_protocols = ipv4\nknown_tcp_ports = ours=2525"), row, None).1;
    assert_eq!(inet(&spec(&table, "smtpd")), ["0.0.0.0:2525"]);
}

#[test]
fn default_process_limit_bounds_sessions() {
    let sessions = |main: &str| {
        let spec = transport(main, "smtpd");
        spec.rules.limit * spec.client_limit
    };
    assert_eq!((sessions(""), sessions("default_process_limit = 6")), (100, 6));
}

#[test]
fn max_idle() {
    assert_eq!((transport("", "smtpd").max_idle, transport("max_idle = 7s", "smtpd").max_idle), (100, 7));
}

#[test]
fn service_throttle_time() {
    let pause = |main: &str| transport(main, "smtpd").rules.longest_pause;
    assert_eq!((pause(""), pause("service_throttle_time = 3s")), (Duration::from_secs(60), Duration::from_secs(3)));
}

#[test]
fn mail_owner_is_the_account_of_the_tables() {
    let uid = |main: &str| transport(main, "trivial-rewrite").account.uid;
    let account = |name: &str| ipc_jail::sys::account(name).unwrap().unwrap().0;
    assert_eq!(uid("mail_owner = nobody"), account("nobody"));
    assert_eq!(uid("mail_owner = daemon"), account("daemon"));
}

#[test]
fn tables_in_restriction_classes_are_opened() {
    let main = "smtpd_restriction_classes = known\nknown = check_client_access inline:{a=OK}\n";
    let section: ipc_config::section::Section =
        postcard::from_bytes(&transport(main, "trivial-rewrite").section).unwrap();
    assert!(section.transport.text("tables").contains("inline:{a=OK}"));
}

#[test]
fn relative_sockets_are_in_queue_directory() {
    let transport_of = "virtual_transport = lmtp:unix:private/lmtp\n";
    let foreign = |more: &str| transport(&format!("{transport_of}{more}"), "smtp").foreign;
    assert_eq!(foreign(""), [Foreign::Unix("/var/spool/postfix/private/lmtp".into())]);
    assert_eq!(foreign("queue_directory = /q"), [Foreign::Unix("/q/private/lmtp".into())]);
}

#[test]
fn folders_of_pid_files_and_state() {
    let folders = |main: &str| {
        let configuration = read(Some(main), MASTER, None).0;
        [configuration.pid_folder(), configuration.spool()].map(|folder| folder.to_string_lossy().into_owned())
    };
    assert_eq!(folders(""), ["/var/spool/postfix/pid", "/var/spool/posthorn"]);
    assert_eq!(folders("queue_directory = /q\nprocess_id_directory = p\nposthorn_directory = /s"), ["/q/p", "/s"]);
}

#[test]
fn names_of_instances_sign_the_log() {
    let tag = |main: &str| transport(main, "smtpd").identity.tag;
    assert_eq!(tag(""), "postfix/smtpd");
    assert_eq!(tag("multi_instance_name = postfix-out"), "postfix-out/smtpd");
    assert_eq!(transport("syslog_name = mx", "anvil").identity.tag, "mx/anvil");
    assert_eq!(tag("multi_instance_name = postfix-out\nsyslog_name = mx"), "mx/smtpd");
}

#[test]
fn master_service_disable() {
    let runs = |main: &str| read(Some(main), MASTER, None).1.services.iter().any(|spec| spec.program.name == "smtpd");
    assert!(runs("") && !runs("master_service_disable = inet"));
}

#[test]
fn log_files() {
    let files = |main: Option<&str>, dovecot: Option<&str>| spec(&read(main, MASTER, dovecot).1, "postlogd").foreign;
    let syslog = Foreign::Datagram("/dev/log".into());
    assert!(files(Some(""), Some("")).iter().all(|place| *place == syslog));
    assert_eq!(files(Some("maillog_file = /var/log/m"), None)[0], Foreign::Append("/var/log/m".into(), 0o644));
    let names = |dovecot: &str| {
        let files = files(None, Some(dovecot));
        files[1..]
            .iter()
            .map(|file| match file {
                Foreign::Append(path, _) => path.to_string_lossy().into_owned(),
                _ => "syslog".into(),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(names("log_path = /l"), ["/l", "/l", "/l"]);
    assert_eq!(names("log_path = /l\ninfo_log_path = /i"), ["/l", "/i", "/i"]);
    assert_eq!(names("log_path = /l\ninfo_log_path = /i\ndebug_log_path = /d"), ["/l", "/i", "/d"]);
}

#[test]
fn maillog_file_prefixes() {
    let refused = |main: &str| read(Some(main), MASTER, None).0.transport_found.is_fatal();
    assert!(refused("maillog_file = /etc/m") && !refused("maillog_file = /var/log/m"));
    assert!(!refused("maillog_file = /etc/m\nmaillog_file_prefixes = /etc"));
}

#[test]
fn protocols_and_listen() {
    let at = |dovecot: &str| inet(&mailbox(dovecot, "imap-login"));
    assert_eq!(at("listen = 127.0.0.1"), ["127.0.0.1:143"]);
    assert_eq!(at("listen = 127.0.0.1, ::1"), ["127.0.0.1:143", "[::1]:143"]);
    let runs = |dovecot: &str| read(None, "", Some(dovecot)).1.services.iter().any(|spec| spec.program.name == "lmtp");
    assert!(runs("") && !runs("protocols = imap"));
}

#[test]
fn inet_listeners() {
    let login = |block: &str| {
        let text = format!("listen = 127.0.0.1\nservice imap-login {{\n inet_listener imap {{\n {block}\n }}\n}}");
        mailbox(&text, "imap-login")
    };
    assert_eq!(inet(&login("port = 1143")), ["127.0.0.1:1143"]);
    assert_eq!(inet(&login("address = 127.0.0.9")), ["127.0.0.9:143"]);
    assert!(inet(&login("port = 0")).is_empty(), "no such listener");
    let tls = |block: &str| {
        let text = format!(
            "ssl = yes\nssl_cert = </etc/hostname\nssl_key = </etc/hostname\nservice imap-login {{\n inet_listener imap {{\n {block}\n }}\n}}"
        );
        let spec = mailbox(&text, "imap-login");
        spec.listeners.iter().any(|listener| listener.tls && listener.at.to_string().ends_with(":143"))
    };
    assert!(!tls("ssl = no") && tls("ssl = yes"));
}

#[test]
fn unix_listeners() {
    let block = |text: &str| format!("service lmtp {{\n unix_listener x {{\n mode = 0600\n {text}\n }}\n}}");
    let place = |text: &str| unix(&mailbox(&block(text), "lmtp"), "/run/dovecot/x").clone();
    let At::Unix { mode, uid, gid, .. } = place("") else { panic!("no unix socket") };
    assert_eq!((mode, uid, gid), (0o600, 0, 0));
    assert!(matches!(place("mode = 0660"), At::Unix { mode: 0o660, .. }));
    assert!(matches!(place("user = nobody"), At::Unix { uid: 1.., .. }));
    assert!(matches!(place("group = nogroup"), At::Unix { gid: 1.., .. }));
    let by_name = "default_internal_user = nobody\ndefault_internal_group = nogroup\n".to_string()
        + &block("user = $default_internal_user\n group = $default_internal_group");
    let spec = mailbox(&by_name, "lmtp");
    assert!(matches!(unix(&spec, "/run/dovecot/x"), At::Unix { uid: 1.., gid: 1.., .. }));
    let elsewhere = mailbox(&format!("base_dir = /b\n{}", block("")), "lmtp");
    unix(&elsewhere, "/b/x");
}

#[test]
fn how_many_processes_serve_how_many() {
    let sessions = |dovecot: &str| {
        let spec = mailbox(dovecot, "imap-login");
        spec.rules.limit * spec.client_limit
    };
    let login = |text: &str| format!("service imap-login {{\n{text}\n}}");
    assert_eq!(sessions(""), 100);
    assert_eq!(sessions("default_process_limit = 30"), 30);
    assert_eq!(sessions(&login("process_limit = 20")), 20);
    assert_eq!(sessions(&login("service_count = 0\nprocess_limit = 2\nclient_limit = 50")), 100);
    assert_eq!(sessions(&format!("default_client_limit = 70\n{}", login("service_count = 0\nprocess_limit = 2"))), 140);
    let kept = |text: &str| mailbox(&login(text), "imap-login").rules.prefork;
    assert_eq!((kept(""), kept("process_min_avail = 1")), (0, 1));
}

#[test]
fn idle_processes_end() {
    let idle = |dovecot: &str| mailbox(dovecot, "imap-login").max_idle;
    assert_eq!((idle(""), idle("default_idle_kill = 9s")), (60, 9));
    assert_eq!(idle("service imap-login {\nidle_kill = 5s\n}"), 5);
}

#[test]
fn valid_uids_and_gids() {
    let refused = |dovecot: &str| {
        let accounts = read(None, "", Some(dovecot)).1.accounts;
        accounts.refuse(1000, 1000, &[]).is_some()
    };
    assert!(!refused(""));
    for setting in ["first_valid_uid = 1001", "last_valid_uid = 999", "first_valid_gid = 1001", "last_valid_gid = 999"]
    {
        assert!(refused(setting), "{setting}");
    }
}

#[test]
fn the_user_of_auth() {
    let uid = |dovecot: &str| mailbox(dovecot, "auth").account.uid;
    let named = "service auth {\nuser = nobody\n}";
    assert_ne!(
        uid("default_internal_user = root"),
        uid(named),
        "password files may be readable for this account alone"
    );
}
