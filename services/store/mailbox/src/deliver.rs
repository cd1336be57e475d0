//! Delivery of batches into Maildirs and sdboxes.
//!
//! A batch is what is there, never waited for: all messages are written to their staging places and made durable, all
//! are given their names, the names are made durable, and only then each delivery has its answer. One that fails does
//! not touch the others, and leaves nothing behind.
//!
//! One `syncfs` stands for many `fsync`s when the batch is large and the caller allows it: only where the queue still
//! holds the mail, and on a file system known to honour it.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use crate::{
    error::{At, Error, Result},
    fs::Fs,
    location::{Format, Fsync, Location, MailboxName},
    mailbox::{self, Addition, Environment, Mailbox},
    maildir::folder::{self, Folder},
    message::{Flags, Sizes, Source, draft},
    sdbox,
};

/// From this many messages on, one `syncfs` is cheaper than an `fsync` for each.
pub const WHOLE_SYNC_FROM: usize = 10;

/// At most this many Maildirs are held open, each with five descriptors.
pub const MAX_OPEN: usize = 100;

/// One message for one mailbox.
pub struct Delivery<'a, F: Fs> {
    pub location: &'a Location<F>,
    /// What tells this location from all others: the mail root's absolute path.
    pub key: &'a str,
    pub mailbox: MailboxName,
    /// Makes a mailbox that does not exist (`lda_mailbox_autocreate`); the inbox is always made.
    pub create: bool,
    /// `Return-Path`, `Delivered-To`, `Received`: whole lines.
    pub prefix: &'a [u8],
    pub source: Source<'a>,
}

/// A delivery that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub sizes: Sizes,
    /// The name of the message's file, without flags.
    pub file: String,
    /// In sdbox, where a message has it from the start.
    pub uid: Option<u32>,
}

/// Delivers for one uid. A thread has its own; the [`Environment`] may be shared.
pub struct Deliverer<F: Fs> {
    environment: Environment<F>,
    may_sync_all: bool,
    open: HashMap<(String, MailboxName), Open<F>>,
    clock: u64,
}

struct Open<F: Fs> {
    folder: Arc<Folder<F>>,
    device: u64,
    /// Its directories' own names are durable.
    durable: bool,
    used: u64,
}

/// Where messages of this batch go.
enum Target<F: Fs> {
    Maildir { key: (String, MailboxName), folder: Arc<Folder<F>>, device: u64, durable: bool },
    Sdbox { mailbox: Box<Mailbox<F>>, device: u64 },
}

impl<F: Fs> Target<F> {
    fn device(&self) -> u64 {
        match self {
            Self::Maildir { device, .. } | Self::Sdbox { device, .. } => *device,
        }
    }
}

enum Staged<F: Fs> {
    Maildir(folder::Staged<F>),
    Sdbox(mailbox::Staged<F>),
}

/// A message on its way: the number of its delivery, its target, and what was written.
struct Pending<F: Fs> {
    delivery: usize,
    target: usize,
    staged: Staged<F>,
}

type Outcomes = Vec<Option<Result<Delivered>>>;

impl<F: Fs> Deliverer<F> {
    /// `may_sync_all` allows `syncfs`.
    pub fn new(environment: Environment<F>, may_sync_all: bool) -> Self {
        Self { environment, may_sync_all, open: HashMap::new(), clock: 0 }
    }

