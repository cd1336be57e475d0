//! What the workers are told of names and of the log.

use super::*;

/// The table of these files, in a folder that `@` stands for.
fn table(main: &str, master: &str, dovecot: &str) -> Table {
    let folder =
        std::env::temp_dir().join(format!("posthorn-compile-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut files = Files { main_cf: None, master_cf: None, dovecot_conf: None };
    for (name, text, place) in [
        ("main.cf", main, &mut files.main_cf),
        ("master.cf", master, &mut files.master_cf),
        ("dovecot.conf", dovecot, &mut files.dovecot_conf),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        *place = Some(path).filter(|_| !text.is_empty());
    }
    let mut configuration = Configuration::read(&files);
    let table = configuration.table();
    std::fs::remove_dir_all(folder).unwrap();
    table
}

fn postlogd(main: &str, dovecot: &str) -> (Vec<Foreign>, Section) {
    let table = table(main, "qmgr unix n - n 300 1 qmgr\n", dovecot);
    let spec = table.services.iter().find(|spec| spec.program.name == "postlogd").unwrap();
    (spec.foreign.clone(), postcard::from_bytes(&spec.section).unwrap())
}

#[test]
fn each_half_logs_where_its_configuration_says() {
    let syslog = || Foreign::Datagram("/dev/log".into());
    let file = |path: &str, mode| Foreign::Append(path.into(), mode);
    let (foreign, section) = postlogd("compatibility_level = 3.6\n", "protocols =\n");
    assert_eq!(foreign, [syslog(), syslog(), syslog(), syslog()]);
    assert_eq!(section.foreign, ["transport", "error", "info", "debug"]);
    for (dovecot, expected) in [
        ("log_path = /var/log/d\n", ["/var/log/d"; 3]),
        ("log_path = /var/log/d\ninfo_log_path = /var/log/i\n", ["/var/log/d", "/var/log/i", "/var/log/i"]),
        ("log_path = /var/log/d\ndebug_log_path = /var/log/x\n", ["/var/log/d", "/var/log/d", "/var/log/x"]),
    ] {
        let (foreign, _) = postlogd("maillog_file = /var/log/m\n", &format!("protocols =\n{dovecot}"));
        assert_eq!(foreign[0], file("/var/log/m", 0o644));
        assert_eq!(foreign[1..], expected.map(|path| file(path, 0o600)), "{dovecot}");
    }
}

#[test]
fn the_form_of_the_log_is_handed_to_its_writer() {
    let main = "syslog_facility = local3\nposthorn_log_format = json\n";
    let (_, section) = postlogd(main, "protocols =\nsyslog_facility = daemon\nlog_timestamp = \"%s \"\n");
    assert_eq!(section.transport.get("syslog_facility"), Some("local3"));
    assert_eq!(section.transport.get("posthorn_log_format"), Some("json"));
    assert_eq!(section.mailbox.get("syslog_facility"), Some("daemon"));
    assert_eq!(section.mailbox.get("log_timestamp"), Some("%s "));
}

#[test]
fn daemons_sign_with_syslog_name() {
    let rows = "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\n  -o syslog_name=own/$service_name\n";
    let tags = |main: &str| -> Vec<String> {
        let table = table(main, rows, "");
        table.services.iter().filter(|spec| spec.program.name == "smtp").map(|spec| spec.identity.tag.clone()).collect()
    };
    assert_eq!(tags("compatibility_level = 3.6\n"), ["postfix/smtp", "own/relay/smtp"]);
    assert_eq!(tags("syslog_name = mail\n"), ["mail/smtp", "own/relay/smtp"]);
    assert_eq!(tags("multi_instance_name = postfix-out\n"), ["postfix-out/smtp", "own/relay/smtp"]);
}

#[test]
fn the_public_sockets_have_the_names_of_their_rows() {
    let table = table("posthorn_directory = /spool\n", "showq unix n - n - - showq\nf unix n - n - 0 flush\n", "");
    let at = |name: &str| -> Vec<String> {
        let spec = table.services.iter().find(|spec| spec.name == name).unwrap();
        spec.listeners.iter().map(|listener| listener.at.to_string()).collect()
    };
    assert_eq!(at("showq")[0], "/spool/public/showq");
    assert_eq!(at("f"), ["/spool/public/f"]);
}
