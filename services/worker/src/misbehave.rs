//! A worker that has been taken over, for the test that shows what it cannot do then. The feature `misbehave`, which no build
//! that serves has, compiles it.
//!
//! Before the jail it reads from [`PATHS`] what to reach for; inside, and once more where the jail has become narrower, it
//! tries every path and every forbidden system call, and logs each with what came of it. Then it serves as always.

use std::sync::OnceLock;

use ipc_jail::misbehave::{calls, open};
use slog::Logger;

/// The file that names what is to be reached for, one path a line.
const PATHS: &str = "/etc/posthorn-misbehave";

static TARGETS: OnceLock<Vec<String>> = OnceLock::new();

/// Learns what to reach for, while it can.
pub(crate) fn prepare() {
    let text = std::fs::read_to_string(PATHS).unwrap_or_default();
    // A second call has nothing to add: the file is the same.
    let _ = TARGETS.set(text.lines().map(str::to_owned).collect());
}

/// Tries everything. `place` says which jail it is.
pub(crate) fn act(log: &Logger, place: &str) {
    let paths = TARGETS.get().map(Vec::as_slice).unwrap_or_default();
    for (what, failure) in paths.iter().map(|path| open(path)).chain(calls()) {
        match failure {
            Some(error) => slog::info!(log, "misbehave in {place}: {what}: {error}"),
            None => slog::info!(log, "misbehave in {place}: {what}: SUCCEEDED"),
        }
    }
    slog::info!(log, "misbehave in {place}: end");
}