    /// Delivers a batch; the answers are in its order. A temporary error ([`Error::is_temporary`]) leaves nothing
    /// half delivered.
    pub fn deliver(&mut self, batch: &[Delivery<'_, F>]) -> Vec<Result<Delivered>> {
        let mut outcomes: Outcomes = batch.iter().map(|_| None).collect();
        let mut targets = Vec::new();
        let mut pending = self.stage_all(batch, &mut targets, &mut outcomes);
        let together = self.may_sync_all && pending.len() >= WHOLE_SYNC_FROM;
        if self.environment.fsync != Fsync::Never {
            self.sync_contents(&mut pending, &targets, together, &mut outcomes);
        }
        // A crash before this line leaves files in tmp/; one after it, messages that may be delivered again.
        self.publish(pending, &mut targets, together, &mut outcomes);
        outcomes.into_iter().map(|outcome| outcome.expect("every delivery has an outcome")).collect()
    }

    fn stage_all(
        &mut self,
        batch: &[Delivery<'_, F>],
        targets: &mut Vec<Target<F>>,
        outcomes: &mut Outcomes,
    ) -> Vec<Pending<F>> {
        let mut known: HashMap<(&str, &MailboxName), usize> = HashMap::new();
        let mut pending = Vec::with_capacity(batch.len());
        for (number, delivery) in batch.iter().enumerate() {
            let place = (delivery.key, &delivery.mailbox);
            let staged = (|| {
                let target = match known.get(&place) {
                    Some(target) => *target,
                    None => {
                        targets.push(self.target(delivery)?);
                        known.insert(place, targets.len() - 1);
                        targets.len() - 1
                    }
                };
                match self.stage(delivery, &targets[target]) {
                    // The directory was deleted while we held it open.
                    Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                        self.open.remove(&(delivery.key.to_owned(), delivery.mailbox.clone()));
                        targets.push(self.target(delivery)?);
                        known.insert(place, targets.len() - 1);
                        Ok((targets.len() - 1, self.stage(delivery, &targets[targets.len() - 1])?))
                    }
                    staged => Ok((target, staged?)),
                }
            })();
            match staged {
                Ok((target, staged)) => pending.push(Pending { delivery: number, target, staged }),
                Err(error) => outcomes[number] = Some(Err(error)),
            }
        }
        pending
    }

    fn target(&mut self, delivery: &Delivery<'_, F>) -> Result<Target<F>> {
        let (environment, location) = (&self.environment, delivery.location);
        let create = delivery.create || delivery.mailbox.is_inbox();
        if location.format == Format::Sdbox {
            let mailbox = if create {
                Mailbox::open_or_create(environment, location, &delivery.mailbox)?
            } else {
                Mailbox::open(environment, location, &delivery.mailbox, mailbox::Access::Add)?
            };
            let device = environment.fs.stat_dir(&mailbox.watched()[0]).at("fstat", b"mailbox")?.device;
            return Ok(Target::Sdbox { mailbox: Box::new(mailbox), device });
        }
        self.clock += 1;
        let key = (delivery.key.to_owned(), delivery.mailbox.clone());
        if let Some(open) = self.open.get_mut(&key) {
            open.used = self.clock;
            let (folder, device, durable) = (open.folder.clone(), open.device, open.durable);
            return Ok(Target::Maildir { key, folder, device, durable });
        }
        let folder = Folder::open(&*environment.fs, location, &delivery.mailbox, create)?;
        if create && !delivery.mailbox.is_inbox() {
            folder.mark(&*environment.fs)?;
        }
        let device = environment.fs.stat_dir(&folder.new).at("fstat", b"new")?.device;
        let folder = Arc::new(folder);
        // Another mailbox can be renamed at any time, and the name made anew: only the inbox stays what it is.
        if delivery.mailbox.is_inbox() {
            self.make_room();
            let open = Open { folder: folder.clone(), device, durable: false, used: self.clock };
            self.open.insert(key.clone(), open);
        }
        Ok(Target::Maildir { key, folder, device, durable: false })
    }

    /// Closes the Maildir that was used longest ago.
    fn make_room(&mut self) {
        if self.open.len() >= MAX_OPEN
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.used).map(|(key, _)| key.clone())
        {
            self.open.remove(&oldest);
        }
    }

