//! Tables held in memory: `texthash:`, `inline:`, `static:`.

use crate::source::{Record, is_space, map_records, quoted_word, trim};
use crate::spec::{SpecError, in_braces, split_list};
use crate::watched::Watched;
use crate::{Context, Folding, Matching, Table, TableError, TableSpec};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

/// What a second record with the same key means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// The first one stands, and a warning names `place`, with the line number if `lines`.
    Warn { place: String, lines: bool },
    /// The first one stands.
    Ignore,
    /// The last one stands.
    Replace,
}

/// Records by key, folded as the table's flags say.
pub(crate) fn collect(
    spec: &TableSpec,
    records: Vec<Record>,
    duplicates: &mut Duplicates,
    warn: &dyn Fn(&str),
) -> Result<BTreeMap<String, String>, TableError> {
    let mut map = BTreeMap::new();
    for Record { line, key, value } in records {
        let folded = spec.flags.folding.apply(&key).into_owned();
        match duplicates {
            Duplicates::Replace => drop(map.insert(folded, value)),
            _ if !map.contains_key(&folded) => drop(map.insert(folded, value)),
            Duplicates::Warn { place, lines: true } => {
                warn(&format!("{place}, line {line}: duplicate entry: \"{key}\""));
            }
            Duplicates::Warn { place, lines: false } => warn(&format!("{place}: duplicate entry: \"{folded}\"")),
            Duplicates::Ignore => {}
        }
    }
    Ok(map)
}

/// `texthash:`: the text file itself, read into memory.
pub(crate) struct Texthash {
    spec: TableSpec,
    map: Watched<BTreeMap<String, String>>,
}

impl Texthash {
    pub fn new(spec: &TableSpec, context: &Context) -> Self {
        let map = Watched::new(context, spec.to_string(), "open database", spec.name.clone());
        Self { spec: spec.clone(), map }
    }

    fn load(&self, context: &Context, mut file: File) -> Result<BTreeMap<String, String>, TableError> {
        let name = &self.spec.name;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| TableError::io(&self.spec.to_string(), "read", name, &error))?;
        let records = map_records(name, &text, " -- ignoring this line", &*context.warn);
        let mut duplicates = Duplicates::Warn { place: name.clone(), lines: true };
        collect(&self.spec, records, &mut duplicates, &*context.warn)
    }
}

impl Table for Texthash {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        let map = self.map.get(|context, file| self.load(context, file))?;
        Ok(map.get(&*self.spec.flags.folding.apply(key)).cloned())
    }

    fn matching(&self) -> Matching {
        Matching::Fixed
    }

    fn records(&self) -> Option<Result<Vec<(String, String)>, TableError>> {
        let map = self.map.get(|context, file| self.load(context, file));
        Some(map.map(|map| map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}

/// `inline:{ name=value, { name = value with spaces } }`.
pub(crate) struct Inline {
    folding: Folding,
    map: BTreeMap<String, String>,
}

impl Inline {
    pub fn new(spec: &TableSpec) -> Result<Self, SpecError> {
        let need = "need \"inline:{name=value...}\"";
        let list = in_braces(&spec.name)
            .filter(|list| !list.is_empty())
            .ok_or_else(|| SpecError::new(format!("bad syntax: \"inline:{}\"; {need}", spec.name)))?;
        let malformed = |reason: &str| SpecError::new(format!("{reason}: \"inline:{}\"; {need}", spec.name));
        let mut map = BTreeMap::new();
        for item in split_list(list) {
            let pair = if item.starts_with('{') {
                in_braces(item).ok_or_else(|| malformed(&format!("syntax error after '}}' in \"{item}\"")))?
            } else {
                item
            };
            let (name, value) = name_value(pair).map_err(malformed)?;
            map.insert(spec.flags.folding.apply(name).into_owned(), value.to_owned());
        }
        if map.is_empty() { Err(malformed("empty table")) } else { Ok(Self { folding: spec.flags.folding, map }) }
    }
}

/// Splits `name = value`; the name may hold quoted white space and `=`.
fn name_value(pair: &str) -> Result<(&str, &str), &'static str> {
    let pair = trim(pair);
    let word = quoted_word(pair).ok_or("unbalanced '\"'")?;
    let mut quoted = false;
    let end = pair[..word].bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'=' && !quoted
    });
    let (name, rest) = pair.split_at(end.unwrap_or(word));
    if name.is_empty() && rest.is_empty() {
        return Err("no key found; expected format: key = value");
    }
    let rest = rest.trim_start_matches(|letter: char| letter.is_ascii() && is_space(letter as u8));
    let value = rest.strip_prefix('=').ok_or("missing '=' after attribute name")?;
    Ok((name, trim(value)))
}

impl Table for Inline {
    fn lookup(&self, key: &str) -> Result<Option<String>, TableError> {
        Ok(self.map.get(&*self.folding.apply(key)).cloned())
    }

    fn matching(&self) -> Matching {
        Matching::Fixed
    }

    fn records(&self) -> Option<Result<Vec<(String, String)>, TableError>> {
        Some(Ok(self.map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}

/// `static:value` or `static:{ value }`.
pub(crate) struct Static(String);

impl Static {
    pub fn new(spec: &TableSpec) -> Result<Self, SpecError> {
        if !spec.name.starts_with('{') {
            return Ok(Self(spec.name.clone()));
        }
        let value = in_braces(&spec.name)
            .ok_or_else(|| SpecError::new(format!("bad static:name syntax: missing '}}' in \"{}\"", spec.name)))?;
        Ok(Self(trim(value).to_owned()))
    }
}

impl Table for Static {
    fn lookup(&self, _key: &str) -> Result<Option<String>, TableError> {
        Ok(Some(self.0.clone()))
    }

    fn matching(&self) -> Matching {
        Matching::Fixed
    }
}
