//! `cidr:`: networks, tried in order.
//!
//! ```text
//! 192.168.0.0/16   OK          [2001:db8::]/32  REJECT        an address without /length is one host
//! !10.0.0.0/8      REJECT      matches what is not in the network
//! if 10.0.0.0/8                the rules up to endif apply to the network alone
//! 10.1.0.0/16      OK
//! endif
//! ```

use crate::source::{LogicalLine, is_space, logical_lines, trim, utf8_line};
use crate::spec::inline_rules;
use crate::watched::{Rules, Watched};
use crate::{Context, Matching, Table, TableError, TableSpec};
use ipnet::IpNet;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) struct Cidr {
    spec: TableSpec,
    rules: Rules<Vec<Rule>>,
}

/// A network, and whether the rule wants the address inside or outside it. An address of the other family matches neither.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    network: IpNet,
    inside: bool,
}

impl Pattern {
    fn matches(&self, address: IpAddr) -> bool {
        self.network.addr().is_ipv4() == address.is_ipv4() && self.network.contains(&address) == self.inside
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Match(Pattern, String),
    /// Where the pattern does not match, the search goes on at the rule with this number.
    If(Pattern, usize),
}

impl Cidr {
    pub fn new(spec: &TableSpec, context: &Context) -> Self {
        let rules = match inline_rules(&spec.name) {
            Some(text) => Rules::Name(Arc::new(parse(&spec.name, text.as_bytes(), &*context.warn))),
            None => Rules::File(Watched::new(context, spec.to_string(), "open", spec.name.clone())),
        };
        Self { spec: spec.clone(), rules }
    }

    fn load(&self, context: &Context, mut file: File) -> Result<Vec<Rule>, TableError> {
        let mut text = Vec::new();
        let name = &self.spec.name;
        file.read_to_end(&mut text).map_err(|error| TableError::io(&self.spec.to_string(), "read", name, &error))?;
        Ok(parse(name, &text, &*context.warn))
    }
}

impl Table for Cidr {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let rules = self.rules.get(|context, file| self.load(context, file))?;
        Ok(key.parse().ok().and_then(|address| search(&rules, address)).map(str::to_owned))
    }

    fn matching(&self) -> Matching {
        Matching::Pattern
    }
}

fn search(rules: &[Rule], address: IpAddr) -> Option<&str> {
    let mut at = 0;
    loop {
        at = match rules.get(at)? {
            Rule::Match(pattern, value) if pattern.matches(address) => return Some(value),
            Rule::If(pattern, end) if !pattern.matches(address) => *end,
            _ => at + 1,
        }
    }
}

fn parse(name: &str, text: &[u8], warn: &dyn Fn(&str)) -> Vec<Rule> {
    let mut rules = Vec::new();
    // The IF rules that are open: place in `rules`, line.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for LogicalLine { number, text } in logical_lines(name, text, warn) {
        let Some(line) = utf8_line(name, number, text, warn) else { continue };
        match statement(&line) {
            Ok(Statement::Match(pattern, value)) => rules.push(Rule::Match(pattern, value)),
            Ok(Statement::If(pattern)) => {
                open.push((rules.len(), number));
                rules.push(Rule::If(pattern, usize::MAX));
            }
            Ok(Statement::Endif) => match open.pop() {
                Some((place, _)) => close(&mut rules, place),
                None => warn(&format!("cidr map {name}, line {number}: ENDIF without IF: skipping this rule")),
            },
            Err(reason) => warn(&format!("cidr map {name}, line {number}: {reason}: skipping this rule")),
        }
    }
    for (_, number) in open.iter().rev() {
        warn(&format!("cidr map {name}, line {number}: IF has no matching ENDIF"));
    }
    rules
}

fn close(rules: &mut [Rule], place: usize) {
    let next = rules.len();
    if let Rule::If(_, end) = &mut rules[place] {
        *end = next;
    }
}

enum Statement {
    Match(Pattern, String),
    If(Pattern),
    Endif,
}

fn statement(line: &str) -> Result<Statement, String> {
    if let Some(rest) = keyword(line, "IF") {
        let (rest, inside) = negations(rest);
        if rest.is_empty() {
            return Err("no address pattern".to_owned());
        }
        return Ok(Statement::If(Pattern { network: network(trim(rest))?, inside }));
    }
    if let Some(rest) = keyword(line, "ENDIF") {
        return if trim(rest).is_empty() { Ok(Statement::Endif) } else { Err("garbage after ENDIF".to_owned()) };
    }
    let (rest, inside) = negations(line);
    let end = rest.bytes().position(is_space).unwrap_or(rest.len());
    let (pattern, value) = (&rest[..end], trim(&rest[end..]));
    if pattern.is_empty() {
        return Err("no address pattern".to_owned());
    }
    let network = network(pattern)?;
    if value.is_empty() {
        return Err("no lookup result".to_owned());
    }
    Ok(Statement::Match(Pattern { network, inside }, value.to_owned()))
}

