//! One check of `main.cf` and `master.cf` that finds every problem at once.
//!
//! Errors are what Postfix ends with, and what would weaken security if it were ignored; all else is a warning. Each value
//! is read as the table says it is, for `main.cf` and again with the overrides of each row of `master.cf`.

use super::expand::Level;
use super::main_cf::{MainCf, Setting};
use super::master_cf::MasterCf;
use super::names::Names;
use super::table::{self, Support, transport};
use crate::diagnostic::{Diagnostics, Severity};

/// Checks both files; what reading them found is not repeated.
pub fn check(main: &MainCf, master: Option<&MasterCf>, found: &mut Diagnostics) {
    check_level(main, found);
    check_names(main, master, found);
    check_log_file(main, found);
    main.set().for_each(|setting| check_setting(main, setting, found));
    for row in master.map_or(&[][..], |master| &master.rows) {
        let scope = main.with_overrides(&row.settings());
        row.overrides.iter().for_each(|setting| check_setting(&scope, setting, found));
    }
    if let Some(master) = master {
        master.check_commands(found);
    }
}

/// The compatibility level is legal, and it is said which one applies when none is set.
fn check_level(main: &MainCf, found: &mut Diagnostics) {
    const NAME: &str = "compatibility_level";
    if !main.is_set(NAME) {
        let problem =
            "is not set: the defaults of level 3.6 apply, and mail that may not be relayed is refused for good";
        found.note(&main.location(NAME), NAME, problem, "set it to keep the defaults of that version of Postfix");
    } else if let Err(problem) = main.expanded(NAME).and_then(|expansion| Level::parse(&expansion.text)) {
        found.error(&main.location(NAME), NAME, problem, "write a version of Postfix, as 3.6");
    }
}

/// The log file is where it may be: what writes to it is opened by the privileged process.
fn check_log_file(main: &MainCf, found: &mut Diagnostics) {
    const NAME: &str = "maillog_file";
    let mut settings = main.settings(found);
    let (file, prefixes) = (settings.text(NAME), settings.list("maillog_file_prefixes"));
    let is_beneath = |prefix: &String| {
        file.strip_prefix(prefix.as_str())
            .is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    };
    if !file.is_empty() && !prefixes.iter().any(is_beneath) {
        let problem = format!("value '{file}' does not match any prefix in maillog_file_prefixes");
        found.error(&main.location(NAME), NAME, problem, "add its folder to maillog_file_prefixes");
    }
}

/// Names that mean nothing, and references to them.
fn check_names(main: &MainCf, master: Option<&MasterCf>, found: &mut Diagnostics) {
    let names = Names::new(main, master);
    let known = || table::all().iter().map(|row| row.name).chain(names.service.iter().map(String::as_str));
    for setting in &names.unused {
        let mend = table::nearest(&setting.name, known())
            .map_or_else(|| "remove it".to_owned(), |near| format!("did you mean \"{near}\"?"));
        found.warning(
            &setting.at,
            &setting.name,
            format!("unused parameter: {}={}", setting.name, setting.value),
            mend,
        );
    }
    for (at, name) in &names.undefined {
        let candidates = known().chain(main.set().map(|setting| setting.name.as_str()));
        let mend = table::nearest(name, candidates)
            .map_or_else(|| "it stands for the empty text".to_owned(), |near| format!("did you mean \"{near}\"?"));
        found.warning(at, name, format!("undefined parameter: {name}"), mend);
    }
}

