use super::*;
use crate::testing::{lines, policy};

const MAIN_CF: &str = "\
mydestination = localhost, local.example
local_recipient_maps = inline:{joe=x} $alias_maps
recipient_delimiter = +
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{a@alias.example=joe@o.example,@catch.example=joe@o.example,{list@box.example=u@box.example, joe, a@alias.example}}
virtual_mailbox_domains = box.example, catch.example
virtual_mailbox_maps = inline:{u@box.example=x,@all.example=x}
relay_domains = relay.example
relay_recipient_maps = inline:{r@relay.example=x}
transport_maps = inline:{{e@o.example=error:5.7.1 go away},{e2@o.example=error:go away},{t@o.example=retry:4.2.0 later},{t2@o.example=retry:later}}
";

fn known(main_cf: &str, address: &str) -> String {
    match policy(main_cf).check(address) {
        Ok((_, Known::Yes)) => "yes".into(),
        Ok((_, Known::No(text))) => text,
        Ok((_, Known::Undeliverable { status, text })) => format!("{status} {text}"),
        Err(failure) => format!("failure: {failure}"),
    }
}

/// As smtpd answers RCPT with this configuration.
#[test]
fn who_is_known() {
    for (address, expected) in [
        ("joe@local.example", "yes"),
        ("JOE+ext@LOCAL.example", "yes"),
        ("staff@local.example", "yes"),
        ("joe@[127.0.0.1]", "yes"),
        ("nobody@local.example", "User unknown in local recipient table"),
        ("nobody+joe@local.example", "User unknown in local recipient table"),
        ("nobody@[127.0.0.1]", "User unknown in local recipient table"),
        ("postmaster@local.example", "yes"),
        ("", "yes"),
        ("MAILER-daemon@localhost", "yes"),
        ("double-bounce@localhost", "yes"),
        ("a@alias.example", "yes"),
        ("a+ext@alias.example", "yes"),
        ("b@alias.example", "User unknown in virtual alias table"),
        ("u@box.example", "yes"),
        ("u+e@box.example", "yes"),
        ("postmaster@box.example", "User unknown in virtual mailbox table"),
        ("list@box.example", "yes"),
        ("any@catch.example", "yes"),
        ("r@relay.example", "yes"),
        ("s@relay.example", "User unknown in relay recipient table"),
        ("any@o.example", "yes"),
        ("e@o.example", "5.7.1 go away"),
        ("e2@o.example", "5.1.1 go away"),
        ("t@o.example", "4.2.0 later"),
        ("t2@o.example", "4.1.1 later"),
        ("-a@box.example", "yes"),
    ] {
        assert_eq!(known(MAIN_CF, address), expected, "{address}");
    }
}

#[test]
fn names_of_this_system() {
    let with = |setting: &str, address| known(&format!("{MAIN_CF}recipient_delimiter = -\n{setting}\n"), address);
    let unknown = "User unknown in local recipient table";
    assert_eq!(with("", "double-bounce@local.example"), "yes");
    assert_eq!(with("double_bounce_sender = nobody", "double-bounce@local.example"), unknown);
    assert_eq!(with("double_bounce_sender = nobody", "nobody@local.example"), "yes");
    // With a minus sign as the delimiter, `joe-request` would be `joe`.
    assert_eq!(with("", "joe-x@local.example"), "yes");
    assert_eq!(with("", "joe-request@local.example"), unknown);
    assert_eq!(with("owner_request_special = no", "joe-request@local.example"), "yes");
}

#[test]
fn an_empty_list_takes_everyone() {
    let open = "mydestination = l.example\nlocal_recipient_maps =\nvirtual_mailbox_domains = v.example\n\
                relay_domains = r.example";
    for address in ["any@l.example", "any@v.example", "any@r.example"] {
        assert_eq!(known(open, address), "yes");
    }
}

#[test]
fn the_name_of_the_table_can_be_hidden() {
    for address in ["no@local.example", "no@alias.example", "no@box.example", "no@relay.example"] {
        let main_cf = format!("{MAIN_CF}show_user_unknown_table_name = no");
        assert_eq!(known(&main_cf, address), "User unknown", "{address}");
    }
}