/// What follows `word` at the start of the line, in any case, if the next character is not a letter or a digit.
pub(crate) fn keyword<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let (start, rest) = line.split_at_checked(word.len())?;
    (start.eq_ignore_ascii_case(word) && !rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(rest)
}

/// Takes `!` and white space off the start: what follows, and whether the number of `!` is even.
pub(crate) fn negations(text: &str) -> (&str, bool) {
    let mut positive = true;
    let rest = text.trim_start_matches(|letter: char| {
        positive ^= letter == '!';
        letter == '!' || letter.is_ascii() && is_space(letter as u8)
    });
    (rest, positive)
}

/// Parses `address`, `address/length`, `[address]`, `[address]/length` or `[address/length]`.
fn network(pattern: &str) -> Result<IpNet, String> {
    let (address, length) = match pattern.strip_prefix('[') {
        None => split_length(pattern),
        Some(rest) => {
            let (inner, after) =
                rest.split_once(']').ok_or_else(|| format!("missing ']' character after \"[{rest}\""))?;
            match after.strip_prefix('/') {
                Some(length) => (inner, Some(length)),
                None if after.is_empty() => split_length(inner),
                None => return Err(format!("garbage after \"[{inner}]\"")),
            }
        }
    };
    let Some(length) = length else {
        return address.parse::<IpAddr>().map(IpNet::from).map_err(|_| format!("bad address pattern: \"{address}\""));
    };
    let bad = |what: &str| format!("bad {what} in \"{address}/{length}\"");
    if length.is_empty() || !length.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(bad("mask value"));
    }
    let most = if address.contains(':') { 128 } else { 32 };
    let prefix = length.parse().ok().filter(|prefix| *prefix <= most).ok_or_else(|| bad("mask length"))?;
    let address: IpAddr = address.parse().map_err(|_| bad("network value"))?;
    let network = IpNet::new(address, prefix).map_err(|_| bad("mask length"))?;
    if network.network() == address {
        return Ok(network);
    }
    let instead = network.trunc();
    Err(format!("non-null host address bits in \"{address}/{length}\", perhaps you should use \"{instead}\" instead"))
}

fn split_length(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn rules_are_tried_in_order() {
        let text = "192.168.1.1 host\n192.168.0.0/16 net\n[2001:db8::]/32 six\n\
            if 10.0.0.0/8\n10.1.0.0/16 ten-one\nif !10.2.0.0/16\n10.0.0.0/8 other\nendif\nENDIF\n!172.16.0.0/12 not 172\n";
        let rules = parse("x", text.as_bytes(), &|warning| panic!("{warning}"));
        for (address, value) in [
            ("192.168.1.1", Some("host")),
            ("192.168.9.9", Some("net")),
            ("2001:db8:1::1", Some("six")),
            ("2001:db9::", None),
            ("10.1.2.3", Some("ten-one")),
            ("10.2.0.1", Some("not 172")),
            ("10.3.0.1", Some("other")),
            ("172.16.5.5", None),
        ] {
            assert_eq!(search(&rules, address.parse().unwrap()), value, "{address}");
        }
    }

    #[test]
    fn mistakes_are_named_and_skipped() {
        let text = "10.0.0.1/8 x\n10.0.0.0/33 x\n10.0.0.0/x x\n10.0.0/8 x\nten x\n[10.0.0.0 x\n[10.0.0.0]x x\n10.0.0.0/8\nif\nendif x\nendif\nif 10.0.0.0/8\n";
        let seen = RefCell::new(Vec::new());
        let rules = parse("x", text.as_bytes(), &|warning| seen.borrow_mut().push(warning.to_owned()));
        assert_eq!(rules.len(), 1);
        let reasons = [
            "1: non-null host address bits in \"10.0.0.1/8\", perhaps you should use \"10.0.0.0/8\" instead: skipping this rule",
            "2: bad mask length in \"10.0.0.0/33\": skipping this rule",
            "3: bad mask value in \"10.0.0.0/x\": skipping this rule",
            "4: bad network value in \"10.0.0/8\": skipping this rule",
            "5: bad address pattern: \"ten\": skipping this rule",
            "6: missing ']' character after \"[10.0.0.0\": skipping this rule",
            "7: garbage after \"[10.0.0.0]\": skipping this rule",
            "8: no lookup result: skipping this rule",
            "9: no address pattern: skipping this rule",
            "10: garbage after ENDIF: skipping this rule",
            "11: ENDIF without IF: skipping this rule",
            "12: IF has no matching ENDIF",
        ];
        let expected: Vec<_> = reasons.iter().map(|reason| format!("cidr map x, line {reason}")).collect();
        assert_eq!(seen.into_inner(), expected);
    }
}
