//! To `trivial-rewrite`: addresses resolved, recipients checked, aliases expanded, tables looked up. All requests of a turn
//! leave together and may be answered in any order; `corr` pairs them.

use serde::{Deserialize, Serialize};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToLookup {
    /// Where does mail to this address go? Answered by [`FromLookup::Resolved`].
    Resolve {
        /// Pairs the answer.
        corr: u32,
        /// The envelope sender, for sender-dependent routing.
        sender: String,
        /// The recipient in internal form (`local@domain`, unquoted).
        address: String,
    },
    /// [`ToLookup::Resolve`], and is the recipient known (`*_recipient_maps`, `virtual_*_maps`)? Answered by
    /// [`FromLookup::Checked`].
    Check {
        /// Pairs the answer.
        corr: u32,
        /// The envelope sender.
        sender: String,
        /// The recipient.
        address: String,
    },
    /// The recipients that `virtual_alias_maps` (and what else cleanup rewrites) make of this one. Answered by one or more
    /// [`FromLookup::Expanded`].
    Expand {
        /// Pairs the answer.
        corr: u32,
        /// The recipient.
        address: String,
    },
    /// An address completed as trivial-rewrite does (`append_at_myorigin`, `append_dot_mydomain`, `swap_bangpath`, …).
    /// Answered by [`FromLookup::Rewritten`].
    Rewrite {
        /// Pairs the answer.
        corr: u32,
        /// The address in external form, with the quotes that it has in a header.
        address: String,
        /// Local (`$myorigin`) or remote (`remote_header_rewrite_domain`) context.
        local: bool,
    },
    /// One key in one table. Answered by [`FromLookup::Value`].
    Table {
        /// Pairs the answer.
        corr: u32,
        /// `type:name` as the asker's configuration has it; must be one that the configuration names.
        table: String,
        /// The key.
        key: String,
    },
}

/// Where a domain belongs (ADDRESS_CLASS_README).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// `mydestination`, `inet_interfaces`, `proxy_interfaces`.
    Local,
    /// `virtual_alias_domains`.
    VirtualAlias,
    /// `virtual_mailbox_domains`.
    VirtualMailbox,
    /// `relay_domains`.
    Relay,
    /// All others.
    Default,
}

/// Where mail to an address goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The recipient, completed (`root` is `root@myorigin`).
    pub recipient: String,
    /// The class of its domain.
    pub class: Class,
    /// The service in master.cf (`lmtp`).
    pub transport: String,
    /// The next hop (`unix:private/dovecot-lmtp`).
    pub nexthop: String,
    /// The local part names a further destination (`user%elsewhere@here`): such mail is not relayed for strangers.
    pub routed: bool,
    /// The domain is none, or the address could be taken for an option of a command (501 5.1.3, `Bad recipient address
    /// syntax`). Transport and next hop are empty then.
    pub malformed: bool,
}

/// Whether a recipient exists, as far as tables say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Known {
    /// Listed, or its class has no list.
    Yes,
    /// Not in the table of its class: the text of the reply, `User unknown in local recipient table`. The reply's code is
    /// the class's own (`unknown_local_recipient_reject_code`, …), its status 5.1.1.
    No(String),
    /// The transport is `error` (550) or `retry` (450): status and text of the reply.
    Undeliverable {
        /// RFC 3463.
        status: String,
        /// What `transport_maps` says.
        text: String,
    },
}

/// An answer. `Err` is a temporary failure with the text for the log; it never stands for "not found".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromLookup {
    /// To [`ToLookup::Resolve`].
    Resolved {
        /// Of the question.
        corr: u32,
        /// The route.
        route: Result<Route, String>,
    },
    /// To [`ToLookup::Check`].
    Checked {
        /// Of the question.
        corr: u32,
        /// The route, and whether the recipient is known.
        answer: Result<(Route, Known), String>,
    },
    /// To [`ToLookup::Expand`].
    Expanded {
        /// Of the question.
        corr: u32,
        /// The final recipients. An error is Postfix's warning, to be logged after the queue ID; the message is deferred
        /// (451 4.6.0, `Alias expansion error`).
        recipients: Result<Vec<String>, String>,
        /// The rest follows in another answer with the same number.
        more: bool,
    },
    /// To [`ToLookup::Rewrite`].
    Rewritten {
        /// Of the question.
        corr: u32,
        /// The completed address, in external form.
        address: String,
    },
    /// To [`ToLookup::Table`].
    Value {
        /// Of the question.
        corr: u32,
        /// The value, or none.
        value: Result<Option<String>, String>,
    },
}

/// To the name-service helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNameService {
    /// `getpwnam`.
    User {
        /// Pairs the answer.
        corr: u32,
        /// The account.
        name: String,
    },
    /// `getpwuid`.
    Account {
        /// Pairs the answer.
        corr: u32,
        /// The uid.
        uid: u32,
    },
    /// `getgrnam`.
    Group {
        /// Pairs the answer.
        corr: u32,
        /// The group.
        name: String,
    },
}

/// From the name-service helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNameService {
    /// The passwd or group line in `passwd(5)` or `group(5)` form without the password; `None` when there is none.
    Entry {
        /// Of the question.
        corr: u32,
        /// The line.
        line: Result<Option<String>, String>,
    },
}