#[test]
fn a_table_that_cannot_be_read_makes_nobody_unknown() {
    let policy = policy("virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = hash:/nonexistent/x");
    let unavailable = "hash:/nonexistent/x is unavailable. open database /nonexistent/x.db: No such file or directory";
    assert_eq!(policy.check("a@v.example").unwrap_err().0, unavailable);
    assert_eq!(
        lines(policy.tables.take_notes()),
        [
            "error: open database /nonexistent/x.db: No such file or directory",
            &format!("warning: {unavailable}"),
            "warning: hash:/nonexistent/x lookup error for \"a@v.example\"",
        ]
    );
}

#[test]
fn an_alias_table_without_nis() {
    let main_cf = "mydestination = l.example\nalias_maps = inline:{x=y}, nis:mail.aliases\n\
                   local_recipient_maps = $alias_maps";
    let policy = policy(main_cf);
    assert_eq!(
        lines(policy.tables.take_notes()),
        ["warning: dict_nis_init: NIS domain name not set - NIS lookups disabled"]
    );
    assert_eq!(known(main_cf, "x@l.example"), "yes");
    assert_eq!(known(main_cf, "y@l.example"), "User unknown in local recipient table");
}

#[test]
fn expansion() {
    let policy = policy(MAIN_CF);
    for (address, expected) in [
        ("a@alias.example", &["joe@o.example"][..]),
        ("a+x@alias.example", &["joe+x@o.example"]),
        ("any@catch.example", &["joe@o.example"]),
        ("list@box.example", &["u@box.example", "joe@example.org", "joe@o.example"]),
        ("other@o.example", &["other@o.example"]),
        ("joe", &["joe@example.org"]),
        ("", &["MAILER-DAEMON@example.org"]),
        ("joe%o.example", &["joe@o.example"]),
    ] {
        assert_eq!(policy.expand(address).unwrap(), expected, "{address}");
    }
    assert_eq!(policy.tables.take_notes(), []);
}

#[test]
fn settings_of_the_expansion() {
    let with = |setting: &str| policy(&format!("{MAIN_CF}{setting}\n"));
    let quiet = with("propagate_unmatched_extensions = canonical");
    assert_eq!(quiet.expand("a+x@alias.example").unwrap(), ["joe@o.example"]);
    for (setting, address, expected) in [
        ("", "joe", "joe@example.org"),
        ("append_at_myorigin = no", "joe", "joe"),
        ("", "joe@host", "joe@host"),
        ("append_dot_mydomain = yes", "joe@host", "joe@host.example.org"),
        ("append_dot_mydomain = yes\nmydomain = d.example", "joe@host", "joe@host.d.example"),
        ("myorigin = o.example", "joe", "joe@o.example"),
    ] {
        assert_eq!(with(setting).expand(address).unwrap(), [expected], "{setting}");
    }
    let later = "message not accepted, try again later";
    for (setting, address, problem) in [
        (
            "virtual_alias_expansion_limit = 2",
            "list@box.example",
            "unreasonable virtual_alias_maps map expansion size for list@box.example -- ",
        ),
        (
            "virtual_alias_recursion_limit = 1",
            "a@alias.example",
            "unreasonable virtual_alias_maps map nesting for a@alias.example -- ",
        ),
        (
            "virtual_alias_address_length_limit = 5",
            "a@alias.example",
            "unreasonable virtual_alias_maps result joe@o.example... -- ",
        ),
    ] {
        assert_eq!(with(setting).expand(address).unwrap_err(), format!("{problem}{later}"));
    }
    let missing = policy("virtual_alias_maps = hash:/nonexistent/x");
    let problem = "virtual_alias_maps map lookup problem for a@o.example -- ";
    assert_eq!(missing.expand("a@o.example").unwrap_err(), format!("{problem}{later}"));
    assert!(lines(missing.tables.take_notes())[0].starts_with("error: open database /nonexistent/x.db"));
}

#[test]
fn status_codes() {
    for (text, expected) in [
        ("5.7.1 x y", Some(("5.7.1", "x y"))),
        ("4.123.999\tx", Some(("4.123.999", "x"))),
        ("3.1.1 x", None),
        ("5.1 x", None),
        ("5.1.1.1 x", None),
        ("5.1234.1 x", None),
        ("5.1.1", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(split_status(text), expected, "{text}");
    }
}
