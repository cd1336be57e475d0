//! Output as Postfix 3.7.11's `postconf` prints it for the same files.

use std::sync::Arc;

use super::*;
use crate::diagnostic::Diagnostics;
use crate::postfix::master_cf::tests::DEBIAN;
use crate::postfix::system::fake::FakeHost;

const MAIN: &str = "\
compatibility_level = 3.6
x=1
y=$x
smtpd_banner = $y   ESMTP
mydestination = a,
  b
lmtp_destination_concurrency_limit = 3
nosuch_destination_concurrency_limit = 3
empty=
z = $empty
smtpd_restriction_classes = cls, cls2
cls = reject
virtual_maps = hash:/x
";

fn files(main: &str, master: &str) -> (MainCf, MasterCf) {
    let mut found = Diagnostics::new();
    let main = MainCf::parse(main, "e2/main.cf", Arc::new(FakeHost::default()), &mut found);
    let master = MasterCf::parse(master, "e2/master.cf", &main, &mut found);
    (main, master)
}

fn print(options: Options, arguments: &[&str]) -> Report {
    let (main, master) = files(MAIN, DEBIAN);
    parameters(&main, Some(&master), options, Classes::default(), arguments)
}

const PLAIN: Options =
    Options { defaults: false, set_only: false, expand: false, hide_name: false, hide_value: false, fold: false };

#[test]
fn what_is_set_is_printed_in_the_order_of_names() {
    let report = print(Options { set_only: true, ..PLAIN }, &[]);
    assert_eq!(
        report.lines.join("\n"),
        "\
cls = reject
compatibility_level = 3.6
empty =
lmtp_destination_concurrency_limit = 3
mydestination = a, b
smtpd_banner = $y ESMTP
smtpd_restriction_classes = cls, cls2
virtual_maps = hash:/x
x = 1
y = $x"
    );
    assert_eq!(
        report.warnings,
        [
            "e2/main.cf: undefined parameter: cls2",
            "e2/main.cf: unused parameter: nosuch_destination_concurrency_limit=3",
            "e2/main.cf: unused parameter: z=$empty",
        ]
    );
    assert_eq!(report.fatal, None);
}

#[test]
fn values_are_expanded_and_names_or_values_left_out() {
    let lines = |options, names: &[&str]| print(options, names).lines.join("\n");
    let set_only = Options { set_only: true, ..PLAIN };
    assert_eq!(
        lines(Options { expand: true, ..PLAIN }, &["smtpd_banner", "relay_domains"]),
        "\
smtpd_banner = 1 ESMTP
relay_domains ="
    );
    assert_eq!(lines(Options { hide_name: true, ..PLAIN }, &["mydestination", "mydomain"]), "a, b\nlocaldomain");
    assert_eq!(lines(Options { hide_value: true, ..set_only }, &["y", "x", "biff"]), "y\nx");
    assert_eq!(
        lines(Options { defaults: true, ..PLAIN }, &["mydestination"]),
        "\
mydestination = $myhostname, localhost.$mydomain, localhost"
    );
}

#[test]
fn unknown_names_are_reported() {
    let report = print(PLAIN, &["smtpd_bannerx", "maildrop_time_limit", "nosuch_destination_concurrency_limit"]);
    assert_eq!(report.lines, ["maildrop_time_limit = $command_time_limit"]);
    assert_eq!(
        report.warnings,
        [
            "e2/main.cf: undefined parameter: cls2",
            "smtpd_bannerx: unknown parameter",
            "nosuch_destination_concurrency_limit: unknown parameter",
            "e2/main.cf: unused parameter: nosuch_destination_concurrency_limit=3",
            "e2/main.cf: unused parameter: z=$empty",
        ]
    );
    assert_eq!(print(Options { defaults: true, ..PLAIN }, &["x"]).warnings, ["x: unknown parameter"]);
}

/// `postconf -d | wc -l` prints 1043 with Debian's table, among them 829 built in. Posthorn has three more.
#[test]
fn all_parameters_of_the_table_and_of_its_services_are_printed() {
    let (main, master) = files("", DEBIAN);
    let defaults = Options { defaults: true, ..PLAIN };
    let count = |classes| parameters(&main, Some(&master), defaults, classes, &[]).lines.len();
    assert_eq!(count(Classes::default()), 1046);
    assert_eq!(count(Classes { builtin: true, service: false, user: false }), 832);
    assert_eq!(count(Classes { builtin: false, service: true, user: false }), 214);
}

