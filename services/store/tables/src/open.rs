//! From the name of a table to the table.

use crate::cidr::Cidr;
use crate::combine::{Pipemap, Randmap, Unionmap};
use crate::indexed::Indexed;
use crate::pattern::Dialect;
use crate::regexp::Regexp;
use crate::system::{Fail, Unix};
use crate::text::{Inline, Static, Texthash};
use crate::{Context, SpecError, Table, TableKind, TableSpec};

/// Makes the table that `spec` names. Files are opened by the first lookup, not here: one that is missing is a temporary
/// failure of the lookups that need it, and is found as soon as it is there.
///
/// # Errors
///
/// The text in the name (`inline:{…}`, `static:{…}`, `randmap:{…}`) is malformed.
pub fn open(spec: &TableSpec, context: &Context) -> Result<Box<dyn Table>, SpecError> {
    let parts = || spec.parts.iter().map(|part| open(part, context)).collect::<Result<Vec<_>, _>>();
    Ok(match spec.kind {
        TableKind::Hash | TableKind::Btree => Box::new(Indexed::new(spec, context)),
        TableKind::Lmdb => open_lmdb(spec, context)?,
        TableKind::Texthash => Box::new(Texthash::new(spec, context)),
        TableKind::Inline => Box::new(Inline::new(spec)?),
        TableKind::Static => Box::new(Static::new(spec)?),
        TableKind::Cidr => Box::new(Cidr::new(spec, context)),
        TableKind::Regexp => Box::new(Regexp::new(spec, context, Dialect::Posix)),
        TableKind::Pcre => Box::new(Regexp::new(spec, context, Dialect::Perl)),
        TableKind::Pipemap => Box::new(Pipemap(parts()?)),
        TableKind::Unionmap => Box::new(Unionmap(parts()?)),
        TableKind::Randmap => Box::new(Randmap::new(spec)?),
        TableKind::Fail => Box::new(Fail(spec.clone())),
        TableKind::Unix => Box::new(Unix::new(spec, context)),
    })
}

#[cfg(feature = "lmdb")]
fn open_lmdb(spec: &TableSpec, context: &Context) -> Result<Box<dyn Table>, SpecError> {
    Ok(Box::new(crate::lmdb::Lmdb::new(spec, context)))
}

#[cfg(not(feature = "lmdb"))]
fn open_lmdb(_spec: &TableSpec, _context: &Context) -> Result<Box<dyn Table>, SpecError> {
    Err(SpecError::new("unsupported dictionary type: lmdb"))
}
