//! Commands on mailboxes: SELECT, CLOSE, CREATE, DELETE, RENAME, SUBSCRIBE, STATUS.

use super::view::View;
use super::{Done, Failure, NO_MAILBOX, Session};
use crate::command::{SpecialUse, StatusItems};
use crate::mailbox::{Access, Mailboxes, Selected, Status};
use crate::name::MailboxName;
use crate::response;
use crate::sequence::UidSet;

impl<M: Mailboxes> Session<M> {
    /// Refuses a name that no hierarchy has.
    fn check_name(&self, name: &MailboxName) -> Result<(), Failure> {
        name.check_levels(self.mailboxes.separator()).map_err(|text| Failure::No(format!("[CANNOT] {text}").into()))
    }

    pub(super) fn select(&mut self, name: &MailboxName, read_only: bool, condstore: bool) -> Result<Done, Failure> {
        if self.selected.take().is_some() {
            response::untagged(&mut self.out, "OK [CLOSED] Previous mailbox closed.");
        }
        self.saved = UidSet::default();
        self.condstore |= condstore;
        self.check_name(name)?;
        let access = Access { read_only, recent: UidSet::default() };
        let view = View::new(self.mailboxes.select(name, &access)?, name.clone(), read_only);
        self.write_selected(&view);
        self.selected = Some(view);
        let text = if read_only { "OK [READ-ONLY] Examine completed" } else { "OK [READ-WRITE] Select completed" };
        Ok(Done::Plain(text.into()))
    }

    fn write_selected(&mut self, view: &View<M::Selected>) {
        view.write_flags(&mut self.out);
        response::untagged_number(&mut self.out, u64::from(view.count()), "EXISTS");
        response::untagged_number(&mut self.out, u64::from(view.recent()), "RECENT");
        if let Some(unseen) = view.first_unseen() {
            response::untagged(&mut self.out, &format!("OK [UNSEEN {unseen}] First unseen."));
        }
        let (validity, next) = (view.selected.uid_validity(), view.selected.uid_next());
        response::untagged(&mut self.out, &format!("OK [UIDVALIDITY {validity}] UIDs valid"));
        response::untagged(&mut self.out, &format!("OK [UIDNEXT {next}] Predicted next UID"));
        if self.condstore {
            response::untagged(&mut self.out, &format!("OK [HIGHESTMODSEQ {}] Highest", view.highest_modseq()));
        }
    }

    /// CLOSE expunges in silence, UNSELECT does not expunge.
    pub(super) fn close(&mut self, expunge: bool) -> Result<Done, Failure> {
        let mut view = self.selected.take().ok_or(NO_MAILBOX)?;
        self.saved = UidSet::default();
        if !expunge {
            return Ok(Done::Plain("OK Unselect completed".into()));
        }
        if !view.read_only {
            let before = view.selected.messages().len();
            view.selected.expunge(None)?;
            view.selected.sync()?;
            self.statistics.expunged += before.saturating_sub(view.selected.messages().len()) as u64;
        }
        Ok(Done::Plain("OK Close completed".into()))
    }

    pub(super) fn create(&mut self, name: &MailboxName, special_use: &[SpecialUse]) -> Result<Done, Failure> {
        let name = name.without_trailing(self.mailboxes.separator());
        self.check_name(&name)?;
        self.mailboxes.create(&name, special_use)?;
        Ok(Done::news("OK Create completed"))
    }

    pub(super) fn delete(&mut self, name: &MailboxName) -> Result<Done, Failure> {
        if name.is_inbox() {
            return Err(Failure::No("INBOX can't be deleted".into()));
        }
        self.check_name(name)?;
        self.mailboxes.delete(name).map_err(|error| Failure::with_missing(error, "NONEXISTENT"))?;
        if self.selected.as_ref().is_some_and(|view| view.name == *name) {
            self.selected = None;
            return Ok(Done::Bye("OK Delete completed", "Selected mailbox was deleted, have to disconnect."));
        }
        Ok(Done::news("OK Delete completed"))
    }