#[test]
fn long_lines_are_folded_on_request() {
    let fold = Options { fold: true, ..PLAIN };
    assert_eq!(
        print(fold, &["smtpd_relay_restrictions"]).lines,
        ["\
smtpd_relay_restrictions = ${{$compatibility_level} <level {1} ? {} :
    {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}"]
    );
}

#[test]
fn a_broken_expression_is_fatal() {
    let (main, master) = files("smtpd_banner = ${a\n", "");
    let report =
        parameters(&main, Some(&master), Options { expand: true, ..PLAIN }, Classes::default(), &["smtpd_banner"]);
    assert_eq!(report.fatal.as_deref(), Some("macro processing error"));
    assert!(report.warnings.contains(&"truncated macro reference: \"${a\"".to_owned()));
}

#[test]
fn rows_are_printed_in_columns() {
    let (main, master) = files("", DEBIAN);
    let rows = |options, names: &[&str]| services(&main, &master, options, names).lines.join("\n");
    assert_eq!(
        rows(PLAIN, &["lmtp", "smtp/unix", "relay"]),
        "\
smtp       unix  -       -       y       -       -       smtp
relay      unix  -       -       y       -       -       smtp -o syslog_name=postfix/$service_name
lmtp       unix  -       -       y       -       -       lmtp"
    );
    assert_eq!(
        rows(Options { fold: true, ..PLAIN }, &["uucp", "relay"]),
        "\
relay      unix  -       -       y       -       -       smtp
    -o syslog_name=postfix/$service_name
uucp       unix  -       n       n       -       -       pipe flags=Fqhu
    user=uucp argv=uux -r -n -z -a$sender - $nexthop!rmail ($recipient)"
    );
    assert_eq!(
        rows(Options { expand: true, ..PLAIN }, &["relay/*"]),
        "\
relay      unix  -       -       y       -       -       smtp -o syslog_name=postfix/relay"
    );
    assert_eq!(
        rows(PLAIN, &["scalemail-backend", "postlog"]),
        "\
postlog    unix-dgram n  -       n       -       1       postlogd
scalemail-backend unix - n       n       -       2       pipe flags=R user=scalemail \
argv=/usr/lib/scalemail/bin/scalemail-store ${nexthop} ${user} ${extension}"
    );
    assert_eq!(services(&main, &master, PLAIN, &["foo/unix"]).warnings, ["unmatched request: \"foo/unix\""]);
}

#[test]
fn fields_are_printed_one_by_one() {
    let (main, master) = files("", DEBIAN);
    let text = |options, names: &[&str]| fields(&main, &master, options, names).lines.join("\n");
    assert_eq!(
        text(PLAIN, &["smtp/inet"]),
        "\
smtp/inet/service = smtp
smtp/inet/type = inet
smtp/inet/private = n
smtp/inet/unprivileged = -
smtp/inet/chroot = y
smtp/inet/wakeup = -
smtp/inet/process_limit = -
smtp/inet/command = smtpd"
    );
    assert_eq!(text(PLAIN, &["uucp/unix/chroot"]), "uucp/unix/chroot = n");
    assert_eq!(text(Options { hide_name: true, ..PLAIN }, &["tlsmgr/*/wakeup"]), "1000?");
    assert_eq!(
        text(Options { fold: true, ..PLAIN }, &["uucp/unix/command"]),
        "\
uucp/unix/command = pipe flags=Fqhu user=uucp argv=uux -r -n -z -a$sender -
    $nexthop!rmail ($recipient)"
    );
}

#[test]
fn overrides_are_printed_with_their_service() {
    let table = "smtp inet n - y - - smtpd\n -o foo=bar -o { mydestination = a b }\n -o smtpd_banner=$foo\n";
    let (main, master) = files("", table);
    let text = |options, names: &[&str]| overrides(&main, &master, options, names);
    assert_eq!(
        text(PLAIN, &[]).lines.join("\n"),
        "\
smtp/inet/foo = bar
smtp/inet/mydestination = a b
smtp/inet/smtpd_banner = $foo"
    );
    assert_eq!(
        text(Options { expand: true, ..PLAIN }, &["smtp/inet/smtpd_banner"]).lines,
        ["smtp/inet/smtpd_banner = bar"]
    );
    assert_eq!(text(PLAIN, &["smtp/inet/nosuch"]).warnings, ["unmatched request: \"smtp/inet/nosuch\""]);
    assert_eq!(
        services(&main, &master, PLAIN, &[]).lines,
        [
            "smtp       inet  n       -       y       -       -       smtpd -o foo=bar -o {mydestination=a b} -o smtpd_banner=$foo"
        ]
    );
}
