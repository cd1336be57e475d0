//! How a stream of bytes is cut into pieces, to show that a machine does not care.

/// How the bytes of one side are cut before they reach the machine.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Whole,
    At(usize),
    Bytes,
}

impl Cut {
    /// The pieces of `bytes`, which begin at `offset` in the stream of this side.
    pub fn pieces(self, bytes: &[u8], offset: usize) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![bytes],
            Self::At(at) => {
                let at = at.saturating_sub(offset).min(bytes.len());
                vec![&bytes[..at], &bytes[at..]]
            }
            Self::Bytes => bytes.chunks(1).collect(),
        }
    }
}
