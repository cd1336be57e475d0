//! `$name` expansion in values of `main.cf` and `-o`.
//!
//! ```text
//! text        = *( literal / "$$" / "$" name / "${" expression "}" / "$(" expression ")" )
//! expression  = name / name ws "?" choice / name ws ":" choice / name ws "?" "{" text "}" ws ":" choice
//!             / relation [ "?" choice / ":" choice / "?" "{" text "}" ws ":" choice ]
//! choice      = ws "{" text "}" ws / text
//! relation    = "{" text "}" ws operator [ "level" ] ws "{" text "}" ws
//! operator    = "==" / "!=" / "<" / "<=" / ">=" / ">"
//! name        = 1*( ALPHA / DIGIT / "_" )
//! ```
//!
//! (postconf(5), the macro parser of Postfix 3.) A value that is looked up is itself expanded; the value of an unknown
//! name is empty. `?` takes its choice when the value is not empty, `:` when it is. With `level`, the operands are
//! compatibility levels; otherwise two numbers are compared as numbers, anything else as text.
//!
//! Invariants: work and result are bounded, whatever refers to whatever ([`MAX_DEPTH`], [`MAX_STEPS`], [`MAX_LENGTH`]).

use std::cmp::Ordering;

use super::logical::is_space;

/// How deep expansions may nest, as in Postfix.
pub const MAX_DEPTH: usize = 100;
/// How many expansions one value may cause; a chain of twenty doublings would pass it.
pub const MAX_STEPS: usize = 100_000;
/// The longest result, in bytes.
pub const MAX_LENGTH: usize = 1 << 20;

/// What a relation is worth when it is true: anything but empty.
const TRUE: &str = "true";

/// The result of an expansion.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text.
    pub text: String,
    /// Names that have no value, each once, in the order in which they were met.
    pub undefined: Vec<String>,
}

/// Expands `text`. `lookup` gives the unexpanded value of a name, or `None` when there is no such name. The error says in
/// Postfix's words what is wrong with the expression; Postfix refuses to start there.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, String> {
    let mut expander = Expander { lookup, result: Expansion::default(), depth: 0, steps: 0 };
    expander.text(text)?;
    Ok(expander.result)
}

/// The names that `text` refers to, in the order of the text, branches that are not taken included.
pub fn references(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix(['{', '(']).unwrap_or(rest).trim_start_matches(is_space);
        let name = leading_name(inner);
        if !name.is_empty() {
            names.push(name);
        }
    }
    names
}

struct Expander<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    result: Expansion,
    depth: usize,
    steps: usize,
}

