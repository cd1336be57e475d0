//! News of the selected mailbox while the client idles: the kernel tells when one of its folders changes.
//!
//! There is an instance for a process that idles and for no other, because the kernel allows an account only so many
//! (`fs.inotify.max_user_instances`). When it refuses, the folders are looked at every [`POLL`], and the log says so once.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use inotify::{Inotify, WatchMask};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slog::Logger;
use store_mailbox::fs::real::{RealDir, RealFs};

/// How often the folders are looked at when the kernel does not tell.
pub const POLL: Duration = Duration::from_secs(15);

/// Bytes for events that are read at a time; what they say is not looked at.
const BUFFER: usize = 4096;

/// Watches folders, or does not.
#[derive(Default)]
pub struct News {
    inotify: Option<Inotify>,
    /// The client idles.
    active: bool,
    complained: bool,
}

impl News {
    /// Whether folders are being watched, or looked at in turn.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// How long until the folders have to be looked at.
    pub fn wait(&self) -> Option<Duration> {
        (self.active && self.inotify.is_none()).then_some(POLL)
    }

    /// Begins to watch `folders`. Look at them once after this: what happened before is not told.
    pub fn begin(&mut self, fs: &RealFs, folders: &[RealDir], registry: &Registry, token: Token, log: &Logger) {
        self.active = true;
        if folders.is_empty() {
            return;
        }
        match watch(fs, folders, registry, token) {
            Ok(inotify) => self.inotify = Some(inotify),
            Err(error) if !self.complained => {
                self.complained = true;
                slog::warn!(
                    log,
                    "inotify: {error}: new mail is looked for every {} seconds; raise fs.inotify.max_user_instances \
                     and fs.inotify.max_user_watches",
                    POLL.as_secs()
                );
            }
            Err(_) => {}
        }
    }

    /// Takes what was told. The folders are to be looked at after this.
    pub fn take(&mut self) {
        let Some(inotify) = &mut self.inotify else { return };
        let mut buffer = [0; BUFFER];
        while inotify.read_events(&mut buffer).is_ok_and(|mut events| events.next().is_some()) {}
    }

    /// The client idles no more.
    pub fn end(&mut self) {
        // Its descriptor leaves the set as it closes.
        self.inotify = None;
        self.active = false;
    }
}

fn watch(fs: &RealFs, folders: &[RealDir], registry: &Registry, token: Token) -> io::Result<Inotify> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::MODIFY | WatchMask::ONLYDIR;
    for folder in folders {
        fs.enter(folder)?;
        inotify.watches().add(".", mask)?;
    }
    registry.register(&mut SourceFd(&inotify.as_raw_fd()), token, Interest::READABLE)?;
    Ok(inotify)
}
