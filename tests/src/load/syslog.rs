//! A system log that is never the bottleneck: datagrams from a socket into a file, until it is killed.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use crate::options::{Options, Problem};
use crate::report::Report;

/// A datagram longer than this is cut.
const DATAGRAM: usize = 1 << 16;

/// Receives until the socket fails.
pub fn drain(options: &Options) -> Result<Report, Problem> {
    let path = options.text("at")?;
    let socket = UnixDatagram::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    let mut file = BufWriter::new(File::create(options.text("into")?)?);
    let mut datagram = [0; DATAGRAM];
    loop {
        let count = socket.recv(&mut datagram)?;
        file.write_all(&datagram[..count])?;
        file.write_all(b"\n")?;
    }
}