impl Expander<'_> {
    /// Appends the expansion of `text` to the result.
    fn text(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        while let Some(position) = rest.find('$') {
            self.literal(&rest[..position])?;
            rest = &rest[position + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                self.literal("$")?;
                rest = after;
                continue;
            }
            let expression = match rest.chars().next() {
                Some(open @ ('{' | '(')) => {
                    let inner = balanced(&rest[1..], open, if open == '{' { '}' } else { ')' })
                        .ok_or_else(|| format!("truncated macro reference: \"{text}\""))?;
                    rest = &rest[inner.len() + 2..];
                    inner
                }
                _ => {
                    let name = leading_name(rest);
                    rest = &rest[name.len()..];
                    name
                }
            };
            if expression.is_empty() {
                return Err(format!("empty macro name: \"{text}\""));
            }
            self.nested(|expander| expander.expression(expression), expression)?;
        }
        self.literal(rest)
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        if self.result.text.len() + text.len() > MAX_LENGTH {
            return Err(format!("the expanded value is longer than {MAX_LENGTH} bytes"));
        }
        self.result.text.push_str(text);
        Ok(())
    }

    /// Runs one level deeper, within the limits.
    fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, String>, expression: &str) -> Result<T, String> {
        self.steps += 1;
        if self.depth >= MAX_DEPTH || self.steps > MAX_STEPS {
            return Err(format!("unreasonable macro call nesting: \"{expression}\""));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Appends what the text between `${` and `}` stands for.
    fn expression(&mut self, expression: &str) -> Result<(), String> {
        let trimmed = expression.trim_start_matches(is_space);
        let (value, rest) =
            if trimmed.starts_with('{') { self.relation(trimmed)? } else { self.named(trimmed, expression)? };
        let Some(operator) = rest.chars().next() else {
            return self.text(value.as_deref().unwrap_or_default());
        };
        let has_value = value.is_some_and(|value| !value.is_empty());
        let rest = &rest[1..];
        if operator == '?' {
            let (if_true, rest) = choice(rest)?;
            if has_value {
                self.text(if_true)?;
            }
            if rest.is_empty() {
                return Ok(());
            }
            let rest = rest
                .strip_prefix(':')
                .ok_or_else(|| format!("\":\" expected at: \"...{if_true}}}>>>{}\"", excerpt(rest)))?;
            return self.otherwise(rest, has_value);
        }
        self.otherwise(rest, has_value)
    }

    /// The choice after `:`, which ends the expression.
    fn otherwise(&mut self, rest: &str, has_value: bool) -> Result<(), String> {
        let (if_false, rest) = choice(rest)?;
        if !has_value {
            self.text(if_false)?;
        }
        match rest {
            "" => Ok(()),
            _ => Err(format!("unexpected input at: \"...{if_false}}}>>>{}\"", excerpt(rest))),
        }
    }

    /// The value of the name at the start of `text`, and the text from the operator on, which is empty without one. A name
    /// alone that has no value is remembered as undefined.
    fn named<'t>(&mut self, text: &'t str, expression: &str) -> Result<(Option<String>, &'t str), String> {
        let name = leading_name(text);
        let rest = text[name.len()..].trim_start_matches(is_space);
        if !rest.is_empty() && !rest.starts_with(['?', ':']) {
            let before = &expression[..expression.len() - text.len() + name.len()];
            let here = excerpt(&text[name.len()..]);
            return Err(format!("attribute name syntax error at: \"...{before}>>>{here}\""));
        }
        let value = (self.lookup)(name);
        if value.is_none() && !self.result.undefined.iter().any(|known| known == name) {
            self.result.undefined.push(name.to_owned());
        }
        Ok((value, rest))
    }

    /// Whether the relation at the start of `text` holds, as the value [`TRUE`] or the empty one, and what follows.
    fn relation<'t>(&mut self, text: &'t str) -> Result<(Option<String>, &'t str), String> {
        let (left, after_left) = braced(text)?;
        let symbol_end = after_left.find(|c| !"<>!=?+-*/~&|%".contains(c)).unwrap_or(after_left.len());
        let (symbol, rest) = after_left.split_at(symbol_end);
        let holds = match symbol {
            "==" => Ordering::is_eq,
            "!=" => Ordering::is_ne,
            "<" => Ordering::is_lt,
            "<=" => Ordering::is_le,
            ">=" => Ordering::is_ge,
            ">" => Ordering::is_gt,
            _ => {
                return Err(format!(
                    "\"==\" or \"!=\" or \"<\" or \"<=\" or \">=\" or \">\" expected at: \"...{left}}}>>>{}\"",
                    excerpt(after_left)
                ));
            }
        };
        let suffix_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (suffix, rest) = rest.split_at(suffix_end);
        let right = rest.trim_start_matches(is_space);
        if !right.starts_with('{') {
            let here = excerpt(rest);
            return Err(format!("\"{{expression}}\" expected at: \"...{{{left}}} {symbol}{suffix}>>>{here}\""));
        }
        let (right, rest) = braced(right)?;
        if !rest.is_empty() && !rest.starts_with(['?', ':']) {
            return Err(format!("\"?\" or \":\" expected at: \"...}}>>>{}\"", excerpt(rest)));
        }
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        let order = match suffix {
            "" => compare(&left, &right)?,
            "level" => Level::parse(&left)?.cmp(&Level::parse(&right)?),
            _ => return Err(format!("bad operator suffix at: \"...{symbol}>>>{suffix}\"")),
        };
        Ok((Some(if holds(order) { TRUE.to_owned() } else { String::new() }), rest))
    }

    /// The expansion of an operand, apart from the result.
    fn operand(&mut self, text: &str) -> Result<String, String> {
        let outer = std::mem::take(&mut self.result.text);
        let outcome = self.nested(|expander| expander.text(text), text);
        let operand = std::mem::replace(&mut self.result.text, outer);
        outcome.map(|()| operand)
    }
}

