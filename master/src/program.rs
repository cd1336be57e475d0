//! The programs that the master starts: what each is, and whom it may talk to. This table is the whole topology.

use ipc_messages::control::{Acting, Hub};

/// One worker program.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// The file beside the master, and the name in process lists.
    pub name: &'static str,
    /// The hub that it is, if others talk to it.
    pub hub: Option<Hub>,
    /// The hubs that it talks to.
    pub talks: &'static [Hub],
    /// What it is started as for accounts, if it acts for them.
    pub acting: Option<Acting>,
    /// Whether it shares the queue folder.
    pub queue: bool,
    /// Whether it stays in the system's own root and may connect to unix sockets: the modules of the name service need it.
    pub system: bool,
    /// Descriptors that it needs beside those for its clients and for the messages of the queue. What does not fit is lost
    /// with the channel it came by.
    pub files: u64,
}

/// Descriptors of a program that is handed none by its peers, but channels and connections.
const FEW: u64 = 512;
/// Of one that is handed a message with each piece of work, some 1000 at once on each channel.
const WORK: u64 = 4096;

const fn hub(name: &'static str, hub: Hub, talks: &'static [Hub]) -> Program {
    Program { name, hub: Some(hub), talks, acting: None, queue: false, system: false, files: FEW }
}

const fn leaf(name: &'static str, talks: &'static [Hub]) -> Program {
    Program { name, hub: None, talks, acting: None, queue: false, system: false, files: FEW }
}

/// Every program. A process reaches the hubs that stand here beside it and no others.
pub const PROGRAMS: &[Program] = &[
    leaf("postlogd", &[]),
    hub("tlsmgr", Hub::Tlsmgr, &[]),
    Program { system: true, ..hub("nss", Hub::NameService, &[]) },
    hub("dns", Hub::Resolver, &[]),
    hub("anvil", Hub::Anvil, &[]),
    hub("trivial-rewrite", Hub::Lookup, &[Hub::NameService]),
    leaf("smtpd", &[Hub::Cleanup, Hub::Lookup, Hub::Tlsmgr, Hub::Resolver, Hub::Anvil]),
    Program { queue: true, files: WORK, ..hub("cleanup", Hub::Cleanup, &[Hub::Lookup, Hub::Qmgr]) },
    Program { queue: true, files: WORK, ..hub("qmgr", Hub::Qmgr, &[Hub::Lookup, Hub::Bounce]) },
    hub("bounce", Hub::Bounce, &[Hub::Cleanup]),
    Program { files: WORK, ..leaf("smtp", &[Hub::Qmgr, Hub::Resolver]) },
    hub("auth", Hub::Auth, &[Hub::NameService]),
    leaf("lmtp", &[Hub::Auth, Hub::Tlsmgr]),
    Program { acting: Some(Acting::Deliver), files: WORK, ..leaf("deliver", &[Hub::Auth]) },
    leaf("imap-login", &[Hub::Auth, Hub::Tlsmgr, Hub::Anvil]),
    Program { acting: Some(Acting::Imap), ..leaf("imap", &[Hub::Auth, Hub::Anvil]) },
    leaf("showq", &[Hub::Qmgr, Hub::NameService, Hub::Lookup]),
];

/// The program of this name.
pub fn find(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

/// The program that is this hub.
pub fn of_hub(hub: Hub) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.hub == Some(hub))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auth_knows_passwords_and_only_tlsmgr_keys() {
        let asks = |hub| PROGRAMS.iter().filter(move |p| p.talks.contains(&hub)).map(|p| p.name).collect::<Vec<_>>();
        assert_eq!(asks(Hub::Tlsmgr), ["smtpd", "lmtp", "imap-login"]);
        assert_eq!(asks(Hub::Auth), ["lmtp", "deliver", "imap-login", "imap"]);
        assert_eq!(
            asks(Hub::Qmgr),
            ["cleanup", "smtp", "showq"],
            "nothing that reads the network but the delivery agent"
        );
    }

    #[test]
    fn only_the_name_service_stays_in_the_systems_root() {
        assert!(PROGRAMS.iter().filter(|program| program.system).map(|program| program.name).eq(["nss"]));
    }

    #[test]
    fn hubs_that_start_each_other_have_an_order() {
        // Starting a program starts the hubs it talks to; a circle is broken by hubs that are running already, so the only
        // one there is (bounce puts mail in) must go through cleanup and qmgr, which always run.
        fn depth(program: &Program, seen: &mut Vec<&'static str>) -> bool {
            if let Some(at) = seen.iter().position(|&name| name == program.name) {
                return seen[at..].iter().any(|&name| name == "cleanup" || name == "qmgr");
            }
            seen.push(program.name);
            let fine = program.talks.iter().filter_map(|&hub| of_hub(hub)).all(|next| depth(next, seen));
            seen.pop();
            fine
        }
        assert!(PROGRAMS.iter().all(|program| depth(program, &mut Vec::new())));
    }
}
