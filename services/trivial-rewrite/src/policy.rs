//! The settings of address resolution, taken from the configuration section, with their tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipc_config::postfix::match_list::{MatchList, Style};
use ipc_config::section::Section;
use ipc_messages::lookup::Class;
use store_tables::find::{AddressRules, Delimiters, Found, Parents, Strategy, find_address};
use store_tables::tokens::{Token, tokenize};
use store_tables::virtual_alias::Limits;
use store_tables::{Files, Maps, TableError};

use crate::names::Names;
use crate::rewrite::{Completion, Rewriter};
use crate::tables::{Failure, Tables};

/// What is known about this host beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The addresses of `inet_interfaces` and `proxy_interfaces`.
    pub addresses: Vec<IpAddr>,
    /// Whether there is a NIS domain. Without one, `nis:` tables are empty, as in Postfix.
    pub nis: bool,
}

/// A list that decides a class.
pub struct DomainList {
    /// The parameter.
    pub title: &'static str,
    list: MatchList,
}

/// Where mail of one class goes: `transport` or `transport:nexthop`.
pub struct Destination {
    /// The parameter.
    pub title: &'static str,
    /// The service in master.cf.
    pub transport: String,
    /// The next hop that the parameter names; empty for none.
    pub nexthop: String,
}

/// The tables of one parameter.
pub struct TableList {
    maps: Result<Maps, Failure>,
    /// Whether the parameter is empty.
    pub is_empty: bool,
}

/// All settings.
pub struct Policy {
    /// How addresses are completed.
    pub rewriter: Rewriter,
    /// `myhostname`
    pub myhostname: Vec<Token>,
    /// `empty_address_recipient`: stands for the null address.
    pub empty_recipient: String,
    /// `resolve_null_domain`: `user@` is `user`.
    pub null_domain: bool,
    /// `resolve_dequoted_address`: a further destination is looked for within quotes as well.
    pub dequoted: bool,
    /// `resolve_numeric_domain`: `user@192.0.2.1` is `user@[192.0.2.1]`.
    pub numeric_domain: bool,
    /// `allow_min_user`: an address may begin with a minus sign.
    pub min_user: bool,
    /// `smtputf8_enable`
    pub utf8: bool,
    /// `helpful_warnings`
    pub helpful_warnings: bool,
    /// `show_user_unknown_table_name`
    pub show_table: bool,
    /// `relayhost`
    pub relayhost: String,
    /// How a domain's parents are looked up in `transport_maps`.
    pub transport_parents: Parents,
    /// `transport_maps`
    pub transport_maps: TableList,
    /// `virtual_alias_maps`
    pub virtual_alias_maps: TableList,
    /// Of `virtual_alias_maps`.
    pub limits: Limits,
    /// `propagate_unmatched_extensions` names `virtual`.
    pub propagate: bool,
    /// `double_bounce_sender`
    pub double_bounce: String,
    /// Every table.
    pub tables: Tables,
    myorigin: String,
    recipient_delimiter: String,
    owner_request_special: bool,
    addresses: Vec<IpAddr>,
    lists: [DomainList; 4],
    destinations: [Destination; 4],
    recipients: [TableList; 3],
}

impl Policy {
    /// From the section; files of tables come from `files`, users from `names`.
    pub fn new(section: &Section, host: &Host, files: Arc<dyn Files>, names: Arc<Names>) -> Policy {
        let values = &section.transport;
        let utf8 = values.boolean("smtputf8_enable");
        let mut tables = Tables::new(files, names, utf8);
        let list = |title: &'static str| DomainList { title, list: domain_list(section, title) };
        let lists = ["mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"].map(list);
        for list in &lists {
            tables.add(list.list.tables());
        }
        tables.add(values.get("tables").map(|_| values.list("tables")).unwrap_or_default());
        let maps = |title: &str| table_list(section, host, &tables, title);
        let remote = values.text("remote_header_rewrite_domain");
        Policy {
            rewriter: Rewriter {
                swap_bangpath: values.boolean("swap_bangpath"),
                percent_hack: values.boolean("allow_percent_hack"),
                append_origin: values.boolean("append_at_myorigin"),
                append_domain: values.boolean("append_dot_mydomain"),
                local: Completion::new(values.text("myorigin"), values.text("mydomain")),
                remote: Completion::new(remote, remote),
            },
            myhostname: tokenize(values.text("myhostname")),
            empty_recipient: values.text("empty_address_recipient").to_owned(),
            null_domain: values.boolean("resolve_null_domain"),
            dequoted: values.boolean("resolve_dequoted_address"),
            numeric_domain: values.boolean("resolve_numeric_domain"),
            min_user: values.boolean("allow_min_user"),
            utf8,
            helpful_warnings: values.boolean("helpful_warnings"),
            show_table: values.boolean("show_user_unknown_table_name"),
            relayhost: values.text("relayhost").to_owned(),
            transport_parents: match values.list("parent_domain_matches_subdomains").contains(&"transport_maps") {
                true => Parents::Plain,
                false => Parents::Dotted,
            },
            transport_maps: maps("transport_maps"),
            virtual_alias_maps: maps("virtual_alias_maps"),
            limits: Limits {
                expansion: count(section, "virtual_alias_expansion_limit"),
                recursion: count(section, "virtual_alias_recursion_limit"),
                address_length: count(section, "virtual_alias_address_length_limit"),
            },
            propagate: values.list("propagate_unmatched_extensions").contains(&"virtual"),
            double_bounce: values.text("double_bounce_sender").to_owned(),
            myorigin: values.text("myorigin").to_owned(),
            recipient_delimiter: values.text("recipient_delimiter").to_owned(),
            owner_request_special: values.boolean("owner_request_special"),
            addresses: host.addresses.clone(),
            lists,
            destinations: ["local_transport", "virtual_transport", "relay_transport", "default_transport"]
                .map(|title| destination(title, values.text(title))),
            recipients: ["local_recipient_maps", "virtual_mailbox_maps", "relay_recipient_maps"].map(maps),
            tables,
        }
    }

