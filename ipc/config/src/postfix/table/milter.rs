//! Parameters of content filters that speak Sendmail's milter protocol.

use super::row::*;

#[rustfmt::skip]
pub(super) const PARAMETERS: &[Parameter] = &[
    list("non_smtpd_milters", "", REFUSED, "Milters for mail that does not come by SMTP."),
    choice("milter_default_action", "tempfail", &["accept", "reject", "tempfail", "quarantine", "shutdown"], NOT_YET,
        "Action when a milter cannot be used."),
    text("milter_protocol", "6", NOT_YET, "Version of the protocol.").filled(),
    time("milter_connect_timeout", "30s", 1, 0, NOT_YET,
        "How long connecting and the first negotiation may take."),
    time("milter_command_timeout", "30s", 1, 0, NOT_YET,
        "How long the reply to a command may take."),
    time("milter_content_timeout", "300s", 1, 0, NOT_YET,
        "How long the reply to content may take."),
    maps("milter_header_checks", "", NOT_YET, "Patterns for headers that milters add."),
    text("milter_macro_daemon_name", "$myhostname", NOT_YET, "The macro daemon_name.").filled(),
    text("milter_macro_v", "$mail_name $mail_version", NOT_YET, "The macro v.").filled(),
    list("milter_macro_defaults", "", NOT_YET, "Values of macros that are otherwise unset."),
    list("milter_connect_macros", "j {daemon_name} {daemon_addr} v _", NOT_YET,
        "Macros sent at connection."),
    list("milter_helo_macros", "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}", NOT_YET,
        "Macros sent at HELO."),
    list("milter_mail_macros",
        "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}", NOT_YET,
        "Macros sent at MAIL."),
    list("milter_rcpt_macros", "i {rcpt_addr} {rcpt_host} {rcpt_mailer}", NOT_YET,
        "Macros sent at RCPT."),
    list("milter_data_macros", "i", NOT_YET, "Macros sent at DATA."),
    list("milter_end_of_header_macros", "i", NOT_YET, "Macros sent at the end of the headers."),
    list("milter_end_of_data_macros", "i", NOT_YET, "Macros sent at the end of the message."),
    list("milter_unknown_command_macros", "", NOT_YET, "Macros sent at an unknown command."),
    list("internal_mail_filter_classes", "", NOT_YET, "Generated mail that is filtered as well."),
];
