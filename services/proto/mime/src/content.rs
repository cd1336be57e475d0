//! The `Content-…` fields of a part (RFC 2045, 1864, 2183, 2557, 3282).

use crate::field::Field;
use crate::lexer::{Lexer, NUL_REPLACEMENT};
use crate::limits;
pub use crate::parameters::Parameter;
use crate::parameters::parameters;

/// What the `Content-…` fields of a part say. Of a field that stands there twice the first one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Type and subtype as written; both empty when the field is there but malformed, `None` when it is not there.
    pub media_type: Option<MediaType>,
    /// Parameters of the type.
    pub parameters: Vec<Parameter>,
    /// `Content-ID`.
    pub id: Option<Vec<u8>>,
    /// `Content-Description`.
    pub description: Option<Vec<u8>>,
    /// `Content-Transfer-Encoding`.
    pub transfer_encoding: Option<Vec<u8>>,
    /// `Content-MD5`.
    pub md5: Option<Vec<u8>>,
    /// `Content-Disposition`.
    pub disposition: Option<Vec<u8>>,
    /// Parameters of the disposition.
    pub disposition_parameters: Vec<Parameter>,
    /// `Content-Language`; never an empty list.
    pub language: Option<Vec<Vec<u8>>>,
    /// `Content-Location`.
    pub location: Option<Vec<u8>>,
}

/// A media type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaType {
    /// `text` of `text/plain`.
    pub main: Vec<u8>,
    /// `plain` of `text/plain`.
    pub sub: Vec<u8>,
}

impl MediaType {
    /// Whether it is this type, in any case.
    #[must_use]
    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.main.eq_ignore_ascii_case(main.as_bytes()) && self.sub.eq_ignore_ascii_case(sub.as_bytes())
    }
}

impl Content {
    /// Takes in a field, if it is one of the part's content.
    pub(crate) fn add(&mut self, field: &Field<'_>) {
        let Some((start, name)) = field.name.split_at_checked(8) else { return };
        if !start.eq_ignore_ascii_case(b"content-") {
            return;
        }
        let text = || Some(text(field.value));
        match name.to_ascii_lowercase().as_slice() {
            b"type" if self.media_type.is_none() => self.add_type(field.value),
            b"transfer-encoding" if self.transfer_encoding.is_none() => {
                self.transfer_encoding = lone_token(field.value);
            }
            b"id" if self.id.is_none() => self.id = text(),
            b"description" if self.description.is_none() => self.description = text(),
            b"md5" if self.md5.is_none() => self.md5 = text(),
            b"location" if self.location.is_none() => self.location = text(),
            b"language" if self.language.is_none() => self.language = languages(field.value),
            // A second disposition counts if the first one had no parameters.
            b"disposition" if self.disposition_parameters.is_empty() => self.add_disposition(field.value),
            _ => {}
        }
    }

    fn add_type(&mut self, value: &[u8]) {
        let mut lexer = Lexer::new(value);
        let (media_type, well_formed) = media_type(&mut lexer);
        self.media_type = Some(media_type);
        if well_formed {
            self.parameters = parameters(&mut lexer);
        }
    }

    fn add_disposition(&mut self, value: &[u8]) {
        let mut lexer = Lexer::new(value);
        let mut token = Vec::new();
        // A broken comment before it leaves the token to be read from where it broke.
        let _ = lexer.skip_white_space();
        if lexer.token(&mut token).is_ok() {
            self.disposition = Some(token);
            self.disposition_parameters = parameters(&mut lexer);
        }
    }

    /// A parameter of the type.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let found = self.parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|parameter| parameter.value.as_slice())
    }
}

/// Reads `type "/" subtype`. What it says of a malformed one is as much as Dovecot says; parameters are then not read.
///
/// ```text
/// content = type "/" subtype *(";" parameter)
/// ```
fn media_type(lexer: &mut Lexer<'_>) -> (MediaType, bool) {
    let mut media_type = MediaType::default();
    if lexer.skip_white_space() != Ok(true) {
        return (media_type, false);
    }
    match lexer.token(&mut media_type.main) {
        Ok(true) if !media_type.main.is_empty() => {}
        // A type that is the whole field is kept, so that a lone `text` is still text.
        _ => return (media_type, false),
    }
    if !lexer.take(b'/') || lexer.skip_white_space() != Ok(true) {
        return (MediaType::default(), false);
    }
    let ended = lexer.token(&mut media_type.sub).is_ok();
    if !ended || media_type.sub.is_empty() || lexer.peek().is_some_and(|byte| byte != b';') {
        return (MediaType::default(), false);
    }
    (media_type, true)
}

/// A token with nothing but white space around it.
fn lone_token(value: &[u8]) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(value);
    let mut token = Vec::new();
    let _ = lexer.skip_white_space();
    let ends = lexer.token(&mut token).is_ok() && lexer.skip_white_space() == Ok(false);
    (ends && !token.is_empty()).then_some(token)
}

/// ```text
/// languages = atom *("," atom)
/// ```
fn languages(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut lexer = Lexer::new(value);
    let mut languages = Vec::new();
    let _ = lexer.skip_white_space();
    while languages.len() < limits::LANGUAGES {
        let mut language = Vec::new();
        if lexer.atom(&mut language).is_err() {
            break;
        }
        languages.push(language);
        if !lexer.take(b',') {
            break;
        }
        let _ = lexer.skip_white_space();
    }
    (!languages.is_empty()).then_some(languages)
}

/// A value as it is, with NULs replaced.
pub(crate) fn text(value: &[u8]) -> Vec<u8> {
    if memchr::memchr(0, value).is_none() {
        return value.to_vec();
    }
    value
        .iter()
        .flat_map(|byte| if *byte == 0 { NUL_REPLACEMENT } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(header: &str) -> Content {
        let mut content = Content::default();
        crate::field::fields(header.as_bytes()).for_each(|field| content.add(&field));
        content
    }

    #[test]
    fn types() {
        for (value, main, sub, parameters) in [
            (" text/plain; charset=x", "text", "plain", 1),
            ("TEXT / Html", "TEXT", "Html", 0),
            ("text", "text", "", 0),
            ("text;charset=x", "", "", 0),
            ("text/", "", "", 0),
            ("text/plain charset=x", "", "", 0),
            ("", "", "", 0),
            ("(c) a/b (c) ; d=e;f=g", "a", "b", 2),
        ] {
            let content = content(&format!("Content-Type: {value}\n"));
            let expected = MediaType { main: main.into(), sub: sub.into() };
            assert_eq!((content.media_type, content.parameters.len()), (Some(expected), parameters), "{value:?}");
        }
        assert_eq!(content("Subject: x\n").media_type, None);
    }

    #[test]
    fn other_fields() {
        let header = "Content-Transfer-Encoding: base64 x\ncontent-transfer-encoding: 8bit (c)\nContent-Language: de, en-GB (x) , !\n\
            Content-ID: <a\0b>\nContent-Id: <second>\nContent-Disposition: inline\nContent-Disposition: attachment; a=b\n\
            Content-Disposition: third\nContent-Xyz: x\nContent\n";
        let content = content(header);
        assert_eq!(content.transfer_encoding.as_deref(), Some(&b"8bit"[..]));
        assert_eq!(content.language, Some(vec![b"de".to_vec(), b"en-GB".to_vec(), b"!".to_vec()]));
        assert_eq!(content.id.as_deref(), Some("<a\u{fffd}b>".as_bytes()));
        assert_eq!(content.disposition.as_deref(), Some(&b"attachment"[..]));
        assert_eq!(content.disposition_parameters.len(), 1);
    }
}