    fn stage(&self, delivery: &Delivery<'_, F>, target: &Target<F>) -> Result<Staged<F>> {
        let fs = &*self.environment.fs;
        match target {
            Target::Maildir { folder, .. } => {
                let body = draft(b"", delivery.prefix, delivery.source);
                folder.stage(fs, self.environment.names.next(fs), &body).map(Staged::Maildir)
            }
            Target::Sdbox { mailbox, .. } => {
                let (prefix, source) = (delivery.prefix, delivery.source);
                let addition = Addition { prefix, source, flags: Flags::empty(), keywords: Vec::new(), date: None };
                mailbox.stage(&addition).map(Staged::Sdbox)
            }
        }
    }

    fn sync_contents(
        &self,
        pending: &mut Vec<Pending<F>>,
        targets: &[Target<F>],
        together: bool,
        outcomes: &mut Outcomes,
    ) {
        // If syncfs fails, one of the files, or anybody's, is bad: each is asked for itself.
        if together && self.sync_devices(pending.iter().map(|p| &targets[p.target])).is_ok() {
            return;
        }
        let fs = &*self.environment.fs;
        pending.retain_mut(|one| {
            let synced = match (&mut one.staged, &targets[one.target]) {
                (Staged::Maildir(staged), Target::Maildir { folder, .. }) => {
                    let synced = fs.sync_file(&staged.file).at("fsync", &staged.tmp);
                    if synced.is_err() {
                        let _ = fs.unlink(&folder.tmp, &staged.tmp);
                    }
                    synced
                }
                (Staged::Sdbox(staged), Target::Sdbox { mailbox, .. }) => mailbox.sync_staged(staged),
                _ => unreachable!("staged in its target"),
            };
            match synced {
                Ok(()) => true,
                Err(error) => {
                    outcomes[one.delivery] = Some(Err(error));
                    false
                }
            }
        });
    }

