//! Settings inside blocks, and the 2.4 settings that have no single name in 2.3.

use super::settings;

settings! {
    /// `passdb { }`
    pub(super) static PASSDB;
    args: Vars = "", built("auth::desk::tests::settings::a_passdb_is_what_its_driver_and_arguments_say"), "Arguments of the driver: k=v words, then a path.";
    auth_username_format: Str = "", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "As username_format= in args (2.4).";
    auth_verbose: Enum("default", "yes", "no") = "default", built("auth::desk::tests::settings::databases_are_called_by_their_names_and_say_as_much_as_they_are_told_to"), "Overrides auth_verbose for this database.";
    default_fields: Str = "", built("auth::desk::tests::settings::passdb_fields"), "Fields that are added where the database does not give them.";
    default_password_scheme: Str = "", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "As scheme= in args (2.4).";
    deny: Bool = "no", built("auth::desk::tests::settings::passdb_deny"), "Users found here are refused.";
    driver: Str = "", built("auth::desk::tests::settings::a_passdb_is_what_its_driver_and_arguments_say"), "What kind of database this is.";
    master: Bool = "no", refused, "Users found here may log in as others.";
    mechanisms: List = "", built("auth::desk::tests::settings::passdb_mechanisms_and_username_filter"), "Mechanisms for which this database is asked; empty means all, none means none.";
    name: Str = "", built("auth::desk::tests::settings::databases_are_called_by_their_names_and_say_as_much_as_they_are_told_to"), "Name for logs.";
    override_fields: Str = "", built("auth::desk::tests::settings::passdb_fields"), "Fields that replace what the database gives.";
    passwd_file_path: Str = "", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "File of the passwd-file driver (2.4).";
    pass: Bool = "no", built("auth::desk::tests::settings::passdb_results"), "Old way to say result_success = continue.";
    result_failure: Enum("continue", "return", "return-ok", "return-fail", "continue-ok", "continue-fail") = "continue", built("auth::desk::tests::settings::passdb_results"), "What follows when the password does not match.";
    result_internalfail: Enum("continue", "return", "return-ok", "return-fail", "continue-ok", "continue-fail") = "continue", built("auth::desk::tests::settings::passdb_results"), "What follows when the database cannot be asked.";
    result_success: Enum("return-ok", "return", "return-fail", "continue", "continue-ok", "continue-fail") = "return-ok", built("auth::desk::tests::settings::passdb_results"), "What follows when the password matches.";
    static_password: Str = "", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "As password= in args of the static driver (2.4).";
    skip: Enum("never", "authenticated", "unauthenticated") = "never", built("auth::desk::tests::settings::passdb_skip"), "When this database is not asked.";
    username_filter: Str = "", built("auth::desk::tests::settings::passdb_mechanisms_and_username_filter"), "User names for which this database is asked.";
}

settings! {
    /// `userdb { }`
    pub(super) static USERDB;
    args: Vars = "", built("auth::desk::tests::settings::a_userdb_is_what_its_driver_and_arguments_say"), "Arguments of the driver: k=v words, then a path.";
    auth_username_format: Str = "", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "As username_format= in args (2.4).";
    auth_verbose: Enum("default", "yes", "no") = "default", built("auth::desk::tests::settings::a_userdb_says_as_much_as_it_is_told_to"), "Overrides auth_verbose for this database.";
    default_fields: Str = "", built("auth::desk::tests::settings::userdb_fields"), "Fields that are added where the database does not give them.";
    driver: Str = "", built("auth::desk::tests::settings::a_userdb_is_what_its_driver_and_arguments_say"), "What kind of database this is.";
    name: Str = "", built("auth::desk::tests::settings::a_userdb_says_as_much_as_it_is_told_to"), "Name for logs.";
    override_fields: Str = "", built("auth::desk::tests::settings::userdb_fields"), "Fields that replace what the database gives.";
    passwd_file_path: Str = "", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "File of the passwd-file driver (2.4).";
    result_failure: Enum("continue", "return", "return-ok", "return-fail", "continue-ok", "continue-fail") = "continue", built("auth::desk::tests::settings::userdb_results_and_skip"), "What follows when the user is not found.";
    result_internalfail: Enum("continue", "return", "return-ok", "return-fail", "continue-ok", "continue-fail") = "continue", built("auth::desk::tests::settings::userdb_results_and_skip"), "What follows when the database cannot be asked.";
    result_success: Enum("return-ok", "return", "return-fail", "continue", "continue-ok", "continue-fail") = "return-ok", built("auth::desk::tests::settings::userdb_results_and_skip"), "What follows when the user is found.";
    static_allow_all_users: Bool = "no", built("ipc_config::dovecot::sections::tests::databases_of_both_dialects_are_the_same"), "As allow_all_users= in args of the static driver (2.4).";
    skip: Enum("never", "found", "notfound") = "never", built("auth::desk::tests::settings::userdb_results_and_skip"), "When this database is not asked.";
}

