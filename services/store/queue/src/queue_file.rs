//! The queue file: one message, written once and never changed.
//!
//! ```text
//! file     = "PHQUEUE" version:u8 content envelope end
//! content  = header bytes            ; kind 1: the message as agents get it
//! envelope = header bytes            ; kind 2: as `ipc_messages::envelope::Envelope::encode` writes it
//! end      = header length:u64       ; kind 3: bytes of the file before this record
//! header   = kind:u8 0 0 0 crc:u32 length:u64
//! ```
//!
//! Numbers are little endian. The CRC32 covers the bytes of the record, then its kind and its length. The content comes
//! first, so that it can be written while it arrives, and at a fixed place ([`CONTENT_OFFSET`]), so that `cat` shows the
//! message and an agent needs no parser. What arrives while it is written is what the content's header says: it is filled
//! in last, before the sync; a file without its end record is rejected whatever else it holds.
//!
//! A file is written in `tmp/`, synced, and only then gets its name in `incoming/`, `deferred/` or `hold/`. It is not
//! locked, not touched, not appended to: what becomes of the recipients stands in the outcome log.

use std::fmt;

use crc32fast::Hasher;
use ipc_messages::envelope::{Envelope, EnvelopeError, MAX_ENVELOPE, QueueId};

use crate::error::{DiskError, During};
use crate::folder::{Folder, TMP, link_or_keep, tmp_path, unlink_if_there};
use crate::fs::{Access, File, Fs, read_exact_at};

/// Where the content starts in every queue file of this version.
pub const CONTENT_OFFSET: u64 = 24;
pub const VERSION: u8 = 1;

const MAGIC: &[u8; 7] = b"PHQUEUE";
const PREFIX: usize = 8;
const HEADER: usize = 16;
const END_LENGTH: usize = 8;
const KIND_CONTENT: u8 = 1;
const KIND_ENVELOPE: u8 = 2;
const KIND_END: u8 = 3;
const CHUNK: usize = 64 * 1024;

/// A queue file that is being written, in `tmp/`. If it is dropped it stays there, and the next start removes it.
pub struct Draft<F: Fs> {
    file: F::File,
    id: QueueId,
    length: u64,
    hasher: Hasher,
}

/// A queue file that is open for reading. Its structure and its envelope have been checked, its content has not.
pub struct QueueFile<F: Fs> {
    pub envelope: Envelope,
    /// Bytes of the content, which starts at [`CONTENT_OFFSET`].
    pub content_length: u64,
    pub file: F::File,
    content_crc: u32,
}

#[derive(Debug)]
pub enum OpenError {
    Disk(DiskError),
    /// To be put into `corrupt/` ([`crate::quarantine`]) and reported.
    Broken(Flaw),
}

/// What is wrong with a queue file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    Magic,
    Version(u8),
    /// The file ends before the end record, or goes on behind it.
    Length,
    /// The record of this kind is not where it has to be.
    Kind(u8),
    /// The record of this kind is not what was written.
    Checksum(u8),
    Envelope(EnvelopeError),
    /// The envelope belongs to another queue ID than the name of the file.
    Name(QueueId),
}

impl<F: Fs> Draft<F> {
    /// Starts the file of a message. What an earlier attempt left under this name is removed.
    pub fn create(fs: &F, id: QueueId) -> Result<Draft<F>, DiskError> {
        let path = tmp_path(id);
        unlink_if_there(fs, &path)?;
        let file = fs.create(&path).during("create", &path)?;
        Ok(Draft { file, id, length: 0, hasher: Hasher::new() })
    }

