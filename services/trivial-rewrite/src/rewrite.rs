//! Addresses brought into the form `user@domain.tld` (Postfix's ADDRESS_REWRITING_README, "trivial-rewrite"): source routes
//! cut off, `site!user` and `user%domain` turned, what is missing added.
//!
//! It works on tokens, so that a special character within quotes is never taken for an operator. It knows no table.

use store_tables::find::quote_address;
use store_tables::tokens::{Token, external, internal, tokenize};

/// The operator between user and domain.
pub(crate) const AT: Token = Token::Operator('@');
const BANG: Token = Token::Operator('!');
const PERCENT: Token = Token::Operator('%');
const DOT: Token = Token::Operator('.');

/// What completes an address.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    /// Added to an address without `@`; empty for nothing.
    pub origin: Vec<Token>,
    /// Added to a domain without a dot; empty for nothing.
    pub domain: Vec<Token>,
}

impl Completion {
    /// From the text of both parameters.
    pub fn new(origin: &str, domain: &str) -> Completion {
        Completion { origin: tokenize(origin), domain: tokenize(domain) }
    }
}

/// The settings of the rewriting.
#[derive(Debug, Clone, Default)]
pub struct Rewriter {
    /// `swap_bangpath`: `site!user` is `user@site`.
    pub swap_bangpath: bool,
    /// `allow_percent_hack`: `user%domain` is `user@domain`.
    pub percent_hack: bool,
    /// `append_at_myorigin`
    pub append_origin: bool,
    /// `append_dot_mydomain`
    pub append_domain: bool,
    /// For addresses from here: `myorigin`, `mydomain`.
    pub local: Completion,
    /// For headers from elsewhere: `remote_header_rewrite_domain`, as both.
    pub remote: Completion,
}

impl Rewriter {
    /// An address in external form, completed.
    pub fn external(&self, address: &str, completion: &Completion) -> String {
        let mut tokens = tokenize(address);
        self.complete(&mut tokens, completion);
        external(&tokens)
    }

    /// An envelope address (internal form), completed as one from here.
    pub fn internal(&self, address: &str) -> String {
        if is_complete(address) {
            return address.to_owned();
        }
        let mut tokens = tokenize(&quote_address(address));
        self.complete(&mut tokens, &self.local);
        internal(&tokens)
    }

    /// Whether the tokens name a further destination, as far as the settings have such.
    pub fn has_route(&self, tokens: &[Token]) -> bool {
        tokens.contains(&AT)
            || (self.swap_bangpath && tokens.contains(&BANG))
            || (self.percent_hack && tokens.contains(&PERCENT))
    }

    /// Completes one address in place.
    pub fn complete(&self, tokens: &mut Vec<Token>, completion: &Completion) {
        match tokens.as_slice() {
            [] => return,
            [Token::Quoted(text)] if text.is_empty() => return,
            [only] if *only == AT => {
                *tokens = vec![Token::Quoted(String::new())];
                return;
            }
            _ => {}
        }
        strip_source_route(tokens);
        if !tokens.contains(&AT) {
            self.add_at(tokens, completion);
        }
        if let Some(at) = tokens.iter().rposition(|token| *token == AT) {
            let domain = &tokens[at + 1..];
            let short =
                !domain.is_empty() && !domain.iter().any(|token| *token == DOT || matches!(token, Token::Literal(_)));
            if self.append_domain && short && !completion.domain.is_empty() {
                tokens.push(DOT);
                tokens.extend_from_slice(&completion.domain);
            }
        }
        if let [.., before, last] = tokens.as_slice()
            && *last == DOT
            && *before != DOT
            && *before != AT
        {
            tokens.pop();
        }
    }

    /// Makes `user@domain` of an address that has no `@`.
    fn add_at(&self, tokens: &mut Vec<Token>, completion: &Completion) {
        if self.swap_bangpath
            && let Some(bang) = tokens.iter().position(|token| *token == BANG)
        {
            let user = tokens.split_off(bang + 1);
            tokens.pop();
            let site = std::mem::replace(tokens, user);
            tokens.push(AT);
            tokens.extend(site);
        } else if self.percent_hack
            && let Some(percent) = tokens.iter().rposition(|token| *token == PERCENT)
        {
            tokens[percent] = AT;
        } else if self.append_origin && !completion.origin.is_empty() {
            tokens.push(AT);
            tokens.extend_from_slice(&completion.origin);
        }
    }
}