    pub(super) fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<Done, Failure> {
        let separator = self.mailboxes.separator();
        let to = to.without_trailing(separator);
        self.check_name(from)?;
        self.check_name(&to)?;
        if to.is_below(from, separator) {
            return Err(Failure::No("Can't rename mailbox under its own child".into()));
        }
        if from.is_inbox() {
            return Err(Failure::No("[CANNOT] Renaming INBOX isn't supported".into()));
        }
        if self.mailboxes.exists(&to)? {
            return Err(Failure::No("[ALREADYEXISTS] Target mailbox already exists".into()));
        }
        self.mailboxes.rename(from, &to).map_err(|error| Failure::with_missing(error, "NONEXISTENT"))?;
        if let Some(view) = &mut self.selected
            && let Some(renamed) = view.name.renamed(from, &to, separator)
        {
            view.name = renamed;
        }
        Ok(Done::news("OK Rename completed"))
    }

    pub(super) fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Result<Done, Failure> {
        self.check_name(name)?;
        if subscribed && !self.mailboxes.exists(name)? {
            return Err(Failure::No(format!("Mailbox doesn't exist: {}", name.to_display()).into()));
        }
        self.mailboxes.subscribe(name, subscribed)?;
        Ok(Done::news(if subscribed { "OK Subscribe completed" } else { "OK Unsubscribe completed" }))
    }

    pub(super) fn status(&mut self, written: &[u8], name: &MailboxName, items: StatusItems) -> Result<Done, Failure> {
        self.check_name(name)?;
        let status = self.mailboxes.status(name, items)?;
        if items.highest_modseq {
            self.enable_condstore();
        }
        write_status(&mut self.out, written, items, &status);
        let selected = self.selected.as_ref().is_some_and(|view| view.name == *name);
        let code = if selected { "[CLIENTBUG] Status on selected mailbox completed" } else { "Status completed" };
        Ok(Done::news(format!("OK {code}")))
    }

    /// ```text
    /// namespace-response = "NAMESPACE" SP namespace SP namespace SP namespace
    /// namespace          = "NIL" / "(" 1*("(" string SP (DQUOTE QUOTED-CHAR DQUOTE / "NIL") ")") ")"
    /// ```
    ///
    /// RFC 2342 section 6.
    pub(super) fn namespace(&mut self) -> Done {
        use crate::mailbox::NamespaceClass::{Other, Personal, Shared};
        let separator = self.mailboxes.separator().to_string();
        self.out.extend_from_slice(b"* NAMESPACE");
        for class in [Personal, Other, Shared] {
            self.out.push(b' ');
            let start = self.out.len();
            for namespace in self.mailboxes.namespaces().iter().filter(|namespace| namespace.class == class) {
                self.out.extend_from_slice(if self.out.len() == start { b"((" } else { b"(" });
                response::string(&mut self.out, namespace.prefix.as_bytes());
                self.out.push(b' ');
                response::string(&mut self.out, separator.as_bytes());
                self.out.push(b')');
            }
            self.out.extend_from_slice(if self.out.len() == start { b"NIL" } else { b")" });
        }
        self.out.extend_from_slice(b"\r\n");
        Done::news("OK Namespace completed")
    }
}

/// ```text
/// mailbox-data =/ "STATUS" SP mailbox SP "(" [status-att-list] ")"
/// ```
pub(super) fn write_status(out: &mut Vec<u8>, name: &[u8], items: StatusItems, status: &Status) {
    out.extend_from_slice(b"* STATUS ");
    response::astring(out, name);
    out.extend_from_slice(b" (");
    let start = out.len();
    for (asked, item, value) in [
        (items.messages, "MESSAGES ", u64::from(status.messages)),
        (items.recent, "RECENT ", u64::from(status.recent)),
        (items.uid_next, "UIDNEXT ", u64::from(status.uid_next)),
        (items.uid_validity, "UIDVALIDITY ", u64::from(status.uid_validity)),
        (items.unseen, "UNSEEN ", u64::from(status.unseen)),
        (items.highest_modseq, "HIGHESTMODSEQ ", status.highest_modseq),
        (items.size, "SIZE ", status.size),
    ] {
        if asked {
            response::word(out, start, item);
            response::number(out, value);
        }
    }
    out.extend_from_slice(b")\r\n");
}
