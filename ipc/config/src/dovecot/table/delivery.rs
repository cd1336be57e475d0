//! Settings of mail delivery.

use super::settings;

settings! {
    /// Settings of mail delivery.
    pub(super) static ROWS;
    deliver_log_format: Str = "msgid=%m: %$", built(""), "How a delivery is logged: %m Message-ID, %s subject, %f sender, %$ the outcome.";
    lda_mailbox_autocreate: Bool = "no", built(""), "Make a missing mailbox when mail is delivered to it.";
    lda_mailbox_autosubscribe: Bool = "no", built(""), "Subscribe to a mailbox made that way.";
    lda_original_recipient_header: Str = "", later, "Header with the original recipient, for the delivery program.";
    lmtp_add_received_header: Bool = "yes", built(""), "Add a Received header at delivery.";
    lmtp_client_workarounds: List = "", built(""), "Tolerance for broken LMTP clients.";
    lmtp_hdr_delivery_address: Enum("final", "none", "original") = "final", built(""), "Address in the Delivered-To header: final, original or none.";
    lmtp_proxy: Bool = "no", later, "Pass recipients on to other servers that the passdb names.";
    lmtp_proxy_rawlog_dir: Vars = "", later, "Folder for transcripts of proxied LMTP sessions.";
    lmtp_rawlog_dir: Vars = "", later, "Folder for transcripts of LMTP sessions.";
    lmtp_rcpt_check_quota: Bool = "no", later, "Refuse a recipient over quota at RCPT.";
    lmtp_save_to_detail_mailbox: Bool = "no", built(""), "Deliver user+detail to the mailbox named detail.";
    lmtp_user_concurrency_limit: Uint = "0", built(""), "Deliveries to one user at a time; 0 is no limit.";
    lmtp_verbose_replies: Bool = "no", built(""), "Say in LMTP replies what went wrong.";
    postmaster_address: Vars = "postmaster@%{if;%d;ne;;%d;%{hostname}}", built(""), "Sender of the messages that a delivery makes.";
    quota_full_tempfail: Bool = "no", later, "Answer a full quota with a temporary failure.";
    rejection_reason: Str = "Your message to <%t> was automatically rejected:%n%r", later, "Text of a rejection message.";
    rejection_subject: Str = "Rejected: %s", later, "Subject of a rejection message.";
    sendmail_path: Vars = "/usr/sbin/sendmail", built(""), "Program that sends mail, where submission_host is empty.";
    submission_host: Vars = "", later, "Server that sends mail (Sieve redirects and vacation).";
    submission_ssl: Enum("no", "smtps", "submissions", "starttls") = "no", later, "TLS to that server.";
    submission_timeout: Time = "30 secs", later, "Time limit of that server.";
}
