//! Recognises a Berkeley DB file, which Postfix's own `postmap` leaves as `x.db`. Nothing here reads its records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where a metadata page of Berkeley DB 2 and later holds its magic number.
const MAGIC_OFFSET: u64 = 12;
/// The magic numbers of a hash and of a btree.
const MAGICS: [u32; 2] = [0x0006_1561, 0x0005_3162];

/// Whether the file is a Berkeley DB hash or btree of either byte order. A file too short to tell is not.
///
/// # Errors
///
/// The file cannot be read.
pub(crate) fn is_berkeley_db(file: &File) -> io::Result<bool> {
    let mut bytes = [0; 4];
    match file.read_exact_at(&mut bytes, MAGIC_OFFSET) {
        Ok(()) => Ok(MAGICS.contains(&u32::from_le_bytes(bytes)) || MAGICS.contains(&u32::from_be_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
