//! The supervisor with processes that do nothing: copies of sleep(1), whose service names are the seconds that they live.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ipc_messages::control::{FromWorker, Hub};
use ipc_messages::log::{Half as LogHalf, Identity};
use ipc_wire::packet;
use mio::Poll;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::Supervisor;
use crate::links::FIRST_PAUSE;
use crate::policy::{self, Pid, Rules};
use crate::process::Base;
use crate::program;
use crate::table::{Account, AccountRules, Half, Spec, Table};

/// The children of this process are everybody's: one test at a time may wait for them.
static CHILDREN: Mutex<()> = Mutex::new(());

struct World {
    supervisor: Supervisor,
    folder: PathBuf,
    _poll: Poll,
    _log: OwnedFd,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    /// These programs run, each in one process.
    fn new(programs: &[&'static str]) -> World {
        let alone = CHILDREN.lock().unwrap_or_else(|failed| failed.into_inner());
        let folder = std::env::temp_dir().join(format!("posthorn-supervisor-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for program in programs {
            std::fs::copy("/bin/sleep", folder.join(program)).unwrap();
        }
        let poll = Poll::new().unwrap();
        let (log, log_inbox) = packet::pair().unwrap();
        let identity = Identity { half: LogHalf::Transport, tag: "test".into() };
        let sender = ipc_log::Sender::new(log.try_clone().unwrap(), identity);
        let base = Base { spool: folder.clone(), log, without_landlock: true };
        let registry = poll.registry().try_clone().unwrap();
        let kept = log_inbox.try_clone().unwrap();
        let mut supervisor = Supervisor::new(registry, sender, base, log_inbox, folder.clone());
        let services = programs.iter().map(|name| spec(name)).collect();
        let accounts = AccountRules { first_uid: 500, last_uid: 0, first_gid: 1, last_gid: 0 };
        supervisor.apply(Table { services, acting: Default::default(), accounts }).unwrap();
        World { supervisor, folder, _poll: poll, _log: kept, _alone: alone }
    }

    fn pid(&self, program: &str) -> Pid {
        let mut rows = self.supervisor.rows().filter(|(spec, ..)| spec.program.name == program);
        let pids = rows.next().map(|(_, pids, _)| pids).unwrap_or_default();
        assert_eq!(pids.len(), 1, "processes of {program}");
        pids[0]
    }

    /// Kills a process and lets the supervisor see it.
    fn kill(&mut self, pid: Pid) {
        let pid = nix::unistd::Pid::from_raw(pid);
        kill(pid, Signal::SIGKILL).unwrap();
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        self.supervisor.reap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor.ending = true;
        for pid in self.supervisor.processes.keys().copied().map(nix::unistd::Pid::from_raw) {
            kill(pid, Signal::SIGKILL).unwrap();
            nix::sys::wait::waitpid(pid, None).unwrap();
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn spec(program: &'static str) -> Spec {
    Spec {
        key: program.into(),
        half: Half::Transport,
        program: program::find(program).unwrap(),
        name: "600".into(),
        identity: Identity { half: LogHalf::Transport, tag: program.into() },
        listeners: Vec::new(),
        rules: Rules {
            limit: 1,
            prefork: u32::from(program == "smtpd"),
            wakeup: None,
            longest_pause: policy::LONGEST_PAUSE,
            sheds: false,
        },
        client_limit: 1,
        messages: 0,
        passed_on: 0,
        full: String::new(),
        max_use: 0,
        max_idle: 0,
        section: Vec::new(),
        folders: Vec::new(),
        account: Account { uid: 1, gid: 1, groups: Vec::new() },
        foreign: Vec::new(),
        max_memory: None,
    }
}

#[test]
fn a_channel_that_one_side_gives_up_is_made_anew_after_a_pause() {
    let mut world = World::new(&["anvil", "smtpd"]);
    let (asker, hub) = (world.pid("smtpd"), world.pid("anvil"));
    let leads = |world: &World| world.supervisor.links.leads_to(asker, Hub::Anvil);
    assert_eq!(leads(&world), Some(hub));
    world.supervisor.message(asker, FromWorker::Lost { hub: Hub::Anvil, link: 99 });
    assert_eq!(leads(&world), Some(hub), "the news are of another channel");
    for link in 1..4 {
        world.supervisor.message(asker, FromWorker::Lost { hub: Hub::Anvil, link });
        let now = Instant::now();
        assert_eq!(leads(&world), None);
        world.supervisor.tick(now);
        assert_eq!(leads(&world), None, "a pair that breaks each time must not spin");
        let next = world.supervisor.next_tick().expect("an alarm");
        assert!(next <= now + FIRST_PAUSE * (1 << (link - 1)) && next > now);
        world.supervisor.tick(next);
        assert_eq!(leads(&world), Some(hub), "channel {link} is replaced");
    }
    assert_eq!(world.pid("anvil"), hub, "no process was ended for it");
}

#[test]
fn a_hub_that_is_kept_ready_is_started_once_after_a_throttle() {
    let mut world = World::new(&["cleanup", "smtpd"]);
    for _ in 0..2 {
        let pid = world.pid("cleanup");
        world.kill(pid);
    }
    world.supervisor.tick(Instant::now() + policy::FIRST_PAUSE + Duration::from_millis(1));
    let (hub, asker) = (world.pid("cleanup"), world.pid("smtpd"));
    assert_eq!(world.supervisor.links.leads_to(asker, Hub::Cleanup), Some(hub));
}

#[test]
fn the_successor_of_a_hub_is_connected_at_once_and_after_a_throttle() {
    let mut world = World::new(&["anvil", "smtpd"]);
    let (asker, first) = (world.pid("smtpd"), world.pid("anvil"));
    let leads = |world: &World| world.supervisor.links.leads_to(asker, Hub::Anvil);
    // Its peers may hear of the end before the master does.
    world.supervisor.message(asker, FromWorker::Lost { hub: Hub::Anvil, link: 1 });
    world.kill(first);
    let second = world.pid("anvil");
    assert!(second != first && leads(&world) == Some(second));
    world.kill(second);
    assert_eq!(leads(&world), None, "it failed twice in a row: it pauses");
    world.supervisor.tick(Instant::now() + policy::FIRST_PAUSE + Duration::from_millis(1));
    assert_eq!(leads(&world), Some(world.pid("anvil")));
}
