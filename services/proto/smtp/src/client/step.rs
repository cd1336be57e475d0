//! The steps of a session: what each is called in logs and bounces, and which parameter limits its time.

/// What the client is doing or waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Greeting,
    Ehlo,
    Helo,
    Lhlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Content,
    Dot,
    /// The RSET after a transaction that was given up.
    Abort,
    Quit,
}

impl Step {
    /// As in `lost connection with … while …`.
    pub fn description(self) -> &'static str {
        match self {
            Self::Greeting => "receiving the initial server greeting",
            Self::Ehlo => "performing the EHLO handshake",
            Self::Helo => "performing the HELO handshake",
            Self::Lhlo => "performing the LHLO handshake",
            Self::StartTls => "sending STARTTLS command",
            Self::Auth => "authenticating",
            Self::Mail => "sending MAIL FROM",
            Self::Rcpt => "sending RCPT TO",
            Self::Data => "sending DATA command",
            Self::Content => "sending message body",
            Self::Dot => "sending end of data -- message may be sent more than once",
            Self::Abort => "sending final RSET",
            Self::Quit => "sending QUIT",
        }
    }

    /// As in `(in reply to … command)`.
    pub fn command(self) -> &'static str {
        match self {
            Self::Mail => "MAIL FROM command",
            Self::Rcpt => "RCPT TO command",
            Self::Data => "DATA command",
            Self::Content | Self::Dot => "end of DATA command",
            Self::Abort => "final RSET command",
            Self::Quit => "QUIT command",
            Self::Greeting | Self::Ehlo | Self::Helo | Self::Lhlo | Self::StartTls | Self::Auth => "handshake",
        }
    }

    /// The main.cf parameter, without its `smtp_` or `lmtp_`, that limits the time of this step.
    pub fn time_limit(self) -> &'static str {
        match self {
            Self::Greeting | Self::Ehlo | Self::Helo | Self::Auth => "helo_timeout",
            Self::Lhlo => "lhlo_timeout",
            Self::StartTls => "starttls_timeout",
            Self::Mail => "mail_timeout",
            Self::Rcpt => "rcpt_timeout",
            Self::Data => "data_init_timeout",
            Self::Content => "data_xfer_timeout",
            Self::Dot => "data_done_timeout",
            Self::Abort => "rset_timeout",
            Self::Quit => "quit_timeout",
        }
    }
}
