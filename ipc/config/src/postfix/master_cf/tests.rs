//! Rows, good and bad, and Debian's stock file.

use std::sync::Arc;

use super::*;
use crate::postfix::system::fake::FakeHost;

/// Debian's master.cf without its comments.
pub(crate) const DEBIAN: &str = "\
smtp      inet  n       -       y       -       -       smtpd
#smtps    inet  n       -       y       -       -       smtpd
#  -o syslog_name=postfix/smtps
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       y       1000?   1       tlsmgr
rewrite   unix  -       -       y       -       -       trivial-rewrite
bounce    unix  -       -       y       -       0       bounce
defer     unix  -       -       y       -       0       bounce
trace     unix  -       -       y       -       0       bounce
verify    unix  -       -       y       -       1       verify
flush     unix  n       -       y       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
#       -o smtp_helo_timeout=5 -o smtp_connect_timeout=5
showq     unix  n       -       y       -       -       showq
error     unix  -       -       y       -       -       error
retry     unix  -       -       y       -       -       error
discard   unix  -       -       y       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       y       -       -       lmtp
anvil     unix  -       -       y       -       1       anvil
scache    unix  -       -       y       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
maildrop  unix  -       n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
uucp      unix  -       n       n       -       -       pipe
  flags=Fqhu user=uucp argv=uux -r -n -z -a$sender - $nexthop!rmail ($recipient)
ifmail    unix  -       n       n       -       -       pipe
  flags=F user=ftn argv=/usr/lib/ifmail/ifmail -r $nexthop ($recipient)
bsmtp     unix  -       n       n       -       -       pipe
  flags=Fq. user=bsmtp argv=/usr/lib/bsmtp/bsmtp -t$nexthop -f$sender $recipient
scalemail-backend unix -       n       n       -       2       pipe
  flags=R user=scalemail argv=/usr/lib/scalemail/bin/scalemail-store ${nexthop} ${user} ${extension}
mailman   unix  -       n       n       -       -       pipe
  flags=FRX user=list argv=/usr/lib/mailman/bin/postfix-to-mailman.py ${nexthop} ${user}
";

fn main(text: &str) -> MainCf {
    MainCf::parse(text, "main.cf", Arc::new(FakeHost::default()), &mut Diagnostics::new())
}

fn parse(text: &str) -> (MasterCf, Vec<String>) {
    let mut found = Diagnostics::new();
    let master = MasterCf::parse(text, "master.cf", &main(""), &mut found);
    (master, found.iter().map(ToString::to_string).collect())
}

fn row(text: &str) -> Row {
    let (master, said) = parse(text);
    assert!(said.is_empty(), "{said:?}");
    master.rows.into_iter().next().unwrap()
}

#[test]
fn debian_s_table_is_read_whole() {
    let (master, said) = parse(DEBIAN);
    assert!(said.is_empty(), "{said:?}");
    let endpoints: Vec<String> = master.rows.iter().map(|row| row.endpoint.to_string()).collect();
    assert_eq!(
        endpoints.join(" "),
        "25 public/pickup public/cleanup public/qmgr private/tlsmgr private/rewrite \
        private/bounce private/defer private/trace private/verify public/flush private/proxymap private/proxywrite \
        private/smtp private/relay public/showq private/error private/retry private/discard private/local \
        private/virtual private/lmtp private/anvil private/scache public/postlog private/maildrop private/uucp \
        private/ifmail private/bsmtp private/scalemail-backend private/mailman"
    );
    let mut found = Diagnostics::new();
    master.check_commands(&mut found);
    assert!(found.is_empty());
    let tlsmgr = &master.rows[4];
    assert_eq!(tlsmgr.wakeup, Wakeup { seconds: 1000, if_used: true });
    assert_eq!((tlsmgr.max_processes, tlsmgr.unprivileged, tlsmgr.chroot), (Some(1), true, ChrootColumn::Yes));
    assert_eq!(master.rows[0].max_processes, None);
    assert_eq!(master.rows[2].max_processes, Some(0));
    assert_eq!(master.rows[1].wakeup, Wakeup { seconds: 60, if_used: false });
    assert!(!master.rows[19].unprivileged && !master.rows[19].chroot.is_yes());
    assert_eq!(master.rows[24].kind, Type::UnixDatagram);
    let uucp = master.rows.iter().find(|row| row.name == "uucp").unwrap();
    assert_eq!(
        uucp.command_arguments().join(" "),
        "flags=Fqhu user=uucp argv=uux -r -n -z -a$sender - $nexthop!rmail ($recipient)"
    );
}

#[test]
fn overrides_are_settings_with_their_place() {
    let row = row("relay unix - - y - - smtp\n -v -o a=b -oc=d\n  -vo{ mydestination = x, y } -o e=\n");
    let settings: Vec<String> =
        row.overrides.iter().map(|one| format!("{}={}@{}", one.name, one.value, one.at)).collect();
    assert_eq!(
        settings,
        ["a=b@master.cf:2:10", "c=d@master.cf:2:16", "mydestination=x, y@master.cf:3:24", "e=@master.cf:3:35"]
    );
    let normal = ["-v", "-o", "a=b", "-o", "c=d", "-v", "-o", "mydestination=x, y", "-o", "e="];
    assert_eq!(row.arguments, normal);
    let own: Vec<String> = row.settings().iter().skip(4).map(|one| format!("{}={}", one.name, one.value)).collect();
    assert_eq!(own, ["process_name=smtp", "service_name=relay"]);
    assert!(row.command_arguments().is_empty());
}

