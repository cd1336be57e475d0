//! The process of one user: from the fork to its end.
//!
//! It has its client, this user's folders, the log and the lifeline to its template, and narrows its jail to these before
//! it reads a byte of the client's.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use ipc_config::section::Section;
use ipc_jail::Calls;
use ipc_messages::auth::User;
use ipc_messages::handoff::Handoff;
use mail_user::{Context, Unreachable};
use proto_imap::response;
use proto_imap::session::{Session, Statistics};
use slog::Logger;
use store_mailbox::fs::real::RealFs;
use worker::Detached;

use crate::conversation::{Conversation, clock};
use crate::files::Files;
use crate::places::{self, Held};
use crate::{logout, settings};

/// What is left to the process of a user: its files and their changes. No process, no socket, no folder but these.
const CALLS: Calls = Calls {
    accept: false,
    connect: false,
    files: true,
    threads: false,
    fork: false,
    memfd: false,
    notify: true,
    narrow: false,
};

/// A user who has logged in, and the way to the client.
pub struct Login {
    /// What the login process said.
    pub handoff: Handoff,
    /// What `auth` says.
    pub user: User,
    /// The client.
    pub client: OwnedFd,
    /// Where the login process waits for our process id.
    pub report: Option<OwnedFd>,
    /// The folders that the mail of all users of the account lies beneath.
    pub folders: Vec<(Vec<u8>, OwnedFd)>,
}

impl Login {
    /// The descriptors that it holds.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let folders = self.folders.iter().map(|(_, folder)| folder.as_raw_fd());
        folders.chain([self.client.as_raw_fd()]).chain(self.report.as_ref().map(AsRawFd::as_raw_fd)).collect()
    }

    /// Lives the life of the process: opens the mail, serves the client, logs the end.
    pub fn live(mut self, section: &Section, detached: Detached) {
        let pid = std::process::id();
        if let Some(report) = self.report.take() {
            // A login process that is gone has nothing to log.
            let _ = File::from(report).write_all(&pid.to_le_bytes());
        }
        let context = Context { service: "imap", session: &self.handoff.session };
        let tag = mail_user::log_tag(section, &self.user, context, &detached.log.logger());
        let log = detached.log.tagged(tag);
        let held = self.hold(section, &log);
        let (reason, statistics, trashed) = match held {
            Ok(held) => match ipc_jail::narrow(&held.grants, CALLS) {
                Ok(()) => self.converse(section, held, detached.lifeline, (detached.log.clone(), log.clone())),
                Err(error) => self.turn_away(section, &error.to_string(), &log),
            },
            Err(error) => self.turn_away(section, &error.to_string(), &log),
        };
        let counters = logout::format(section.mailbox.text("imap_logout_format"), &statistics, trashed);
        slog::info!(log, "Disconnected: {reason} {counters}");
        detached.log.flush();
    }

    /// Finds this user's mail. The folders of all users are closed when it returns.
    fn hold(&mut self, section: &Section, log: &Logger) -> Result<Held, Unreachable> {
        let all = RealFs::new(std::mem::take(&mut self.folders), mail_user::host().as_bytes())
            .map_err(|error| Unreachable(error.to_string()))?;
        mail_user::log_identity(section, &self.user, log);
        let context = Context { service: "imap", session: &self.handoff.session };
        places::hold(&self.user, section, context, &all)
    }

    fn converse(
        self,
        section: &Section,
        held: Held,
        lifeline: OwnedFd,
        log: (ipc_log::Sender, Logger),
    ) -> (String, Statistics, u64) {
        let started = Instant::now();
        let files = Files::new(held.fs.clone(), held.namespaces, held.automatic, log.1.clone());
        let notes = files.notes();
        let session = Session::new(settings::session(section), files, &self.handoff.tag, clock(started));
        let ends = (self.client, lifeline);
        let conversation = Conversation::new(session, notes.clone(), held.fs, ends, self.handoff.input, started, log);
        match conversation {
            Ok(mut conversation) => {
                let reason = conversation.run();
                (reason, conversation.session().statistics(), notes.trashed.get())
            }
            Err(error) => (error.to_string(), Statistics::default(), 0),
        }
    }

    /// The mail cannot be reached: the client has logged in all the same, and hears that something is wrong here.
    fn turn_away(self, section: &Section, error: &str, log: &Logger) -> (String, Statistics, u64) {
        slog::error!(log, "{error}");
        let text = format!("OK [CAPABILITY {}] Logged in", settings::session(section).capability());
        let mut out = Vec::new();
        response::tagged(&mut out, &self.handoff.tag, &text);
        let logged_in = out.len() as u64;
        response::untagged(&mut out, "BYE Internal error occurred. Refer to server log for more information.");
        // It fits any socket's buffer; a client that is gone need not hear it.
        let _ = File::from(self.client).write_all(&out);
        (error.to_owned(), Statistics { bytes_out: logged_in, ..Statistics::default() }, 0)
    }
}
