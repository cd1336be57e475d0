//! Frames of the log and the cache: `u32 length  u32 CRC-32  body`, little-endian.
//!
//! A frame that is not whole ends the file: it was being written when the writer, or the machine, stopped.

/// No frame is larger than this.
pub(super) const MAX_BODY: usize = 64 << 20;

/// Bytes before the body.
pub(super) const HEADER: usize = 8;

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out.extend_from_slice(body);
}

/// The next frame's body and CRC, unchecked, and what follows; `None` if no whole frame is left.
pub(super) fn peek(bytes: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    // A length of zero is no frame: a torn write may have left zeros.
    if length == 0 || length > MAX_BODY {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    Some((body, u32::from_le_bytes(*crc), rest))
}

/// The next frame's body, checked.
pub(super) fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, crc, rest) = peek(bytes)?;
    (crc32fast::hash(body) == crc).then_some((body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_end_is_no_frame() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"first");
        put(&mut bytes, b"second");
        let (body, rest) = next(&bytes).unwrap();
        assert_eq!(body, b"first");
        assert_eq!(next(rest).unwrap(), (&b"second"[..], &b""[..]));
        for cut in 0..rest.len() {
            assert_eq!(next(&rest[..cut]), None);
        }
        let mut zeros = rest.to_vec();
        zeros[8..].fill(0);
        assert_eq!(next(&zeros), None);
        assert_eq!(next(&[0; 64]), None);
        assert_eq!(next(&[0xff; 64]), None);
    }
}