/// Takes `@a,@b:` off the front.
fn strip_source_route(tokens: &mut Vec<Token>) {
    let colon = tokens.iter().position(|token| *token == Token::Operator(':'));
    if let Some(colon) = colon.filter(|colon| tokens[0] == AT && colon + 1 < tokens.len()) {
        tokens.drain(..=colon);
    }
}

/// Whether the address is `dot-atom@domain.tld` without anything that could be rewritten or needs quotes: its tokens would
/// be put together again as they are. Nearly all addresses are.
pub(crate) fn is_complete(address: &str) -> bool {
    let Some((local, domain)) = address.split_once('@') else { return false };
    let dots = |text: &str| !text.is_empty() && text.split('.').all(|label| !label.is_empty());
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    dots(local)
        && dots(domain)
        && domain.contains('.')
        && domain.bytes().all(word)
        && local.bytes().all(|byte| word(byte) || b"+=#$&'*/?^`{}~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewriter() -> Rewriter {
        Rewriter {
            swap_bangpath: true,
            percent_hack: true,
            append_origin: true,
            append_domain: true,
            local: Completion::new("example.org", "example.org"),
            remote: Completion::new("domain.invalid", "domain.invalid"),
        }
    }

    /// Postfix's own answers to its `rewrite_clnt` test, and to what else the comments say.
    #[test]
    fn rewrites_as_the_real_one() {
        let rewriter = rewriter();
        for (address, local, remote) in [
            ("!", "\"\"@", "\"\"@"),
            ("a!", "\"\"@a.example.org", "\"\"@a.domain.invalid"),
            ("!b", "b@", "b@"),
            ("a!b", "b@a.example.org", "b@a.domain.invalid"),
            ("%", "\"\"@", "\"\"@"),
            ("a%", "a@", "a@"),
            ("%b", "\"\"@b.example.org", "\"\"@b.domain.invalid"),
            ("a%b", "a@b.example.org", "a@b.domain.invalid"),
            ("@", "\"\"", "\"\""),
            ("a@", "a@", "a@"),
            ("a@.", "a@.", "a@."),
            ("a@b", "a@b.example.org", "a@b.domain.invalid"),
            ("a@b.", "a@b", "a@b"),
            ("a", "a@example.org", "a@domain.invalid"),
            ("\"a b\"", "\"a b\"@example.org", "\"a b\"@domain.invalid"),
            ("@x,@y:a@b.example", "a@b.example", "a@b.example"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("a@b.example..", "a@b.example..", "a@b.example.."),
            ("a!b!c", "b!c@a.example.org", "b!c@a.domain.invalid"),
            ("a%b%c", "a%b@c.example.org", "a%b@c.domain.invalid"),
            ("", "", ""),
        ] {
            // An empty user has quotes in what Postfix's client shows.
            let shown = |text: String| if text.starts_with('@') { format!("\"\"{text}") } else { text };
            assert_eq!(shown(rewriter.external(address, &rewriter.local)), local, "{address}");
            assert_eq!(shown(rewriter.external(address, &rewriter.remote)), remote, "{address}");
        }
    }

    #[test]
    fn each_setting_can_be_off() {
        let none = Rewriter { local: Completion::new("example.org", "example.org"), ..Rewriter::default() };
        for address in ["a!b", "a%b", "a", "a@b"] {
            assert_eq!(none.internal(address), address);
        }
        let empty = Rewriter { append_origin: true, append_domain: true, ..rewriter() };
        assert_eq!(empty.external("a", &Completion::default()), "a");
        assert_eq!(empty.external("a@b", &Completion::default()), "a@b");
    }

    #[test]
    fn envelope_addresses_keep_their_form() {
        let rewriter = rewriter();
        for (address, expected) in [
            ("a b", "a b@example.org"),
            ("a@b@c.example", "a@b@c.example"),
            ("joe+x@example.com", "joe+x@example.com"),
            ("", ""),
        ] {
            assert_eq!(rewriter.internal(address), expected);
        }
    }

    /// The short cut for complete addresses says what the long way says.
    #[test]
    fn complete_addresses_are_not_changed() {
        let rewriter = rewriter();
        let mut complete = 0;
        let mut seed = 1u64;
        for _ in 0..50_000 {
            let mut address = String::new();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                address.push_str(["a", "b.c", "@", "%", "!", "\"", ".", "+", "-", "["][(seed >> 33) as usize % 10]);
            }
            let mut tokens = tokenize(&quote_address(&address));
            rewriter.complete(&mut tokens, &rewriter.local);
            if is_complete(&address) {
                complete += 1;
                assert_eq!(internal(&tokens), address);
            }
        }
        assert!(complete > 100, "the loop must reach complete addresses");
    }
}
