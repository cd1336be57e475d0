//! Addresses in header fields (RFC 5322 §3.4 and §4.4), and what to make of those that are none.
//!
//! ```text
//! address-list = address *("," address)
//! address      = group / mailbox
//! group        = phrase ":" [mailbox *("," mailbox)] ";"
//! mailbox      = [phrase] "<" [route ":"] [local-part ["@" domain]] ">"
//!              / local-part "@" domain [comment]
//! route        = 1*("@" domain [","])
//! local-part   = quoted-string / *("." / atom)
//! ```
//!
//! A broken address is not dropped: the client gets what could be read, with `MISSING_MAILBOX`, `MISSING_DOMAIN`,
//! `SYNTAX_ERROR` or `INVALID_ROUTE` in the place of the rest, as from Dovecot. What follows an address that ends in
//! garbage is not looked at.

use crate::lexer::{Lexer, Malformed, More, is_atext};
use crate::limits;

/// An address, or the start or end of a group, as in an IMAP envelope (RFC 3501 §7.4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, or the comment after a bare address.
    pub name: Option<Vec<u8>>,
    /// The source route, without the colon.
    pub route: Option<Vec<u8>>,
    /// The local part; for the start of a group, its name; `None` for its end.
    pub mailbox: Option<Vec<u8>>,
    /// The domain; `None` for the start and the end of a group.
    pub domain: Option<Vec<u8>>,
}

/// Reads the addresses of a field's value.
#[must_use]
pub fn parse_addresses(value: &[u8]) -> Vec<Address> {
    let mut parser = Parser { lexer: Lexer::new(value), found: Vec::new(), current: Address::default(), broken: false };
    if parser.lexer.skip_white_space() == Ok(true) {
        parser.list();
    }
    parser.found
}

/// Writes addresses in one normal form, for searching in them.
///
/// ```text
/// a@b.example, "D. N" <@r:c@d.example>, group: e@f.example;
/// ```
#[must_use]
pub fn write_addresses(addresses: &[Address]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut in_group = false;
    let mut first = true;
    for address in addresses {
        if address.domain.is_none() && in_group {
            out.push(b';');
            (in_group, first) = (false, false);
            continue;
        }
        if !first {
            out.extend(b", ");
        } else if in_group {
            out.push(b' ');
        }
        first = false;
        let Some(domain) = &address.domain else {
            match address.mailbox.as_deref() {
                None | Some(b"") => out.extend(b"\"\""),
                Some(name) => write_phrase(&mut out, name),
            }
            out.push(b':');
            (in_group, first) = (true, true);
            continue;
        };
        write_mailbox(&mut out, address, domain);
    }
    out
}

fn write_mailbox(out: &mut Vec<u8>, address: &Address, domain: &[u8]) {
    if let Some(name) = &address.name {
        write_phrase(out, name);
    }
    let mailbox = address.mailbox.as_deref().unwrap_or_default();
    if address.route.is_none() && mailbox.is_empty() && domain.is_empty() {
        return;
    }
    if address.name.as_ref().is_some_and(|name| !name.is_empty()) {
        out.push(b' ');
    }
    out.push(b'<');
    if let Some(route) = &address.route {
        out.extend(route);
        out.push(b':');
    }
    if mailbox.is_empty() {
        out.extend(b"\"\"");
    } else {
        write_quoted(out, mailbox, |byte| is_atext(byte) || byte == b'.');
    }
    if !domain.is_empty() {
        out.push(b'@');
        out.extend(domain);
    }
    out.push(b'>');
}

/// An encoded word must not stand in quotes, so a phrase with one is written as it is.
fn write_phrase(out: &mut Vec<u8>, phrase: &[u8]) {
    if memchr::memmem::find(phrase, b"=?").is_some() {
        out.extend(phrase);
    } else {
        write_quoted(out, phrase, is_atext);
    }
}

fn write_quoted(out: &mut Vec<u8>, text: &[u8], plain: impl Fn(u8) -> bool) {
    if text.iter().all(|byte| plain(*byte)) {
        return out.extend(text);
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\' | b'\'') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    found: Vec<Address>,
    /// The address being read.
    current: Address,
    /// The syntax of the address being read is wrong.
    broken: bool,
}

