//! `BODY` and `BODYSTRUCTURE` (RFC 3501 §7.4.2), written as Dovecot writes them.
//!
//! ```text
//! body      = "(" (multipart / single) ")"
//! multipart = 1*body SP subtype [SP parameters SP disposition SP language SP location]
//! single    = type SP subtype SP parameters SP id SP description SP encoding SP octets
//!             [SP "(" envelope ")" SP body] [SP lines] [SP md5 SP disposition SP language SP location]
//! ```
//!
//! What stands in the last brackets is in `BODYSTRUCTURE` alone.

use crate::content::Content;
use crate::imap_string::{append_string, append_unfolded};
use crate::part::{Kind, Part, Structure};

/// The character set of text that names none.
const DEFAULT_CHARSET: &[u8] = b"\"charset\" \"us-ascii\"";
/// Plain text, up to its sizes.
const PLAIN: &[u8] = b"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\"";

/// Appends the value of `BODY`, or with `extended` that of `BODYSTRUCTURE`, its parentheses included.
pub fn write(structure: &Structure, extended: bool, out: &mut Vec<u8>) {
    let root = structure.root();
    if is_plain(root) {
        let size = root.body_size();
        out.extend(PLAIN);
        out.extend(format!(" {} {}", size.wire, size.lines).bytes());
        out.extend(if extended { &b" NIL NIL NIL NIL)"[..] } else { b")" });
    } else {
        write_part(structure, root, extended, out);
    }
}

/// Whether the message is 7-bit plain text and says nothing else of its content. Dovecot remembers no more of such a
/// message, so that from its second answer on the names are in lower case, however they are written in the message.
fn is_plain(root: &Part) -> bool {
    let Content { media_type, parameters, transfer_encoding, .. } = &root.content;
    let others = Content { media_type: None, parameters: Vec::new(), transfer_encoding: None, ..root.content.clone() };
    root.kind == Kind::Text
        && media_type.as_ref().is_none_or(|media_type| media_type.sub.eq_ignore_ascii_case(b"plain"))
        && transfer_encoding.as_ref().is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"7bit"))
        && parameters.iter().all(|parameter| {
            parameter.name.eq_ignore_ascii_case(b"charset") && parameter.value.eq_ignore_ascii_case(b"us-ascii")
        })
        && parameters.len() <= 1
        && Content { disposition_parameters: Vec::new(), ..others } == Content::default()
}

/// Nesting is bounded by [`crate::limits::DEPTH`].
fn write_part(structure: &Structure, part: &Part, extended: bool, out: &mut Vec<u8>) {
    out.push(b'(');
    if let Kind::Multipart { .. } = part.kind {
        write_multipart(structure, part, extended, out);
    } else {
        write_single(structure, part, extended, out);
    }
    out.push(b')');
}

fn write_multipart(structure: &Structure, part: &Part, extended: bool, out: &mut Vec<u8>) {
    for child in structure.children(part) {
        write_part(structure, child, extended, out);
    }
    if part.children.is_empty() {
        // The grammar wants a part.
        out.extend(PLAIN);
        out.extend(if extended { &b" 0 0 NIL NIL NIL NIL)"[..] } else { b" 0 0)" });
    }
    out.push(b' ');
    append_string(out, part.content.media_type.as_ref().map_or(b"", |media_type| &media_type.sub));
    if extended {
        out.push(b' ');
        write_parameters(&part.content.parameters, false, out);
        write_extension(&part.content, out);
    }
}

fn write_single(structure: &Structure, part: &Part, extended: bool, out: &mut Vec<u8>) {
    let content = &part.content;
    let text = part.kind == Kind::Text;
    write_type(structure, part, out);
    out.push(b' ');
    write_parameters(&content.parameters, text, out);
    for value in [&content.id, &content.description] {
        out.push(b' ');
        append_unfolded(out, value.as_deref());
    }
    out.push(b' ');
    append_string(out, content.transfer_encoding.as_deref().unwrap_or(b"7bit"));
    let size = part.body_size();
    out.extend(format!(" {}", size.wire).bytes());
    if part.kind == Kind::Message {
        for child in structure.children(part) {
            out.extend(b" (");
            child.envelope.as_deref().unwrap_or(&Default::default()).write(out);
            out.extend(b") ");
            write_part(structure, child, extended, out);
        }
    }
    if text || part.kind == Kind::Message {
        out.extend(format!(" {}", size.lines).bytes());
    }
    if extended {
        out.push(b' ');
        append_unfolded(out, content.md5.as_deref());
        write_extension(content, out);
    }
}

/// A part beyond the limits, which was not looked into, is said to be of no known type.
fn write_type(structure: &Structure, part: &Part, out: &mut Vec<u8>) {
    if part.kind == Kind::Message {
        return out.extend(b"\"message\" \"rfc822\"");
    }
    let in_digest = part.parent.is_some_and(|id| structure.part(id).kind == Kind::Multipart { digest: true });
    match &part.content.media_type {
        Some(media_type)
            if media_type.is("message", "rfc822") || media_type.main.eq_ignore_ascii_case(b"multipart") =>
        {
            out.extend(b"\"application\" \"octet-stream\"");
        }
        None if in_digest => out.extend(b"\"application\" \"octet-stream\""),
        None => out.extend(b"\"text\" \"plain\""),
        Some(media_type) => {
            append_string(out, &media_type.main);
            out.push(b' ');
            append_string(out, &media_type.sub);
        }
    }
}

fn write_parameters(parameters: &[crate::Parameter], text: bool, out: &mut Vec<u8>) {
    let charset = !text || parameters.iter().any(|parameter| parameter.name.eq_ignore_ascii_case(b"charset"));
    if parameters.is_empty() && charset {
        return out.extend(b"NIL");
    }
    out.push(b'(');
    for (at, parameter) in parameters.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        append_string(out, &parameter.name);
        out.push(b' ');
        append_string(out, &parameter.value);
    }
    if !charset {
        if !parameters.is_empty() {
            out.push(b' ');
        }
        out.extend(DEFAULT_CHARSET);
    }
    out.push(b')');
}

/// Disposition, language, location.
fn write_extension(content: &Content, out: &mut Vec<u8>) {
    out.push(b' ');
    match &content.disposition {
        None => out.extend(b"NIL"),
        Some(disposition) => {
            out.push(b'(');
            append_string(out, disposition);
            out.push(b' ');
            write_parameters(&content.disposition_parameters, false, out);
            out.push(b')');
        }
    }
    out.push(b' ');
    match &content.language {
        None => out.extend(b"NIL"),
        Some(languages) => {
            for (at, language) in languages.iter().enumerate() {
                out.push(if at == 0 { b'(' } else { b' ' });
                append_string(out, language);
            }
            out.push(b')');
        }
    }
    out.push(b' ');
    append_unfolded(out, content.location.as_deref());
}
