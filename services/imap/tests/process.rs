//! The template and its children as processes, in the jail as far as the one who runs the test can make it.

#[allow(dead_code, reason = "each test file uses its part")]
mod support;

use std::fs;
use std::time::{Duration, Instant};

use ipc_messages::control::ToWorker;
use support::{World, deliver, section, wait};

#[test]
fn a_login_becomes_a_process_that_serves_one_client() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = world.log_in("info");
    let pid = client.pid().unwrap();
    assert_ne!(pid, world.pid.as_raw() as u32);
    let tag = format!("dovecot: imap(info)<{pid}><s1>: ");
    let debug = world.log_line("Effective uid=");
    let home = world.homes().join("info");
    assert!(debug.starts_with(&format!("{tag}Debug: Effective uid=")), "{debug}");
    assert!(debug.ends_with(&format!(", home={}", home.display())), "{debug}");
    assert!(home.join("Maildir").is_dir(), "the mail root is made");

    let list = client.command("b", "LIST \"\" *");
    assert!(list.contains("* LIST (\\HasNoChildren) \".\" INBOX\r\n"), "{list}");
    assert!(list.contains("* LIST (\\HasNoChildren \\Trash) \".\" Trash\r\n"), "{list}");
    assert!(client.command("c", "SELECT Trash").contains("[READ-WRITE]"), "made when it is used");
    client.send("d LOGOUT");
    assert!(client.rest().contains("d OK Logout completed"));
    let line = world.log_line("Disconnected: ");
    assert!(line.starts_with(&format!("{tag}Disconnected: Logged out in=")), "{line}");
    assert!(line.ends_with(" expunged=0"), "{line}");
}

#[test]
fn what_a_child_holds() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut other = world.log_in("other");
    let mut client = world.log_in("info");
    let pid = client.pid().unwrap();
    client.command("b", "SELECT INBOX");
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let Ok(target) = fs::read_link(entry.unwrap().path()) else { continue };
        held.push(target.to_string_lossy().into_owned());
    }
    let homes = world.homes().to_string_lossy().into_owned();
    assert!(held.contains(&format!("{homes}/info/Maildir")), "{held:?}");
    assert!(!held.contains(&homes), "the folder of all homes is closed: {held:?}");
    assert!(held.iter().all(|target| !target.contains("/other")), "{held:?}");
    // The client, the log and the lifeline, beside 0 to 2.
    assert_eq!(held.iter().filter(|target| target.starts_with("socket:")).count(), 3, "{held:?}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((field("Seccomp:").as_str(), field("Seccomp_filters:").as_str()), ("2", "2"));
    assert_eq!((field("NoNewPrivs:").as_str(), field("Threads:").as_str()), ("1", "1"));
    assert!(other.command("b", "NOOP").contains("b OK"));
}

#[test]
fn new_mail_reaches_a_client_that_idles_within_ten_milliseconds() {
    for (location, separator) in [("maildir:~/Maildir", "Maildir"), ("sdbox:~/dbox", "dbox")] {
        let mut world = World::new(&section(location));
        let (mut client, mut sender) = (world.log_in("info"), world.log_in("info"));
        client.command("b", "SELECT INBOX");
        let mut best = Duration::MAX;
        for n in 1..=5 {
            client.send("c IDLE");
            client.until("+ idling");
            let start = Instant::now();
            if separator == "Maildir" {
                deliver(&world.homes().join("info/Maildir"), &format!("{n}.x"), "Subject: x\n\nbody\n");
            } else {
                sender.command("d", "APPEND INBOX {3+}\r\n\r\nx");
            }
            let news = client.until(&format!("* {n} EXISTS"));
            best = best.min(start.elapsed());
            client.send("DONE");
            if !news.contains("c OK") {
                client.until("c OK");
            }
        }
        // The fastest of several: the machine may be busy.
        assert!(best < Duration::from_millis(10), "{location}: {best:?}");
    }
}

#[test]
fn clients_that_do_not_get_in() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut nobody = world.hand_over(None);
    assert_eq!((nobody.pid(), nobody.rest().as_str()), (None, ""));
    world.log_line("the ticket is not good");
    let mut foreign = world.user("info");
    foreign.uid = foreign.uid.map(|uid| uid + 1);
    let mut foreign = world.hand_over(Some(foreign));
    assert_eq!((foreign.pid(), foreign.rest().as_str()), (None, ""));
    world.log_line("user info is not of this account");
    assert!(world.log_in("info").command("b", "NOOP").contains("b OK"));
}

#[test]
fn mail_that_cannot_be_reached() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut homeless = world.user("info");
    homeless.home = None;
    let mut client = world.hand_over(Some(homeless));
    let said = client.rest();
    assert!(said.starts_with("a OK [CAPABILITY "), "{said}");
    assert!(
        said.ends_with("Logged in\r\n* BYE Internal error occurred. Refer to server log for more information.\r\n"),
        "{said}"
    );
    let line = world.log_line("Error: ");
    let why = "Namespace '': Home directory not set for user. Can't expand ~/ for mail root dir in: ~/Maildir";
    assert!(line.ends_with(&format!("<s1>: Error: {why}")), "{line}");
    let line = world.log_line("Disconnected: ");
    assert!(line.contains(&format!("Disconnected: {why} in=0 out=")), "{line}");
    let mut outside = world.user("info");
    outside.mail = Some("maildir:/nowhere/else".into());
    world.hand_over(Some(outside)).rest();
    world.log_line("/nowhere/else is outside of the folders that this process may reach");
}

#[test]
fn sessions_outlive_a_drain_and_not_their_template() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = world.log_in("info");
    world.order(&ToWorker::Drain);
    assert!(client.command("b", "SELECT INBOX").contains("b OK"));
    client.send("c LOGOUT");
    client.rest();
    world.ended();

    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = world.log_in("info");
    let child = client.pid().unwrap();
    nix::sys::signal::kill(world.pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(client.rest(), "* BYE Server shutting down.\r\n");
    world.log_line("Disconnected: Server shutting down in=");
    wait(|| (!fs::exists(format!("/proc/{child}/fd/0")).unwrap_or(false)).then_some(()));
}