/// A compatibility level, `major[.minor[.patch]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Level {
    /// A level, or why the text is none; minor and patch are at most 1023.
    pub fn parse(text: &str) -> Result<Level, String> {
        let malformed = || format!("malformed compatibility level syntax: \"{text}\"");
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            let Some(part) = parts.next() else { break };
            *number = part.parse::<u32>().map_err(|_| malformed())?;
        }
        let [major, minor, patch] = numbers;
        if parts.next().is_some() || minor > 1023 || patch > 1023 {
            return Err(malformed());
        }
        Ok(Level { major, minor, patch })
    }
}

/// Compares two numbers as numbers, anything else as text.
fn compare(left: &str, right: &str) -> Result<Ordering, String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(left) || !is_number(right) {
        return Ok(left.cmp(right));
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("bad conversion: {text}"));
    Ok(number(left)?.cmp(&number(right)?))
}

/// A choice in braces, or else all of the text; and what follows it.
fn choice(text: &str) -> Result<(&str, &str), String> {
    let trimmed = text.trim_start_matches(is_space);
    if trimmed.starts_with('{') { braced(trimmed) } else { Ok((text, "")) }
}

/// The text within the braces that `text` begins with, and what follows them and the white space behind.
fn braced(text: &str) -> Result<(&str, &str), String> {
    let inner =
        balanced(&text[1..], '{', '}').ok_or_else(|| format!("unbalanced {{}} in attribute expression: \"{text}\""))?;
    Ok((inner, text[inner.len() + 2..].trim_start_matches(is_space)))
}

