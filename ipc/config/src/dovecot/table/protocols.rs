//! Settings of the mail access protocols.

use super::settings;

settings! {
    /// Settings of the mail access protocols.
    pub(super) static ROWS;
    imap_capability: List = "", built("imap::settings::tests::announced_capabilities"), "Capabilities to announce instead of, or with +, besides the built ones.";
    imap_client_workarounds: List = "", later, "Tolerance for broken IMAP clients: delay-newmail, tb-extra-mailbox-sep, tb-lsub-flags.";
    imap_fetch_failure: Enum("disconnect-immediately", "disconnect-after", "no-after") = "disconnect-immediately", later, "What to do when a mail cannot be read.";
    imap_hibernate_timeout: Time = "0", built("imap::settings::tests::when_quiet_sessions_are_parked"), "When a quiet session is parked; 0 is after two seconds.";
    imap_id_log: List = "", later, "Fields of a client's ID to log.";
    imap_id_retain: Bool = "no", later, "Keep the client's ID for the proxied backend.";
    imap_id_send: List = "name *", built("imap::settings::tests::fields_of_id"), "Fields to answer to ID; * is our own value.";
    imap_idle_notify_interval: Time = "2 mins", built("imap::settings::tests::reminders_of_idling_clients"), "How often IDLE sends a sign of life.";
    imap_literal_minus: Bool = "no", later, "Announce LITERAL- instead of LITERAL+.";
    imap_logout_format: Str = "in=%i out=%o deleted=%{deleted} expunged=%{expunged} trashed=%{trashed} hdr_count=%{fetch_hdr_count} hdr_bytes=%{fetch_hdr_bytes} body_count=%{fetch_body_count} body_bytes=%{fetch_body_bytes}", built("imap::logout::tests::the_default_and_others"), "Statistics logged when a session ends.";
    imap_max_line_length: Size = "64 k", built("imap::settings::tests::the_longest_command"), "Longest command line.";
    imap_metadata: Bool = "no", later, "Announce METADATA.";
    imap_urlauth_host: Str = "", later, "Host in URLAUTH addresses.";
    imap_urlauth_logout_format: Str = "in=%i out=%o", later, "Statistics logged when a URLAUTH session ends.";
    imap_urlauth_port: Port = "143", later, "Port in URLAUTH addresses.";
    pop3_client_workarounds: List = "", later, "Tolerance for broken POP3 clients.";
    pop3_delete_type: Enum("default", "expunge", "flag") = "default", later, "What QUIT does with deleted mails.";
    pop3_deleted_flag: Str = "", later, "Flag that hides a mail instead of deleting it.";
    pop3_enable_last: Bool = "no", later, "Support the old LAST command.";
    pop3_fast_size_lookups: Bool = "no", later, "Take sizes from where they are quickest known.";
    pop3_lock_session: Bool = "no", later, "Lock the mailbox for the whole session.";
    pop3_logout_format: Str = "top=%t/%p, retr=%r/%b, del=%d/%m, size=%s", later, "Statistics logged when a POP3 session ends.";
    pop3_no_flag_updates: Bool = "no", later, "Do not mark mails as seen.";
    pop3_reuse_xuidl: Bool = "no", later, "Take the UIDL from the X-UIDL header.";
    pop3_save_uidl: Bool = "no", later, "Keep the UIDL in the mail's file name.";
    pop3_uidl_duplicates: Enum("allow", "rename") = "allow", later, "What to do with a UIDL that two mails share.";
    pop3_uidl_format: Str = "%08Xu%08Xv", later, "How a UIDL is made.";
    submission_client_workarounds: List = "", later, "Tolerance for broken submission clients.";
    submission_logout_format: Str = "in=%i out=%o", later, "Statistics logged when a submission session ends.";
    submission_max_mail_size: Size = "0", later, "Largest mail for the submission proxy.";
    submission_max_recipients: Uint = "0", later, "Most recipients for the submission proxy.";
    submission_relay_command_timeout: TimeMsecs = "5 mins", later, "Time limit of a command to the relay.";
    submission_relay_connect_timeout: TimeMsecs = "30 secs", later, "Time limit for connecting to the relay.";
    submission_relay_host: Str = "", later, "Relay of the submission proxy.";
    submission_relay_master_user: Str = "", later, "Master user at the relay.";
    submission_relay_max_idle_time: Time = "29 mins", later, "When an idle connection to the relay is closed.";
    submission_relay_password: Str = "", later, "Password at the relay.";
    submission_relay_port: Port = "25", later, "Port of the relay.";
    submission_relay_rawlog_dir: Vars = "", later, "Folder for transcripts of relay sessions.";
    submission_relay_ssl: Enum("no", "smtps", "starttls") = "no", later, "TLS to the relay.";
    submission_relay_ssl_verify: Bool = "yes", later, "Refuse a relay without a valid certificate.";
    submission_relay_trusted: Bool = "no", later, "Tell the relay the client's address.";
    submission_relay_user: Str = "", later, "User at the relay.";
}
