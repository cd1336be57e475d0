//! Holds both parameter tables to their word, from the root of the workspace: lists the supported parameters that name no test,
//! and those that name one which does not exist. A test is `crate::module::function`, or `e2e:case`. Ends with 1 if there are
//! any.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

/// The names of all test functions and end-to-end cases beneath a folder.
fn tests(folder: &Path, found: &mut HashSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            tests(&path, found)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path)?;
            let functions =
                text.split("#[test]").skip(1).filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next());
            found.extend(functions.map(str::to_string));
        } else if name.ends_with(".py") {
            let text = fs::read_to_string(&path)?;
            let cases = text.split("@case(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(cases.map(|case| format!("e2e:{case}")));
        }
    }
    Ok(())
}

fn main() -> io::Result<ExitCode> {
    let mut existing = HashSet::new();
    tests(Path::new("."), &mut existing)?;
    let tables =
        [("main.cf", ipc_config::postfix::table::proofs()), ("dovecot.conf", ipc_config::dovecot::table::proofs())];
    let mut code = ExitCode::SUCCESS;
    for (file, proofs) in tables {
        let exists = |test: &str| existing.contains(test.rsplit("::").next().unwrap_or_default());
        let without: Vec<&str> =
            proofs.iter().filter(|(_, test)| test.is_empty()).map(|(name, _)| name.as_str()).collect();
        let dangling = proofs.iter().filter(|(_, test)| !test.is_empty() && !exists(test));
        let dangling: Vec<String> = dangling.map(|(name, test)| format!("{name} ({test})")).collect();
        println!("{file}: {} supported, {} name no test: {}", proofs.len(), without.len(), without.join(" "));
        if !dangling.is_empty() {
            println!("{file}: {} name a test that does not exist: {}", dangling.len(), dangling.join(" "));
        }
        if !without.is_empty() || !dangling.is_empty() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
