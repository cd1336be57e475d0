//! Framing: a byte stream cut into lines of bounded length.

use zeroize::Zeroize;

/// What has arrived and is not yet a whole line. Lines carry passwords: what is consumed is wiped.
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// How much of the buffer is consumed, and wiped.
    start: usize,
    limit: usize,
}

/// A line, or its first part, is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, limit }
    }

    /// Takes one read's worth of bytes; the caller then drains [`Lines::next`].
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.start));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its LF. What is not UTF-8 becomes U+FFFD, which no user name contains.
    pub(super) fn next(&mut self) -> Result<Option<String>, TooLong> {
        let rest = &mut self.buffer[self.start..];
        let Some(end) = rest.iter().take(self.limit + 1).position(|byte| *byte == b'\n') else {
            return if rest.len() > self.limit { Err(TooLong) } else { Ok(None) };
        };
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest[..end].zeroize();
        self.start += end + 1;
        Ok(Some(line))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buffer.zeroize();
        self.start = 0;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lines_and_bounds_them() {
        let mut lines = Lines::new(4);
        lines.push(b"ab\n\ncd");
        assert_eq!(lines.next(), Ok(Some("ab".into())));
        assert_eq!(lines.next(), Ok(Some(String::new())));
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"ef");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"\n12345");
        assert_eq!(lines.next(), Ok(Some("cdef".into())));
        assert_eq!(lines.next(), Err(TooLong));
        lines.clear();
        lines.push(b"\xff\n");
        assert_eq!(lines.next(), Ok(Some("\u{fffd}".into())));
    }
}
