//! The constructors that the rows of the table are written with, one for each kind of value.

pub(super) use super::{Kind, Parameter, Support};

/// Known, not built yet; without it mail is handled as if it were not set.
pub(super) const NOT_YET: Support = Support::NotYet { refuse: false };
/// Known, not built yet; a start that ignored it would protect less than the administrator asked for.
pub(super) const REFUSED: Support = Support::NotYet { refuse: true };

/// Built, and `test` fails when its value is ignored.
pub(super) const fn built(test: &'static str) -> Support {
    Support::Supported { test }
}

/// Accepted without effect, because of how the system is built.
pub(super) const fn no_effect(why: &'static str) -> Support {
    Support::Accepted { why }
}

const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    support: Support,
    about: &'static str,
) -> Parameter {
    Parameter { name, kind, default, filled: false, support, about }
}

pub(super) const fn boolean(
    name: &'static str,
    default: &'static str,
    support: Support,
    about: &'static str,
) -> Parameter {
    row(name, Kind::Boolean, default, support, about)
}

pub(super) const fn integer(
    name: &'static str,
    default: &'static str,
    min: i64,
    max: i64,
    support: Support,
    about: &'static str,
) -> Parameter {
    row(name, Kind::Integer { min, max }, default, support, about)
}

pub(super) const fn size(
    name: &'static str,
    default: &'static str,
    min: i64,
    max: i64,
    support: Support,
    about: &'static str,
) -> Parameter {
    row(name, Kind::Size { min, max }, default, support, about)
}

pub(super) const fn time(
    name: &'static str,
    default: &'static str,
    min: i64,
    max: i64,
    support: Support,
    about: &'static str,
) -> Parameter {
    row(name, Kind::Time { min, max }, default, support, about)
}

pub(super) const fn choice(
    name: &'static str,
    default: &'static str,
    words: &'static [&'static str],
    support: Support,
    about: &'static str,
) -> Parameter {
    row(name, Kind::Choice(words), default, support, about)
}

/// Constructors that take nothing but the common columns.
macro_rules! plain {
    ($($function:ident => $kind:ident),* $(,)?) => {$(
        pub(super) const fn $function(
            name: &'static str,
            default: &'static str,
            support: Support,
            about: &'static str,
        ) -> Parameter {
            row(name, Kind::$kind, default, support, about)
        }
    )*};
}

plain! {
    text => Text,
    raw => Raw,
    list => List,
    maps => Maps,
    networks => Networks,
    domains => Domains,
    strings => Strings,
    restrictions => Restrictions,
}

impl Parameter {
    /// An empty value is an error.
    pub(super) const fn filled(mut self) -> Parameter {
        self.filled = true;
        self
    }
}
