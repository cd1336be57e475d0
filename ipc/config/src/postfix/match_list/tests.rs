//! Lists as Postfix evaluates them.

use std::sync::Arc;

use super::*;
use crate::diagnostic::Diagnostics;
use crate::postfix::main_cf::MainCf;
use crate::postfix::system::fake::FakeHost;

fn main(text: &str) -> MainCf {
    let files = vec![
        ("/etc/domains", "# comment\nexample.org, Example.NET\n  !a.example.com\n"),
        ("/etc/self", "one /etc/self\n"),
        ("/etc/bad", "10.0.0.0/8 # ten\n"),
    ];
    MainCf::parse(text, "main.cf", Arc::new(FakeHost { files, ..FakeHost::default() }), &mut Diagnostics::new())
}

fn said(found: &Diagnostics) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

fn strings(list: &str) -> MatchList {
    let mut found = Diagnostics::new();
    let list =
        MatchList::strings(&mut main(&format!("mydestination = {list}\n")).settings(&mut found), "mydestination");
    assert!(found.is_empty(), "{found:?}");
    list
}

fn networks(list: &str) -> (NetworkList, Vec<String>) {
    let mut found = Diagnostics::new();
    let main = main(&format!("mynetworks = {list}\n"));
    let list = NetworkList::from_settings(&mut main.settings(&mut found), "mynetworks");
    (list, said(&found))
}

fn no_table(query: Query<'_>) -> Result<bool, String> {
    panic!("asked {query:?}")
}

#[test]
fn strings_match_as_a_whole_and_the_first_match_decides() {
    for (list, name, expected) in [
        ("$myhostname, localhost", "VM.localdomain", true),
        ("$myhostname, localhost", "a.vm.localdomain", false),
        (".example.org", "a.example.org", false),
        ("!a b a", "a", false),
        ("b !a", "c", false),
        ("!!a", "a", true),
        ("/etc/domains", "example.net", true),
        ("!/etc/domains a.example.com", "example.net", false),
        ("!/etc/domains", "a.example.com", true),
        ("", "a", false),
    ] {
        assert_eq!(strings(list).matches(name, no_table), Ok(expected), "{list}: {name}");
    }
}

#[test]
fn domains_match_below_as_the_style_says() {
    let matches = |text: &str, name: &str| {
        let mut found = Diagnostics::new();
        let list = MatchList::domains(&mut main(text).settings(&mut found), "relay_domains");
        list.matches(name, no_table)
    };
    let parents = "relay_domains = example.org\n";
    let dotted = "relay_domains = example.org, .example.net\nparent_domain_matches_subdomains =\n";
    for (text, name, expected) in [
        (parents, "example.org", true),
        (parents, "a.example.org", true),
        (parents, "notexample.org", false),
        (parents, ".example.org", false),
        (dotted, "a.example.org", false),
        (dotted, "a.b.example.net", true),
        (dotted, "example.net", false),
        (dotted, ".example.net", true),
    ] {
        assert_eq!(matches(text, name), Ok(expected), "{name}");
    }
}

#[test]
fn tables_are_asked_by_whoever_evaluates() {
    let list = strings("hash:/etc/d, !inline:{ a=b, c=d } z");
    assert_eq!(list.tables().collect::<Vec<_>>(), ["hash:/etc/d", "inline:{ a=b, c=d }"]);
    let mut asked = Vec::new();
    let mut lookup = |query: Query<'_>| {
        asked.push(format!("{} {}", query.table, query.key));
        Ok::<_, ()>(query.table.starts_with("inline"))
    };
    assert_eq!(list.matches("Z", &mut lookup), Ok(false));
    assert_eq!(asked, ["hash:/etc/d z", "inline:{ a=b, c=d } z"]);
    assert_eq!(list.matches("z", |_| Err("down")), Err(Failure::Lookup("down")));
}