settings! {
    /// `namespace { }`
    pub(super) static NAMESPACE;
    alias_for: Str = "", later, "Prefix of the namespace that this one shows under another name.";
    disabled: Bool = "no", built("imap::places::tests::namespaces_are_announced_with_type_prefix_and_separator_unless_hidden_or_disabled"), "Leave this namespace out.";
    hidden: Bool = "no", built("imap::places::tests::namespaces_are_announced_with_type_prefix_and_separator_unless_hidden_or_disabled"), "Do not announce it.";
    ignore_on_failure: Bool = "no", built("imap::places::tests::a_namespace_that_cannot_be_used_is_left_out_only_where_that_is_allowed"), "Leave it out when its location cannot be used.";
    inbox: Bool = "no", built("imap::places::tests::the_inbox_is_in_the_namespace_that_says_so"), "It holds INBOX.";
    list: Enum("yes", "no", "children") = "yes", built("imap::places::tests::what_is_not_to_be_listed_is_not_listed"), "Show its mailboxes in LIST.";
    location: Vars = "", built("imap::places::tests::mail_is_where_the_namespace_says"), "Where its mail is; empty means mail_location.";
    mail_control_path: Vars = "", built("imap::places::tests::parts_of_a_location_that_are_not_built_are_refused_by_name"), "Control files (2.4), as CONTROL= in location.";
    mail_driver: Str = "", built("imap::places::tests::mail_is_where_the_namespace_says"), "Mailbox format (2.4).";
    mail_index_path: Vars = "", built("imap::places::tests::parts_of_a_location_that_are_not_built_are_refused_by_name"), "Index files (2.4), as INDEX= in location.";
    mail_inbox_path: Vars = "", built("imap::places::tests::parts_of_a_location_that_are_not_built_are_refused_by_name"), "INBOX (2.4), as INBOX= in location.";
    mail_path: Vars = "", built("imap::places::tests::mail_is_where_the_namespace_says"), "Folder of the mail (2.4).";
    mailbox_list_layout: Str = "", built("imap::places::tests::parts_of_a_location_that_are_not_built_are_refused_by_name"), "Folder layout (2.4), as LAYOUT= in location.";
    order: Uint = "0", built("imap::places::tests::namespaces_are_announced_in_their_order"), "Place among the namespaces that are announced.";
    prefix: Vars = "", built("imap::places::tests::namespaces_are_announced_with_type_prefix_and_separator_unless_hidden_or_disabled"), "What its mailbox names begin with.";
    separator: Str = "", built("imap::places::tests::namespaces_are_announced_with_type_prefix_and_separator_unless_hidden_or_disabled"), "Character between the levels of a mailbox name; empty is the format's own.";
    subscriptions: Bool = "yes", built("imap::places::tests::subscriptions_are_kept_where_the_namespace_says"), "Keep its own subscriptions, not in the parent.";
    type: Enum("private", "shared", "public") = "private", built("imap::places::tests::namespaces_are_announced_with_type_prefix_and_separator_unless_hidden_or_disabled"), "Whose mailboxes these are.";
}

settings! {
    /// `namespace { mailbox { } }`
    pub(super) static MAILBOX;
    auto: Enum("no", "create", "subscribe") = "no", built("imap::places::tests::mailboxes_make_themselves_and_have_their_uses"), "Make this mailbox when it is missing.";
    autoexpunge: Time = "0", later, "Age at which mail is removed from it.";
    autoexpunge_max_mails: Uint = "0", later, "Number of mails above which the oldest are removed.";
    comment: Str = "", later, "Comment that METADATA shows.";
    driver: Str = "", later, "Driver of a virtual attribute.";
    special_use: Str = "", built("imap::places::tests::mailboxes_make_themselves_and_have_their_uses"), "Special-use attributes (RFC 6154).";
}

