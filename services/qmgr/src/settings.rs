//! What the configuration says, as qmgr uses it.

use std::collections::BTreeMap;

use ipc_config::section::{Section, Values};
use store_queue::schedule::concurrency::{ConcurrencyPolicy, Feedback};
use store_queue::schedule::retry::RetryPolicy;
use store_queue::schedule::{Policy, SlotPolicy};

/// Messages that are active at once, whatever `qmgr_message_active_limit` says: each has a descriptor.
pub const MAX_ACTIVE: usize = 4000;

/// See postconf(5) for each.
#[derive(Debug, Clone)]
pub struct Settings {
    pub retry: RetryPolicy,
    pub active_messages: usize,
    pub active_recipients: usize,
    pub defer_transports: Vec<String>,
    pub transport_retry_time: u64,
    /// Seconds; 0 for never.
    pub delay_warning_time: u64,
    pub soft_bounce: bool,
    /// The transports of master.cf.
    pub transports: BTreeMap<String, Transport>,
}

/// A service of master.cf that delivers.
#[derive(Debug, Clone)]
pub struct Transport {
    pub command: String,
    pub policy: Policy,
}

impl Transport {
    /// Whether there is an agent for this command.
    pub fn is_built(&self) -> bool {
        ["smtp", "lmtp"].contains(&self.command.as_str())
    }
}

impl Settings {
    /// Takes them from what the master compiled.
    pub fn of(section: &Section) -> Settings {
        let values = &section.transport;
        let retry = RetryPolicy {
            minimal_backoff_time: values.number("minimal_backoff_time"),
            maximal_backoff_time: values.number("maximal_backoff_time"),
            maximal_queue_lifetime: values.number("maximal_queue_lifetime"),
            bounce_queue_lifetime: values.number("bounce_queue_lifetime"),
            queue_run_delay: values.number("queue_run_delay"),
        };
        let transport = |(name, command): &(String, String)| {
            (name.clone(), Transport { command: command.clone(), policy: policy(values, name, retry) })
        };
        Settings {
            retry,
            active_messages: (values.number("qmgr_message_active_limit") as usize).min(MAX_ACTIVE),
            active_recipients: values.number("qmgr_message_recipient_limit") as usize,
            defer_transports: values.list("defer_transports").into_iter().map(String::from).collect(),
            transport_retry_time: values.number("transport_retry_time"),
            delay_warning_time: values.number("delay_warning_time"),
            soft_bounce: values.boolean("soft_bounce"),
            transports: section.transports.iter().map(transport).collect(),
        }
    }
}

/// The policy of one transport: its own parameters (`lmtp_destination_concurrency_limit`), else the defaults.
fn policy(values: &Values, transport: &str, retry: RetryPolicy) -> Policy {
    let text = |suffix: &str, default: &str| {
        values.get(&format!("{transport}{suffix}")).unwrap_or_else(|| values.text(default)).to_string()
    };
    let number = |suffix: &str, default: &str| text(suffix, default).parse::<u64>().unwrap_or_default();
    let default = |suffix: &str| number(suffix, &format!("default{suffix}"));
    // The master has checked the syntax of what it knows; a feedback outside of it is Postfix's default.
    let feedback = |suffix: &str| text(suffix, &format!("default{suffix}")).parse().unwrap_or(Feedback::Fixed(1.0));
    Policy {
        concurrency: ConcurrencyPolicy {
            initial: number("_initial_destination_concurrency", "initial_destination_concurrency") as usize,
            limit: default("_destination_concurrency_limit") as usize,
            positive: feedback("_destination_concurrency_positive_feedback"),
            negative: feedback("_destination_concurrency_negative_feedback"),
            failed_cohort_limit: default("_destination_concurrency_failed_cohort_limit") as f64,
        },
        slots: SlotPolicy {
            cost: default("_delivery_slot_cost") as i64,
            loan: default("_delivery_slot_loan") as i64,
            discount: default("_delivery_slot_discount") as i64,
            minimum: default("_minimum_delivery_slots") as i64,
        },
        recipient_limit: default("_destination_recipient_limit") as usize,
        rate_delay: default("_destination_rate_delay"),
        transport_rate_delay: default("_transport_rate_delay"),
        dead_time: retry.minimal_backoff_time,
        ..Policy::default()
    }
}

#[cfg(test)]
mod tests;
