//! What the agent takes from its section of the configuration.

use std::time::Duration;

use ipc_config::section::Section;
use proto_smtp::client::Step;

/// By which command of `master.cf` the transport runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// `lmtp`: mail goes to the server that the nexthop names.
    Lmtp,
    /// `smtp`: mail goes to other hosts.
    Smtp,
}

/// The settings of one transport.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's name in `master.cf`.
    pub transport: String,
    /// Which agent it runs.
    pub agent: Agent,
    /// `myhostname`, the host of a server on a unix socket.
    pub my_hostname: String,
    /// `lmtp_lhlo_name`.
    pub helo_name: String,
    /// `lmtp_tcp_port`: a number or the name of a service.
    pub port: String,
    /// Unix sockets that may be connected to, by the paths that transports name; positions are the connector's indexes.
    pub sockets: Vec<String>,
    /// `delay_logging_resolution_limit`: digits behind the point in `delay=`.
    pub delay_digits: u32,
    /// `info_log_address_format` is `external`: addresses in the log are quoted where they must be.
    pub quote_addresses: bool,
    /// When a connection takes another message.
    pub reuse: Reuse,
    /// Time limits of the steps of a session.
    pub time_limits: TimeLimits,
}

/// When a connection is kept for another message (`lmtp_connection_…`).
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

/// `lmtp_…_timeout`. Zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    pub connect: Duration,
    pub lhlo: Duration,
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
            Step::Greeting | Step::Ehlo | Step::Helo | Step::Lhlo | Step::StartTls | Step::Auth => self.lhlo,
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

impl Settings {
    /// Reads the section; the master has validated it.
    pub fn new(section: &Section) -> Settings {
        let values = &section.transport;
        let agent = if values.text("agent") == "lmtp" { Agent::Lmtp } else { Agent::Smtp };
        Settings {
            transport: values.text("service_name").into(),
            agent,
            my_hostname: values.text("myhostname").into(),
            helo_name: values.text("lmtp_lhlo_name").into(),
            port: values.text("lmtp_tcp_port").into(),
            sockets: section.foreign.clone(),
            delay_digits: values.number("delay_logging_resolution_limit") as u32,
            quote_addresses: values.text("info_log_address_format") == "external",
            reuse: Reuse {
                allowed: values.boolean("lmtp_connection_cache_on_demand"),
                idle: values.time("lmtp_connection_cache_time_limit"),
                count: Some(values.number("lmtp_connection_reuse_count_limit")).filter(|&count| count > 0),
                age: values.time("lmtp_connection_reuse_time_limit"),
            },
            time_limits: TimeLimits {
                connect: values.time("lmtp_connect_timeout"),
                lhlo: values.time("lmtp_lhlo_timeout"),
                mail: values.time("lmtp_mail_timeout"),
                rcpt: values.time("lmtp_rcpt_timeout"),
                data_init: values.time("lmtp_data_init_timeout"),
                data_xfer: values.time("lmtp_data_xfer_timeout"),
                data_done: values.time("lmtp_data_done_timeout"),
                rset: values.time("lmtp_rset_timeout"),
                quit: values.time("lmtp_quit_timeout"),
            },
        }
    }
}
