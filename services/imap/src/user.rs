//! The process of one user's session: from the fork to its end, or until the session is parked.
//!
//! It has its client, this user's folders, the log and the lifeline to its template, and narrows its jail to these before
//! it reads a byte of the client's. A session that goes on where another process of it left off is no different; what that
//! process wrote down is input, for which user it is comes from the template.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ipc_config::section::Section;
use ipc_jail::Calls;
use ipc_messages::auth::User;
use mail_user::{Context, Unreachable};
use proto_imap::response;
use proto_imap::session::{Parked, ResumeError, Session, Statistics};
use serde::{Deserialize, Serialize};
use slog::Logger;
use store_mailbox::fs::real::RealFs;
use worker::Detached;

use crate::conversation::{Clock, Conversation, End};
use crate::files::Files;
use crate::lifeline::Lifeline;
use crate::lot::Woken;
use crate::places::{self, Held};
use crate::{logout, settings};

/// What is left to the process of a user: its files. No process, no socket, no folder but these.
const CALLS: Calls = Calls {
    accept: false,
    connect: false,
    files: true,
    threads: false,
    fork: false,
    memfd: true,
    notify: false,
    narrow: false,
};

/// Bytes of a parked session's state: its ranges of UIDs ([`proto_imap::limits::PARKED_RANGES`], thrice), with room for the
/// rest. A session with more stays in its process.
pub const MAX_STATE: u64 = 256 * 1024;

/// Whom a session serves.
#[derive(Debug, Clone)]
pub struct Who {
    /// What `auth` says.
    pub user: User,
    /// The session's name in the log.
    pub session: String,
    /// The client's address.
    pub address: Option<IpAddr>,
}

/// A session that is about to have a process.
pub struct Life {
    /// Whom it serves.
    pub who: Who,
    /// The client.
    pub client: OwnedFd,
    /// The folders that the mail of all users of the account lies beneath.
    pub folders: Vec<(Vec<u8>, OwnedFd)>,
    /// How it comes.
    pub how: How,
}

/// How a session comes to its process.
pub enum How {
    /// The user has just logged in.
    Login {
        /// The tag of the command that logged in.
        tag: Vec<u8>,
        /// What the client has sent behind it.
        input: Vec<u8>,
        /// Where the login process waits for our process id.
        report: Option<OwnedFd>,
    },
    /// It was parked.
    Wakes(Woken),
}

/// What a process leaves behind of a session that is parked.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// The session.
    pub parked: Parked,
    /// What its clock showed.
    pub clock_ms: u64,
    /// Messages that went to the trash so far.
    pub trashed: u64,
}

/// The end of a session, for the log.
struct Ended {
    reason: String,
    statistics: Statistics,
    trashed: u64,
}

impl Ended {
    fn early(reason: String, bytes_out: u64) -> Ended {
        Ended { reason, statistics: Statistics { bytes_out, ..Statistics::default() }, trashed: 0 }
    }
}

