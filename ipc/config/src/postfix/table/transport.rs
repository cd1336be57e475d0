//! Parameters that exist once for each delivery agent in `master.cf`: `TRANSPORT_destination_concurrency_limit` and its
//! like, where TRANSPORT is the name of the service.

use super::{Kind, Support};

/// A parameter whose name is the name of a service and a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportParameter {
    /// What follows the name of the service, underscore included.
    pub suffix: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// The value when it is not set, unexpanded.
    pub default: &'static str,
    /// What becomes of it here.
    pub support: Support,
    /// Which services have it.
    pub owner: Owner,
}

/// Which services have a transport parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The delivery agents: error, lmtp, local, pipe, smtp, virtual.
    Agents,
    /// The programs that run a command: pipe and spawn.
    Commands,
}

impl Owner {
    /// Whether a `master.cf` row with this command has the parameter.
    pub fn has(self, command: &str) -> bool {
        match self {
            Owner::Agents => matches!(command, "error" | "lmtp" | "local" | "pipe" | "smtp" | "virtual"),
            Owner::Commands => matches!(command, "pipe" | "spawn"),
        }
    }
}

const fn agents(suffix: &'static str, kind: Kind, default: &'static str, test: &'static str) -> TransportParameter {
    TransportParameter { suffix, kind, default, support: Support::Supported { test }, owner: Owner::Agents }
}

/// Postfix's qmgr reads the recipients of a message bit by bit.
const fn no_effect(suffix: &'static str, kind: Kind, default: &'static str) -> TransportParameter {
    let support = Support::Accepted { why: "an active message is in memory with all its recipients" };
    TransportParameter { suffix, kind, default, support, owner: Owner::Agents }
}

const ANY: Kind = Kind::Integer { min: 0, max: 0 };
const ONE: Kind = Kind::Integer { min: 1, max: 0 };
const PAUSE: Kind = Kind::Time { min: 0, max: 0 };

/// All of them, as Postfix 3.7 has them.
#[rustfmt::skip]
pub const PARAMETERS: &[TransportParameter] = &[
    TransportParameter {
        suffix: "_time_limit",
        kind: Kind::Time { min: 1, max: 0 },
        default: "$command_time_limit",
        support: Support::NotYet { refuse: false },
        owner: Owner::Commands,
    },
    no_effect("_recipient_limit", ANY, "$default_recipient_limit"),
    no_effect("_extra_recipient_limit", ANY, "$default_extra_recipient_limit"),
    no_effect("_recipient_refill_limit", ONE, "$default_recipient_refill_limit"),
    no_effect("_recipient_refill_delay", Kind::Time { min: 1, max: 0 }, "$default_recipient_refill_delay"),
    agents("_delivery_slot_cost", ANY, "$default_delivery_slot_cost", "qmgr::settings::tests::preemption"),
    agents("_delivery_slot_loan", ANY, "$default_delivery_slot_loan", "qmgr::settings::tests::preemption"),
    agents("_delivery_slot_discount", Kind::Integer { min: 0, max: 100 }, "$default_delivery_slot_discount",
        "qmgr::settings::tests::preemption"),
    agents("_minimum_delivery_slots", ANY, "$default_minimum_delivery_slots", "qmgr::settings::tests::preemption"),
    agents("_initial_destination_concurrency", ONE, "$initial_destination_concurrency",
        "qmgr::settings::tests::initial_destination_concurrency"),
    agents("_destination_concurrency_limit", ANY, "$default_destination_concurrency_limit",
        "qmgr::settings::tests::destination_concurrency_limit"),
    agents("_destination_recipient_limit", ANY, "$default_destination_recipient_limit",
        "qmgr::settings::tests::destination_recipient_limit"),
    agents("_destination_concurrency_positive_feedback", Kind::Text,
        "$default_destination_concurrency_positive_feedback",
        "qmgr::settings::tests::destination_concurrency_positive_feedback"),
    agents("_destination_concurrency_negative_feedback", Kind::Text,
        "$default_destination_concurrency_negative_feedback",
        "qmgr::settings::tests::destination_concurrency_negative_feedback"),
    agents("_destination_concurrency_failed_cohort_limit", ANY,
        "$default_destination_concurrency_failed_cohort_limit",
        "qmgr::settings::tests::destination_concurrency_failed_cohort_limit"),
    agents("_destination_rate_delay", PAUSE, "$default_destination_rate_delay", "qmgr::settings::tests::rate_delays"),
    agents("_transport_rate_delay", PAUSE, "$default_transport_rate_delay", "qmgr::settings::tests::rate_delays"),
];

/// The defaults that one transport has for itself.
const OWN_DEFAULTS: &[(&str, &str)] =
    &[("local_destination_concurrency_limit", "2"), ("local_destination_recipient_limit", "1")];

/// Splits a name into a service and a parameter of services. The longest suffix counts, so that
/// `x_extra_recipient_limit` is not service `x_extra`; a `default_…` parameter is not one of service `default`.
pub fn split(name: &str) -> Option<(&str, &'static TransportParameter)> {
    let parameter = PARAMETERS.iter().filter(|one| name.ends_with(one.suffix)).max_by_key(|one| one.suffix.len())?;
    let service = name.strip_suffix(parameter.suffix)?;
    (!service.is_empty() && super::find(name).is_none()).then_some((service, parameter))
}

/// The default of the parameter `name`, which [`split`] gave as `parameter`.
pub fn default(name: &str, parameter: &TransportParameter) -> &'static str {
    OWN_DEFAULTS.iter().find(|(own, _)| *own == name).map_or(parameter.default, |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_longest_suffix() {
        let suffix = |name| split(name).map(|(service, parameter)| (service, parameter.suffix));
        assert_eq!(suffix("lmtp_recipient_limit"), Some(("lmtp", "_recipient_limit")));
        assert_eq!(suffix("lmtp_extra_recipient_limit"), Some(("lmtp", "_extra_recipient_limit")));
        assert_eq!(suffix("lmtp_destination_recipient_limit"), Some(("lmtp", "_destination_recipient_limit")));
        assert_eq!(suffix("scalemail-backend_time_limit"), Some(("scalemail-backend", "_time_limit")));
        assert_eq!(suffix("a_initial_destination_concurrency"), Some(("a", "_initial_destination_concurrency")));
        assert_eq!(suffix("default_recipient_limit"), None);
        assert_eq!(suffix("smtpd_recipient_limit"), None);
        assert_eq!(suffix("_recipient_limit"), None);
    }

    #[test]
    fn local_has_defaults_of_its_own() {
        let value = |name: &str| default(name, split(name).unwrap().1);
        assert_eq!(value("local_destination_concurrency_limit"), "2");
        assert_eq!(value("local_destination_recipient_limit"), "1");
        assert_eq!(value("relay_destination_recipient_limit"), "$default_destination_recipient_limit");
    }
}
