//! `dovecot` (dovecot(1)): starts the mailbox half, shows its settings, and passes commands on to `doveadm`.

use std::path::Path;

use ipc_config::dovecot::doveconf::What;
use ipc_messages::admin::HalfName;

use crate::console::{self, reason};
use crate::files::dovecot_conf;
use crate::instance::{Instance, Mode, pid};
use crate::log::Reporter;
use crate::status::Status;
use crate::{doveadm, doveconf, options};

pub const USAGE: &str = "[-F] [-c <config file>] [-p] [-n] [-a] [--help] [--version]\n       \
    [--build-options] [reload] [stop]";

/// Runs it.
pub fn run(words: &[String]) -> Status {
    match words.first().map(String::as_str) {
        Some("--version") => {
            console::line(&doveconf::version());
            return Status::OK;
        }
        Some("--build-options") => {
            console::line("Build options: ioloop=epoll notify=inotify rustls\nMail storages: maildir sdbox");
            console::line("Passdb: passwd-file static\nUserdb: passwd-file static");
            return Status::OK;
        }
        _ => {}
    }
    let parsed = match options::parse("Fac:np", words) {
        Ok(parsed) => parsed,
        Err(mistake) => {
            console::complain(&format!("dovecot: {mistake}\nUsage: dovecot {USAGE}"));
            return Status::DOVECOT_FATAL;
        }
    };
    let file = parsed.value('c');
    let reporter = Reporter::new("dovecot");
    if parsed.has('n') || parsed.has('a') {
        return doveconf::whole(if parsed.has('n') { What::Changed } else { What::All }, file);
    }
    if parsed.has('p') {
        return reporter.dovecot_fatal("-p is not built: keys with a passphrase are not read");
    }
    if !parsed.rest.is_empty() {
        return doveadm::run(&parsed.rest);
    }
    start(&reporter, file, if parsed.has('F') { Mode::Foreground } else { Mode::Daemon })
}

fn start(reporter: &Reporter, file: Option<&str>, mode: Mode) -> Status {
    let fatal = |text: &str| reporter.dovecot_fatal(text);
    let folder = match instance_folder(file) {
        Ok(folder) => folder,
        Err(problem) => return fatal(&problem),
    };
    let conf = match doveconf::load(file) {
        Ok(conf) => conf,
        Err(status) => return status,
    };
    let instance = Instance::new(folder.as_deref());
    match instance.running() {
        Ok(running) if running.contains(&HalfName::Mailbox) => {
            let file = format!("{}/master.pid", conf.get("base_dir").trim_end_matches('/'));
            let pid = pid(Path::new(&file)).map(|pid| pid.to_string()).unwrap_or_default();
            fatal(&format!("Dovecot is already running with PID {pid} (read from {file})"))
        }
        Ok(_) => match instance.start_half(HalfName::Mailbox, mode) {
            Ok(Status::OK) => Status::OK,
            Ok(_) => Status::DOVECOT_FATAL,
            Err(error) => fatal(&reason(&error)),
        },
        Err(error) => fatal(&reason(&error)),
    }
}

/// The folder of the instance that a `-c` means: a file of another name than `dovecot.conf` belongs to none.
pub fn instance_folder(file: Option<&str>) -> Result<Option<String>, String> {
    let Some(file) = file else { return Ok(None) };
    let path = dovecot_conf(Some(file));
    if !path.exists() {
        return Err(format!("Error reading configuration: stat({file}) failed: No such file or directory"));
    }
    match (path.file_name(), path.parent()) {
        (Some(name), Some(folder)) if name == "dovecot.conf" => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            Ok(Some(folder.to_string_lossy().into_owned()))
        }
        _ => Err(format!("-c {file}: an instance is started from a folder, where this file is called dovecot.conf")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_means_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (good, other) = (folder.path().join("dovecot.conf"), folder.path().join("other.conf"));
        for path in [&good, &other] {
            std::fs::write(path, "").unwrap();
        }
        let name = |path: &Path| path.to_string_lossy().into_owned();
        assert_eq!(instance_folder(Some(&name(&good))), Ok(Some(name(folder.path()))));
        assert!(instance_folder(Some(&name(&other))).is_err());
        assert_eq!(instance_folder(None), Ok(None));
        assert_eq!(
            instance_folder(Some("/none")),
            Err("Error reading configuration: stat(/none) failed: No such file or directory".into())
        );
    }
}
