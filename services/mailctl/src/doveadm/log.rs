//! `doveadm log find`: where the lines of each severity end up. Log files are those that the configuration names; what goes
//! to the system log is looked for in the folder of its files, by lines that are written for that.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipc_config::dovecot::settings::DovecotConf;
use ipc_log::{MAIL, syslog_facility, syslog_level};
use ipc_messages::log::Severity;

use crate::console;
use crate::doveconf;
use crate::log::send;
use crate::status::Status;

/// Where the system log has its files unless a folder is named.
const FOLDER: &str = "/var/log";
/// How long the system log may take to write.
const WRITING: Duration = Duration::from_millis(1500);
/// How much of the end of a file is searched.
const TAIL: u64 = 64 * 1024;

const LEVELS: [(&str, Severity); 5] = [
    ("Debug", Severity::Debug),
    ("Info", Severity::Info),
    ("Warning", Severity::Warning),
    ("Error", Severity::Error),
    ("Fatal", Severity::Fatal),
];

/// Runs it; `folder` is where the system log has its files.
pub fn find(file: Option<&str>, folder: Option<&str>) -> Status {
    let conf = match doveconf::load(file) {
        Ok(conf) => conf,
        Err(status) => return status,
    };
    let paths = LEVELS.map(|(name, severity)| (name, severity, path(&conf, severity)));
    if paths.iter().any(|(.., path)| path.is_empty()) {
        let folder = folder.unwrap_or(FOLDER);
        console::line(&format!("Looking for log files from {folder}"));
        for line in in_system_log(&conf, Path::new(folder), &paths) {
            console::line(&line);
        }
    }
    for (name, _, path) in paths.iter().filter(|(.., path)| !path.is_empty()) {
        console::line(&format!("{name}: {path}"));
    }
    Status::OK
}

/// The file for lines of this severity; empty for the system log.
fn path(conf: &DovecotConf, severity: Severity) -> String {
    let setting = |name: &str| Some(conf.get(name).to_owned()).filter(|path| !path.is_empty());
    let error = || setting("log_path");
    let info = || setting("info_log_path").or_else(error);
    let path = match severity {
        Severity::Debug => setting("debug_log_path").or_else(info),
        Severity::Info => info(),
        _ => error(),
    };
    path.filter(|path| path != "syslog").unwrap_or_default()
}

/// A line for each severity that goes to the system log.
fn in_system_log(conf: &DovecotConf, folder: &Path, paths: &[(&str, Severity, String); 5]) -> Vec<String> {
    let mark = format!("({})", std::process::id());
    let text = |name: &str| format!("This is Dovecot's {} log {mark}", name.to_lowercase());
    let facility = syslog_facility(conf.get("syslog_facility")).unwrap_or(MAIL);
    let wanted = || paths.iter().filter(|(.., path)| path.is_empty());
    for (name, severity, _) in wanted() {
        let priority = u16::from(facility) << 3 | u16::from(syslog_level(*severity));
        // One that is not taken is not found, which is what is said then.
        let _ = send(priority, &format!("dovecot: doveadm: {name}: {}", text(name)));
    }
    std::thread::sleep(WRITING);
    let files = files(folder);
    let line = |(name, ..): &(&str, Severity, String)| match files.iter().find(|file| holds(file, &text(name))) {
        Some(file) => format!("{name}: {}", file.display()),
        None => format!("{name}: Not found"),
    };
    wanted().map(line).collect()
}

/// The files in a folder and in the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries(folder).into_iter().partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| entries(folder)).filter(|path| path.is_file()));
    files
}

/// Whether the end of a file holds a text. One that cannot be read holds nothing.
fn holds(path: &Path, text: &str) -> bool {
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    tail().is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_each_file_is_searched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        let filler = "x".repeat(TAIL as usize);
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("early", format!("the mark{filler}"));
        write("inner/late", format!("{filler}the mark"));
        let found: Vec<PathBuf> = files(folder.path()).into_iter().filter(|file| holds(file, "the mark")).collect();
        assert_eq!(found, [folder.path().join("inner/late")]);
        assert!(!holds(&folder.path().join("none"), ""));
    }
}
