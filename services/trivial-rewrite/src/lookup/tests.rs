use super::*;
use crate::names::Database;
use crate::testing::{lines, lookup, section};
use ipc_messages::lookup::Class;

fn check(address: &str) -> ToLookup {
    ToLookup::Check { corr: 7, sender: String::new(), address: address.into() }
}

fn user(name: &str) -> Name {
    (Database::User, name.to_owned())
}

fn known(answers: &[FromLookup]) -> &Known {
    match answers {
        [FromLookup::Checked { corr: 7, answer: Ok((route, known)) }] if route.class == Class::Local => known,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_waits_for_each_name_in_turn() {
    let mut lookup = lookup(
        "mydestination = both.example\nvirtual_mailbox_domains = both.example\nrecipient_delimiter = +\n\
         local_recipient_maps = proxy:unix:passwd.byname $alias_maps",
    );
    let question = check("Joe+x@both.example");
    for name in ["joe+x@both.example", "joe@both.example", "joe+x"] {
        assert_eq!(lookup.ask(&question), Err(user(name)));
        assert_eq!(lookup.take_notes(), [], "it will be said when the question is answered");
        lookup.name(user(name), Ok(None));
    }
    assert_eq!(lookup.ask(&question), Err(user("joe")));
    lookup.name(user("joe"), Ok(Some("joe:x:1000:1000::/home/joe:/bin/sh".into())));
    assert_eq!(known(&lookup.ask(&question).unwrap()), &Known::Yes);
    assert_eq!(lines(lookup.take_notes()).len(), 1, "two lists have the domain");
    lookup.end_of_turn();
    assert_eq!(known(&lookup.ask(&check("joe@both.example")).unwrap()), &Known::Yes, "the name is known already");
    assert_eq!(known(&lookup.ask(&check("postmaster@both.example")).unwrap()), &Known::Yes);
}

#[test]
fn no_answer_of_the_name_service_is_a_failure_and_not_unknown() {
    let mut lookup = lookup("mydestination = l.example");
    let name = || user("joe@l.example");
    assert_eq!(lookup.ask(&check("joe@l.example")), Err(name()));
    lookup.name(name(), Err("it is down".into()));
    let answers = lookup.ask(&check("joe@l.example")).unwrap();
    assert!(matches!(&answers[..], [FromLookup::Checked { answer: Err(_), .. }]), "{answers:?}");
    assert_eq!(
        lines(lookup.take_notes()),
        ["warning: unix:passwd.byname: it is down", "warning: unix:passwd.byname lookup error for \"joe@l.example\""]
    );
}

#[test]
fn answers_last_for_one_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map");
    std::fs::write(&path, "a@v.example b@v.example\n").unwrap();
    let mut lookup = lookup(&format!("virtual_alias_maps = texthash:{}", path.display()));
    let mut expand = |turn: bool| {
        if turn {
            lookup.end_of_turn();
        }
        match lookup.ask(&ToLookup::Expand { corr: 1, address: "a@v.example".into() }).unwrap().remove(0) {
            FromLookup::Expanded { recipients: Ok(recipients), .. } => recipients,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expand(false), ["b@v.example"]);
    std::fs::write(&path, "a@v.example longer@v.example\n").unwrap();
    assert_eq!(expand(false), ["b@v.example"]);
    assert_eq!(expand(true), ["longer@v.example"]);
}

#[test]
fn rewriting_has_two_contexts() {
    let mut lookup = lookup("append_dot_mydomain = yes\nremote_header_rewrite_domain = domain.invalid");
    let mut rewrite = |local| {
        let question = ToLookup::Rewrite { corr: 1, address: "\"a b\"@host".into(), local };
        match lookup.ask(&question).unwrap().remove(0) {
            FromLookup::Rewritten { address, .. } => address,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (rewrite(true), rewrite(false)),
        ("\"a b\"@host.example.org".into(), "\"a b\"@host.domain.invalid".into())
    );
}

#[test]
fn only_tables_of_the_configuration() {
    let mut section = section("");
    section.transport.insert("tables", "inline:{a=b} inet:127.0.0.1:1 unix:group.byname");
    let mut lookup = Lookup::new(&section, Host::default(), Arc::new(store_tables::SystemFiles), Instant::now());
    let mut find = |table: &str, key: &str| {
        let question = ToLookup::Table { corr: 3, table: table.into(), key: key.into() };
        lookup.ask(&question).map(|mut answers| match answers.remove(0) {
            FromLookup::Value { corr: 3, value } => value,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(find("inline:{a=b}", "A"), Ok(Ok(Some("b".into()))));
    assert_eq!(find("inline:{a=b}", "b"), Ok(Ok(None)));
    assert_eq!(find("unix:group.byname", "mail"), Err((Database::Group, "mail".into())));
    let secret = "texthash:/etc/shadow";
    assert_eq!(find(secret, "root"), Ok(Err(format!("the configuration names no table {secret}"))));
    assert!(find("inet:127.0.0.1:1", "x").unwrap().is_err());
}

#[test]
fn a_long_expansion_comes_in_pieces() {
    let recipients: Vec<String> = (0..PIECE / 50).map(|n| format!("{n:0>100}")).collect();
    let answers = Answer::Expanded(Ok(recipients.clone())).with(5);
    assert!(answers.len() > 1);
    let mut seen = Vec::new();
    for (at, answer) in answers.iter().enumerate() {
        let FromLookup::Expanded { corr: 5, recipients: Ok(piece), more } = answer else { panic!("{answer:?}") };
        assert!(piece.iter().map(String::len).sum::<usize>() <= PIECE);
        assert_eq!(*more, at + 1 < answers.len());
        seen.extend_from_slice(piece);
    }
    assert_eq!(seen, recipients);
    assert_eq!(pieces(vec![]), [Vec::<String>::new()]);
    assert_eq!(pieces(vec!["x".repeat(PIECE + 1), "y".into()]).len(), 2);
}

#[test]
fn a_reload_changes_the_answers() {
    let mut lookup = lookup("mydestination =");
    let class = |lookup: &mut Lookup| {
        let question = ToLookup::Resolve { corr: 1, sender: String::new(), address: "a@x.example".into() };
        match lookup.ask(&question).unwrap().remove(0) {
            FromLookup::Resolved { route, .. } => route.unwrap().class,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(class(&mut lookup), Class::Default);
    lookup.reload(&section("virtual_mailbox_domains = x.example"));
    assert_eq!(class(&mut lookup), Class::VirtualMailbox);
}
