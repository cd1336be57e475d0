//! SASL mechanisms and the Dovecot auth protocol.
