//! `mailctl quickstart [DIR]`: a complete instance in a folder, started and tried.
//!
//! It runs the installed master and nothing else: what it makes is a configuration like any other. A folder that is not
//! empty is left alone.

mod imap;
mod plan;
mod smtp;
mod stream;

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use rcgen::CertifiedKey;
use store_passwords::pw;
use zeroize::Zeroizing;

use crate::console::{self, Colour, paint, reason};
use crate::ctl::{Context, usage};
use crate::instance::{Instance, Mode};
use crate::status::Status;
use plan::{ADDRESS, Account, DOMAIN, Plan, Ports, USERS};

/// The folder when none is named, in the current one.
const FOLDER: &str = "posthorn-quickstart";
/// The name that the certificate is for.
const SERVER: &str = "mail.example.test";
/// Whose the mail is when root makes the instance: an account of its own, in no file.
const MAIL_UID: u32 = 64_150;
/// Who everything without an account of its own is when root makes the instance.
const NOBODY: &str = "nobody";
/// Characters of a password: none that looks like another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Characters of each password: 80 bits.
const PASSWORD_LENGTH: usize = 16;
/// Where the kernel names its security modules.
const SECURITY_MODULES: &str = "/sys/kernel/security/lsm";

/// Why a step failed; the instance stays as it is, to be looked at.
#[derive(Debug)]
struct Failed(Status, String);

impl Failed {
    fn at(step: &str) -> impl FnOnce(io::Error) -> Failed {
        move |error| Failed(Status::OS_ERROR, format!("{step}: {}", reason(&error)))
    }
}

/// Runs it.
pub fn run(context: &Context, words: &[String]) -> Status {
    let folder = match (words, &context.folder) {
        ([], None) => FOLDER,
        ([folder], None) => folder,
        _ => return usage("quickstart takes one folder, and not -c"),
    };
    match quickstart(Path::new(folder)) {
        Ok(()) => Status::OK,
        Err(Failed(status, problem)) => {
            console::complain(&format!("mailctl: quickstart: {problem}"));
            status
        }
    }
}

fn quickstart(folder: &Path) -> Result<(), Failed> {
    let folder = prepare(folder)?;
    let ports = free_ports()?;
    let owner = account()?;
    let is_root = owner.uid == 0;
    let mail = if is_root { (MAIL_UID, MAIL_UID) } else { (owner.uid, owner.gid) };
    let owner = if is_root { Account { user: NOBODY.into(), group: group_of(NOBODY), ..owner } } else { owner };
    let plan = Plan { folder: &folder, ports, owner, mail, without_landlock: !has_landlock() };
    let passwords = [password()?, password()?];
    let certificate = make(&plan, &passwords)?;
    step(&format!("made {}", folder.display()));
    layers(is_root, plan.without_landlock);

    let instance = Instance::new(folder.to_str());
    match instance.start(Mode::Daemon) {
        Status::OK => step("started the mail system"),
        status => return Err(Failed(status, "the mail system did not start; what it said stands above".into())),
    }
    try_it(&plan, &passwords, certificate).map_err(|Failed(status, problem)| {
        let folder = folder.display();
        Failed(
            status,
            format!("{problem}\nIt still runs: see {folder}/mail.log, and stop it with mailctl -c {folder} stop"),
        )
    })?;
    explain(&plan, &passwords);
    Ok(())
}

/// A new or empty folder, by its real path.
fn prepare(folder: &Path) -> Result<PathBuf, Failed> {
    let cannot = |problem: String| Failed(Status::CANNOT_CREATE, format!("{}: {problem}", folder.display()));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| cannot(reason(&error)))?;
    let folder = folder.canonicalize().map_err(|error| cannot(reason(&error)))?;
    let mut names = fs::read_dir(&folder).map_err(|error| cannot(reason(&error)))?;
    if names.next().is_some() {
        return Err(cannot("is not empty; name another folder".into()));
    }
    plan::usable(&folder).map_err(cannot)?;
    Ok(folder)
}