#[test]
fn defaults_follow_the_compatibility_level() {
    let text = "x unix - - - - - smtp\n";
    let chroot = |level: &str| {
        let main = main(&format!("compatibility_level = {level}\n"));
        MasterCf::parse(text, "master.cf", &main, &mut Diagnostics::new()).rows[0].chroot
    };
    assert_eq!(chroot("0"), ChrootColumn::Default { yes: true });
    assert_eq!(chroot("1"), ChrootColumn::Default { yes: false });
    assert_eq!(row(text).chroot, ChrootColumn::Default { yes: false });
    assert!(row(text).private && row(text).unprivileged);
}

#[test]
fn each_bad_field_is_reported_and_its_row_left_out() {
    for (text, expected) in [
        ("x unix - - - - -", "1:16: command: missing \"command\" field"),
        ("x", "1:1: transport type: missing \"transport type\" field"),
        ("x - - - - - - smtp", "1:3: transport type: field \"transport type\" has no default value"),
        ("x tcp - - - - - smtp", "1:3: transport type: bad transport type: tcp"),
        ("x unix z - - - - smtp", "1:8: private: field \"private\": bad value: \"z\""),
        ("x unix - yes - - - smtp", "1:10: unprivileged: field \"unprivileged\": bad value: \"yes\""),
        ("x unix - - Y - - smtp", "1:12: chroot: field \"chroot\": bad value: \"Y\""),
        ("x unix - - - 60x - smtp", "1:14: wakeup_time: field \"wakeup_time\": bad value: \"60x\""),
        ("x unix - - - ? - smtp", "1:14: wakeup_time: field \"wakeup_time\": bad value: \"?\""),
        ("x unix - - - - -1 smtp", "1:16: max_proc: field \"max_proc\": bad value: \"-1\""),
        ("x unix - - - - 2147483648 smtp", "1:16: max_proc: field \"max_proc\": bad value: \"2147483648\""),
        ("x unix - - - - - -", "1:18: command: field \"command\" has no default value"),
        ("smtp inet - - - - - smtpd", "1:1: private: inet service cannot be private"),
        ("nosuch inet n - - - - smtpd", "1:1: service: unknown service \"nosuch\" in \"nosuch\""),
        ("x unix - - - - - smtp -o", "1:23: -o: option -o without name=value"),
        ("x unix - - - - - smtp -o a", "1:26: -o: missing '=' after attribute name: \"a\""),
        ("x unix - - - - - smtp -o {a b=c}", "1:26: -o: missing '=' after attribute name: \"a b=c\""),
        ("x unix - - - - - smtp -o =c", "1:26: -o: missing attribute name: \"=c\""),
        ("x unix - - - - - smtp -o {a=b", "1:26: -o: missing '}' in \"{a=b\""),
        ("x unix - - - - - pipe {a}b", "1:23: command: syntax error after '}' in \"{a}b\""),
    ] {
        let (master, said) = parse(&format!("{text}\ngood unix - - - - - smtp\n"));
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].starts_with(&format!("master.cf:{expected}")), "{text}: {}", said[0]);
        assert_eq!(master.rows.len(), 1, "{text}");
    }
}

#[test]
fn all_bad_fields_of_a_row_are_reported_at_once() {
    let (_, said) = parse("x unix z z z z z smtp\n");
    assert_eq!(said.len(), 5, "{said:?}");
}

#[test]
fn duplicates_are_reported_by_canonical_name() {
    let (master, said) = parse("smtp inet n - - - - smtpd\n25 inet n - - - - smtpd\nsmtp unix - - - - - smtp\n");
    assert_eq!(master.rows.len(), 3);
    assert_eq!(
        said,
        ["master.cf:2:1: service: duplicate master.cf entry for service \"25\" (25): \
        keep one of it and master.cf:1:1"]
    );
}

#[test]
fn services_are_disabled_by_pattern() {
    let (master, _) = parse("smtp inet n - - - - smtpd\n587 inet n - - - - smtpd\nsmtp unix - - - - - smtp\n");
    let left = |patterns: &str| {
        let main = main(&format!("master_service_disable = {patterns}\n"));
        master.enabled(&main).map(|row| format!("{}/{}", row.name, row.kind.name())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(left(""), "smtp/inet 587/inet smtp/unix");
    assert_eq!(left("inet"), "smtp/unix");
    assert_eq!(left("smtp/inet"), "587/inet smtp/unix");
    assert_eq!(left("smtp.inet, UNIX"), "587/inet");
    assert_eq!(left("!smtp/inet, inet"), "smtp/inet smtp/unix");
}

#[test]
fn an_unknown_command_is_named() {
    let (master, _) = parse("smtp inet n - - - - smptd\nx unix - - - - - /opt/mine\n");
    let mut found = Diagnostics::new();
    master.check_commands(&mut found);
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "master.cf:1:1: command: unknown command \"smptd\": did you mean \"smtpd\"?",
            "master.cf:2:1: command: unknown command \"/opt/mine\": remove the row",
        ]
    );
}