    /// Appends to the content.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(bytes, CONTENT_OFFSET + self.length).during("write", &tmp_path(self.id))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Bytes of content so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Completes the file and syncs it. `envelope` is an encoded envelope. The name in `tmp/` is not durable yet: that
    /// takes [`settle`] or [`publish`], each for many files at once.
    pub fn seal(self, envelope: &[u8]) -> Result<F::File, DiskError> {
        let path = tmp_path(self.id);
        let mut tail = header(KIND_ENVELOPE, envelope).to_vec();
        tail.extend(envelope);
        let before_end = CONTENT_OFFSET + self.length + tail.len() as u64;
        tail.extend(header(KIND_END, &before_end.to_le_bytes()));
        tail.extend(before_end.to_le_bytes());
        let mut head = [&MAGIC[..], &[VERSION]].concat();
        head.extend(finish_header(KIND_CONTENT, self.length, self.hasher));

        self.file.write_at(&tail, CONTENT_OFFSET + self.length).during("write", &path)?;
        self.file.write_at(&head, 0).during("write", &path)?;
        // A crash before this leaves a file in `tmp/` that no journal record speaks of: it was never acknowledged, or the
        // journal still has the message. The next start removes it.
        self.file.sync().during("sync", &path)?;
        Ok(self.file)
    }
}

/// Removes what there is of a message in `tmp/`, whether it was sealed or not. No journal record may speak of it.
pub fn discard<F: Fs>(fs: &F, id: QueueId) -> Result<(), DiskError> {
    unlink_if_there(fs, &tmp_path(id))
}

/// Makes the names of sealed files durable in `tmp/`. After this, journal records may commit them.
pub fn settle<F: Fs>(fs: &F) -> Result<(), DiskError> {
    fs.sync_dir(TMP).during("sync folder", TMP)
}

/// Gives sealed files their durable names. After this their journal records may be released.
pub fn publish<F: Fs>(fs: &F, folder: Folder, ids: &[QueueId]) -> Result<(), DiskError> {
    for id in ids {
        link_or_keep(fs, &tmp_path(*id), &folder.path(*id))?;
    }
    // A crash before this leaves either name, or both, or for mail that the journal holds neither. The journal records
    // are still live, so nothing is missing and recovery finds one message.
    fs.sync_dir(folder.name()).during("sync folder", folder.name())?;
    // A crash after this may bring the name in `tmp/` back. It is removed at the next start: the message has another.
    ids.iter().try_for_each(|id| unlink_if_there(fs, &tmp_path(*id)))
}

impl<F: Fs> QueueFile<F> {
    pub fn open(fs: &F, folder: Folder, id: QueueId) -> Result<QueueFile<F>, OpenError> {
        Self::open_path(fs, &folder.path(id), id)
    }

    /// As [`QueueFile::open`], for large mail that is still in `tmp/`.
    pub fn open_unpublished(fs: &F, id: QueueId) -> Result<QueueFile<F>, OpenError> {
        Self::open_path(fs, &tmp_path(id), id)
    }

    /// Reads the whole content and compares it with its checksum.
    pub fn verify_content(&self) -> Result<(), OpenError> {
        let path = self.envelope.queue_id.to_string();
        let mut hasher = Hasher::new();
        let mut done = 0;
        while done < self.content_length {
            let len = CHUNK.min((self.content_length - done) as usize);
            let bytes = read_exact_at(&self.file, CONTENT_OFFSET + done, len).during("read", &path)?;
            hasher.update(&bytes);
            done += len as u64;
        }
        let whole = finish_header(KIND_CONTENT, self.content_length, hasher);
        if whole[4..8] != self.content_crc.to_le_bytes() {
            return Err(Flaw::Checksum(KIND_CONTENT).into());
        }
        Ok(())
    }

    fn open_path(fs: &F, path: &str, id: QueueId) -> Result<QueueFile<F>, OpenError> {
        let file = fs.open(path, Access::Read).during("open", path)?;
        let size = file.size().during("stat", path)?;
        let records = Records { file: &file, path, size };

        let prefix = records.bytes(0, PREFIX as u64)?;
        if prefix[..7] != MAGIC[..] {
            return Err(Flaw::Magic.into());
        }
        if prefix[7] != VERSION {
            return Err(Flaw::Version(prefix[7]).into());
        }
        let (content_crc, content_length) = records.header(KIND_CONTENT, PREFIX as u64)?;
        let envelope_at = records.end_of(CONTENT_OFFSET, content_length)?;
        let envelope = records.checked(KIND_ENVELOPE, envelope_at, MAX_ENVELOPE)?;
        let end_at = envelope_at + (HEADER + envelope.len()) as u64;
        let end = records.checked(KIND_END, end_at, END_LENGTH)?;
        if end != end_at.to_le_bytes() || size != end_at + (HEADER + END_LENGTH) as u64 {
            return Err(Flaw::Length.into());
        }
        let envelope = Envelope::decode(&envelope).map_err(Flaw::Envelope)?;
        if envelope.queue_id != id {
            return Err(Flaw::Name(envelope.queue_id).into());
        }
        Ok(QueueFile { envelope, content_length, file, content_crc })
    }
}

