//! Fields of a line: escaping, and ordered `name[=value]` lists.

/// ```text
/// line  = field *( TAB field ) LF
/// field = *( escaped / any octet but NUL, SOH, TAB, CR, LF )
/// escaped = SOH ( "0" / "1" / "t" / "r" / "n" )      ; NUL, SOH, TAB, CR, LF
/// ```
/// Appends `text` escaped to `out`.
pub fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        let code = match character {
            '\0' => '0',
            '\u{1}' => '1',
            '\t' => 't',
            '\r' => 'r',
            '\n' => 'n',
            other => {
                out.push(other);
                continue;
            }
        };
        out.push('\u{1}');
        out.push(code);
    }
}

/// Splits at tabs and unescapes each field. An escape of another character stands for that character; a lone one at the
/// end for nothing, as in Dovecot.
pub(super) fn split(line: &str) -> impl Iterator<Item = String> {
    line.split('\t').map(unescape)
}

fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1}' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('0') => out.push('\0'),
            Some('1') => out.push('\u{1}'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// Ordered fields, each with a value or bare. A name appears once; setting it again keeps its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    /// The fields of unescaped texts, each `name=value` or `name`; empty texts are left out.
    pub fn parse(texts: impl Iterator<Item = String>) -> Self {
        let mut fields = Self::default();
        for text in texts.filter(|text| !text.is_empty()) {
            match text.split_once('=') {
                Some((name, value)) => fields.set(name, Some(value)),
                None => fields.set(&text, None),
            }
        }
        fields
    }

    /// Adds or replaces.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self.0.iter_mut().find(|field| field.0 == name) {
            Some(field) => field.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|field| field.0 != name);
    }

    /// Whether the field is there, with or without a value.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.0 == name)
    }

    /// The field's value; empty for a bare field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|field| field.0 == name).map(|field| field.1.as_deref().unwrap_or_default())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends each field, escaped, with a tab before it.
    pub fn write(&self, out: &mut String) {
        for (name, value) in self.iter() {
            out.push('\t');
            escape(out, name);
            if let Some(value) = value {
                out.push('=');
                escape(out, value);
            }
        }
    }
}

impl<'a> FromIterator<(&'a str, Option<&'a str>)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, Option<&'a str>)>>(iterator: I) -> Self {
        let mut fields = Self::default();
        iterator.into_iter().for_each(|(name, value)| fields.set(name, value));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn escaping_round_trips(texts in proptest::collection::vec("[\\x00-\\x0f=a-c\u{e9}]{0,8}", 1..6)) {
            let mut line = String::new();
            for (index, text) in texts.iter().enumerate() {
                if index > 0 {
                    line.push('\t');
                }
                escape(&mut line, text);
            }
            proptest::prop_assert!(!line.contains(['\n', '\r', '\0']));
            proptest::prop_assert_eq!(split(&line).collect::<Vec<_>>(), texts);
        }
    }

    #[test]
    fn odd_escapes() {
        assert_eq!(split("a\u{1}x\tb\u{1}").collect::<Vec<_>>(), ["ax", "b"]);
    }

    #[test]
    fn fields_keep_their_order() {
        let mut fields = Fields::parse(["a=1", "", "b", "c=x=y"].into_iter().map(str::to_owned));
        fields.set("a", Some("2\t"));
        fields.remove("c");
        let mut out = String::new();
        fields.write(&mut out);
        assert_eq!(out, "\ta=2\u{1}t\tb");
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c")), (Some("2\t"), Some(""), None));
    }
}