impl Life {
    /// The descriptors that it holds.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let own = match &self.how {
            How::Login { report, .. } => report.as_ref().map(AsRawFd::as_raw_fd),
            How::Wakes(woken) => Some(woken.state.as_raw_fd()),
        };
        let folders = self.folders.iter().map(|(_, folder)| folder.as_raw_fd());
        folders.chain([self.client.as_raw_fd()]).chain(own).collect()
    }

    /// Lives the life of the process: opens the mail, serves the client, logs the end.
    pub fn live(mut self, section: &Section, detached: Detached) {
        let pid = std::process::id();
        if let How::Login { report, .. } = &mut self.how
            && let Some(report) = report.take()
        {
            // A login process that is gone has nothing to log.
            let _ = File::from(report).write_all(&pid.to_le_bytes());
        }
        let context = Context { service: "imap", session: &self.who.session };
        let log = detached.log.tagged(mail_user::log_tag(section, &self.who.user, context, &detached.log.logger()));
        let ended = match self.hold(section, &log) {
            Ok(held) => self.converse(section, held, detached.lifeline, (detached.log.clone(), log.clone())),
            Err(error) => Some(self.turn_away(section, &error, &log)),
        };
        if let Some(Ended { reason, statistics, trashed }) = ended {
            let counters = logout::format(section.mailbox.text("imap_logout_format"), &statistics, trashed);
            slog::info!(log, "Disconnected: {reason} {counters}");
        }
        detached.log.flush();
    }

    /// Finds this user's mail and narrows the jail to it. The folders of all users are closed when it returns.
    fn hold(&mut self, section: &Section, log: &Logger) -> Result<Held, String> {
        let all = RealFs::new(std::mem::take(&mut self.folders), mail_user::host().as_bytes())
            .map_err(|error| error.to_string())?;
        let login = matches!(self.how, How::Login { .. });
        if login {
            mail_user::log_identity(section, &self.who.user, log);
        }
        let context = Context { service: "imap", session: &self.who.session };
        // Who comes back finds what was there, or is gone: a mailbox that was deleted meanwhile is not made again.
        let held = places::hold(&self.who.user, section, context, &all, login)
            .map_err(|error: Unreachable| error.to_string())?;
        worker::narrow(&held.grants, CALLS, log).map_err(|error| error.to_string())?;
        Ok(held)
    }

    /// Talks with the client. `None` when the session is parked.
    fn converse(
        self,
        section: &Section,
        held: Held,
        lifeline: OwnedFd,
        log: (ipc_log::Sender, Logger),
    ) -> Option<Ended> {
        let files = Files::new(held.fs, held.namespaces, held.automatic, log.1.clone());
        let notes = files.notes();
        let settings = settings::session(section);
        let park_after = settings::park_after(section);
        let (session, clock, input) = match self.how {
            How::Login { tag, input, .. } => {
                let clock = Clock::starting_at(0);
                (Session::new(settings, files, &tag, clock.now()), clock, input)
            }
            How::Wakes(woken) => match wake(woken, settings, files) {
                Ok((session, clock, trashed)) => {
                    notes.trashed.set(trashed);
                    (session, clock, Vec::new())
                }
                Err(reason) => return Some(send_away(self.client, &reason, &log.1)),
            },
        };
        let ends = (self.client, Lifeline::new(lifeline));
        let conversation = Conversation::new(session, notes.clone(), ends, input, (clock, park_after), log.0);
        let mut conversation = match conversation {
            Ok(conversation) => conversation,
            Err(error) => return Some(Ended::early(error.to_string(), 0)),
        };
        let End::Over(reason) = conversation.run() else { return None };
        Some(Ended { reason, statistics: conversation.session().statistics(), trashed: notes.trashed.get() })
    }

    /// The mail cannot be reached. One who logs in has logged in all the same, and hears that something is wrong here.
    fn turn_away(self, section: &Section, error: &str, log: &Logger) -> Ended {
        let How::Login { tag, .. } = self.how else { return send_away(self.client, error, log) };
        slog::error!(log, "{error}");
        let text = format!("OK [CAPABILITY {}] Logged in", settings::session(section).capability());
        let mut out = Vec::new();
        response::tagged(&mut out, &tag, &text);
        let logged_in = out.len() as u64;
        response::untagged(&mut out, "BYE Internal error occurred. Refer to server log for more information.");
        // It fits any socket's buffer; a client that is gone need not hear it.
        let _ = File::from(self.client).write_all(&out);
        Ended::early(error.to_owned(), logged_in)
    }
}

/// A parked session cannot go on.
fn send_away(client: OwnedFd, error: &str, log: &Logger) -> Ended {
    slog::error!(log, "Failed to resume the parked session: {error}");
    let mut client = File::from(client);
    // Input that is not read would have the system cut the connection before the last words arrive.
    let _ = client.read(&mut [0; 4096]);
    // As above.
    let _ = client.write_all(ResumeError::BYE.as_bytes());
    Ended::early(error.to_owned(), ResumeError::BYE.len() as u64)
}

/// The session that was parked, its clock, and what else was counted.
fn wake(
    woken: Woken,
    settings: proto_imap::session::Settings,
    files: Files<RealFs>,
) -> Result<(Session<Files<RealFs>>, Clock, u64), String> {
    let Woken { state, parked, reminders } = woken;
    let mut bytes = Vec::new();
    let mut file = File::from(state);
    (file.rewind().and_then(|()| file.take(MAX_STATE).read_to_end(&mut bytes))).map_err(|error| error.to_string())?;
    let state: State = postcard::from_bytes(&bytes).map_err(|error| error.to_string())?;
    let clock = Clock::starting_at(state.clock_ms.saturating_add(parked.as_millis() as u64));
    let session = Session::resume(state.parked, reminders, settings, files, clock.now());
    Ok((session.map_err(|error| format!("{error:?}"))?, clock, state.trashed))
}