/// The first set of ports that nobody listens at.
fn free_ports() -> Result<Ports, Failed> {
    let is_free = |port: u16| TcpListener::bind((ADDRESS, port)).is_ok();
    let mut sets = (10_000..60_000).step_by(1_000).map(Ports::above);
    sets.find(|ports| ports.all().into_iter().all(is_free))
        .ok_or(Failed(Status::UNAVAILABLE, "no set of ports is free".into()))
}

fn account() -> Result<Account, Failed> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let unknown = || Failed(Status::NO_USER, format!("uid {uid} or gid {gid} has no name"));
    let user = User::from_uid(uid).ok().flatten().ok_or_else(unknown)?.name;
    let group = Group::from_gid(gid).ok().flatten().ok_or_else(unknown)?.name;
    Ok(Account { user, group, uid: uid.as_raw(), gid: gid.as_raw() })
}

/// The name of a user's own group.
fn group_of(user: &str) -> String {
    let gid = User::from_name(user).ok().flatten().map(|user| user.gid);
    gid.and_then(|gid| Group::from_gid(gid).ok().flatten()).map_or_else(|| user.to_owned(), |group| group.name)
}

/// Where the list of modules cannot be read, Landlock is taken for granted: the master says so if it is not there.
fn has_landlock() -> bool {
    fs::read_to_string(SECURITY_MODULES)
        .map_or(true, |modules| modules.split(',').any(|name| name.trim() == "landlock"))
}

fn password() -> Result<Zeroizing<String>, Failed> {
    let mut bytes = Zeroizing::new([0; PASSWORD_LENGTH]);
    getrandom::fill(bytes.as_mut()).map_err(|error| Failed(Status::OS_ERROR, format!("random numbers: {error}")))?;
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    Ok(Zeroizing::new(bytes.iter().map(letter).collect()))
}

/// Writes everything; returns the certificate.
fn make(
    plan: &Plan<'_>,
    passwords: &[Zeroizing<String>],
) -> Result<rustls::pki_types::CertificateDer<'static>, Failed> {
    let folder = plan.folder;
    for (name, mode) in [("tls", 0o755), ("tables", 0o755), ("auth", 0o755), ("mail", 0o700), ("run", 0o755)] {
        let path = folder.join(name);
        fs::DirBuilder::new().mode(mode).create(&path).map_err(Failed::at(name))?;
    }
    let (uid, gid) = plan.mail;
    chown(folder.join("mail"), Some(uid), Some(gid)).map_err(Failed::at("mail"))?;
    for (name, text) in plan.configuration() {
        write(&folder.join(name), 0o644, &text)?;
    }
    let mut hashes = Vec::new();
    for password in passwords {
        let options = pw::Options {
            plaintext: Some(password.clone()),
            scheme: Some("SHA512-CRYPT".into()),
            ..pw::Options::default()
        };
        hashes.push(
            pw::run(&options, &mut |_| Ok(Zeroizing::default()))
                .map_err(|problem| Failed(Status::SOFTWARE, problem))?,
        );
    }
    write(&folder.join("auth/users"), 0o644, &plan.users(&hashes))?;
    write(&folder.join("tables/mailboxes"), 0o644, &plan.mailboxes())?;
    let names = [SERVER, "localhost", ADDRESS].map(str::to_owned);
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)
        .map_err(|error| Failed(Status::SOFTWARE, format!("certificate: {error}")))?;
    write(&folder.join("tls/cert.pem"), 0o644, &cert.pem())?;
    write(&folder.join("tls/key.pem"), 0o600, &Zeroizing::new(signing_key.serialize_pem()))?;
    Ok(cert.der().clone())
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failed> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Failed::at(&path.display().to_string()))
}

fn step(text: &str) {
    console::line(&format!("{} {text}", paint("ok", Colour::Green, console::has_colours())));
}

/// Says which layers of the jail are there.
fn layers(is_root: bool, without_landlock: bool) {
    if !is_root {
        console::line(
            "   not root: processes share your account and see the whole file system (no chroot, no accounts of",
        );
        console::line("   their own); they still gain no privilege and are held by seccomp and Landlock");
    }
    if without_landlock {
        console::line("   this kernel has no Landlock: that layer is off (posthorn_without_landlock = yes)");
    }
    if is_root && !without_landlock {
        console::line("   root: each process has its own account and root folder, and all layers of the jail are on");
    }
}

