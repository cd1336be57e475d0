//! A visit to the queue for users who are not root, at the sockets that are open to everybody ([`showq::protocol`]). Who may
//! is decided there; a refusal is a connection that is closed without an answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ipc_messages::admin::PUBLIC;
use ipc_messages::queue::Listed;
use nix::unistd::{Uid, User};
use showq::protocol::{Request, read_flushed, read_list};

use super::client::Failure;

/// How long the service may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The list of the queue, as it is shown to people. `service` is `showq_service_name`.
///
/// # Errors
/// [`Failure`]; nobody listens when there is no such row in `master.cf`.
pub fn list(spool: &Path, service: &str) -> Result<Vec<Listed>, Failure> {
    let answer = ask(spool, service, &[])?;
    read_list(&answer).ok_or_else(|| unanswered(&answer, "view"))
}

/// Has mail attempted. `service` is `flush_service_name`.
///
/// # Errors
/// [`Failure`].
pub fn flush(spool: &Path, service: &str, request: &Request) -> Result<(), Failure> {
    let answer = ask(spool, service, &request.encode())?;
    read_flushed(&answer).ok_or_else(|| unanswered(&answer, "flush"))
}

fn ask(spool: &Path, service: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = UnixStream::connect(spool.join(PUBLIC).join(service))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    // A refusal may come before the request was read; the answer says so.
    match socket.write_all(request).and_then(|()| socket.read_to_end(&mut answer).map(drop)) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Err(error),
        _ => Ok(answer),
    }
}

fn unanswered(answer: &[u8], wanted: &str) -> Failure {
    if !answer.is_empty() {
        return io::Error::new(io::ErrorKind::InvalidData, "malformed server reply").into();
    }
    let uid = Uid::current();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| showq::UNKNOWN.to_owned(), |user| user.name);
    Failure::Refused(format!("User {name}({uid}) is not allowed to {wanted} the mail queue"))
}