settings! {
    /// `service { }`
    pub(super) static SERVICE;
    chroot: Str = "", accepted("every worker is chrooted to an empty root of its own"), "Folder that the process is chrooted to.";
    client_limit: Uint = "0", built("master::compile::settings::how_many_processes_serve_how_many"), "Connections per process; 0 is default_client_limit.";
    drop_priv_before_exec: Bool = "no", accepted("privileges are dropped before any input is read"), "Drop privileges before the program is run.";
    executable: Str = "", accepted("the master knows which program serves what"), "Program of the service.";
    extra_groups: Str = "", later, "Additional groups of the process.";
    group: Str = "", accepted("each worker has an account of its own"), "Group of the process.";
    idle_kill: Time = "0", built("master::compile::settings::idle_processes_end"), "Idle time after which a process ends; 0 is default_idle_kill.";
    privileged_group: Str = "", later, "Group that the process may take for a moment.";
    process_limit: Uint = "0", built("master::compile::settings::how_many_processes_serve_how_many"), "Processes at most; 0 is default_process_limit.";
    process_min_avail: Uint = "0", built("master::compile::settings::how_many_processes_serve_how_many"), "Processes that are kept waiting.";
    protocol: Str = "", built("master::compile::settings::protocols_and_listen"), "Protocol that must be enabled for this service to run.";
    service_count: Uint = "0", built("master::compile::settings::how_many_processes_serve_how_many"), "Connections after which a process ends; 0 is no limit.";
    type: Str = "", accepted("the master knows what each program is"), "Kind of service: login, worker, startup, anvil, config, log.";
    user: Str = "", built("master::compile::settings::the_user_of_auth"), "User of the process.";
    vsz_limit: Size = "18446744073709551615 B", later, "Memory of a process; that number of all bits is default_vsz_limit.";
}

settings! {
    /// `unix_listener { }` and `fifo_listener { }`
    pub(super) static FILE_LISTENER;
    group: Str = "", built("master::compile::settings::unix_listeners"), "Group of the socket.";
    mode: Octal = "0600", built("master::compile::settings::unix_listeners"), "Mode of the socket; 0 disables it.";
    user: Str = "", built("master::compile::settings::unix_listeners"), "Owner of the socket.";
}

settings! {
    /// `inet_listener { }`
    pub(super) static INET_LISTENER;
    address: List = "", built("master::compile::settings::inet_listeners"), "Addresses to listen on; empty means listen.";
    haproxy: Bool = "no", later, "Clients come through HAProxy.";
    port: Port = "0", built("master::compile::settings::inet_listeners"), "Port to listen on; 0 disables it.";
    reuse_port: Bool = "no", accepted("one socket is shared by all processes"), "Listen with SO_REUSEPORT.";
    ssl: Bool = "no", built("master::compile::settings::inet_listeners"), "TLS begins at once.";
}

settings! {
    /// Settings of 2.4 that only together make one of 2.3 (`mail_location`), or that have no counterpart.
    pub(super) static DIALECT;
    dovecot_config_version: Str = "", accepted("every dialect is read"), "Release whose dialect this is (2.4).";
    dovecot_storage_version: Str = "", accepted("our index has a version of its own"), "Oldest release that must read the storage (2.4).";
    mail_control_path: Vars = "", built("ipc_config::dovecot::settings::tests::both_dialects_say_where_mail_is"), "Control files (2.4), as CONTROL= in mail_location.";
    mail_driver: Str = "", built("ipc_config::dovecot::settings::tests::both_dialects_say_where_mail_is"), "Mailbox format (2.4).";
    mail_inbox_path: Vars = "", built("ipc_config::dovecot::settings::tests::both_dialects_say_where_mail_is"), "INBOX (2.4), as INBOX= in mail_location.";
    mail_index_path: Vars = "", built("ipc_config::dovecot::settings::tests::both_dialects_say_where_mail_is"), "Index files (2.4), as INDEX= in mail_location.";
    mail_path: Vars = "", built("ipc_config::dovecot::settings::tests::both_dialects_say_where_mail_is"), "Folder of the mail (2.4).";
    mail_volatile_path: Vars = "", accepted("only Dovecot has files of that kind"), "Files that need not survive (2.4), as VOLATILEDIR= in mail_location.";
    mailbox_list_layout: Str = "", built("ipc_config::dovecot::settings::tests::both_dialects_say_where_mail_is"), "Folder layout (2.4), as LAYOUT= in mail_location.";
    sql_driver: Str = "", later, "SQL library (2.4).";
}