/// Sends a mail from the first user to the second, and reads it back.
fn try_it(
    plan: &Plan<'_>,
    passwords: &[Zeroizing<String>],
    certificate: rustls::pki_types::CertificateDer<'static>,
) -> Result<(), Failed> {
    let tls = stream::trust(certificate).map_err(Failed::at("TLS"))?;
    let [from, to] = USERS.map(|user| format!("{user}@{DOMAIN}"));
    let subject = format!("quickstart-{}", std::process::id());
    let text = format!(
        "From: <{from}>\nTo: <{to}>\nSubject: {subject}\n\nThis mail went by submission with TLS and a password, through the\n\
         queue and LMTP into the Maildir, and was read by IMAP.\n"
    );
    let mail = smtp::Mail { from: &from, to: &to, password: &passwords[0], text: &text };
    let queued =
        smtp::send(ADDRESS, plan.ports.submission, SERVER, &tls, mail).map_err(Failed::at("sending a mail"))?;
    step(&format!("sent a mail from {from} to {to} by submission with STARTTLS and AUTH: {queued}"));
    let login = (to.as_str(), passwords[1].as_str());
    let received = imap::read((ADDRESS, plan.ports.imaps), SERVER, &tls, login, &subject)
        .map_err(Failed::at("reading the mail by IMAP"))?;
    if !received.contains("went by submission") {
        return Err(Failed(Status::SOFTWARE, format!("the mail that was read is another one:\n{received}")));
    }
    step(&format!("read it by IMAP over TLS as {to}:"));
    received.lines().for_each(|line| console::line(&format!("   | {line}")));
    Ok(())
}

/// How to go on.
fn explain(plan: &Plan<'_>, passwords: &[Zeroizing<String>]) {
    let (folder, Ports { smtp, submission, imap, imaps }) = (plan.folder.display(), plan.ports);
    let mut text = String::from("\nConnect a mail client:\n");
    for (user, password) in USERS.iter().zip(passwords) {
        text += &format!("  user {user}@{DOMAIN}, password {}\n", password.as_str());
    }
    text += &format!(
        "  IMAP        {ADDRESS} port {imaps} (TLS) or {imap} (STARTTLS)\n  \
         submission  {ADDRESS} port {submission} (STARTTLS)\n  mail in     {ADDRESS} port {smtp}\n  \
         certificate {folder}/tls/cert.pem, self-signed for {SERVER}\n\n\
         Look around: mailctl -c {folder} status, services, queue, check; the log is {folder}/mail.log\n\
         Stop:        mailctl -c {folder} stop\nStart again: mailctl -c {folder} start\n"
    );
    console::print(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let [a, b] = [0; 2].map(|_| password().unwrap());
        assert_eq!((a.len(), b.len()), (PASSWORD_LENGTH, PASSWORD_LENGTH));
        assert_ne!(*a, *b);
        assert!(a.bytes().all(|byte| ALPHABET.contains(&byte)));
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(prepare(folder.path()).is_ok());
        fs::write(folder.path().join("mine"), "").unwrap();
        let Err(Failed(status, problem)) = prepare(folder.path()) else { panic!("it was taken") };
        assert_eq!(status, Status::CANNOT_CREATE);
        assert!(problem.ends_with("is not empty; name another folder"), "{problem}");
    }

    #[test]
    fn everything_is_made_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let owner = account().unwrap();
        let mail = (owner.uid, owner.gid);
        let plan = Plan { folder: folder.path(), ports: Ports::above(20_000), owner, mail, without_landlock: false };
        let passwords = [Zeroizing::new("a".to_owned()), Zeroizing::new("b".to_owned())];
        let certificate = make(&plan, &passwords).unwrap();
        assert!(stream::trust(certificate).is_ok());
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(folder.path().join("tls/key.pem")).unwrap().mode() & 0o777, 0o600);
        let users = fs::read_to_string(folder.path().join("auth/users")).unwrap();
        assert!(users.starts_with("alice@example.test:{SHA512-CRYPT}$6$") && !users.contains("geheim"), "{users}");
    }
}
