//! What the agent takes from its section of the configuration.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipc_config::section::{Section, Values};
use ipc_messages::dns::Source;
use proto_smtp::client::{self, Hello, Step, Tls};

/// By which command of `master.cf` the transport runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// `lmtp`: mail goes to the server that the nexthop names.
    Lmtp,
    /// `smtp`: mail goes to the mail exchangers of the nexthop.
    Smtp,
}

/// The settings of one transport. A name below stands for the parameters `smtp_…` and `lmtp_…`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's name in `master.cf`.
    pub transport: String,
    /// Which agent it runs.
    pub agent: Agent,
    /// `myhostname`, the host of a server on a unix socket.
    pub my_hostname: String,
    /// `tcp_port`: a number or the name of a service.
    pub port: String,
    /// Unix sockets that may be connected to, by the paths that transports name; positions are the connector's indexes.
    pub sockets: Vec<String>,
    /// `delay_logging_resolution_limit`: digits behind the point in `delay=`.
    pub delay_digits: u32,
    /// `info_log_address_format` is `external`: addresses in the log are quoted where they must be.
    pub quote_addresses: bool,
    /// `soft_bounce`: qmgr keeps what a server refuses, and the log says so.
    pub soft_bounce: bool,
    /// Not `disable_mime_output_conversion`: content in 8 bits is encoded for servers that take 7 only.
    pub convert: bool,
    /// How a session is held; the server's name is missing.
    pub session: client::Config,
    /// Not `skip_quit_response`: the reply to QUIT is waited for.
    pub wait_for_quit: bool,
    /// Why no mail may leave: the configuration asks for more than encryption.
    pub unprotected: Option<&'static str>,
    /// `minimal_backoff_time` in microseconds: how old mail must be to leave in clear when TLS fails that need not be.
    pub tls_patience: u64,
    /// When a connection takes another message.
    pub reuse: Reuse,
    /// Time limits of the steps of a session.
    pub time_limits: TimeLimits,
    /// Which servers are tried.
    pub outbound: Outbound,
}

/// When a connection is kept for another message (`connection_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// `cache_on_demand`.
    pub allowed: bool,
    /// `cache_time_limit`: how long it is kept without a message.
    pub idle: Duration,
    /// `reuse_count_limit`: messages; `None` for any number.
    pub count: Option<u64>,
    /// `reuse_time_limit`: no message begins on a connection that is older.
    pub age: Duration,
}

/// Which servers of a destination are tried, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// `inet_protocols` has it.
    pub ipv4: bool,
    /// Likewise.
    pub ipv6: bool,
    /// `address_preference`
    pub preference: Preference,
    /// `balance_inet_protocols`
    pub balance: bool,
    /// `randomize_addresses`: between servers that are equally good, chance decides.
    pub randomize: bool,
    /// `mx_address_limit`: addresses that are tried.
    pub address_limit: Option<usize>,
    /// `mx_session_limit`: servers that are talked to until one takes mail.
    pub session_limit: Option<usize>,
    /// `ignore_mx_lookup_error`
    pub ignore_mx_error: bool,
    /// `defer_if_no_mx_address_found`
    pub defer_if_no_mx_address: bool,
    /// Where addresses of hosts are looked for (`host_lookup`).
    pub source: Source,
    /// Addresses at which this system takes mail; mail to them would come back.
    pub own_addresses: Vec<IpAddr>,
    /// LMTP may talk to itself.
    pub loop_detection: bool,
}

/// The address family that is tried first among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    Any,
    Ipv4,
    Ipv6,
}

/// `…_timeout`. Zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    pub connect: Duration,
    pub hello: Duration,
    pub starttls: Duration,
    pub mail: Duration,
    pub rcpt: Duration,
    pub data_init: Duration,
    pub data_xfer: Duration,
    pub data_done: Duration,
    pub rset: Duration,
    pub quit: Duration,
}

impl TimeLimits {
    /// The limit of a step; `None` for none.
    pub fn of(&self, step: Step) -> Option<Duration> {
        let limit = match step {
            Step::Greeting | Step::Ehlo | Step::Helo | Step::Lhlo | Step::Auth => self.hello,
            Step::StartTls => self.starttls,
            Step::Mail => self.mail,
            Step::Rcpt => self.rcpt,
            Step::Data => self.data_init,
            Step::Content => self.data_xfer,
            Step::Dot => self.data_done,
            Step::Abort => self.rset,
            Step::Quit => self.quit,
        };
        limited(limit)
    }
}

/// `None` for a limit of zero.
pub fn limited(limit: Duration) -> Option<Duration> {
    Some(limit).filter(|limit| !limit.is_zero())
}

/// The parameters of one agent: `smtp_…` or `lmtp_…`.
struct Own<'a> {
    values: &'a Values,
    agent: Agent,
}

