//! `dovecot.conf` files of the tutorials and of Debian, against what the real `doveconf` 2.3.19 printed for them, and a
//! folder of bad configurations, each with the complaint that it must cause.
//!
//! `dovecot/*.n` and `*.a` are recorded output of `doveconf -n` and `-a` without the first lines, which name the
//! program and the machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ipc_config::diagnostic::{Diagnostics, Severity};
use ipc_config::dovecot::doveconf::{self, Header, What};
use ipc_config::dovecot::files::{Accounts, Files};
use ipc_config::dovecot::settings::DovecotConf;

/// The files of one machine, by absolute path.
#[derive(Clone, Default)]
struct Machine(BTreeMap<PathBuf, Vec<u8>>);

impl Machine {
    /// A machine with the certificate and key that the tutorials have.
    fn new() -> Machine {
        let mut machine = Machine::default();
        let pems = ["/etc/dovecot/dovecot.pem", "/etc/dovecot/private/dovecot.pem", "/etc/dovecot/private/dovecot.key"];
        for pem in pems {
            machine.0.insert(pem.into(), b"PEM".to_vec());
        }
        machine.0.insert("/usr/share/dovecot/dh.pem".into(), b"PEM".to_vec());
        machine
    }

    /// Adds the files below a folder of the recorded ones.
    fn add(&mut self, from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.add(&entry.path(), &to);
            } else {
                self.0.insert(to, std::fs::read(entry.path()).unwrap());
            }
        }
    }

    /// Debian's stock configuration, with the packages for IMAP, LMTP and POP3.
    fn debian() -> Machine {
        let mut machine = Machine::new();
        machine.add(&recorded("debian/protocols.d"), Path::new("/usr/share/dovecot/protocols.d"));
        machine.add(&recorded("debian/conf.d"), Path::new("/etc/dovecot/conf.d"));
        machine.put("dovecot.conf", "debian/dovecot.conf");
        machine
    }

    /// Makes a recorded file one of `/etc/dovecot`.
    fn put(&mut self, name: &str, from: &str) {
        self.0.insert(Path::new("/etc/dovecot").join(name), std::fs::read(recorded(from)).unwrap());
    }

    fn load(&self) -> (DovecotConf, Diagnostics) {
        DovecotConf::load(Path::new("/etc/dovecot/dovecot.conf"), self, self).unwrap()
    }
}

impl Files for Machine {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        self.read(path).map(drop)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let below = self.0.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let mut names: Vec<String> = below.filter_map(|rest| Some(rest.iter().next()?.to_str()?.to_owned())).collect();
        names.dedup();
        if names.is_empty() { Err(io::Error::from_raw_os_error(2)) } else { Ok(names) }
    }
}

impl Accounts for Machine {
    fn has_user(&self, name: &str) -> bool {
        ["root", "dovecot", "dovenull", "postfix", "vmail", "mail"].contains(&name)
    }

    fn has_group(&self, name: &str) -> bool {
        self.has_user(name)
    }
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dovecot").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(recorded(name)).unwrap()
}

/// What is printed, without the lines that name the program and the machine.
fn printed(conf: &DovecotConf, what: What) -> String {
    let header = Header { program: "test", system: "", hostname: "mail" };
    let all = doveconf::print(conf, what, &header, false);
    all.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect()
}

fn warnings(found: &Diagnostics) -> Vec<&str> {
    let warnings = found.iter().filter(|finding| finding.severity == Severity::Warning);
    warnings.map(|finding| finding.problem.as_str()).collect()
}

#[test]
fn every_state_of_the_step_by_step_tutorial_loads_and_prints_as_the_real_one() {
    let mut names: Vec<_> = std::fs::read_dir(recorded("003"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".conf")?.to_owned()))
        .collect();
    names.sort();
    assert_eq!(names.len(), 12);
    for name in names {
        let mut machine = Machine::new();
        machine.put("dovecot.conf", &format!("003/{name}.conf"));
        let (conf, found) = machine.load();
        assert!(!found.is_fatal(), "{name}: {found:?}");
        assert_eq!(printed(&conf, What::Changed), text(&format!("003/{name}.n")), "{name}");
        let passdb_missing = "No passdbs specified in configuration file. PLAIN mechanism needs one";
        let expected: &[&str] = match &name[..2] {
            "02" => &["ssl enabled, but ssl_cert not set", "ssl enabled, but ssl_key not set", passdb_missing],
            "03" => &[passdb_missing],
            _ => &[],
        };
        assert_eq!(warnings(&found), expected, "{name}");
    }
}

#[test]
fn a_certificate_that_cannot_be_read_stops_the_start_as_in_the_real_one() {
    let mut machine = Machine::new();
    machine.put("dovecot.conf", "003/08-tls.conf");
    machine.0.remove(Path::new("/etc/dovecot/dovecot.pem"));
    machine.0.remove(Path::new("/etc/dovecot/private/dovecot.pem"));
    let (_, found) = machine.load();
    let complaints: Vec<_> =
        found.iter().filter(|one| one.severity == Severity::Error).map(doveconf::complaint).collect();
    let fatal = "doveconf: Fatal: Error in configuration file /etc/dovecot/dovecot.conf";
    assert_eq!(
        complaints,
        [
            format!("{fatal} line 13: ssl_cert: Can't open file /etc/dovecot/dovecot.pem: No such file or directory"),
            format!(
                "{fatal} line 14: ssl_key: Can't open file /etc/dovecot/private/dovecot.pem: No such file or directory"
            ),
        ]
    );
}