    /// One `syncfs` for each file system.
    fn sync_devices<'a>(&self, targets: impl Iterator<Item = &'a Target<F>>) -> Result<()>
    where
        F: 'a,
    {
        let devices: BTreeMap<u64, &Target<F>> = targets.map(|target| (target.device(), target)).collect();
        devices.values().try_for_each(|target| {
            let synced = match target {
                Target::Maildir { folder, .. } => self.environment.fs.sync_all(&folder.new),
                Target::Sdbox { mailbox, .. } => self.environment.fs.sync_all(&mailbox.watched()[0]),
            };
            synced.at("syncfs", b"mail")
        })
    }

    fn publish(
        &mut self,
        pending: Vec<Pending<F>>,
        targets: &mut [Target<F>],
        together: bool,
        outcomes: &mut Outcomes,
    ) {
        let fs = self.environment.fs.clone();
        let mut renamed: BTreeMap<usize, Vec<(usize, folder::Staged<F>)>> = BTreeMap::new();
        let mut placed: BTreeMap<usize, Vec<(usize, mailbox::Staged<F>)>> = BTreeMap::new();
        for Pending { delivery, target, staged } in pending {
            match (staged, &targets[target]) {
                (Staged::Maildir(staged), Target::Maildir { folder, .. }) => {
                    match fs.rename(&folder.tmp, &staged.tmp, &folder.new, &staged.base).at("rename", &staged.base) {
                        Ok(()) => renamed.entry(target).or_default().push((delivery, staged)),
                        Err(error) => {
                            let _ = fs.unlink(&folder.tmp, &staged.tmp);
                            outcomes[delivery] = Some(Err(error));
                        }
                    }
                }
                (Staged::Sdbox(staged), _) => placed.entry(target).or_default().push((delivery, staged)),
                (Staged::Maildir(_), Target::Sdbox { .. }) => unreachable!("staged in its target"),
            }
        }
        self.sync_names(renamed, targets, together, outcomes);
        for (target, staged) in placed {
            let Target::Sdbox { mailbox, .. } = &mut targets[target] else { unreachable!("staged in its target") };
            let (numbers, staged): (Vec<_>, Vec<_>) = staged.into_iter().unzip();
            let sizes: Vec<Sizes> = staged.iter().map(mailbox::Staged::sizes).collect();
            let uids = mailbox.place(staged);
            for (at, number) in numbers.into_iter().enumerate() {
                let outcome = uids.as_ref().map(|uids| {
                    let file = String::from_utf8_lossy(&sdbox::format::file_name(uids[at])).into_owned();
                    Delivered { sizes: sizes[at], file, uid: Some(uids[at]) }
                });
                outcomes[number] = Some(outcome.map_err(Clone::clone));
            }
        }
    }

    /// Makes the names in `new/` durable, and of a Maildir used for the first time its own.
    fn sync_names(
        &mut self,
        renamed: BTreeMap<usize, Vec<(usize, folder::Staged<F>)>>,
        targets: &[Target<F>],
        together: bool,
        outcomes: &mut Outcomes,
    ) {
        let fs = self.environment.fs.clone();
        let never = self.environment.fsync == Fsync::Never;
        let all = together && self.sync_devices(renamed.keys().map(|target| &targets[*target])).is_ok();
        for (target, messages) in renamed {
            let Target::Maildir { key, folder, durable, .. } = &targets[target] else { continue };
            let synced = if never || all {
                Ok(())
            } else {
                let names = fs.sync_dir(&folder.new).at("fsync", b"new");
                names.and_then(|()| if *durable { Ok(()) } else { folder.sync_existence(&*fs) })
            };
            if let (Ok(()), Some(open)) = (&synced, self.open.get_mut(key)) {
                open.durable = true;
            }
            for (number, staged) in messages {
                outcomes[number] = Some(match &synced {
                    Ok(()) => {
                        let file = String::from_utf8_lossy(&staged.base).into_owned();
                        Ok(Delivered { sizes: staged.sizes, file, uid: None })
                    }
                    Err(error) => {
                        // It will be delivered again: better not twice.
                        let _ = fs.unlink(&folder.new, &staged.base);
                        Err(error.clone())
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::model::{Keep, ModelDir, ModelFs};

    fn deliverer(fs: &ModelFs, may_sync_all: bool) -> Deliverer<ModelFs> {
        let (fs, names) = (Arc::new(fs.clone()), Arc::default());
        Deliverer::new(Environment { fs, names, fsync: Fsync::Optimized }, may_sync_all)
    }

    fn location(fs: &ModelFs, format: Format, user: &str) -> Location<ModelFs> {
        let path = ["example.org", user, "mail"].map(|part| part.as_bytes().to_vec()).to_vec();
        Location { format, root: fs.root(), path }
    }

    fn files(fs: &ModelFs, path: &str) -> Vec<String> {
        let path: Vec<Vec<u8>> = path.split('/').map(|p| p.as_bytes().to_vec()).collect();
        let Ok(dir): io::Result<ModelDir> = crate::fs::open_path(fs, &fs.root(), &path) else { return Vec::new() };
        let names = fs.list(&dir).unwrap().into_iter().map(|e| String::from_utf8(e.name).unwrap());
        names.filter(|name| !name.starts_with("posthorn")).collect()
    }

    fn delivery<'a>(location: &'a Location<ModelFs>, key: &'a str, mailbox: &str, n: usize) -> Delivery<'a, ModelFs> {
        let texts: [&'static [u8]; 3] = [b"a\n", b"Subject: b\n\nb\n", b""];
        let mailbox = MailboxName::new(mailbox, '/').unwrap();
        Delivery { location, key, mailbox, create: false, prefix: b"X: y\r\n", source: Source::Bytes(texts[n % 3]) }
    }

    #[test]
    fn a_batch_is_delivered_with_few_operations() {
        let fs = ModelFs::new();
        let bob = location(&fs, Format::Maildir, "bob");
        let mut deliverer = deliverer(&fs, true);
        let one = |n| delivery(&bob, "bob", "INBOX", n);
        assert!(deliverer.deliver(&[one(1)])[0].is_ok());
        let before = fs.operations();
        let outcomes = deliverer.deliver(&(0..20).map(one).collect::<Vec<_>>());
        let sizes = Sizes { physical: 7, virtual_: 9 };
        let first = outcomes[0].as_ref().unwrap();
        assert_eq!((first.sizes, first.uid), (sizes, None));
        // Create, write, rename; and two times syncfs for all.
        assert_eq!(fs.operations() - before, 20 * 3 + 2, "{:#?}", fs.log());
        let names = files(&fs, "example.org/bob/mail/new");
        assert_eq!(names.len(), 21);
        assert!(first.file.ends_with("P100.model,S=7,W=9") && names.contains(&first.file), "{names:?}");
        assert!(files(&fs, "example.org/bob/mail/tmp").is_empty());
    }

    #[test]
    fn one_failure_does_not_hurt_the_others() {
        let fs = ModelFs::new();
        let (bob, box_) = (location(&fs, Format::Maildir, "bob"), location(&fs, Format::Sdbox, "box"));
        let mut deliverer = deliverer(&fs, false);
        let batch = [
            delivery(&bob, "bob", "INBOX", 0),
            delivery(&bob, "bob", "Missing", 0),
            delivery(&box_, "box", "INBOX", 1),
            delivery(&box_, "box", "Missing", 1),
            delivery(&bob, "bob", "a.b", 1),
            Delivery { create: true, ..delivery(&bob, "bob", "Made", 1) },
        ];
        let outcomes = deliverer.deliver(&batch);
        let kinds: Vec<_> = outcomes.iter().map(|o| o.as_ref().err().map(Error::kind)).collect();
        use crate::error::Kind;
        let (missing, cannot) = (Some(Kind::NotFound), Some(Kind::Cannot));
        assert_eq!(kinds, [None, missing, None, missing, cannot, None]);
        assert_eq!(outcomes[2].as_ref().unwrap().uid, Some(1));
        assert_eq!(files(&fs, "example.org/bob/mail/.Made"), ["cur", "maildirfolder", "new", "tmp"]);
        assert_eq!(files(&fs, "example.org/box/mail/mailboxes/INBOX/dbox-Mails"), ["u.1"]);
    }

    #[test]
    fn a_full_disk_is_a_temporary_error_and_leaves_nothing() {
        for format in [Format::Maildir, Format::Sdbox] {
            for full in 0..40 {
                let fs = ModelFs::new();
                let bob = location(&fs, format, "bob");
                let mut deliverer = deliverer(&fs, false);
                assert!(deliverer.deliver(&[delivery(&bob, "bob", "INBOX", 1)])[0].is_ok());
                let before = files(&fs, "example.org/bob/mail/new").len();
                fs.full_after(Some(full));
                let outcomes =
                    deliverer.deliver(&[delivery(&bob, "bob", "INBOX", 1), delivery(&bob, "bob", "INBOX", 2)]);
                fs.full_after(None);
                let good = outcomes.iter().filter(|o| o.is_ok()).count();
                for outcome in outcomes.iter().filter_map(|o| o.as_ref().err()) {
                    assert_eq!(outcome.kind(), crate::error::Kind::NoSpace);
                }
                if format == Format::Maildir {
                    assert_eq!(files(&fs, "example.org/bob/mail/new").len(), before + good);
                    assert!(files(&fs, "example.org/bob/mail/tmp").is_empty());
                } else {
                    let mails = files(&fs, "example.org/bob/mail/mailboxes/INBOX/dbox-Mails");
                    assert_eq!(mails.len(), 1 + good, "{mails:?}");
                }
            }
        }
    }

    #[test]
    fn a_deleted_and_remade_maildir_is_found_again() {
        let fs = ModelFs::new();
        let bob = location(&fs, Format::Maildir, "bob");
        let mut deliverer = deliverer(&fs, false);
        assert!(deliverer.deliver(&[delivery(&bob, "bob", "INBOX", 1)])[0].is_ok());
        let user = crate::fs::open_path(&fs, &fs.root(), &bob.path).unwrap();
        for part in [&b"tmp"[..], b"new", b"cur"] {
            let dir = fs.open_dir(&user, part).unwrap();
            for entry in fs.list(&dir).unwrap() {
                fs.unlink(&dir, &entry.name).unwrap();
            }
            fs.remove_dir(&user, part).unwrap();
        }
        assert!(deliverer.deliver(&[delivery(&bob, "bob", "INBOX", 1)])[0].is_ok());
        assert_eq!(files(&fs, "example.org/bob/mail/new").len(), 1);
    }

    #[test]
    fn the_number_of_open_maildirs_is_bounded() {
        let fs = ModelFs::new();
        let mut deliverer = deliverer(&fs, false);
        for n in 0..=MAX_OPEN {
            let user = format!("user{n}");
            let location = location(&fs, Format::Maildir, &user);
            assert!(deliverer.deliver(&[delivery(&location, &user, "INBOX", 1)])[0].is_ok());
        }
        assert_eq!(deliverer.open.len(), MAX_OPEN);
        assert!(!deliverer.open.contains_key(&("user0".to_owned(), MailboxName::inbox())));
    }

    /// A power cut, or the end of the process, after every operation: what was acknowledged is there, whole.
    #[test]
    fn an_acknowledged_delivery_survives_a_crash_at_any_operation() {
        for format in [Format::Maildir, Format::Sdbox] {
            for may_sync_all in [false, true] {
                for stop in 0.. {
                    if !crash_after(format, may_sync_all, stop) {
                        break;
                    }
                }
            }
        }
    }

    /// Returns whether the run was cut short.
    fn crash_after(format: Format, may_sync_all: bool, stop: u64) -> bool {
        let fs = ModelFs::new();
        fs.stop_after(stop);
        let (bob, eve) = (location(&fs, format, "bob"), location(&fs, format, "eve"));
        let mut deliverer = deliverer(&fs, may_sync_all);
        let (mut acknowledged, mut failed) = (BTreeMap::new(), false);
        for size in [1, 2, 12, 1] {
            let place = |n: usize| if n.is_multiple_of(2) { (&bob, "bob") } else { (&eve, "eve") };
            let batch: Vec<_> = (0..size).map(|n| delivery(place(n).0, place(n).1, "INBOX", n)).collect();
            for (n, outcome) in deliverer.deliver(&batch).into_iter().enumerate() {
                failed |= outcome.is_err();
                if let Ok(delivered) = outcome {
                    *acknowledged.entry((place(n).1, delivered.sizes.physical)).or_insert(0) += 1;
                }
            }
        }
        for keep in [Keep::All, Keep::Nothing, Keep::Some(stop), Keep::Some(!stop)] {
            let after = fs.crash(keep);
            for ((user, size), count) in &acknowledged {
                let location = location(&after, format, user);
                let environment = deliverer_environment(&after);
                let mut mailbox =
                    Mailbox::open(&environment, &location, &MailboxName::inbox(), mailbox::Access::Select).unwrap();
                let uids: Vec<u32> = mailbox.messages().iter().map(|m| m.uid).collect();
                let mut whole = 0;
                for uid in uids {
                    let content = mailbox.content(uid).unwrap();
                    whole += usize::from(content.length == *size);
                    assert!(content.read(&after, 0, 10).unwrap().starts_with(b"X: y\n"), "{stop} {keep:?}");
                }
                assert!(whole >= *count, "{format:?} {stop} {keep:?}: {user} has {whole} of {count}");
            }
        }
        failed
    }

    fn deliverer_environment(fs: &ModelFs) -> Environment<ModelFs> {
        Environment { fs: Arc::new(fs.clone()), names: Arc::default(), fsync: Fsync::Optimized }
    }
}
