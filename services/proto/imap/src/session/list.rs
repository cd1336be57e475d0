//! LIST and LSUB: the tree of mailboxes, and what of it is shown.

use std::collections::{BTreeMap, BTreeSet};

use super::folders::write_status;
use super::{Done, Failure, Session};
use crate::command::{ListCommand, SpecialUse};
use crate::mailbox::{ErrorKind, Mailboxes};
use crate::name::{MailboxName, Pattern};
use crate::response;

/// What is known about a name: of a mailbox, of a level above one, of a subscription.
#[derive(Debug, Default, Clone)]
struct Node {
    /// There is a mailbox of this name, though it may hold others only.
    exists: bool,
    selectable: bool,
    special_use: Vec<SpecialUse>,
    subscribed: bool,
    /// A mailbox is below it.
    has_children: bool,
    /// A name below it is subscribed.
    subscribed_below: bool,
    /// A mailbox below it has a special use.
    special_use_below: bool,
}

/// All names, in the store's order: a name of no mailbox stands before the first one below it.
struct Tree {
    order: Vec<MailboxName>,
    nodes: BTreeMap<MailboxName, Node>,
}

impl Tree {
    fn node(&mut self, name: &MailboxName) -> &mut Node {
        if !self.nodes.contains_key(name) {
            self.order.push(name.clone());
        }
        self.nodes.entry(name.clone()).or_default()
    }
}

impl<M: Mailboxes> Session<M> {
    fn tree(&mut self, subscriptions: bool) -> Result<Tree, Failure> {
        let separator = self.mailboxes.separator();
        let mut tree = Tree { order: Vec::new(), nodes: BTreeMap::new() };
        for listed in self.mailboxes.list()? {
            let mut above: Vec<MailboxName> = listed.name.ancestors(separator).collect();
            above.reverse();
            for name in above {
                let node = tree.node(&name);
                node.has_children = true;
                node.special_use_below |= !listed.special_use.is_empty();
            }
            let node = tree.node(&listed.name);
            node.exists = true;
            node.selectable = listed.selectable;
            node.special_use = listed.special_use;
        }
        if subscriptions {
            for name in self.mailboxes.subscriptions()? {
                let mut above: Vec<MailboxName> = name.ancestors(separator).collect();
                above.reverse();
                for name in above {
                    tree.node(&name).subscribed_below = true;
                }
                tree.node(&name).subscribed = true;
            }
        }
        Ok(tree)
    }

    pub(super) fn list(&mut self, list: &ListCommand) -> Result<Done, Failure> {
        let separator = self.mailboxes.separator();
        if list.patterns.is_empty() && !list.extended {
            write_name(&mut self.out, b"* LIST (\\Noselect) ", separator, b"");
            return Ok(Done::news("OK List completed"));
        }
        let tree = self.tree(list.select.subscribed || list.returns.subscribed)?;
        for name in &tree.order {
            let node = &tree.nodes[name];
            if !list.patterns.iter().any(|pattern| pattern.matches(name, separator)) {
                continue;
            }
            let Some(child_info) = selected(list, node) else { continue };
            self.out.extend_from_slice(b"* LIST (");
            write_attributes(&mut self.out, list, node);
            write_name(&mut self.out, b") ", separator, name.as_str().as_bytes());
            if child_info {
                self.write_child_info(list, node);
            }
            if let Some(items) = list.returns.status
                && node.selectable
            {
                match self.mailboxes.status(name, items) {
                    Ok(status) => write_status(&mut self.out, name.as_str().as_bytes(), items, &status),
                    // RFC 5819 section 2: a mailbox without STATUS is one that cannot be looked into just now.
                    Err(error) if error.kind != ErrorKind::Lost => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if list.returns.status.is_some_and(|items| items.highest_modseq) {
            self.enable_condstore();
        }
        Ok(Done::news("OK List completed"))
    }

    /// Puts CHILDINFO into the line just written.
    ///
    /// ```text
    /// childinfo-extended-item = "CHILDINFO" SP "(" list-select-base-opt-quoted *(SP …) ")"
    /// ```
    ///
    /// RFC 5258 section 6.
    fn write_child_info(&mut self, list: &ListCommand, node: &Node) {
        self.out.truncate(self.out.len() - 2);
        self.out.extend_from_slice(b" (CHILDINFO (");
        let start = self.out.len();
        if list.select.subscribed && node.subscribed_below {
            response::word(&mut self.out, start, "\"SUBSCRIBED\"");
        }
        if list.select.special_use && node.special_use_below {
            response::word(&mut self.out, start, "\"SPECIAL-USE\"");
        }
        self.out.extend_from_slice(b"))\r\n");
    }

    /// A subscribed name below a `%` is shown by the level that the pattern reaches (RFC 3501 section 6.3.9).
    pub(super) fn lsub(&mut self, pattern: &Pattern) -> Result<Done, Failure> {
        let separator = self.mailboxes.separator();
        let mut shown = BTreeSet::new();
        for name in self.mailboxes.subscriptions()? {
            if pattern.matches(&name, separator) {
                shown.insert((name, false));
                continue;
            }
            if let Some(above) = name.ancestors(separator).find(|above| pattern.matches(above, separator)) {
                shown.insert((above, true));
            }
        }
        let subscribed: BTreeSet<_> = shown.iter().filter(|(_, above)| !above).map(|(name, _)| name.clone()).collect();
        for (name, above) in &shown {
            if *above && subscribed.contains(name) {
                continue;
            }
            let head: &[u8] = if *above { b"* LSUB (\\Noselect) " } else { b"* LSUB () " };
            write_name(&mut self.out, head, separator, name.as_str().as_bytes());
        }
        Ok(Done::news("OK Lsub completed"))
    }
}

/// Whether a name that matches is shown, and then whether with CHILDINFO.
fn selected(list: &ListCommand, node: &Node) -> Option<bool> {
    let select = &list.select;
    if !select.subscribed && !select.special_use {
        return (node.exists || node.has_children).then_some(false);
    }
    let itself = (!select.subscribed || node.subscribed) && (!select.special_use || !node.special_use.is_empty());
    let below = select.recursive_match
        && ((select.subscribed && node.subscribed_below) || (select.special_use && node.special_use_below));
    (itself || below).then_some(below)
}

/// ```text
/// mbx-list-flags = *(mbx-list-oflag SP) mbx-list-sflag *(SP mbx-list-oflag) / mbx-list-oflag *(SP mbx-list-oflag)
/// ```
///
/// RFC 3501, RFC 5258 (`\NonExistent`, `\Subscribed`), RFC 6154; in Dovecot's order. A plain LIST shows children and
/// special uses without being asked.
fn write_attributes(out: &mut Vec<u8>, list: &ListCommand, node: &Node) {
    let start = out.len();
    if list.returns.subscribed && node.subscribed {
        response::word(out, start, "\\Subscribed");
    }
    if !node.exists && list.extended {
        response::word(out, start, "\\NonExistent");
    } else if !node.selectable {
        response::word(out, start, "\\Noselect");
    }
    if list.returns.children || !list.extended {
        response::word(out, start, if node.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    }
    if list.returns.special_use || list.select.special_use || !list.extended {
        for special_use in &node.special_use {
            response::word(out, start, special_use.name());
        }
    }
}

/// Appends separator and name after `head`, and ends the line.
fn write_name(out: &mut Vec<u8>, head: &[u8], separator: char, name: &[u8]) {
    out.extend_from_slice(head);
    response::string(out, separator.to_string().as_bytes());
    out.push(b' ');
    response::astring(out, name);
    out.extend_from_slice(b"\r\n");
}