/// One setting: its value, and what becomes of it here.
fn check_setting(scope: &MainCf, setting: &Setting, found: &mut Diagnostics) {
    let name = setting.name.as_str();
    if table::READ_ONLY.contains(&name) {
        let problem = format!("read-only parameter assignment: {name}={}", setting.value);
        found.warning(&setting.at, name, problem, "remove it");
        return;
    }
    let support = match (table::find(name), transport::split(name)) {
        (Some(row), _) => row.support,
        (None, Some((_, parameter))) => parameter.support,
        (None, None) => return,
    };
    scope.settings(found).validate(name);
    let default = scope.default(name).unwrap_or_default();
    let is_default = scope.expanded(name) == scope.expand(&default);
    if let (Support::NotYet { refuse }, false) = (support, is_default) {
        let (severity, problem) = if refuse {
            (Severity::Error, "is not supported yet, and to ignore it would weaken security")
        } else {
            (Severity::Warning, "is not supported yet and has no effect")
        };
        let mend = "remove it if you can do without it";
        found.push(crate::diagnostic::Diagnostic::new(severity, &setting.at, name, problem, mend));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::postfix::master_cf::tests::DEBIAN;
    use crate::postfix::system::fake::FakeHost;

    fn said(main: &str, master: &str) -> Vec<String> {
        let mut found = Diagnostics::new();
        let files = vec![("/etc/mailname", "mail.example.jp\n")];
        let host = Arc::new(FakeHost { files, ..FakeHost::default() });
        let main = MainCf::parse(main, "main.cf", host, &mut found);
        let master = MasterCf::parse(master, "master.cf", &main, &mut found);
        check(&main, Some(&master), &mut found);
        found.iter().map(|one| format!("{}: {one}", one.severity)).collect()
    }

    const LEVEL: &str = "compatibility_level = 3.6\n";

    #[test]
    fn the_log_file_is_where_it_may_be() {
        for (main, is_refused) in [
            ("maillog_file = /var/log/mail.log\n", false),
            ("maillog_file = /dev/stdout\n", false),
            ("maillog_file = /variable/log\n", true),
            ("maillog_file = /srv/log\n", true),
            ("maillog_file = /srv/log\nmaillog_file_prefixes = /var, /srv\n", false),
            ("maillog_file = /var/log/mail.log\nmaillog_file_prefixes = /srv/\n", true),
        ] {
            let found = said(&format!("{LEVEL}{main}"), "");
            let refused = found.iter().any(|line| line.starts_with("error: main.cf:2:16: maillog_file: value '/"));
            assert_eq!(refused, is_refused, "{main}: {found:?}");
        }
    }

    #[test]
    fn names_that_mean_nothing_are_reported_with_the_nearest_one() {
        let text = "mydestinaton = a\nmine = $other_one\nsmtpd_banner = $mine $myhostnam\nlmtp_recipient_limit = 3\n\
            nosuch_recipient_limit = 3\nsmtpd_restriction_classes = strict, lax\nstrict = reject\n\
            virtual_maps = hash:/etc/v\n";
        let found = said(&format!("{LEVEL}{text}"), "lmtp unix - - - - - lmtp\n  -o foo=1 -o bar=$foo -o baz=$mine\n");
        assert_eq!(
            found,
            [
                "warning: main.cf:2:16: mydestinaton: unused parameter: mydestinaton=a: did you mean \"mydestination\"?",
                "warning: main.cf:6:26: nosuch_recipient_limit: unused parameter: nosuch_recipient_limit=3: remove it",
                "warning: master.cf:2:19: bar: unused parameter: bar=$foo: remove it",
                "warning: master.cf:2:31: baz: unused parameter: baz=$mine: remove it",
                "warning: main.cf:7:29: lax: undefined parameter: lax: it stands for the empty text",
                "warning: main.cf:3:8: other_one: undefined parameter: other_one: it stands for the empty text",
                "warning: main.cf:4:16: myhostnam: undefined parameter: myhostnam: did you mean \"myhostname\"?",
            ]
        );
    }

    #[test]
    fn every_bad_value_is_found_at_once() {
        let text = "compatibility_level = three\nbiff = maybe\nmax_use = 0\nprocess_id = 3\nlmtp_destination_rate_delay = 5x\n";
        let found = said(text, "x unix - - - - - smtp -o smtpd_timeout=y\ny unix - - - - - smtpt\n");
        let at = |place: &str| found.iter().filter(|one| one.starts_with(place)).count();
        assert_eq!(at("error: main.cf:1:23: compatibility_level: malformed compatibility level syntax: \"three\""), 1);
        assert_eq!(at("error: main.cf:2:8: biff"), 1);
        assert_eq!(at("error: main.cf:3:11: max_use: invalid max_use parameter value 0 < 1"), 1);
        assert_eq!(at("warning: main.cf:4:14: process_id: read-only parameter assignment: process_id=3"), 1);
        assert_eq!(at("error: main.cf:5:31: lmtp_destination_rate_delay"), 1);
        assert_eq!(at("error: master.cf:1:40: smtpd_timeout: parameter smtpd_timeout: bad time value or unit: y"), 1);
        assert_eq!(at("warning: master.cf:2:1: command: unknown command \"smtpt\""), 1);
    }

    #[test]
    fn what_is_not_built_is_reported_when_it_is_set_to_something() {
        let found = said(
            &format!(
                "{LEVEL}smtpd_milters = inet:localhost:8891\nnon_smtpd_milters =\nluser_relay = a\nhome_mailbox =\n"
            ),
            "",
        );
        assert_eq!(
            found,
            [
                "warning: main.cf:4:15: luser_relay: is not supported yet and has no effect: remove it if you can do without it",
                "error: main.cf:2:17: smtpd_milters: is not supported yet, and to ignore it would weaken security: \
                remove it if you can do without it",
            ]
        );
    }

    /// The main.cf of a guide to Postfix and Dovecot LMTP on Debian.
    const LMTP_GUIDE: &str = "\
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6
smtpd_tls_cert_file=/etc/dovecot/dovecot.pem
smtpd_tls_key_file=/etc/dovecot/private/dovecot.pem
smtpd_tls_security_level=may
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mail.example.jp
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = localhost
relayhost = 
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all

# Virtual Mailbox
virtual_mailbox_domains = mail.example.jp, example.jp
virtual_transport = lmtp:unix:private/dovecot-lmtp 
virtual_alias_maps = hash:/etc/postfix/virtual
";

    /// The last main.cf of a guide to a mail server step by step.
    const STEP_BY_STEP: &str = "\
mydomain = example.org
myhostname = mail.$mydomain
myorigin = $myhostname
mydestination = $myhostname

virtual_mailbox_domains = example.org
virtual_transport = lmtp:unix:private/dovecot-lmtp

smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
broken_sasl_auth_clients = yes

smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/dovecot/dovecot.pem
smtpd_tls_key_file = /etc/dovecot/private/dovecot.pem
smtpd_tls_auth_only = yes

smtpd_helo_required = yes

smtpd_recipient_restrictions =
  permit_mynetworks,
  reject_unknown_recipient_domain,
  permit_sasl_authenticated,
  reject_unauth_pipelining,
  reject_unauth_destination,
  reject_unknown_client_hostname,
  reject_unknown_helo_hostname
  reject_unknown_sender_domain
  reject_unverified_recipient,
  permit
";

    #[test]
    fn the_guides_have_nothing_wrong_with_debian_s_table() {
        assert_eq!(said(LMTP_GUIDE, DEBIAN), [""; 0]);
        assert_eq!(
            said(STEP_BY_STEP, DEBIAN),
            [
                "note: main.cf: compatibility_level: is not set: the defaults of level 3.6 apply, and mail that may not be \
             relayed is refused for good: set it to keep the defaults of that version of Postfix"
            ]
        );
    }

    #[test]
    fn the_guides_mean_what_they_say() {
        let mut found = Diagnostics::new();
        let main = MainCf::parse(STEP_BY_STEP, "main.cf", Arc::new(FakeHost::default()), &mut found);
        let mut settings = main.settings(&mut found);
        assert_eq!(settings.text("myorigin"), "mail.example.org");
        assert_eq!(settings.list("mydestination"), ["mail.example.org"]);
        assert_eq!(settings.list("smtpd_recipient_restrictions").len(), 10);
        assert!(settings.boolean("smtpd_tls_auth_only"));
        let guard = ["permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination"];
        assert_eq!(settings.list("smtpd_relay_restrictions"), guard);
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = [
            "\n",
            "\n ",
            " ",
            "=",
            "#",
            "!",
            "-o",
            "{",
            "}",
            "$",
            "${",
            ":",
            "[",
            "]",
            "/",
            "-",
            "?",
            "25",
            "inet",
            "unix",
            "mynetworks",
            "mydestination",
            "smtpd_timeout",
            "smtp",
            "smtpd",
            "n",
            "5x",
            "é",
            "\0",
            "::1",
            "10.0.0.0/8",
        ];
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for _ in 0..2_000 {
            let mut text = || (0..next() % 40).map(|_| pieces[next() as usize % pieces.len()]).collect::<String>();
            said(&text(), &text());
        }
    }
}