    /// The list of a class's domains; none for the class of all others.
    pub fn list(&self, class: Class) -> Option<&DomainList> {
        match class {
            Class::Local => Some(&self.lists[0]),
            Class::VirtualAlias => Some(&self.lists[1]),
            Class::VirtualMailbox => Some(&self.lists[2]),
            Class::Relay => Some(&self.lists[3]),
            Class::Default => None,
        }
    }

    /// Where mail of a class goes; none for virtual alias domains, where every address becomes another one.
    pub fn destination(&self, class: Class) -> Option<&Destination> {
        match class {
            Class::Local => Some(&self.destinations[0]),
            Class::VirtualAlias => None,
            Class::VirtualMailbox => Some(&self.destinations[1]),
            Class::Relay => Some(&self.destinations[2]),
            Class::Default => Some(&self.destinations[3]),
        }
    }

    /// The recipients of a class, and the name of their table in replies.
    pub fn recipients(&self, class: Class) -> Option<(&TableList, &'static str)> {
        match class {
            Class::Local => Some((&self.recipients[0], "local recipient table")),
            Class::VirtualMailbox => Some((&self.recipients[1], "virtual mailbox table")),
            Class::Relay => Some((&self.recipients[2], "relay recipient table")),
            Class::VirtualAlias | Class::Default => None,
        }
    }

    /// Whether a class's list holds the domain.
    pub fn is_listed(&self, class: Class, domain: &str) -> Result<bool, Failure> {
        self.list(class).map_or(Ok(false), |list| self.tables.lists(list.title, &list.list, domain))
    }

    /// Whether a domain, or an address in brackets, is this host: `mydestination`, `inet_interfaces`, `proxy_interfaces`.
    pub fn is_local(&self, domain: &str) -> Result<bool, Failure> {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if domain.is_empty() || domain.ends_with('.') {
            return Ok(false);
        }
        Ok(self.is_listed(Class::Local, domain)?
            || address_literal(domain).is_some_and(|address| self.addresses.contains(&address.to_canonical())))
    }

    /// How addresses are split and what is local, for [`find_address`].
    pub fn with_rules<T>(&self, use_rules: impl FnOnce(AddressRules<'_>) -> T) -> T {
        let is_local = |domain: &str| {
            let local = domain.eq_ignore_ascii_case(&self.myorigin);
            // The note is left already; this error only ends the search.
            Ok(local || self.is_local(domain).map_err(|failure| TableError::new("mydestination", failure.0))?)
        };
        use_rules(AddressRules {
            delimiters: Delimiters {
                recipient_delimiter: &self.recipient_delimiter,
                owner_request_special: self.owner_request_special,
                double_bounce_sender: &self.double_bounce,
            },
            is_local: &is_local,
        })
    }

    /// Looks an address up.
    pub fn find(&self, list: &TableList, address: &str, strategy: Strategy) -> Result<Option<Found>, Failure> {
        if list.is_empty {
            return Ok(None);
        }
        let maps = list.maps()?;
        let found = self.with_rules(|rules| find_address(maps, address, &rules, strategy));
        found.map_err(|error| self.tables.failed(&error, address))
    }
}

impl TableList {
    /// The tables, or why they cannot be opened.
    pub fn maps(&self) -> Result<&Maps, Failure> {
        self.maps.as_ref().map_err(Failure::clone)
    }
}

/// All but `relay_domains` are lists of strings to Postfix: they hold no subdomain.
fn domain_list(section: &Section, title: &str) -> MatchList {
    let list = section.domains.get(title).unwrap_or_else(|| panic!("the list {title} was not handed to this program"));
    match title {
        "relay_domains" => list.clone(),
        _ => MatchList { style: Style::Strings, ..list.clone() },
    }
}

fn table_list(section: &Section, host: &Host, tables: &Tables, title: &str) -> TableList {
    let mut names = section.transport.list(title);
    let is_empty = names.is_empty();
    let nis = |name: &&str| name.strip_prefix("proxy:").unwrap_or(name).starts_with("nis:");
    if !host.nis && names.iter().any(nis) {
        names.retain(|name| !nis(name));
        tables.warn("dict_nis_init: NIS domain name not set - NIS lookups disabled".into());
    }
    // A pattern that puts text of the key into a transport would let strangers choose commands.
    let regsub = title != "transport_maps";
    TableList { maps: tables.maps(title, &names, &section.transport.list("alias_maps"), regsub), is_empty }
}

fn destination(title: &'static str, text: &str) -> Destination {
    let (transport, nexthop) = text.split_once(':').unwrap_or((text, ""));
    Destination { title, transport: transport.to_owned(), nexthop: nexthop.to_owned() }
}

fn count(section: &Section, name: &str) -> usize {
    usize::try_from(section.transport.number(name)).unwrap_or(usize::MAX)
}

/// The address in `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321, section 4.1.3).
pub fn address_literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")) {
        Some(_) => inner[5..].parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => inner.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}