#[test]
fn debians_stock_configuration_prints_as_the_real_one() {
    let (conf, found) = Machine::debian().load();
    assert!(!found.is_fatal(), "{found:?}");
    assert_eq!(printed(&conf, What::Changed), text("000/stock.n"));
    // The one default that is Debian's own and not Dovecot's.
    let debian = text("000/stock.a").replace("Dovecot (Debian) ready.", "Dovecot ready.");
    assert_eq!(printed(&conf, What::All), debian);
}

#[test]
fn every_state_of_the_lmtp_tutorial_loads_and_prints_as_the_real_one() {
    let mut machine = Machine::debian();
    machine.put("conf.d/10-master.conf", "000/conf.d/10-master.conf");
    let (conf, found) = machine.load();
    assert!(!found.is_fatal(), "{found:?}");
    assert_eq!(printed(&conf, What::Changed), text("000/lmtp.n"));
    let lmtp = conf.service("lmtp").unwrap();
    assert!(lmtp.unix_listeners.iter().any(|one| one.path == "/var/spool/postfix/private/dovecot-lmtp"));

    machine.put("conf.d/10-auth.conf", "000/conf.d/10-auth.conf");
    machine.put("conf.d/auth-passwdfile.conf.ext", "000/conf.d/auth-passwdfile.conf.ext");
    let (conf, found) = machine.load();
    assert!(!found.is_fatal(), "{found:?}");
    assert_eq!(printed(&conf, What::Changed), text("000/passwdfile.n"));
    let userdb = &conf.userdbs()[0];
    assert!(userdb.default_fields.contains(&("mail".to_owned(), "sdbox:~/dbox".to_owned())));
    // The stock location is one that users of this file never have, so it is no error.
    assert_eq!(
        warnings(&found),
        ["protocol pop3 is not supported yet: nothing listens for it", "mailbox format mbox is not supported yet"]
    );
}

#[test]
fn filters_and_all_kinds_of_blocks_print_as_the_real_one() {
    let mut machine = Machine::new();
    machine.put("dovecot.conf", "filters.conf");
    machine.0.insert("/etc/x".into(), Vec::new());
    machine.0.insert("/etc/y".into(), Vec::new());
    let (conf, found) = machine.load();
    assert_eq!(printed(&conf, What::Changed), text("filters.n"));
    let global = "Global setting mail_debug won't change the setting inside an earlier filter at /etc/dovecot/dovecot.conf line 8";
    let ssl = "SSL is disabled because global ssl=no, ignoring ssl=yes for subsection";
    for warning in [global, ssl] {
        assert!(warnings(&found).contains(&warning), "{found:?}");
    }
}

#[test]
fn single_settings_print_as_the_real_one() {
    let mut machine = Machine::new();
    machine.put("dovecot.conf", "filters.conf");
    let (conf, _) = machine.load();
    let one = |name: &str| doveconf::print_one(&conf, name, What::All, false);
    assert_eq!(one("doveadm_password"), "doveadm_password = secret\n");
    assert_eq!(doveconf::print_one(&conf, "protocols", What::All, true), "imap\n");
    assert_eq!(one("service/imap-login/inet_listener/x/port"), "service/imap-login/inet_listener/x/port = 0\n");
    assert_eq!(one("plugin/a"), "plugin/a = b\n");
    assert_eq!(one("nonexistent"), "");
    assert_eq!(one("service/imap-login"), text("filters.service-imap-login"));
    assert_eq!(
        doveconf::print_one(&conf, "passdb", What::Changed, false),
        "passdb {\n  args = password=#hidden_use-P_to_show# nopassword=y\n  driver = static\n  name = db1\n}\n\
         passdb {\n  driver = static\n}\n"
    );
}

/// Each file begins with lines `#! LINE: problem`, one for each complaint that it must cause and no other; `#? …` for a
/// warning. `LINE` is `-` for one about the file as a whole.
#[test]
fn each_bad_configuration_causes_its_complaint() {
    let mut count = 0;
    for entry in std::fs::read_dir(recorded("bad")).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read_to_string(&path).unwrap();
        let mut machine = Machine::new();
        machine.0.insert("/etc/dovecot/dovecot.conf".into(), content.clone().into_bytes());
        let (_, found) = machine.load();
        for (mark, severity) in [("#! ", Severity::Error), ("#? ", Severity::Warning)] {
            let mut expected: Vec<_> = content.lines().filter_map(|line| line.strip_prefix(mark)).collect();
            let findings = found.iter().filter(|one| one.severity == severity);
            let mut complaints: Vec<_> = findings
                .map(|one| match one.line {
                    0 => format!("-: {}", one.problem),
                    line => format!("{line}: {}", one.problem),
                })
                .collect();
            expected.sort_unstable();
            complaints.sort_unstable();
            assert_eq!(complaints, expected, "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 40, "{count} files");
}
