//! The program itself, as the master starts it.

use std::path::{Path, PathBuf};

use ipc_config::section::Section;
use ipc_messages::lookup::{FromNameService, ToNameService};
use worker::testing::{Asker, Started, jail};

fn start() -> Started {
    let jail = ipc_jail::Jail { local_sockets: true, ..jail(Path::new("/")) };
    Started::new(env!("CARGO_BIN_EXE_nss"), &Section::default(), &[PathBuf::from("/etc")], jail)
}

fn answer(asker: &mut Asker, question: &ToNameService) -> Result<Option<String>, String> {
    asker.send(question);
    match asker.receive() {
        Some(FromNameService::Entry { corr: 9, line }) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn accounts_from_inside_the_jail() {
    let nss = start();
    let mut asker = nss.client();
    let user = |name: &str| ToNameService::User { corr: 9, name: name.into() };
    let root = answer(&mut asker, &user("root")).unwrap().unwrap();
    assert!(root.starts_with("root:x:0:0:"), "{root}");
    assert_eq!(answer(&mut asker, &user("nobody-has-this-name")), Ok(None));
    assert_eq!(answer(&mut asker, &user(&"x".repeat(60_000))), Ok(None));
    let group = answer(&mut asker, &ToNameService::Group { corr: 9, name: "mail".into() }).unwrap().unwrap();
    assert!(group.starts_with("mail:x:"), "{group}");
    assert_eq!(nss.log_lines(), Vec::<String>::new());
}

#[test]
fn a_burst_is_answered_whole() {
    let nss = start();
    let mut asker = nss.client();
    let mut missing: std::collections::BTreeSet<u32> = (0..2_000).collect();
    for &corr in &missing.clone() {
        asker.send(&ToNameService::User { corr, name: "root".into() });
    }
    while !missing.is_empty() {
        let Some(FromNameService::Entry { corr, .. }) = asker.receive() else { panic!("{missing:?}") };
        assert!(missing.remove(&corr));
    }
}

#[test]
fn nonsense_ends_the_channel_and_not_the_process() {
    let nss = start();
    let mut asker = nss.client();
    asker.send_raw(&[2, 0, 0, 0, 0, 0, 0, 0, 99, 99]);
    assert_eq!(asker.receive::<FromNameService>(), None);
    let question = ToNameService::User { corr: 9, name: "root".into() };
    assert!(answer(&mut nss.client(), &question).unwrap().is_some());
    assert!(nss.log_lines()[0].contains("the channel is closed"));
}

#[test]
fn the_jail_is_on() {
    let nss = start();
    let status = nss.proc("status");
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(line("Seccomp:"), Some("2"));
    assert_eq!(line("NoNewPrivs:"), Some("1"));
    assert_eq!(line("CapEff:"), Some("0000000000000000"));
}
