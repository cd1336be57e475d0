//! The program itself, as the master starts it, with the name service played by the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_config::diagnostic::Diagnostics;
use ipc_config::postfix::main_cf::MainCf;
use ipc_config::postfix::system::ThisHost;
use ipc_config::section::Section;
use ipc_messages::lookup::{Class, FromLookup, FromNameService, Known, Route, ToLookup, ToNameService};
use worker::testing::{Asker, Started, jail};
use worker::{Hub, Peer};

/// A running lookup service over the tables of a folder.
struct Fixture {
    folder: tempfile::TempDir,
    _root: tempfile::TempDir,
    service: Started,
}

impl Fixture {
    /// `DIR` in the configuration stands for the folder of the tables.
    fn new(main_cf: &str, tables: &[(&str, &str)]) -> Fixture {
        let (folder, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open_for_all(folder.path());
        for (name, text) in tables {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let text = format!(
            "compatibility_level = 3.6\nmyhostname = mx.example.org\nmydomain = example.org\ninet_interfaces = 127.0.0.1\n\
             alias_maps =\n{}\n",
            main_cf.replace("DIR", folder.path().to_str().unwrap())
        );
        let mut found = Diagnostics::new();
        let main = MainCf::parse(&text, "main.cf", Arc::new(ThisHost), &mut found);
        let section = Section::of_main_cf(&main, "trivial-rewrite", &mut found);
        let folders = [PathBuf::from(folder.path())];
        let service = Started::new(env!("CARGO_BIN_EXE_trivial-rewrite"), &section, &folders, jail(root.path()));
        Fixture { folder, _root: root, service }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
}

/// The service runs under an account of its own.
fn open_for_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn check(asker: &mut Asker, corr: u32, address: &str) {
    asker.send(&ToLookup::Check { corr, sender: String::new(), address: address.into() });
}

fn checked(asker: &mut Asker) -> (u32, Result<(Route, Known), String>) {
    match asker.receive() {
        Some(FromLookup::Checked { corr, answer }) => (corr, answer),
        other => panic!("{other:?}"),
    }
}

fn known(asker: &mut Asker, address: &str) -> Known {
    check(asker, 1, address);
    checked(asker).1.unwrap().1
}

#[test]
fn a_table_beneath_its_folder_and_its_change() {
    let main_cf = "virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = texthash:DIR/boxes\n\
                   virtual_transport = lmtp:unix:private/dovecot-lmtp\n";
    let fixture = Fixture::new(main_cf, &[("boxes", "joe@v.example x\n")]);
    let mut asker = fixture.service.client();
    check(&mut asker, 5, "joe@v.example");
    let route = Route {
        recipient: "joe@v.example".into(),
        class: Class::VirtualMailbox,
        transport: "lmtp".into(),
        nexthop: "unix:private/dovecot-lmtp".into(),
        routed: false,
        malformed: false,
    };
    assert_eq!(checked(&mut asker), (5, Ok((route, Known::Yes))));
    assert_eq!(known(&mut asker, "ann@v.example"), Known::No("User unknown in virtual mailbox table".into()));
    fixture.write("boxes", "joe@v.example x\nann@v.example x\n");
    let begin = Instant::now();
    while known(&mut asker, "ann@v.example") != Known::Yes {
        assert!(begin.elapsed() < Duration::from_secs(5), "the change is not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fixture.service.log_lines(), Vec::<String>::new());
}

#[test]
fn a_missing_table_is_a_temporary_failure_until_it_is_there() {
    let main_cf = "virtual_mailbox_domains = v.example\nvirtual_mailbox_maps = texthash:DIR/boxes";
    let fixture = Fixture::new(main_cf, &[]);
    let mut asker = fixture.service.client();
    check(&mut asker, 1, "joe@v.example");
    let error = checked(&mut asker).1.unwrap_err();
    assert!(error.ends_with("boxes: No such file or directory"), "{error}");
    let lines = fixture.service.log_lines();
    assert!(lines[0].starts_with("Error: open database ") && lines[1].starts_with("Warning: texthash:"), "{lines:?}");
    fixture.write("boxes", "joe@v.example x\n");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(known(&mut asker, "joe@v.example"), Known::Yes);
}

#[test]
fn questions_wait_for_the_name_service_without_holding_up_others() {
    let fixture = Fixture::new("mydestination = l.example", &[]);
    let mut asker = fixture.service.client();
    check(&mut asker, 1, "joe@l.example");
    check(&mut asker, 2, "any@o.example");
    assert_eq!(checked(&mut asker).0, 2, "it needs no name");
    // A name service that dies before it has answered, and the one that takes its place.
    drop(fixture.service.channel(Peer::Hub(Hub::NameService)));
    let mut names = fixture.service.channel(Peer::Hub(Hub::NameService));
    let mut asked = Vec::new();
    loop {
        let Some(ToNameService::User { corr, name }) = names.receive() else { panic!("no question") };
        let line = (name == "joe").then(|| "joe:x:1000:1000::/home/joe:/bin/sh".to_owned());
        names.send(&FromNameService::Entry { corr, line: Ok(line.clone()) });
        asked.push(name);
        if line.is_some() {
            break;
        }
    }
    assert_eq!(asked, ["joe@l.example", "joe"]);
    let (corr, answer) = checked(&mut asker);
    assert_eq!((corr, answer.unwrap().1), (1, Known::Yes));
    assert_eq!(known(&mut asker, "joe@l.example"), Known::Yes, "it is not asked for again");
}

#[test]
fn an_asker_that_is_gone_and_nonsense_harm_nobody() {
    let fixture = Fixture::new("mydestination = l.example", &[]);
    let mut gone = fixture.service.client();
    check(&mut gone, 1, "joe@l.example");
    drop(gone);
    let mut broken = fixture.service.client();
    broken.send_raw(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!(broken.receive::<FromLookup>(), None);
    assert_eq!(known(&mut fixture.service.client(), "postmaster@l.example"), Known::Yes);
}

#[test]
fn too_many_questions_that_wait_are_temporary_failures() {
    let fixture = Fixture::new("mydestination = l.example", &[]);
    let mut asker = fixture.service.client();
    for corr in 0..=4096 {
        check(&mut asker, corr, &format!("u{corr}@l.example"));
    }
    let refused = (4096, Err("too many questions wait for the name service".into()));
    assert_eq!(checked(&mut asker), refused);
}

#[test]
fn every_kind_of_question() {
    let fixture = Fixture::new("virtual_alias_maps = inline:{a@v.example=b@o.example}", &[]);
    let mut asker = fixture.service.client();
    asker.send(&ToLookup::Expand { corr: 1, address: "a@v.example".into() });
    let recipients = Ok(vec!["b@o.example".to_owned()]);
    assert_eq!(asker.receive(), Some(FromLookup::Expanded { corr: 1, recipients, more: false }));
    asker.send(&ToLookup::Rewrite { corr: 2, address: "joe".into(), local: true });
    assert_eq!(asker.receive(), Some(FromLookup::Rewritten { corr: 2, address: "joe@mx.example.org".into() }));
    asker.send(&ToLookup::Table { corr: 3, table: "texthash:/etc/passwd".into(), key: "root".into() });
    let value = Err("the configuration names no table texthash:/etc/passwd".to_owned());
    assert_eq!(asker.receive(), Some(FromLookup::Value { corr: 3, value }));
    asker.send(&ToLookup::Resolve { corr: 4, sender: String::new(), address: "x@o.example".into() });
    let Some(FromLookup::Resolved { corr: 4, route: Ok(route) }) = asker.receive() else { panic!("no route") };
    assert_eq!((route.transport.as_str(), route.nexthop.as_str()), ("smtp", "o.example"));
}
