//! Modifiers, offset and width of a variable: what stands between `%` and the key.

use super::{Error, MAX_EXPANDED, Vars};

/// Greatest width or offset.
const MAX_WIDTH: i64 = 1 << 32;
/// Modifiers of one variable; Dovecot's own limit.
const MAX_MODIFIERS: usize = 10;

/// What stands between `%` and the key.
#[derive(Debug, Default)]
pub(super) struct Format {
    /// Characters left out; negative counts from the end.
    offset: i64,
    /// Characters taken; 0 is all, negative leaves that many out at the end.
    width: i64,
    zeros: bool,
    pub(super) modifiers: Vec<char>,
}

impl Format {
    /// Reads a format, and gives what follows it.
    pub(super) fn parse(text: &str) -> (Format, &str) {
        let mut format = Format::default();
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix('-').unwrap_or(text);
        format.zeros = rest.starts_with('0');
        (format.width, rest) = number(rest);
        if let Some(after) = rest.strip_prefix('.') {
            format.offset = if negative { -format.width } else { format.width };
            format.zeros = after.starts_with('0');
            let after = after.strip_prefix('0').unwrap_or(after);
            let negative = after.starts_with('-');
            (format.width, rest) = number(after.strip_prefix('-').unwrap_or(after));
            format.width = if negative { -format.width } else { format.width };
        }
        while format.modifiers.len() < MAX_MODIFIERS
            && let Some(modifier) = rest.chars().next().filter(|letter| "LUEXRHNMDT".contains(*letter))
        {
            format.modifiers.push(modifier);
            rest = &rest[1..];
        }
        (format, rest)
    }

    /// Applies the modifiers to a value, cuts it and adds it to the result.
    pub(super) fn write(mut self, value: String, vars: &Vars<'_>, out: &mut String) -> Result<(), Error> {
        let mut value = value;
        for modifier in std::mem::take(&mut self.modifiers) {
            value = self.modify(modifier, &value, vars)?;
        }
        let length = value.chars().count() as i64;
        let skipped = if self.offset < 0 { (length + self.offset).max(0) } else { self.offset.min(length) };
        let left = length - skipped;
        let taken = match self.width {
            0 => left,
            _ if self.zeros && self.width > 0 => {
                if self.width > MAX_EXPANDED as i64 {
                    return Err(Error::TooLong);
                }
                out.extend((left..self.width).map(|_| '0'));
                left
            }
            width if width < 0 => (left + width).max(0),
            width => width.min(left),
        };
        out.extend(value.chars().skip(skipped as usize).take(taken as usize));
        Ok(())
    }

    fn modify(&mut self, modifier: char, value: &str, vars: &Vars<'_>) -> Result<String, Error> {
        Ok(match modifier {
            'L' => value.to_ascii_lowercase(),
            'U' => value.to_ascii_uppercase(),
            'E' => crate::dovecot::doveconf::escape(value),
            'X' => format!("{:x}", value.parse::<u64>().unwrap_or(0)),
            'R' => value.chars().rev().collect(),
            'D' => value.replace('.', ",dc="),
            'T' => value.trim_end_matches(|c: char| c.is_ascii_whitespace()).to_owned(),
            'H' => self.bucket(u64::from(string_hash(value))),
            'M' => md5(value, vars)?.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => {
                let digest = md5(value, vars)?;
                self.bucket(digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            }
        })
    }

    /// A hash modulo the width, in hex, with the offset as its least number of digits. Both are used up by that.
    fn bucket(&mut self, hash: u64) -> String {
        let hash = match std::mem::take(&mut self.width).unsigned_abs() {
            0 => hash,
            width => hash % width,
        };
        let digits = std::mem::take(&mut self.offset).clamp(0, 64) as usize;
        format!("{:0digits$x}", hash as u32)
    }
}

/// Leading digits as a number, and what follows them.
fn number(text: &str) -> (i64, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].bytes().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(MAX_WIDTH));
    (number, &text[end..])
}

fn md5(value: &str, vars: &Vars<'_>) -> Result<[u8; 16], Error> {
    vars.md5.map(|md5| md5(value.as_bytes())).ok_or(Error::NoDigest)
}

/// Dovecot's string hash (`%H`), which is that of ELF symbol tables.
fn string_hash(text: &str) -> u32 {
    text.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) ^ high
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_hash_is_that_of_elf() {
        // As in the System V ABI.
        for (text, expected) in [("", 0), ("printf", 0x077905a6), ("exit", 0x0006cf04), ("syscall", 0x0b09985c)] {
            assert_eq!(string_hash(text), expected, "{text}");
        }
    }
}