/// Reads records within the bounds of the file.
struct Records<'a, D: File> {
    file: &'a D,
    path: &'a str,
    size: u64,
}

impl<D: File> Records<'_, D> {
    fn end_of(&self, at: u64, length: u64) -> Result<u64, OpenError> {
        at.checked_add(length).filter(|end| *end <= self.size).ok_or(Flaw::Length.into())
    }

    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, OpenError> {
        self.end_of(at, length)?;
        Ok(read_exact_at(self.file, at, length as usize).during("read", self.path)?)
    }

    /// The checksum and the length that the header at `at` names.
    fn header(&self, kind: u8, at: u64) -> Result<(u32, u64), OpenError> {
        let bytes = self.bytes(at, HEADER as u64)?;
        if bytes[..4] != [kind, 0, 0, 0] {
            return Err(Flaw::Kind(kind).into());
        }
        let (crc, length) = bytes[4..].split_at(4);
        Ok((
            u32::from_le_bytes(crc.try_into().expect("four bytes")),
            u64::from_le_bytes(length.try_into().expect("eight bytes")),
        ))
    }

    fn checked(&self, kind: u8, at: u64, limit: usize) -> Result<Vec<u8>, OpenError> {
        let (crc, length) = self.header(kind, at)?;
        if length > limit as u64 {
            return Err(Flaw::Length.into());
        }
        let bytes = self.bytes(at + HEADER as u64, length)?;
        if header(kind, &bytes)[4..8] != crc.to_le_bytes() {
            return Err(Flaw::Checksum(kind).into());
        }
        Ok(bytes)
    }
}

fn header(kind: u8, bytes: &[u8]) -> [u8; HEADER] {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    finish_header(kind, bytes.len() as u64, hasher)
}

/// The header of a record whose bytes have been hashed.
fn finish_header(kind: u8, length: u64, mut hasher: Hasher) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = kind;
    header[8..].copy_from_slice(&length.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(&header[8..]);
    header[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    header
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> OpenError {
        OpenError::Disk(error)
    }
}

impl From<Flaw> for OpenError {
    fn from(flaw: Flaw) -> OpenError {
        OpenError::Broken(flaw)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Disk(error) => error.fmt(f),
            OpenError::Broken(flaw) => flaw.fmt(f),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Magic => f.write_str("not a queue file"),
            Flaw::Version(version) => write!(f, "queue file of version {version}, this is {VERSION}"),
            Flaw::Length => f.write_str("queue file is not as long as it says"),
            Flaw::Kind(kind) => write!(f, "queue file lacks its {} record", kind_name(*kind)),
            Flaw::Checksum(kind) => write!(f, "queue file has a wrong checksum in its {} record", kind_name(*kind)),
            Flaw::Envelope(error) => error.fmt(f),
            Flaw::Name(id) => write!(f, "queue file holds message {id}"),
        }
    }
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        KIND_CONTENT => "content",
        KIND_ENVELOPE => "envelope",
        _ => "end",
    }
}

impl std::error::Error for OpenError {}

#[cfg(all(test, feature = "crash-model"))]
mod tests {
    use super::*;
    use crate::fs::model::{Fault, Model};
    use crate::testing::envelope;

    fn disk() -> Model {
        let fs = Model::new();
        crate::prepare(&fs).unwrap();
        fs
    }

