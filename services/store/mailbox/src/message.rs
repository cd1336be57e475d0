//! What the formats share about a message: its flags, its sizes, and how its content is written.
//!
//! On disk a line ends in LF, as Dovecot stores it (`mail_save_crlf = no`): CRLF becomes LF on the way in, a CR alone
//! stays. The *virtual* size counts every LF that no CR precedes as two bytes; that is what IMAP reports.

use std::{fs::File, io, ops, os::unix::fs::FileExt};

use crate::fs::Fs;

/// A file under a temporary name that nobody has changed for so long was left by a crash: no program still writes it (the
/// 36 hours of the Maildir specification).
pub(crate) const LEFTOVER_SECONDS: i64 = 36 * 60 * 60;

/// A message is written in pieces of this size; a smaller one in a single write.
const PIECE: usize = 256 * 1024;

/// The system flags of IMAP that are stored with a message (RFC 3501 §2.3.2; `\Recent` is not one of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, serde::Serialize, serde::Deserialize)]
pub struct Flags(u8);

impl Flags {
    pub const SEEN: Self = Self(1);
    pub const ANSWERED: Self = Self(2);
    pub const FLAGGED: Self = Self(4);
    pub const DELETED: Self = Self(8);
    pub const DRAFT: Self = Self(16);
    const ALL: u8 = 31;

    /// No flag.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// The flags of a byte that [`Self::bits`] gave; other bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL)
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Where the bytes of a message come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    Bytes(&'a [u8]),
    /// A descriptor the caller was handed (a sealed memfd, a queue file): `length` bytes from `offset`, read with
    /// `pread`, so that several deliveries can share it.
    File {
        file: &'a File,
        offset: u64,
        length: u64,
    },
}

/// The size on disk, and with CRLF line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    pub physical: u64,
    pub virtual_: u64,
}

impl Source<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => {
                let rest = &bytes[at as usize..];
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                Ok(length)
            }
            Self::File { file, offset, .. } => file.read_at(buffer, offset + at),
        }
    }
}

/// What goes into a new message file: the format's own `before`, the caller's `prefix` of header lines, `length` bytes
/// that `read` gives for an offset.
pub(crate) struct Draft<'a, R: Fn(&mut [u8], u64) -> io::Result<usize>> {
    pub before: &'a [u8],
    pub prefix: &'a [u8],
    pub length: u64,
    pub read: R,
}

/// The draft of a message from outside.
pub(crate) fn draft<'a>(
    before: &'a [u8],
    prefix: &'a [u8],
    source: Source<'a>,
) -> Draft<'a, impl Fn(&mut [u8], u64) -> io::Result<usize> + 'a> {
    Draft { before, prefix, length: source.length(), read: move |buffer: &mut [u8], at| source.read_at(buffer, at) }
}

/// Appends the draft to `file`, CRLF made LF, and then `after` of the sizes. Content that ends early is
/// `UnexpectedEof`. What fits [`PIECE`] takes one read and one write.
pub(crate) fn write<F: Fs, R: Fn(&mut [u8], u64) -> io::Result<usize>>(
    fs: &F,
    file: &F::File,
    draft: &Draft<'_, R>,
    after: impl FnOnce(Sizes) -> Vec<u8>,
) -> io::Result<Sizes> {
    let mut lines = Lines::after(draft.before);
    lines.push(draft.prefix);
    let mut piece = vec![0; draft.length.min(PIECE as u64) as usize];
    let mut done = 0;
    while done < draft.length {
        let want = piece.len().min((draft.length - done) as usize);
        let got = (draft.read)(&mut piece[..want], done)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        lines.push(&piece[..got]);
        lines.flush_pieces(fs, file)?;
        done += got as u64;
    }
    lines.write_end(fs, file, after)
}

/// Makes CRLF LF and counts.
#[derive(Default)]
pub(crate) struct Lines {
    out: Vec<u8>,
    sizes: Sizes,
    /// A CR at the end of a piece that a LF may follow.
    held: bool,
    last: u8,
}

impl Lines {
    /// Lines that come after the format's own bytes, which are not counted.
    pub(crate) fn after(before: &[u8]) -> Self {
        Self { out: before.to_vec(), ..Self::default() }
    }

    /// Takes in more of the message.
    pub(crate) fn push(&mut self, mut piece: &[u8]) {
        let Some(first) = piece.first() else { return };
        if std::mem::take(&mut self.held) && *first != b'\n' {
            self.emit(b"\r");
        }
        while let Some(cr) = memchr::memchr(b'\r', piece) {
            match piece.get(cr + 1) {
                Some(b'\n') => self.emit(&piece[..cr]),
                Some(_) => self.emit(&piece[..=cr]),
                None => {
                    self.held = true;
                    self.emit(&piece[..cr]);
                }
            }
            piece = &piece[cr + 1..];
        }
        self.emit(piece);
    }

