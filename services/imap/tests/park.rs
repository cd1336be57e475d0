//! Sessions that are parked: the process ends, the client notices nothing.

#[allow(dead_code, reason = "each test file uses its part")]
mod support;

use std::fs;
use std::time::Duration;

use ipc_messages::control::ToWorker;
use support::{Client, World, deliver, section};

/// A client whose session is parked, in IDLE if `idle`.
fn parked(world: &mut World, idle: bool) -> Client {
    let mut client = world.log_in("info");
    client.command("b", "SELECT INBOX");
    if idle {
        client.send("c IDLE");
        client.until("+ idling");
    }
    world.parked();
    client
}

#[test]
fn a_client_that_speaks_has_its_session_again() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = parked(&mut world, false);
    assert_eq!(world.children(), []);
    deliver(&world.homes().join("info/Maildir"), "1.x", "Subject: x\n\nbody\n");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.children(), [], "without IDLE nobody waits for news");
    let news = client.command("d", "NOOP");
    assert!(news.starts_with("* 1 EXISTS\r\n* 1 RECENT\r\nd OK NOOP completed"), "{news}");
    assert!(client.command("e", "FETCH 1 BODY[TEXT]").contains("body"));
    let pid = world.children()[0];
    client.send("f LOGOUT");
    client.rest();
    let line = world.log_line("Disconnected: ");
    assert!(
        line.starts_with(&format!("dovecot: imap(info)<{pid}><s1>: Disconnected: Logged out in=65 out=")),
        "{line}"
    );
}

#[test]
fn new_mail_wakes_a_client_that_idles() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = parked(&mut world, true);
    for n in 1..=3 {
        assert_eq!(world.children(), []);
        deliver(&world.homes().join("info/Maildir"), &format!("{n}.x"), "Subject: x\n\nbody\n");
        client.until(&format!("* {n} EXISTS"));
        world.parked();
    }
    client.send("DONE");
    client.until("c OK Idle completed");
    // One that leaves without a word is logged as if it had had its process all the time.
    world.parked();
    drop(client);
    let line = world.log_line("Disconnected: ");
    assert!(line.contains("Disconnected: Connection closed (IDLE finished "), "{line}");
}

#[test]
fn a_parked_client_is_reminded_and_ends_in_time() {
    let mut section = section("maildir:~/Maildir");
    section.mailbox.insert("imap_idle_notify_interval", "3");
    let mut world = World::new(&section);
    let mut client = parked(&mut world, true);
    for _ in 0..2 {
        assert_eq!(client.until("* OK Still here"), "* OK Still here\r\n");
        assert_eq!(world.children(), [], "a reminder needs no process");
    }
    client.send("DONE");
    client.until("c OK Idle completed");
    client.send("d LOGOUT");
    let rest = client.rest();
    let line = world.log_line("Disconnected: ");
    let sent = "a OK [CAPABILITY ".len() + rest.len();
    let out: usize = line.split("out=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(out > sent + 34, "the reminders are counted: {line}");
}

#[test]
fn a_mailbox_that_is_gone_is_not_made_again() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    for idle in [false, true] {
        let mut client = parked(&mut world, idle);
        fs::remove_dir_all(world.homes().join("info")).unwrap();
        if !idle {
            client.send("d NOOP");
        }
        assert_eq!(client.rest(), "* BYE IMAP session state is inconsistent, please relogin.\r\n");
        assert!(!world.homes().join("info").exists());
        world.log_line("Failed to resume the parked session: ");
    }
}

#[test]
fn parked_sessions_outlive_a_drain_and_not_their_template() {
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = parked(&mut world, true);
    world.order(&ToWorker::Drain);
    std::thread::sleep(Duration::from_millis(100));
    deliver(&world.homes().join("info/Maildir"), "1.x", "Subject: x\n\nbody\n");
    client.until("* 1 EXISTS");
    client.send("DONE\r\nd LOGOUT");
    client.rest();
    world.ended();

    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut client = parked(&mut world, true);
    nix::sys::signal::kill(world.pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(client.rest(), "");
}

#[test]
fn many_clients_of_one_mailbox() {
    const CLIENTS: usize = 200;
    let mut world = World::new(&section("maildir:~/Maildir"));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| parking(&mut world)).collect();
    world.parked();
    deliver(&world.homes().join("info/Maildir"), "1.x", "Subject: x\n\nbody\n");
    for client in &mut clients {
        client.until("* 1 EXISTS");
    }
    world.parked();
    for mut client in clients {
        client.send("DONE\r\nd LOGOUT");
        assert!(client.rest().contains("c OK Idle completed"));
    }
}

/// A client that idles, and will be parked.
fn parking(world: &mut World) -> Client {
    let mut client = world.log_in("info");
    client.command("b", "SELECT INBOX");
    client.send("c IDLE");
    client.until("+ idling");
    client
}