    fn write(fs: &Model, id: QueueId, content: &[u8]) -> Result<(), DiskError> {
        let mut draft = Draft::create(fs, id)?;
        content.chunks(300).try_for_each(|chunk| draft.push(chunk))?;
        draft.seal(&envelope(id, 1).encode().unwrap())?;
        publish(fs, Folder::Deferred, &[id])
    }

    #[test]
    fn what_is_written_is_read() {
        let (fs, id) = (disk(), QueueId::short(1, 70_000));
        for content in [&b""[..], b"Subject: x\n\nbody\n", &[b'x'; 200_000]] {
            write(&fs, id, content).unwrap();
            let file = QueueFile::open(&fs, Folder::Deferred, id).unwrap();
            file.verify_content().unwrap();
            assert_eq!(file.envelope, envelope(id, 1));
            let stored = read_exact_at(&file.file, CONTENT_OFFSET, file.content_length as usize).unwrap();
            assert_eq!(stored, content);
            fs.unlink(&Folder::Deferred.path(id)).unwrap();
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let (fs, id) = (disk(), QueueId::short(1, 70_000));
        write(&fs, id, b"content").unwrap();
        let path = Folder::Deferred.path(id);
        let file = fs.open(&path, Access::ReadWrite).unwrap();
        let whole = read_exact_at(&file, 0, file.size().unwrap() as usize).unwrap();
        let check = || QueueFile::open(&fs, Folder::Deferred, id).and_then(|file| file.verify_content());
        check().unwrap();
        for at in 0..whole.len() {
            fs.damage(&path, at, &[whole[at] ^ 0x40]);
            assert!(matches!(check(), Err(OpenError::Broken(_))), "byte {at}");
            fs.damage(&path, at, &whole[at..at + 1]);
        }
        for length in 0..whole.len() {
            file.truncate(length as u64).unwrap();
            assert!(matches!(check(), Err(OpenError::Broken(_))), "length {length}");
            file.write_at(&whole, 0).unwrap();
        }
        file.write_at(b"X", whole.len() as u64).unwrap();
        assert!(matches!(check(), Err(OpenError::Broken(Flaw::Length))));
    }

    #[test]
    fn a_file_under_another_name_is_found() {
        let (fs, id, other) = (disk(), QueueId::short(1, 70_000), QueueId::short(1, 70_001));
        write(&fs, id, b"content").unwrap();
        fs.link(&Folder::Deferred.path(id), &Folder::Deferred.path(other)).unwrap();
        let error = QueueFile::open(&fs, Folder::Deferred, other).err().unwrap();
        assert!(matches!(error, OpenError::Broken(Flaw::Name(inner)) if inner == id));
    }

    #[test]
    fn whatever_stops_a_published_file_is_whole() {
        let id = QueueId::short(1, 70_000);
        let fs = disk();
        let start = fs.operations();
        write(&fs, id, &[b'x'; 1000]).unwrap();
        for stop in start..=fs.operations() {
            for seed in 0..16 {
                let fs = disk();
                fs.fail(Fault::Stop, stop..stop + 1, seed);
                let done = write(&fs, id, &[b'x'; 1000]).is_ok();
                match QueueFile::open(&fs.crash(seed), Folder::Deferred, id) {
                    Ok(file) => file.verify_content().unwrap(),
                    Err(OpenError::Disk(error)) => assert!(error.is_missing() && !done, "{error}"),
                    Err(error) => panic!("stop at {stop}: {error}"),
                }
            }
        }
    }

    #[test]
    fn a_full_disk_is_typed_and_leaves_the_next_attempt_free() {
        let id = QueueId::short(1, 70_000);
        let fs = disk();
        let start = fs.operations();
        write(&fs, id, b"content").unwrap();
        for at in start..fs.operations() {
            let fs = disk();
            fs.fail(Fault::Full, at..at + 1, 1);
            match write(&fs, id, b"content") {
                Err(error) => assert!(error.is_full(), "{error}"),
                Ok(()) => continue,
            }
            write(&fs, id, b"content").unwrap();
            QueueFile::open(&fs, Folder::Deferred, id).unwrap().verify_content().unwrap();
        }
    }
}