/// The text up to the `close` that belongs to an `open` just before it.
fn balanced(text: &str, open: char, close: char) -> Option<&str> {
    let mut level = 1;
    for (index, character) in text.char_indices() {
        if character == open {
            level += 1;
        } else if character == close {
            level -= 1;
            if level == 0 {
                return Some(&text[..index]);
            }
        }
    }
    None
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// At most twenty characters, for a message.
fn excerpt(text: &str) -> &str {
    text.char_indices().nth(20).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "a" => "1",
            "b" => "x$a",
            "word" => "yes",
            "empty" => "",
            "loop" => "$loop",
            "level" => "3.6",
            _ => return doubling(name),
        };
        Some(value.to_owned())
    }

    /// d1 = ab, d2 = $d1$d1, d3 = $d2$d2, …
    fn doubling(name: &str) -> Option<String> {
        let number: u32 = name.strip_prefix('d')?.parse().ok()?;
        Some(if number == 1 { "ab".to_owned() } else { format!("$d{0}$d{0}", number - 1) })
    }

    fn expanded(text: &str) -> String {
        match expand(text, &lookup) {
            Ok(expansion) => expansion.text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn expressions_are_expanded_as_postconf_x_does() {
        for (text, result) in [
            ("", ""),
            ("plain", "plain"),
            ("$a", "1"),
            ("${a}$(a)", "11"),
            ("$b.", "x1."),
            ("$$a", "$a"),
            ("<$nope>", "<>"),
            ("${a?t}${a:f}", "t"),
            ("${empty?t}${empty:f}", "f"),
            ("${nope?t}${nope:f}", "f"),
            ("${a?{t}:{f}} ${nope?{t}:{f}}", "t f"),
            ("${ a ? {t} : {f} }", "t"),
            ("${a? t}", " t"),
            ("${a??foo:{b}ar}", "?foo:{b}ar"),
            ("${a?{x$b}}", "xx1"),
            ("${a?{t}:f}", "t"),
            ("${nope?{t}:f}", "f"),
            ("${{$a} == {1} ? {yes} : {no}}", "yes"),
            ("${{$a} != {1} ? {yes} : {no}}", "no"),
            ("${{9} < {10} ? {number} : {text}}", "number"),
            ("${{9a} < {10} ? {number} : {text}}", "text"),
            ("${{10} >= {10}?{y}:{n}}${{10} > {10}?{y}:{n}}${{10} <= {9}?{y}:{n}}", "ynn"),
            ("${{b} > {a}:no}", ""),
            ("${{a} > {b}:no}", "no"),
            ("${{a} == {a}}", "true"),
            ("${{$level} <level {1} ? {yes} : {no}}", "no"),
            ("${{$level} <level {3.10} ? {yes} : {no}}", "yes"),
            ("${{$level}>=level{3.6}?{yes}:{no}}", "yes"),
        ] {
            assert_eq!(expanded(text), result, "{text}");
        }
    }

    #[test]
    fn bad_expressions_are_reported_in_postfix_words() {
        for (text, error) in [
            ("$", "empty macro name: \"$\""),
            ("${}", "empty macro name: \"${}\""),
            ("a$-", "empty macro name: \"a$-\""),
            ("${a", "truncated macro reference: \"${a\""),
            ("$(a}", "truncated macro reference: \"$(a}\""),
            ("${a-b}", "attribute name syntax error at: \"...a>>>-b\""),
            ("${a b}", "attribute name syntax error at: \"...a>>> b\""),
            ("${a?{t}x}", "\":\" expected at: \"...t}>>>x\""),
            ("${nope:{t}x}", "unexpected input at: \"...t}>>>x\""),
            ("${{a} ~ {b}}", "\"==\" or \"!=\" or \"<\" or \"<=\" or \">=\" or \">\" expected at: \"...a}>>>~ {b}\""),
            ("${{a} == b}", "\"{expression}\" expected at: \"...{a} ==>>> b\""),
            ("${{a} == {b} x}", "\"?\" or \":\" expected at: \"...}>>>x\""),
            ("${{a} <version {b}}", "bad operator suffix at: \"...<>>>version\""),
            ("${{x} <level {1}}", "malformed compatibility level syntax: \"x\""),
            ("${{99999999999999999999} == {1}}", "bad conversion: 99999999999999999999"),
            ("$loop", "unreasonable macro call nesting: \"loop\""),
        ] {
            assert_eq!(expanded(text), format!("error: {error}"), "{text}");
        }
    }

    #[test]
    fn work_and_result_are_bounded() {
        assert_eq!(expanded("$d10").len(), 1024);
        assert!(expanded("$d60").starts_with("error: unreasonable macro call nesting"));
        let wide = |name: &str| (name == "w").then(|| "x".repeat(MAX_LENGTH / 4));
        assert_eq!(expand("$w$w$w$w", &wide).unwrap().text.len(), MAX_LENGTH);
        assert!(expand("$w$w$w$w.", &wide).unwrap_err().contains("longer than"));
        let deep = "${a?{".repeat(MAX_DEPTH + 1) + &"}}".repeat(MAX_DEPTH + 1);
        assert!(expanded(&deep).starts_with("error: unreasonable macro call nesting"));
    }

    #[test]
    fn unknown_names_are_reported_each_once() {
        let expansion = expand("$nope ${nope?x} ${empty?$other} $third", &lookup).unwrap();
        assert_eq!(expansion.undefined, ["nope", "third"]);
    }

    #[test]
    fn references_are_found_in_all_branches() {
        assert_eq!(references("$a ${b?{$c}:{$(d)}} $$e ${{$f} == {g}}"), ["a", "b", "c", "d", "f"]);
    }

    #[test]
    fn levels_are_ordered_by_their_numbers() {
        assert!(Level::parse("3.10").unwrap() > Level::parse("3.9.5").unwrap());
        assert_eq!(Level::parse("2").unwrap(), Level::parse("2.0").unwrap());
        for bad in ["", "a", "3.", "3.6.1.1", "3.1024", "-1", "3.6 "] {
            assert!(Level::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = ["$", "{", "}", "(", ")", "?", ":", "a", "nope", " ", "==", "<level", "é", "d3"];
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(pieces[(state >> 16) as usize % pieces.len()]);
            }
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let _ = expand(&text, &lookup);
            let _ = references(&text);
        }
    }
}
