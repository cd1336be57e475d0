//! Building and changing tables.

use super::{Command, Fatal, Program};
use crate::alias::alias_records;
use crate::database::{self, Database, Source};
use crate::error::io_reason;
use crate::replace::{Replaced, replace};
use crate::source::{Record, map_records};
use crate::text::collect;
use crate::{Table, TableKind, TableSpec, open};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The mode of a table that anybody may read.
const PUBLIC_MODE: u32 = 0o644;

/// The file of a table that can be built.
struct Target {
    spec: TableSpec,
    /// With the suffix of the type.
    path: String,
}

impl Command<'_> {
    /// Builds one table from its text file, or adds what is on the input.
    pub(super) fn build(&self, table: &str, input: &mut dyn BufRead) -> Result<(), Fatal> {
        let incremental = self.options.action == super::Action::Add;
        if !incremental && table.starts_with("proxy:") {
            return Err(Fatal::new("can't create maps via the proxy service"));
        }
        let target = self.target(table)?;
        let mut records = BTreeMap::new();
        let mut built_from = None;
        let mut mode = PUBLIC_MODE;
        let (place, text) = if incremental {
            if Path::new(&target.path).exists() {
                (records, built_from) = self.present(&target)?;
            }
            let mut text = Vec::new();
            input.read_to_end(&mut text).map_err(|error| Fatal::io("read", "stdin", &error))?;
            ("stdin", text)
        } else {
            let name = &target.spec.name;
            let (text, meta) = read_source(name)?;
            self.take_owner(name, &meta)?;
            if self.options.copy_mode {
                mode &= !(0o022 | !meta.mode() & 0o077);
            }
            let modified = (meta.mtime(), meta.mtime_nsec() as u32);
            built_from = Some(Source { path: name.clone(), modified, size: meta.size() });
            (name.as_str(), text)
        };
        let warn = |warning: &str| self.warn(warning);
        let added = match self.options.program {
            Program::Postmap => map_records(place, &text, "", &warn),
            Program::Postalias => alias_records(place, &text, &warn),
        };
        let present = records.into_iter().map(|(key, value)| Record { line: 0, key, value });
        let mut duplicates = self.duplicates(&self.place(&target));
        let records = collect(&target.spec, present.chain(added).collect(), &mut duplicates, &warn)
            .map_err(|error| Fatal::new(error.reason()))?;
        self.write(&target, mode, built_from.as_ref(), &records)
    }

    /// Deletes `keys` from every table; whether one of them was there.
    pub(super) fn delete(&self, keys: &[String]) -> Result<bool, Fatal> {
        let mut found = false;
        for table in &self.options.tables {
            let spec = self.spec(table)?;
            if !matches!(spec.kind, TableKind::Hash | TableKind::Btree | TableKind::Lmdb) {
                return Err(Fatal::new(format!("table {spec}: delete operation is not supported")));
            }
            let target = self.target(table)?;
            let (mut records, built_from) = self.present(&target)?;
            let before = records.len();
            for key in keys {
                records.remove(&*self.options.folding.apply(key));
            }
            if records.len() < before {
                found = true;
                self.write(&target, PUBLIC_MODE, built_from.as_ref(), &records)?;
            }
        }
        Ok(found)
    }

    fn target(&self, table: &str) -> Result<Target, Fatal> {
        let spec = self.spec(table)?;
        let suffix = match spec.kind {
            TableKind::Hash | TableKind::Btree => ".db",
            TableKind::Lmdb => ".lmdb",
            kind => {
                let name = kind.name();
                let reason = format!("unsupported dictionary type: {name} does not support bulk-mode creation.");
                return Err(Fatal::new(reason));
            }
        };
        let path = format!("{}{suffix}", spec.name);
        Ok(Target { spec, path })
    }

    /// How a warning about a second record names the table.
    fn place(&self, target: &Target) -> String {
        if target.spec.kind == TableKind::Lmdb { target.spec.to_string() } else { target.path.clone() }
    }

    /// What the table holds now, and what it was built from.
    fn present(&self, target: &Target) -> Result<(BTreeMap<String, String>, Option<Source>), Fatal> {
        let table: Box<dyn Table> = open(&target.spec, &self.context).map_err(|error| Fatal::new(error.to_string()))?;
        let records = table.records().unwrap_or(Ok(Vec::new())).map_err(|error| Fatal::new(error.reason()))?;
        let built_from = File::open(&target.path).and_then(Database::open).ok().and_then(|db| db.source().cloned());
        Ok((records.into_iter().collect(), built_from))
    }

    /// With privileges, goes on with the rights of the source's owner, so that the table is theirs and nothing can be
    /// made elsewhere through links in their folder.
    fn take_owner(&self, name: &str, source: &Metadata) -> Result<(), Fatal> {
        if !self.options.as_owner || !self.environment.privileged {
            return Ok(());
        }
        if source.uid() != 0 {
            return (self.environment.become_owner)(source.uid(), source.gid())
                .map_err(|error| Fatal::new(format!("set effective uid {}: {}", source.uid(), io_reason(&error))));
        }
        let parent = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = parent.display();
        let meta = fs::metadata(parent).map_err(|error| Fatal::io("stat", &folder.to_string(), &error))?;
        if meta.uid() != 0 {
            self.warn(&format!(
                "Creating root-owned database file(s) {name}.* in non-root-owned directory {folder}. Files {name}, \
                 {name}.*, and directory {folder} should have the same owner. Please fix ownership to avoid a \
                 privilege-escalation attack."
            ));
        }
        Ok(())
    }

    fn write(
        &self,
        target: &Target,
        mode: u32,
        source: Option<&Source>,
        records: &BTreeMap<String, String>,
    ) -> Result<(), Fatal> {
        let pairs: Vec<_> = records.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        let content = |output: &mut BufWriter<&File>| match target.spec.kind {
            TableKind::Lmdb => write_lmdb(output, &pairs),
            _ => database::write(output, source, &pairs),
        };
        let replaced = replace(Path::new(&target.path), mode, content)
            .map_err(|error| Fatal::io("open database", &target.path, &error))?;
        if let Replaced::BerkeleyDb(kept) = replaced {
            let (program, path, kept) = (self.options.program.name(), &target.path, kept.display());
            (self.environment.report)(&format!(
                "{program}: note: {path} was a Berkeley DB file, now kept as {kept}; \
                 before Postfix can use this table again, run its own {program}"
            ));
        }
        Ok(())
    }
}

fn read_source(name: &str) -> Result<(Vec<u8>, Metadata), Fatal> {
    let mut file = File::open(name).map_err(|error| Fatal::io("open", name, &error))?;
    let meta = file.metadata().map_err(|error| Fatal::io("fstat", name, &error))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(|error| Fatal::io("read", name, &error))?;
    Ok((text, meta))
}

#[cfg(feature = "lmdb")]
fn write_lmdb(output: &mut impl Write, records: &[(&[u8], &[u8])]) -> io::Result<()> {
    crate::lmdb_build::write(output, records)
}

#[cfg(not(feature = "lmdb"))]
fn write_lmdb(_output: &mut impl Write, _records: &[(&[u8], &[u8])]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