impl Parser<'_> {
    fn list(&mut self) {
        while self.found.len() < limits::ADDRESSES {
            if self.address() == Ok(false) || !self.lexer.take(b',') {
                return;
            }
            match self.lexer.skip_white_space() {
                Ok(true) => {}
                Ok(false) => return,
                Err(Malformed) => return self.add_filled(),
            }
        }
    }

    fn address(&mut self) -> More {
        let start = self.lexer.rest();
        match self.group() {
            Some(more) => Ok(more),
            None => {
                self.lexer.rewind(start);
                self.mailbox()
            }
        }
    }

    /// Reads a group; `None` if there is none. Once its colon was read it is a group, whatever follows.
    fn group(&mut self) -> Option<bool> {
        let mut name = Vec::new();
        if self.lexer.phrase(&mut name) != Ok(true) || !self.lexer.take(b':') {
            return None;
        }
        self.found.push(Address { mailbox: Some(name), ..Address::default() });
        let mut more = self.lexer.skip_white_space();
        if more == Ok(true) && self.lexer.peek() != Some(b';') {
            while self.found.len() < limits::ADDRESSES {
                // A broken mailbox is added with what could be read.
                let _ = self.mailbox();
                if !self.lexer.take(b',') {
                    break;
                }
                if self.lexer.skip_white_space() != Ok(true) {
                    more = Err(Malformed);
                    break;
                }
            }
        }
        if more.is_ok() {
            more = if self.lexer.take(b';') { self.lexer.skip_white_space() } else { Err(Malformed) };
        }
        self.found.push(Address::default());
        Some(more != Ok(false))
    }

    fn mailbox(&mut self) -> More {
        let start = self.lexer.rest();
        let more = self.name_address().or_else(|Malformed| {
            self.lexer.rewind(start);
            let more = self.bare_address();
            let lone = self.current.name.is_none() && self.current.domain.is_none();
            if self.broken && lone && self.current.mailbox.is_some() {
                self.current.name = self.current.mailbox.take();
            }
            more
        });
        self.add_filled();
        more
    }

    /// `[phrase] "<" … ">"`. A mistake after the `<` is not one of this function: the address is then marked as broken.
    fn name_address(&mut self) -> More {
        let mut name = Vec::new();
        if !self.lexer.phrase(&mut name)? || self.lexer.peek() != Some(b'<') {
            return Err(Malformed);
        }
        self.current.name = (!name.is_empty()).then_some(name);
        if self.angle_address().is_err() {
            self.current.domain = Some(b"SYNTAX_ERROR".to_vec());
            self.broken = true;
        }
        Ok(self.lexer.peek().is_some())
    }

    fn angle_address(&mut self) -> More {
        self.lexer.advance();
        self.require_more()?;
        if self.lexer.peek() == Some(b'@') {
            if self.route() != Ok(true) || !self.lexer.take(b':') {
                self.current.route = Some(b"INVALID_ROUTE".to_vec());
            }
            self.require_more()?;
        }
        if self.lexer.peek() != Some(b'>') {
            if !self.local_part()? {
                return Err(Malformed);
            }
            if self.lexer.peek() == Some(b'@') && !self.domain()? {
                return Err(Malformed);
            }
        }
        if !self.lexer.take(b'>') {
            return Err(Malformed);
        }
        self.lexer.skip_white_space()
    }

    fn require_more(&mut self) -> Result<(), Malformed> {
        if self.lexer.skip_white_space()? { Ok(()) } else { Err(Malformed) }
    }

    fn route(&mut self) -> More {
        let mut route = Vec::new();
        while self.lexer.peek() == Some(b'@') {
            if !route.is_empty() {
                route.push(b',');
            }
            route.push(b'@');
            if !self.lexer.domain(&mut route)? {
                return Ok(false);
            }
            while self.lexer.skip_white_space() == Ok(true) && self.lexer.take(b',') {}
        }
        if self.lexer.peek().is_none() {
            return Ok(false);
        }
        self.current.route = Some(route);
        Ok(true)
    }

    fn local_part(&mut self) -> More {
        let mut local = Vec::new();
        let more = self.local_part_text(&mut local)?;
        self.current.mailbox = Some(local);
        Ok(more)
    }

    fn local_part_text(&mut self, local: &mut Vec<u8>) -> More {
        if self.lexer.peek() == Some(b'"') {
            return self.lexer.quoted_string(local);
        }
        loop {
            while self.lexer.take(b'.') {
                local.push(b'.');
                if self.lexer.peek().is_none() {
                    return Ok(false);
                }
            }
            if self.lexer.peek() == Some(b'@') {
                return if local.is_empty() { Err(Malformed) } else { Ok(true) };
            }
            if !self.lexer.atom(local)? {
                return Ok(false);
            }
            if self.lexer.peek() != Some(b'.') {
                return Ok(true);
            }
        }
    }

    fn domain(&mut self) -> More {
        let mut domain = Vec::new();
        let more = self.lexer.domain(&mut domain)?;
        self.current.domain = Some(domain);
        Ok(more)
    }

    /// An address without angle brackets; a comment after it is its name. Words without a domain are a name, a single
    /// word is a mailbox.
    fn bare_address(&mut self) -> More {
        self.lexer.comment.clear();
        let quoted = self.lexer.peek() == Some(b'"');
        let mut local = Vec::new();
        let mut more = self.local_part_text(&mut local);
        if more.is_ok() {
            self.current.mailbox = Some(local.clone());
        }
        self.broken |= more != Ok(true);
        let mut with_domain = false;
        if more != Ok(false) && self.lexer.peek() == Some(b'@') {
            with_domain = true;
            let domain = self.domain();
            if domain != Ok(true) {
                more = domain;
            }
        }
        if !self.lexer.comment.is_empty() {
            self.current.name = Some(std::mem::take(&mut self.lexer.comment));
            return more;
        }
        if with_domain {
            return more;
        }
        local.push(b' ');
        let before = local.len();
        let _ = self.lexer.phrase(&mut local);
        if local.len() > before {
            self.current.mailbox = None;
            self.current.name = Some(local);
        } else if !quoted {
            self.current.domain = Some(Vec::new());
        }
        self.broken = true;
        Err(Malformed)
    }

    /// Adds the address being read, with something in the place of what is missing.
    fn add_filled(&mut self) {
        self.broken = false;
        let mut address = std::mem::take(&mut self.current);
        address.mailbox.get_or_insert_with(|| b"MISSING_MAILBOX".to_vec());
        if address.domain.as_ref().is_none_or(Vec::is_empty) {
            address.domain = Some(b"MISSING_DOMAIN".to_vec());
        }
        self.found.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> Vec<String> {
        let part = |part: &Option<Vec<u8>>| {
            part.as_ref().map_or("-".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
        };
        parse_addresses(value.as_bytes())
            .iter()
            .map(|a| format!("{}|{}|{}|{}", part(&a.name), part(&a.route), part(&a.mailbox), part(&a.domain)))
            .collect()
    }

    #[test]
    fn address_table() {
        for (value, expected) in [
            ("a@b", vec!["-|-|a|b"]),
            ("A B <a.b@c.d>, \"E, F\" <e@f>", vec!["A B|-|a.b|c.d", "E, F|-|e|f"]),
            ("a@b (Name)", vec!["Name|-|a|b"]),
            ("g: a@b, C <c@d>;, e@f", vec!["-|-|g|-", "-|-|a|b", "C|-|c|d", "-|-|-|-", "-|-|e|f"]),
            ("undisclosed:;", vec!["-|-|undisclosed|-", "-|-|-|-"]),
            ("<@r,@s:a@b>", vec!["-|@r,@s|a|b"]),
            ("<>", vec!["-|-|MISSING_MAILBOX|MISSING_DOMAIN"]),
            ("root", vec!["-|-|root|MISSING_DOMAIN"]),
            ("two words", vec!["two words|-|MISSING_MAILBOX|MISSING_DOMAIN"]),
            ("A <a@b", vec!["A|-|a|SYNTAX_ERROR"]),
            ("\"a b\"@c", vec!["-|-|a b|c"]),
            ("a..b@c", vec!["-|-|a..b|c"]),
            ("a@[1.2.3.4]", vec!["-|-|a|[1.2.3.4]"]),
            ("a@b, ", vec!["-|-|a|b"]),
            ("", vec![]),
            ("(only a comment)", vec![]),
        ] {
            assert_eq!(shown(value), expected, "{value:?}");
        }
    }

    #[test]
    fn normal_form() {
        for (value, expected) in [
            ("a@b , C.D  <c@d>", "<a@b>, \"C.D\" <c@d>"),
            ("g : a@b,c@d ;,e@f", "g: <a@b>, <c@d>;, <e@f>"),
            ("g:;", "g:;"),
            ("=?utf-8?q?x?= y <a@b>", "=?utf-8?q?x?= y <a@b>"),
            ("<@r:\"a b\"@c>", "<@r:\"a b\"@c>"),
        ] {
            let written = write_addresses(&parse_addresses(value.as_bytes()));
            assert_eq!(String::from_utf8(written).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn number_of_addresses_is_limited() {
        assert_eq!(parse_addresses("a@b,".repeat(limits::ADDRESSES + 5).as_bytes()).len(), limits::ADDRESSES);
    }

    #[test]
    fn hostile_lists_take_linear_time() {
        for piece in ["a ", "(", "\"", "<@", "a:", ",;", "\\", "((a)"] {
            let start = std::time::Instant::now();
            let _ = parse_addresses(piece.repeat(200_000).as_bytes());
            assert!(start.elapsed().as_secs() < 5, "{piece:?}");
        }
    }
}
