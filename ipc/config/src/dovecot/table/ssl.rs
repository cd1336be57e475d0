//! Settings of TLS.

use super::settings;

settings! {
    /// Settings of TLS.
    pub(super) static ROWS;
    ssl: Enum("yes", "no", "required") = "yes", built("imap_login::settings::tests::tls_as_configured"), "Whether clients may use TLS (yes), must (required), or cannot (no).";
    ssl_alt_cert: Str = "", later, "A second certificate, of another key type.";
    ssl_alt_key: Str = "", later, "Key of the second certificate.";
    ssl_ca: Str = "", later, "Authorities for client certificates.";
    ssl_cert: Str = "", built("e2e:imap-starttls"), "Certificate chain, as </path.";
    ssl_cert_username_field: Str = "commonName", later, "Field of a client certificate with the user name.";
    ssl_cipher_list: Str = "ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH", accepted("the safe suites of TLS 1.2 are fixed"), "OpenSSL cipher list for TLS 1.2 and older.";
    ssl_cipher_suites: Str = "", accepted("all suites of TLS 1.3 are safe"), "OpenSSL cipher suites for TLS 1.3.";
    ssl_client_ca_dir: Str = "", accepted("nothing here connects to servers by TLS"), "Folder of authorities for servers that we connect to.";
    ssl_client_ca_file: Str = "", accepted("nothing here connects to servers by TLS"), "File of authorities for servers that we connect to.";
    ssl_client_cert: Str = "", later, "Certificate shown to servers that we connect to.";
    ssl_client_key: Str = "", later, "Key of that certificate.";
    ssl_client_require_valid_cert: Bool = "yes", later, "Refuse servers without a valid certificate.";
    ssl_crypto_device: Str = "", accepted("there is no OpenSSL engine"), "OpenSSL crypto device.";
    ssl_curve_list: Str = "", accepted("the curves are fixed"), "Curves for key agreement.";
    ssl_dh: Str = "", accepted("finite-field Diffie-Hellman is not offered"), "Diffie-Hellman parameters.";
    ssl_key: Str = "", built("e2e:imap-starttls"), "Private key, as </path; it stays a path here and is read by the signer alone.";
    ssl_key_password: Str = "", refused, "Password of an encrypted private key.";
    ssl_min_protocol: Str = "TLSv1.2", built("e2e:imap-tls-versions"), "Lowest TLS version accepted; TLS 1.2 at least.";
    ssl_options: List = "", accepted("tickets are kept in memory only and compression does not exist"), "OpenSSL options: no_ticket, compression.";
    ssl_prefer_server_ciphers: Bool = "no", accepted("all offered suites are safe"), "Order of suites is the server's.";
    ssl_require_crl: Bool = "yes", later, "Client certificates need a revocation list.";
    ssl_verify_client_cert: Bool = "no", refused, "Ask clients for a certificate.";
    verbose_ssl: Bool = "no", later, "Log TLS errors and ignored certificates.";
}