impl Own<'_> {
    fn name(&self, suffix: &str) -> String {
        match self.agent {
            Agent::Lmtp => format!("lmtp_{}", suffix.replace("helo", "lhlo").replace("ehlo", "lhlo")),
            Agent::Smtp => format!("smtp_{suffix}"),
        }
    }

    fn text(&self, suffix: &str) -> &str {
        self.values.text(&self.name(suffix))
    }

    fn boolean(&self, suffix: &str) -> bool {
        self.values.boolean(&self.name(suffix))
    }

    /// `None` for 0, which is no limit.
    fn limit(&self, suffix: &str) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.values.number(&self.name(suffix)) as usize)
    }

    fn time(&self, suffix: &str) -> Duration {
        self.values.time(&self.name(suffix))
    }
}

impl Settings {
    /// Reads the section; the master has validated it.
    pub fn new(section: &Section) -> Settings {
        let values = &section.transport;
        let agent = if values.text("agent") == "lmtp" { Agent::Lmtp } else { Agent::Smtp };
        let own = Own { values, agent };
        Settings {
            transport: values.text("service_name").into(),
            agent,
            my_hostname: values.text("myhostname").into(),
            port: own.text("tcp_port").into(),
            sockets: section.foreign.clone(),
            delay_digits: values.number("delay_logging_resolution_limit") as u32,
            soft_bounce: values.boolean("soft_bounce"),
            quote_addresses: values.text("info_log_address_format") == "external",
            convert: !values.boolean("disable_mime_output_conversion"),
            session: session(&own),
            wait_for_quit: !own.boolean("skip_quit_response"),
            unprotected: unprotected(&own),
            tls_patience: values.time("minimal_backoff_time").as_micros() as u64,
            reuse: Reuse {
                allowed: own.boolean("connection_cache_on_demand"),
                idle: own.time("connection_cache_time_limit"),
                count: own.limit("connection_reuse_count_limit").map(|limit| limit.get() as u64),
                age: own.time("connection_reuse_time_limit"),
            },
            time_limits: TimeLimits {
                connect: own.time("connect_timeout"),
                hello: own.time("helo_timeout"),
                starttls: own.time("starttls_timeout"),
                mail: own.time("mail_timeout"),
                rcpt: own.time("rcpt_timeout"),
                data_init: own.time("data_init_timeout"),
                data_xfer: own.time("data_xfer_timeout"),
                data_done: own.time("data_done_timeout"),
                rset: own.time("rset_timeout"),
                quit: own.time("quit_timeout"),
            },
            outbound: outbound(&own),
        }
    }
}

fn session(own: &Own) -> client::Config {
    let hello = match own.agent {
        Agent::Smtp if own.boolean("never_send_ehlo") => Hello::Helo,
        Agent::Smtp if !own.boolean("always_send_ehlo") => Hello::AsGreeted,
        _ => Hello::Ehlo,
    };
    let discard = own.values.list(&own.name("discard_ehlo_keywords"));
    client::Config {
        discard: discard.into_iter().map(String::from).collect(),
        skip_5xx_greeting: own.boolean("skip_5xx_greeting"),
        hello,
        quote_envelope: own.boolean("quote_rfc821_envelope"),
        line_limit: own.limit("line_length_limit"),
        tls: match own.text("tls_security_level") {
            "encrypt" => Tls::Required,
            "may" => Tls::May,
            "" if own.boolean("use_tls") => Tls::May,
            _ => Tls::None,
        },
        ..client::Config::new(own.agent == Agent::Lmtp, own.text("helo_name"), "")
    }
}

/// Mail for servers that must be who they say they are does not leave for anybody.
fn unprotected(own: &Own) -> Option<&'static str> {
    let built = matches!(own.text("tls_security_level"), "" | "none" | "may" | "encrypt");
    (!built).then_some("TLS is required, but our TLS engine is unavailable")
}

fn outbound(own: &Own) -> Outbound {
    let protocols = own.values.text("inet_protocols");
    let has = |family| protocols.contains(family) || protocols.contains("all");
    let addresses = own.values.list("own_addresses");
    Outbound {
        ipv4: has("ipv4"),
        ipv6: has("ipv6"),
        preference: match own.text("address_preference") {
            "ipv4" => Preference::Ipv4,
            "ipv6" => Preference::Ipv6,
            _ => Preference::Any,
        },
        balance: own.boolean("balance_inet_protocols"),
        randomize: own.boolean("randomize_addresses"),
        address_limit: own.limit("mx_address_limit").map(NonZeroUsize::get),
        session_limit: own.limit("mx_session_limit").map(NonZeroUsize::get),
        ignore_mx_error: own.values.boolean("ignore_mx_lookup_error"),
        defer_if_no_mx_address: own.boolean("defer_if_no_mx_address_found"),
        source: match own.values.list(&own.name("host_lookup")).contains(&"native") {
            true => Source::Native,
            false => Source::Dns,
        },
        own_addresses: addresses.into_iter().filter_map(|address| address.parse().ok()).collect(),
        loop_detection: own.agent == Agent::Smtp,
    }
}

#[cfg(test)]
mod tests;
