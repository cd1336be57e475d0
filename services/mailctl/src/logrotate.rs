//! `postfix logrotate`: `maillog_file` gets another name, a new one is begun, and the old one is compressed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::console::reason;

/// How long the log service may take to begin the new file, as Postfix's script has it.
const REOPENING: Duration = Duration::from_secs(1);

/// What main.cf says.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// `maillog_file`.
    pub file: String,
    /// `maillog_file_rotate_suffix`: a format of date(1).
    pub suffix: String,
    /// `maillog_file_compressor`: a command that is given the old file.
    pub compressor: String,
}

impl Rotation {
    /// Rotates the log; `reopen` has the log service begin a new file.
    ///
    /// # Errors
    /// What Postfix's script says after `fatal:`.
    pub fn run(&self, reopen: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        for (name, value) in [
            ("maillog_file", &self.file),
            ("maillog_file_compressor", &self.compressor),
            ("maillog_file_rotate_suffix", &self.suffix),
        ] {
            if value.is_empty() {
                return Err(format!("empty '{name}' parameter value - logfile rotation failed"));
            }
        }
        if Path::new(&self.file).starts_with("/dev") {
            return Err(format!("not rotating '{}'", self.file));
        }
        self.rotate(reopen).map_err(|problem| format!("logfile '{}' rotation failed: {problem}", self.file))
    }

    fn rotate(&self, reopen: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let suffix = output("date", &format!("+{}", self.suffix))?;
        let old = format!("{}.{}", self.file, suffix.trim_end_matches('\n'));
        std::fs::rename(&self.file, &old)
            .map_err(|error| format!("rename {} to {old}: {}", self.file, reason(&error)))?;
        reopen()?;
        // The old file is written to until the log service has the new one.
        std::thread::sleep(REOPENING);
        output(&self.compressor, &old).map(drop)
    }
}

/// What a command prints that is given one argument.
fn output(command: &str, argument: &str) -> Result<String, String> {
    let output = Command::new(command).arg(argument).output();
    let output = output.map_err(|error| format!("{command}: {}", reason(&error)))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_log_is_named_and_compressed_as_configured() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        std::fs::write(&file, "old\n").unwrap();
        let name = file.to_string_lossy().into_owned();
        let rotation = Rotation { file: name.clone(), suffix: "%%-x".into(), compressor: "gzip".into() };
        rotation.run(|| std::fs::write(&file, "new\n").map_err(|error| error.to_string())).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new\n");
        assert!(std::fs::metadata(format!("{name}.%-x.gz")).is_ok());
        let rotation = Rotation { compressor: "false".into(), ..rotation };
        assert_eq!(rotation.run(|| Ok(())), Err(format!("logfile '{name}' rotation failed: false: ")));
        assert!(std::fs::metadata(format!("{name}.%-x")).is_ok(), "what cannot be compressed stays");
    }

    #[test]
    fn what_cannot_be_rotated_is_said() {
        let rotation =
            |file: &str, suffix: &str| Rotation { file: file.into(), suffix: suffix.into(), compressor: "gzip".into() };
        let said = |rotation: Rotation| rotation.run(|| panic!("nothing was renamed")).unwrap_err();
        assert_eq!(said(rotation("", "x")), "empty 'maillog_file' parameter value - logfile rotation failed");
        assert_eq!(said(rotation("/dev/stdout", "x")), "not rotating '/dev/stdout'");
        assert!(said(rotation("/nowhere/log", "x")).ends_with(": No such file or directory"));
    }
}
