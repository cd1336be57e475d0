//! Settings of the master process, and those that every service shares.

use super::settings;

settings! {
    /// Settings of the master process, and those that every service shares.
    pub(super) static ROWS;
    base_dir: Str = "/run/dovecot", built("master::compile::settings::unix_listeners"), "Folder of the run-time sockets and the pid file.";
    config_cache_size: Size = "1 M", accepted("the configuration is one snapshot"), "Bytes of configuration kept in memory.";
    debug_log_path: Str = "", built("master::compile::settings::log_files"), "Log file for debug messages; empty means info_log_path.";
    default_client_limit: Uint = "1000", built("master::compile::settings::how_many_processes_serve_how_many"), "Connections per process, where a service does not say.";
    default_idle_kill: Time = "1 mins", built("master::compile::settings::idle_processes_end"), "Idle time after which a process ends, where a service does not say.";
    default_internal_group: Str = "dovecot", built("master::compile::settings::unix_listeners"), "Group of the internal processes.";
    default_internal_user: Str = "dovecot", built("master::compile::settings::unix_listeners"), "User of the internal processes.";
    default_login_user: Str = "dovenull", accepted("each worker has an account of its own"), "User of the login processes.";
    default_process_limit: Uint = "100", built("master::compile::settings::how_many_processes_serve_how_many"), "Processes of a service, where it does not say.";
    default_vsz_limit: Size = "256 M", later, "Memory of a process, where a service does not say.";
    first_valid_gid: Uint = "1", built("master::compile::settings::valid_uids_and_gids"), "Lowest group that a mail user may have.";
    first_valid_uid: Uint = "500", built("master::compile::settings::valid_uids_and_gids"), "Lowest uid that a mail user may have.";
    haproxy_timeout: Time = "3 secs", later, "Time limit for the HAProxy header.";
    haproxy_trusted_networks: List = "", later, "Networks that may send a HAProxy header.";
    import_environment: List = "TZ CORE_OUTOFMEM CORE_ERROR LISTEN_PID LISTEN_FDS NOTIFY_SOCKET", accepted("a worker starts with an empty environment"), "Environment variables kept for the processes.";
    info_log_path: Str = "", built("master::compile::settings::log_files"), "Log file for informational messages; empty means log_path.";
    instance_name: Str = "dovecot", later, "Name of this instance.";
    last_valid_gid: Uint = "0", built("master::compile::settings::valid_uids_and_gids"), "Highest group that a mail user may have; 0 is no limit.";
    last_valid_uid: Uint = "0", built("master::compile::settings::valid_uids_and_gids"), "Highest uid that a mail user may have; 0 is no limit.";
    libexec_dir: Str = "/usr/lib/dovecot", accepted("our workers are found beside the master"), "Folder of the service programs.";
    listen: List = "*, ::", built("master::compile::settings::protocols_and_listen"), "Addresses that every inet_listener listens on, where it does not say.";
    log_core_filter: Str = "", later, "Filter of events that dump core.";
    log_debug: Str = "", later, "Filter of events that are logged as debug messages.";
    log_path: Str = "syslog", built("master::compile::settings::log_files"), "Log file for errors; syslog or empty for the system log, /dev/stderr for standard error.";
    log_timestamp: Str = "%b %d %H:%M:%S ", built("postlogd::tests::the_form_of_lines_is_configured"), "strftime format before each line of a log file.";
    process_shutdown_filter: Str = "", later, "Filter of events that end a process.";
    protocols: List = "", built("master::compile::settings::protocols_and_listen"), "Protocols to serve.";
    shutdown_clients: Bool = "yes", later, "End client connections when the master ends.";
    state_dir: Str = "/var/lib/dovecot", accepted("our state has its own folder"), "Folder of permanent state.";
    syslog_facility: Str = "mail", built("postlogd::tests::each_half_has_a_facility_of_its_own"), "Facility of the system log.";
    valid_chroot_dirs: List = "", later, "Folders below which a user's chroot may be, separated by colons.";
    verbose_proctitle: Bool = "no", later, "Show user and address in the process list.";
    version_ignore: Bool = "no", accepted("a running instance is one build"), "Run with plugins of another version.";
}