    fn emit(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        let mut bare = memchr::memchr_iter(b'\n', bytes).count() as u64;
        // No CR is followed by LF within `bytes`; at its start one may be (the input had CR CR LF).
        bare -= u64::from(self.last == b'\r' && bytes[0] == b'\n');
        self.sizes.physical += bytes.len() as u64;
        self.sizes.virtual_ += bytes.len() as u64 + bare;
        self.last = *last;
        self.out.extend_from_slice(bytes);
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.held) {
            self.emit(b"\r");
        }
    }

    /// Writes what is there once it is worth a write.
    pub(crate) fn flush_pieces<F: Fs>(&mut self, fs: &F, file: &F::File) -> io::Result<()> {
        self.flush(fs, file, PIECE)
    }

    /// Writes what is left, and `after` of the sizes.
    pub(crate) fn write_end<F: Fs>(
        mut self,
        fs: &F,
        file: &F::File,
        after: impl FnOnce(Sizes) -> Vec<u8>,
    ) -> io::Result<Sizes> {
        self.finish();
        let sizes = self.sizes;
        self.out.extend(after(sizes));
        self.flush(fs, file, 0)?;
        Ok(sizes)
    }

    fn flush<F: Fs>(&mut self, fs: &F, file: &F::File, limit: usize) -> io::Result<()> {
        if self.out.len() > limit {
            fs.append(file, &self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

/// The virtual size of stored content: every LF without a CR before it counts twice.
pub(crate) fn virtual_size<F: Fs>(fs: &F, file: &F::File, offset: u64, length: u64) -> io::Result<u64> {
    let (mut done, mut size, mut last) = (0, 0, 0);
    while done < length {
        let piece = crate::fs::read_range(fs, file, offset + done, (length - done).min(PIECE as u64))?;
        let Some(end) = piece.last() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let bare = memchr::memchr_iter(b'\n', &piece)
            .filter(|at| at.checked_sub(1).map_or(last, |before| piece[before]) != b'\r')
            .count();
        size += (piece.len() + bare) as u64;
        done += piece.len() as u64;
        last = *end;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{model::ModelFs, read_whole};

    fn stored(pieces: &[&[u8]]) -> (Vec<u8>, Sizes) {
        let mut lines = Lines::default();
        pieces.iter().for_each(|piece| lines.push(piece));
        lines.finish();
        (lines.out, lines.sizes)
    }

    #[test]
    fn line_ends_at_every_split() {
        let table: &[(&[u8], &[u8], u64)] = &[
            (b"", b"", 0),
            (b"a\nb\n", b"a\nb\n", 6),
            (b"a\r\nb\r\n", b"a\nb\n", 6),
            (b"a\rb", b"a\rb", 3),
            (b"a\r", b"a\r", 2),
            (b"\r\r\n\n", b"\r\n\n", 4),
            (b"\n\r\n\r", b"\n\n\r", 5),
        ];
        for (input, output, virtual_) in table {
            for split in 0..=input.len() {
                let (out, sizes) = stored(&[&input[..split], &input[split..]]);
                assert_eq!((&out[..], sizes.virtual_), (*output, *virtual_), "{input:?} at {split}");
                assert_eq!(sizes.physical, out.len() as u64);
            }
            let single: Vec<_> = input.chunks(1).collect();
            assert_eq!(stored(&single).0, *output);
        }
    }

    #[test]
    fn large_content_is_written_in_pieces_and_counted_the_same_when_read() {
        let fs = ModelFs::new();
        let mut content = Vec::new();
        for n in 0..60_000 {
            content.extend_from_slice(format!("line {n}{}", if n % 3 == 0 { "\r\n" } else { "\n" }).as_bytes());
        }
        let temp = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut &temp, &content).unwrap();
        let whole = Source::File { file: &temp, offset: 0, length: content.len() as u64 };
        for (name, source) in [(b"a", Source::Bytes(&content)), (b"b", whole)] {
            let file = fs.create(&fs.root(), name, 0o600).unwrap();
            let sizes = write(&fs, &file, &draft(b"<", b"P: x\r\n", source), |_| b">".to_vec()).unwrap();
            let stored = read_whole(&fs, &file, u64::MAX).unwrap();
            assert_eq!(stored.len() as u64, sizes.physical + 2);
            assert!(stored.starts_with(b"<P: x\nline 0\n") && stored.ends_with(b"\n>") && !stored.contains(&b'\r'));
            assert_eq!(virtual_size(&fs, &file, 1, sizes.physical).unwrap(), sizes.virtual_);
        }
        let file = fs.create(&fs.root(), b"c", 0o600).unwrap();
        let short = Source::File { file: &temp, offset: 5, length: content.len() as u64 };
        assert!(write(&fs, &file, &draft(b"", b"", short), |_| Vec::new()).is_err());
    }
}
