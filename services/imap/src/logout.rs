//! `imap_logout_format`: what the log says at the end of a session.

use ipc_config::dovecot::variables::{Vars, expand};
use proto_imap::session::Statistics;

/// The counters in the given format. A format that cannot be expanded says so in its place.
pub fn format(template: &str, statistics: &Statistics, trashed: u64) -> String {
    let value = |name: &str| {
        let number = match name {
            // `%i` and `%o`; elsewhere `%i` is the uid.
            "uid" | "input" => statistics.bytes_in,
            "o" | "output" => statistics.bytes_out,
            "deleted" => statistics.deleted,
            "expunged" => statistics.expunged,
            "trashed" => trashed,
            "fetch_hdr_count" => statistics.headers,
            "fetch_hdr_bytes" => statistics.header_bytes,
            "fetch_body_count" => statistics.bodies,
            "fetch_body_bytes" => statistics.body_bytes,
            _ => return None,
        };
        Some(number.to_string())
    };
    let vars = Vars { value: &value, environment: &|_| None, md5: None };
    expand(template, &vars).unwrap_or_else(|error| format!("imap_logout_format: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_and_others() {
        let statistics =
            Statistics { bytes_in: 99, bytes_out: 1134, bodies: 2, body_bytes: 70, ..Statistics::default() };
        let default = "in=%i out=%o deleted=%{deleted} expunged=%{expunged} trashed=%{trashed} \
            hdr_count=%{fetch_hdr_count} hdr_bytes=%{fetch_hdr_bytes} body_count=%{fetch_body_count} \
            body_bytes=%{fetch_body_bytes}";
        assert_eq!(
            format(default, &statistics, 3),
            "in=99 out=1134 deleted=0 expunged=0 trashed=3 hdr_count=0 hdr_bytes=0 body_count=2 body_bytes=70"
        );
        assert_eq!(format("%{input}/%{output}", &statistics, 0), "99/1134");
        assert!(format("%{nothing}", &statistics, 0).contains("nothing"));
    }
}
