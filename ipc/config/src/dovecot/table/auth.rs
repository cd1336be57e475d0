//! Settings of the authentication service.

use super::settings;

settings! {
    /// Settings of the authentication service.
    pub(super) static ROWS;
    auth_anonymous_username: Str = "anonymous", later, "User name that ANONYMOUS logins get.";
    auth_cache_negative_ttl: Time = "1 hours", accepted("an unknown user is found out without a cache"), "How long a failed lookup stays in the authentication cache.";
    auth_cache_size: Size = "0", built("auth::desk::tests::the_cache_spares_the_hash_and_not_the_decision"), "Bytes of the authentication cache; 0 disables it.";
    auth_cache_ttl: Time = "1 hours", built("auth::desk::tests::settings::auth_cache_ttl"), "How long a lookup stays in the authentication cache.";
    auth_cache_verify_password_with_worker: Bool = "no", accepted("a cached password needs no hash"), "Verify cached passwords in auth worker processes.";
    auth_debug: Bool = "no", built("auth::desk::tests::settings::what_is_logged_for_debugging"), "Log how each authentication request was decided; implies auth_verbose.";
    auth_debug_passwords: Bool = "no", built("auth::desk::tests::settings::what_is_logged_for_debugging"), "Log passwords as well when they do not match; implies auth_debug.";
    auth_default_realm: Str = "", built("auth::desk::tests::settings::auth_default_realm"), "Realm (domain) added to a user name that has none.";
    auth_failure_delay: Time = "2 secs", built("auth::desk::tests::settings::auth_failure_delay"), "Delay before a failed authentication is answered.";
    auth_gssapi_hostname: Str = "", later, "Host name for GSSAPI principal names.";
    auth_krb5_keytab: Str = "", later, "Kerberos key table for GSSAPI.";
    auth_master_user_separator: Str = "", later, "Character between user and master user in a login name.";
    auth_mechanisms: List = "plain", built("auth::desk::tests::settings::auth_mechanisms"), "SASL mechanisms to offer.";
    auth_policy_check_after_auth: Bool = "yes", later, "Ask the policy server after the password was verified.";
    auth_policy_check_before_auth: Bool = "yes", later, "Ask the policy server before the password is verified.";
    auth_policy_hash_mech: Str = "sha256", later, "Hash algorithm for the password hash sent to the policy server.";
    auth_policy_hash_nonce: Str = "", later, "Secret mixed into that hash.";
    auth_policy_hash_truncate: Uint = "12", later, "Bits of that hash that are sent.";
    auth_policy_log_only: Bool = "no", later, "Log what the policy server says, without obeying.";
    auth_policy_reject_on_fail: Bool = "no", later, "Reject logins when the policy server cannot be asked.";
    auth_policy_report_after_auth: Bool = "yes", later, "Report the outcome to the policy server.";
    auth_policy_request_attributes: Str = "login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} device_id=%{client_id} protocol=%s session_id=%{session}", later, "Fields of a request to the policy server.";
    auth_policy_server_api_header: Str = "", later, "HTTP header for the policy server.";
    auth_policy_server_timeout_msecs: Uint = "2000", later, "Time limit of a request to the policy server, in milliseconds.";
    auth_policy_server_url: Str = "", refused, "Address of the policy server; empty disables it.";
    auth_proxy_self: Str = "", later, "Addresses that are this server when a login would be proxied.";
    auth_realms: List = "", accepted("only mechanisms that are not built ask for a realm"), "Realms offered to mechanisms that need one.";
    auth_socket_path: Str = "auth-userdb", accepted("our own services have channels to auth"), "Socket of the user database for deliveries, below base_dir.";
    auth_ssl_require_client_cert: Bool = "no", refused, "Refuse logins without a valid client certificate.";
    auth_ssl_username_from_cert: Bool = "no", refused, "Take the user name from the client certificate.";
    auth_stats: Bool = "no", later, "Count authentications for the stats service.";
    auth_use_winbind: Bool = "no", refused, "Let winbind do NTLM and GSS-SPNEGO.";
    auth_username_chars: Str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@", built("auth::desk::tests::settings::auth_username_chars"), "Characters allowed in a user name; empty allows all.";
    auth_username_format: Str = "%Lu", built("auth::desk::tests::settings::auth_username_format"), "What a user name is turned into before it is looked up.";
    auth_username_translation: Str = "", built("auth::desk::tests::settings::auth_username_translation"), "Pairs of characters: each first one in a user name becomes the second.";
    auth_verbose: Bool = "no", built("auth::desk::tests::settings::what_is_logged_of_a_failure"), "Log failed logins and why they failed.";
    auth_verbose_passwords: Str = "no", built("auth::desk::tests::settings::what_is_logged_of_a_failure"), "What to log of a password that did not match: no, plain or sha1, with an optional :length.";
    auth_winbind_helper_path: Str = "/usr/bin/ntlm_auth", later, "Program that talks to winbind.";
    auth_worker_max_count: Uint = "30", built("auth::tests::threads_are_bounded_by_the_setting_and_the_processors"), "How many threads verify passwords.";
}
