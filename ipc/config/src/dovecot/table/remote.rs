//! Settings of what reaches other servers: director, administration, synchronisation and proxying.

use super::settings;

settings! {
    /// Settings of what reaches other servers: director, administration, synchronisation and proxying.
    pub(super) static ROWS;
    dict_db_config: Str = "", later, "Berkeley DB settings for dict.";
    director_flush_socket: Str = "", later, "Socket told when a user moves between backends.";
    director_mail_servers: Str = "", later, "Backends of the director.";
    director_max_parallel_kicks: Uint = "100", later, "Users kicked at a time.";
    director_max_parallel_moves: Uint = "100", later, "Users moved at a time.";
    director_output_buffer_size: Size = "10 M", later, "Output buffer of a director connection.";
    director_ping_idle_timeout: Time = "30 secs", later, "When an idle director is asked whether it lives.";
    director_ping_max_timeout: Time = "1 mins", later, "When a silent director is given up.";
    director_servers: Str = "", later, "The other directors.";
    director_user_expire: Time = "15 mins", later, "How long a user stays with a backend.";
    director_user_kick_delay: Time = "2 secs", later, "How long a moved user has to wait.";
    director_username_hash: Str = "%Lu", later, "What decides a user's backend.";
    doveadm_allowed_commands: Str = "", later, "Commands allowed over the network.";
    doveadm_api_key: Str = "", later, "Key of the HTTP interface.";
    doveadm_http_rawlog_dir: Str = "", later, "Folder for transcripts of the HTTP interface.";
    doveadm_password: Str = "", later, "Password between administration servers.";
    doveadm_port: Port = "0", later, "Port of the administration server.";
    doveadm_socket_path: Str = "doveadm-server", later, "Socket of the administration server.";
    doveadm_ssl: Enum("no", "ssl", "starttls") = "no", later, "TLS between administration servers.";
    doveadm_username: Str = "doveadm", later, "User name between administration servers.";
    doveadm_worker_count: Uint = "0", later, "Parallel administration workers.";
    dsync_alt_char: Str = "_", later, "What replaces a separator in mailbox names.";
    dsync_commit_msgs_interval: Uint = "100", later, "Mails between two commits.";
    dsync_features: Str = "", later, "Features of synchronisation.";
    dsync_hashed_headers: Str = "Date Message-ID", later, "Headers that identify a mail.";
    dsync_remote_cmd: Str = "ssh -l%{login} %{host} doveadm dsync-server -u%u -U", later, "Command that runs synchronisation remotely.";
    imapc_cmd_timeout: Time = "5 mins", later, "Time limit of a command to a remote IMAP server.";
    imapc_connection_retry_count: Uint = "1", later, "How often it is connected again.";
    imapc_connection_retry_interval: TimeMsecs = "1 secs", later, "Wait before it is connected again.";
    imapc_features: Str = "", later, "Features of the remote IMAP server.";
    imapc_host: Str = "", later, "Remote IMAP server.";
    imapc_list_prefix: Str = "", later, "Folder of the remote server to show.";
    imapc_master_user: Vars = "", later, "Master user at the remote server.";
    imapc_max_idle_time: Time = "29 mins", later, "How often an idle connection is kept alive.";
    imapc_max_line_length: Size = "0", later, "Longest line of the remote server.";
    imapc_password: Str = "", later, "Password at the remote server.";
    imapc_port: Port = "143", later, "Port of the remote server.";
    imapc_rawlog_dir: Str = "", later, "Folder for transcripts of remote sessions.";
    imapc_sasl_mechanisms: Str = "", later, "SASL mechanisms for the remote server.";
    imapc_ssl: Enum("no", "imaps", "starttls") = "no", later, "TLS to the remote server.";
    imapc_ssl_verify: Bool = "yes", later, "Refuse a remote server without a valid certificate.";
    imapc_user: Vars = "", later, "User at the remote server.";
    pop3c_features: Str = "", later, "Features of a remote POP3 server.";
    pop3c_host: Str = "", later, "Remote POP3 server.";
    pop3c_master_user: Vars = "", later, "Master user at the remote POP3 server.";
    pop3c_password: Str = "", later, "Password at the remote POP3 server.";
    pop3c_port: Port = "110", later, "Port of the remote POP3 server.";
    pop3c_quick_received_date: Bool = "no", later, "Take the received date without reading the mail.";
    pop3c_rawlog_dir: Str = "", later, "Folder for transcripts of remote POP3 sessions.";
    pop3c_ssl: Enum("no", "pop3s", "starttls") = "no", later, "TLS to the remote POP3 server.";
    pop3c_ssl_verify: Bool = "yes", later, "Refuse a remote POP3 server without a valid certificate.";
    pop3c_user: Vars = "%u", later, "User at the remote POP3 server.";
    replication_dsync_parameters: Str = "-d -N -l 30 -U", later, "Parameters of synchronisation between two servers.";
    replication_full_sync_interval: Time = "1 days", later, "How often everything is compared.";
    replication_max_conns: Uint = "10", later, "Parallel synchronisations.";
    replicator_host: Str = "replicator", later, "Socket or host of the replicator.";
    replicator_port: Port = "0", later, "Port of the replicator.";
}
