//! Parameters of address classes, transports and address rewriting.

use super::row::*;

#[rustfmt::skip]
pub(super) const PARAMETERS: &[Parameter] = &[
    // Domains
    domains("mydestination", "$myhostname, localhost.$mydomain, localhost",
        built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Domains that are delivered locally."),
    domains("virtual_alias_domains", "$virtual_alias_maps",
        built("trivial_rewrite::resolve::tests::resolves_as_the_real_one"),
        "Domains in which every address is an alias."),
    domains("virtual_mailbox_domains", "$virtual_mailbox_maps",
        built("trivial_rewrite::resolve::tests::resolves_as_the_real_one"),
        "Domains that are delivered by virtual_transport."),
    domains("relay_domains", "${{$compatibility_level} <level {2} ? {$mydestination} : {}}",
        built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Domains for which mail is relayed."),
    maps("local_recipient_maps", "proxy:unix:passwd.byname $alias_maps",
        built("trivial_rewrite::recipients::tests::who_is_known"),
        "Tables of all local recipients; empty turns the check off."),
    maps("relay_recipient_maps", "", built("trivial_rewrite::recipients::tests::who_is_known"),
        "Tables of all recipients of relay_domains; empty turns the check off."),
    maps("virtual_mailbox_maps", "", built("trivial_rewrite::recipients::tests::who_is_known"),
        "Tables of all recipients of virtual_mailbox_domains."),
    boolean("show_user_unknown_table_name", "yes",
        built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Name the table in replies about unknown recipients."),

    // Transports
    text("local_transport", "local:$myhostname", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Transport and next hop of local mail.").filled(),
    text("virtual_transport", "virtual", built("trivial_rewrite::resolve::tests::resolves_as_the_real_one"),
        "Transport and next hop of virtual mailbox domains.").filled(),
    text("relay_transport", "relay", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Transport and next hop of relay domains.").filled(),
    text("default_transport", "smtp", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Transport and next hop of all other domains.").filled(),
    text("relayhost", "", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Next hop of mail to all other domains."),
    maps("transport_maps", "", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Tables by recipient of transports and next hops."),
    maps("sender_dependent_default_transport_maps", "", NOT_YET,
        "Tables by sender that replace default_transport."),
    maps("sender_dependent_relayhost_maps", "", NOT_YET,
        "Tables by sender that replace relayhost."),
    text("empty_address_default_transport_maps_lookup_key", "<>", NOT_YET,
        "Key that stands for the null sender there.").filled(),
    text("empty_address_relayhost_maps_lookup_key", "<>", NOT_YET,
        "Key that stands for the null sender there.").filled(),
    maps("relocated_maps", "", NOT_YET, "Tables of users who have moved."),

    // Rewriting
    boolean("append_at_myorigin", "yes", built("trivial_rewrite::recipients::tests::settings_of_the_expansion"),
        "Complete an address without domain by @$myorigin."),
    boolean("append_dot_mydomain", "${{$compatibility_level} <level {1} ? {yes} : {no}}",
        built("trivial_rewrite::recipients::tests::settings_of_the_expansion"),
        "Complete a domain without dot by .$mydomain."),
    boolean("allow_percent_hack", "yes", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Take user%domain for user@domain."),
    boolean("swap_bangpath", "yes", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Take site!user for user@site."),
    boolean("allow_min_user", "no", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Allow a recipient that begins with a minus sign."),
    boolean("resolve_dequoted_address", "yes", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Look for @ and % within quotes as well."),
    boolean("resolve_null_domain", "no", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Take user@ for a local address."),
    boolean("resolve_numeric_domain", "no", built("trivial_rewrite::resolve::tests::each_setting_has_its_effect"),
        "Take user@1.2.3.4 for user@[1.2.3.4]."),

    // Tables behind proxymap
    list("proxy_read_maps",
        "$local_recipient_maps $mydestination $virtual_alias_maps $virtual_alias_domains $virtual_mailbox_maps \
        $virtual_mailbox_domains $relay_recipient_maps $relay_domains $canonical_maps $sender_canonical_maps
        $recipient_canonical_maps $relocated_maps $transport_maps $mynetworks $smtpd_sender_login_maps
        $sender_bcc_maps $recipient_bcc_maps $smtp_generic_maps $lmtp_generic_maps $alias_maps
        $smtpd_client_restrictions $smtpd_helo_restrictions $smtpd_sender_restrictions
        $smtpd_relay_restrictions $smtpd_recipient_restrictions
        $address_verify_sender_dependent_default_transport_maps $address_verify_sender_dependent_relayhost_maps
        $address_verify_transport_maps $fallback_transport_maps $lmtp_discard_lhlo_keyword_address_maps
        $lmtp_pix_workaround_maps $lmtp_sasl_password_maps $lmtp_tls_policy_maps $mailbox_command_maps
        $mailbox_transport_maps $postscreen_discard_ehlo_keyword_address_maps $rbl_reply_maps
        $sender_dependent_default_transport_maps $sender_dependent_relayhost_maps
        $smtp_discard_ehlo_keyword_address_maps $smtp_pix_workaround_maps $smtp_sasl_password_maps
        $smtp_tls_policy_maps $smtpd_discard_ehlo_keyword_address_maps $smtpd_milter_maps $virtual_gid_maps
        $virtual_uid_maps $local_login_sender_maps $postscreen_reject_footer_maps $smtpd_reject_footer_maps
        $tls_server_sni_maps $tlsproxy_client_policy_maps $default_delivery_status_filter
        $lmtp_delivery_status_filter $lmtp_dns_reply_filter $lmtp_reply_filter $local_delivery_status_filter
        $pipe_delivery_status_filter $postscreen_command_filter $smtp_delivery_status_filter
        $smtp_dns_reply_filter $smtp_reply_filter $smtpd_command_filter $smtpd_dns_reply_filter
        $virtual_delivery_status_filter $body_checks $header_checks $lmtp_body_checks $lmtp_header_checks
        $lmtp_mime_header_checks $lmtp_nested_header_checks $milter_header_checks $mime_header_checks
        $nested_header_checks $smtp_body_checks $smtp_header_checks $smtp_mime_header_checks
        $smtp_nested_header_checks", no_effect("no program may name a table to another; the configuration alone does"),
        "Tables that proxy: may read."),
    list("proxy_write_maps",
        "$smtp_sasl_auth_cache_name $lmtp_sasl_auth_cache_name $address_verify_map $postscreen_cache_map", NOT_YET,
        "Tables that proxy: may write."),
];