#[test]
fn domains_are_looked_up_with_their_parents() {
    let keys = |text: &str| {
        let mut found = Diagnostics::new();
        let list = MatchList::domains(&mut main(text).settings(&mut found), "relay_domains");
        let mut keys = Vec::new();
        let result = list.matches("a.b.org", |query| {
            keys.push(format!("{}{}", query.key, if query.partial { "*" } else { "" }));
            Ok::<_, ()>(false)
        });
        assert_eq!(result, Ok(false));
        keys.join(" ")
    };
    assert_eq!(keys("relay_domains = hash:x\n"), "a.b.org b.org* org*");
    assert_eq!(keys("relay_domains = hash:x\nparent_domain_matches_subdomains =\n"), "a.b.org .b.org* .org*");
}

#[test]
fn clients_match_by_address_and_by_name() {
    let (list, said) = networks("!192.0.2.7 192.0.2.0/24, [::1]/128 [2001:db8::]/32 10.1.2.3 mx.example.org");
    assert!(said.is_empty(), "{said:?}");
    for (address, expected) in [
        ("192.0.2.1", true),
        ("192.0.2.7", false),
        ("192.0.3.1", false),
        ("::ffff:192.0.2.9", true),
        ("::1", true),
        ("::2", false),
        ("2001:db8:1::5", true),
        ("2001:db9::", false),
        ("10.1.2.3", true),
        ("10.1.2.4", false),
    ] {
        assert_eq!(list.contains(address.parse().unwrap()), expected, "{address}");
    }
    let foreign: IpAddr = "203.0.113.1".parse().unwrap();
    assert_eq!(list.matches(Some("MX.example.org"), foreign, no_table), Ok(true));
    assert_eq!(list.matches(Some("a.mx.example.org"), foreign, no_table), Ok(true));
    assert_eq!(list.matches(Some("example.org"), foreign, no_table), Ok(false));
    assert_eq!(list.matches(None, foreign, no_table), Ok(false));
}

#[test]
fn a_list_that_cannot_be_evaluated_holds_nothing_from_there_on() {
    let (list, said) = networks("127.0.0.1 192.0.2.1/24 10.0.0.0/8");
    assert_eq!(
        said,
        ["main.cf:1:14: mynetworks: non-null host address bits in \"192.0.2.1/24\", perhaps you should \
        use \"192.0.2.0/24\" instead: until then, clients that get as far as this are deferred"]
    );
    assert!(list.contains("127.0.0.1".parse().unwrap()));
    assert!(!list.contains("10.0.0.1".parse().unwrap()));
    assert!(matches!(list.matches(None, "10.0.0.1".parse().unwrap(), no_table), Err(Failure::Item(_))));

    let (list, _) = networks("!cidr:/etc/deny 10.0.0.0/8");
    assert!(!list.contains("10.0.0.1".parse().unwrap()));
    let mut keys = Vec::new();
    let result = list.matches(Some("a.b"), "10.0.0.1".parse().unwrap(), |query| {
        keys.push(query.key.to_owned());
        Ok::<_, ()>(false)
    });
    assert_eq!((result, keys.join(" ")), (Ok(true), "a.b b 10.0.0.1".to_owned()));
}

#[test]
fn what_is_wrong_with_a_list_is_reported() {
    assert_eq!(networks("! 10.0.0.0/8").1, ["main.cf:1:14: mynetworks: no pattern after '!': remove the '!'"]);
    assert_eq!(
        networks("2001:db8::/32").1,
        ["main.cf:1:14: mynetworks: unsupported dictionary type in \"2001:db8::/32\": write [2001:db8::]/32"]
    );
    assert!(networks("/none").1[0].starts_with("main.cf:1:14: mynetworks: open file /none: "));
    assert_eq!(
        networks("/etc/bad").1,
        ["main.cf:1:14: mynetworks: comment at end of line is not supported: #: \
        put the comment on a line of its own"]
    );
    let (list, said) = networks("/etc/self");
    assert_eq!(list.items.len(), MAX_FILE_DEPTH);
    assert_eq!(
        said,
        ["main.cf:1:14: mynetworks: files are nested more than 16 deep: /etc/self: \
        a file must not name itself"]
    );
}
