//! What the corpus and the oracle share.

use proto_mime::envelope::Envelope;
use proto_mime::field::header_length;
use proto_mime::{Structure, bodystructure};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of recorded messages.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Name and content of each message, in the order of names.
pub fn messages() -> Vec<(String, Vec<u8>)> {
    let mut messages: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    messages.sort();
    messages
}

/// `ENVELOPE`, `BODY` and `BODYSTRUCTURE` as they stand in an answer to `FETCH`.
pub fn fetch_items(message: &[u8]) -> Vec<u8> {
    let structure = Structure::scan(message);
    let mut out = b"ENVELOPE (".to_vec();
    Envelope::parse(&message[..header_length(message)]).write(&mut out);
    out.extend(b") BODY ");
    bodystructure::write(&structure, false, &mut out);
    out.extend(b" BODYSTRUCTURE ");
    bodystructure::write(&structure, true, &mut out);
    out
}
