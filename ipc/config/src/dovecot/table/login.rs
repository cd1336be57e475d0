//! Settings of the login processes.

use super::settings;

settings! {
    /// Settings of the login processes.
    pub(super) static ROWS;
    disable_plaintext_auth: Bool = "yes", built("imap_login::settings::tests::passwords_in_clear"), "Refuse plaintext passwords without TLS, but for connections from this machine.";
    login_access_sockets: List = "", refused, "Sockets that decide whether an address may log in (tcpwrap).";
    login_greeting: Str = "Dovecot ready.", built("imap_login::settings::tests::greetings"), "Greeting of the login processes.";
    login_log_format: Str = "%$: %s", built("imap_login::settings::tests::log_lines"), "How a login line is logged: %$ is the elements, %s the event.";
    login_log_format_elements: Str = "user=<%u> method=%m rip=%r lip=%l mpid=%e %c session=<%{session}>", built("imap_login::settings::tests::log_lines"), "Elements of a login line; those without a value are left out.";
    login_plugin_dir: Str = "/usr/lib/dovecot/modules/login", accepted("nothing is loaded at run time"), "Folder of login plugins.";
    login_plugins: List = "", refused, "Plugins for the login processes.";
    login_proxy_max_disconnect_delay: Time = "0", later, "How long to spread disconnections of a proxied backend.";
    login_proxy_max_reconnects: Uint = "3", later, "How often a proxied connection is tried again.";
    login_proxy_notify_path: Vars = "proxy-notify", later, "Socket told about proxied connections.";
    login_proxy_rawlog_dir: Str = "", later, "Folder for transcripts of proxied sessions.";
    login_proxy_timeout: TimeMsecs = "30 secs", later, "Time limit for connecting to a proxied backend.";
    login_source_ips: Str = "", later, "Addresses that proxied connections come from.";
    login_trusted_networks: List = "", built("imap_login::settings::tests::passwords_in_clear"), "Networks whose clients may say another client's address and use plaintext passwords.";
    mail_max_userip_connections: Uint = "10", built("e2e:login-user-ip"), "Connections that one user may have from one address.";
}
