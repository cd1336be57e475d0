//! Settings of mail delivery.

use super::settings;

settings! {
    /// Settings of mail delivery.
    pub(super) static ROWS;
    deliver_log_format: Str = "msgid=%m: %$", built("deliver::report::tests::every_variable_of_the_format"), "How a delivery is logged: %m Message-ID, %s subject, %f sender, %$ the outcome.";
    lda_mailbox_autocreate: Bool = "no", built("deliver::filing::tests::a_named_mailbox_is_made_only_where_that_is_wanted"), "Make a missing mailbox when mail is delivered to it.";
    lda_mailbox_autosubscribe: Bool = "no", built("deliver::filing::tests::a_mailbox_made_by_a_delivery_is_subscribed_to_once_and_where_that_is_wanted"), "Subscribe to a mailbox made that way.";
    lda_original_recipient_header: Str = "", later, "Header with the original recipient, for the delivery program.";
    lmtp_add_received_header: Bool = "yes", built("lmtp::trace::tests::received_is_left_out_where_it_is_not_wanted"), "Add a Received header at delivery.";
    lmtp_client_workarounds: List = "", built("lmtp::settings::tests::workarounds_let_broken_paths_pass"), "Tolerance for broken LMTP clients.";
    lmtp_hdr_delivery_address: Enum("final", "none", "original") = "final", built("lmtp::trace::tests::the_setting_says_which_address_is_named"), "Address in the Delivered-To header: final, original or none.";
    lmtp_proxy: Bool = "no", later, "Pass recipients on to other servers that the passdb names.";
    lmtp_proxy_rawlog_dir: Vars = "", later, "Folder for transcripts of proxied LMTP sessions.";
    lmtp_rawlog_dir: Vars = "", later, "Folder for transcripts of LMTP sessions.";
    lmtp_rcpt_check_quota: Bool = "no", later, "Refuse a recipient over quota at RCPT.";
    lmtp_save_to_detail_mailbox: Bool = "no", built("lmtp::recipient::tests::only_where_it_is_wanted_the_detail_is_a_mailbox"), "Deliver user+detail to the mailbox named detail.";
    lmtp_user_concurrency_limit: Uint = "0", built("deliver::crowd::tests::a_user_has_no_more_deliveries_than_the_limit_says"), "Deliveries to one user at a time; 0 is no limit.";
    lmtp_verbose_replies: Bool = "no", built("lmtp::lookup::tests::verbose_replies_tell_what_is_wrong"), "Say in LMTP replies what went wrong.";
    postmaster_address: Vars = "postmaster@%{if;%d;ne;;%d;%{hostname}}", accepted("a delivery makes no messages of its own"), "Sender of the messages that a delivery makes.";
    quota_full_tempfail: Bool = "no", later, "Answer a full quota with a temporary failure.";
    rejection_reason: Str = "Your message to <%t> was automatically rejected:%n%r", later, "Text of a rejection message.";
    rejection_subject: Str = "Rejected: %s", later, "Subject of a rejection message.";
    sendmail_path: Vars = "/usr/sbin/sendmail", later, "Program that sends mail, where submission_host is empty.";
    submission_host: Vars = "", later, "Server that sends mail (Sieve redirects and vacation).";
    submission_ssl: Enum("no", "smtps", "submissions", "starttls") = "no", later, "TLS to that server.";
    submission_timeout: Time = "30 secs", later, "Time limit of that server.";
}
