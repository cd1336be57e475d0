//! Which names mean something: parameters of Postfix, parameters of services, and those that the administrator made up
//! and refers to by `$name` or in `smtpd_restriction_classes`.
//!
//! As `postconf` has it, what is set and means nothing is *unused*, and what is referred to and has no value is
//! *undefined*. Neither stops a start.

use std::collections::BTreeSet;

use super::expand::references;
use super::main_cf::{MainCf, Setting};
use super::master_cf::{MasterCf, Row};
use super::table::{self, transport};
use super::value::words;
use crate::diagnostic::Location;

/// The names that one `main.cf` and one `master.cf` use.
pub(super) struct Names {
    /// Parameters that services of `master.cf` have of their own.
    pub service: BTreeSet<String>,
    /// Names of the administrator's that are set in `main.cf` and used somewhere.
    pub user: BTreeSet<String>,
    /// Settings that mean nothing, those of `main.cf` first.
    pub unused: Vec<Setting>,
    /// References to names without a value, with the place of the setting that refers to them.
    pub undefined: Vec<(Location, String)>,
}

impl Names {
    /// Looks at all settings of both files.
    pub fn new(main: &MainCf, master: Option<&MasterCf>) -> Names {
        let rows: &[Row] = master.map_or(&[], |master| &master.rows);
        let service = service_names(rows);
        let is_own = |name: &str| table::find(name).is_some() || service.contains(name);
        let class_list = main.expanded("smtpd_restriction_classes").unwrap_or_default().text;
        let classes: BTreeSet<String> = words(&class_list).into_iter().collect();

        let mut used = classes.clone();
        let defaults = table::all().iter().filter(|row| row.kind.is_expanded() && !main.is_set(row.name));
        used.extend(defaults.flat_map(|row| references(row.default)).map(str::to_owned));
        let mut undefined = Vec::new();
        for class in classes.iter().filter(|class| !main.is_set(class)) {
            undefined.push((main.location("smtpd_restriction_classes"), class.clone()));
        }
        for setting in main.set().filter(|setting| is_expanded(&setting.name)) {
            for name in references(&setting.value) {
                used.insert(name.to_owned());
                if !is_own(name) && !main.is_set(name) {
                    undefined.push((setting.at.clone(), name.to_owned()));
                }
            }
        }
        for row in rows {
            for setting in row.overrides.iter().filter(|setting| is_expanded(&setting.name)) {
                for name in references(&setting.value) {
                    used.insert(name.to_owned());
                    if !is_own(name) && !main.is_set(name) && !row.overrides.iter().any(|one| one.name == name) {
                        undefined.push((setting.at.clone(), name.to_owned()));
                    }
                }
            }
        }
        let overrides = rows.iter().flat_map(|row| &row.overrides);
        let unused = main.set().chain(overrides).filter(|one| !is_own(&one.name) && !used.contains(&one.name));
        let unused = unused.cloned().collect();
        used.retain(|name| main.is_set(name) && !is_own(name));
        Names { service, user: used, unused, undefined }
    }
}

/// Whether `$name` counts in the values of the parameter.
fn is_expanded(name: &str) -> bool {
    table::find(name).is_none_or(|row| row.kind.is_expanded())
}

/// The parameters that the rows have of their own.
fn service_names(rows: &[Row]) -> BTreeSet<String> {
    rows.iter()
        .flat_map(|row| {
            let parameters = transport::PARAMETERS.iter().filter(|one| one.owner.has(&row.command));
            parameters.map(|one| format!("{}{}", row.name, one.suffix))
        })
        .filter(|name| table::find(name).is_none())
        .collect()
}
