//! Parameters of the TLS library and of tlsmgr.

use super::row::*;

const FIXED_CURVES: Support = no_effect("X25519 and P-256 are always on");
const KERNEL_RANDOM: Support = no_effect("the random numbers are the kernel's");
const NO_OPENSSL: Support = no_effect("TLS is not done by OpenSSL");
const STRONG_SUITES_ONLY: Support = no_effect("only suites that Postfix grades high are built in");

#[rustfmt::skip]
pub(super) const PARAMETERS: &[Parameter] = &[
    // Identities
    maps("tls_server_sni_maps", "", NOT_YET, "Tables by server name of keys and chains."),
    text("tlsmgr_service_name", "tlsmgr", no_effect("keys are held by one service of its own"),
        "Service that keeps random numbers and session caches.").filled(),

    // What the library here has no choice about
    text("openssl_path", "openssl", NO_OPENSSL, "The openssl command.").filled(),
    text("tls_config_file", "default", NO_OPENSSL, "OpenSSL's configuration file."),
    text("tls_config_name", "", NO_OPENSSL, "Section of that file."),
    list("tls_disable_workarounds", "", NO_OPENSSL, "Workarounds of OpenSSL that are turned off."),
    list("tls_ssl_options", "", NO_OPENSSL, "Options of OpenSSL that are turned on."),
    integer("tls_daemon_random_bytes", "32", 1, 0, KERNEL_RANDOM,
        "Random bytes that a process asks for."),
    integer("tls_random_bytes", "32", 1, 0, KERNEL_RANDOM,
        "Random bytes read from tls_random_source."),
    text("tls_random_exchange_name", "${data_directory}/prng_exch", KERNEL_RANDOM,
        "File that keeps random state."),
    time("tls_random_prng_update_period", "3600s", 1, 0, KERNEL_RANDOM,
        "How often that file is written."),
    time("tls_random_reseed_period", "3600s", 1, 0, KERNEL_RANDOM,
        "How often random state is renewed."),
    text("tls_random_source", "dev:/dev/urandom", KERNEL_RANDOM, "Source of random numbers."),
    text("tls_export_cipherlist", "aNULL:-aNULL:HIGH:MEDIUM:LOW:EXPORT:+RC4:@STRENGTH", STRONG_SUITES_ONLY,
        "Ciphers of grade export.").filled(),
    text("tls_high_cipherlist", "aNULL:-aNULL:HIGH:@STRENGTH", STRONG_SUITES_ONLY,
        "Ciphers of grade high.").filled(),
    text("tls_low_cipherlist", "aNULL:-aNULL:HIGH:MEDIUM:LOW:+RC4:@STRENGTH", STRONG_SUITES_ONLY,
        "Ciphers of grade low.").filled(),
    text("tls_medium_cipherlist", "aNULL:-aNULL:HIGH:MEDIUM:+RC4:@STRENGTH", STRONG_SUITES_ONLY,
        "Ciphers of grade medium.").filled(),
    text("tls_null_cipherlist", "eNULL:!aNULL", no_effect("suites without encryption are not built in"),
        "Ciphers of grade null.").filled(),
    list("tls_eecdh_auto_curves", "X25519 X448 prime256v1 secp521r1 secp384r1", FIXED_CURVES,
        "Curves of grade auto.").filled(),
    text("tls_eecdh_strong_curve", "prime256v1", FIXED_CURVES, "Curve of grade strong.").filled(),
    text("tls_eecdh_ultra_curve", "secp384r1", FIXED_CURVES, "Curve of grade ultra.").filled(),
    text("tls_session_ticket_cipher", "aes-256-cbc", no_effect("ticket keys are made and renewed by the key service"),
        "Cipher of session tickets."),

    // Behaviour
    boolean("tls_append_default_CA", "no", NOT_YET, "Trust the system's authorities as well."),
    list("tls_dane_digests", "sha512 sha256", NOT_YET,
        "Digests of TLSA records, best first.").filled(),
    boolean("tls_fast_shutdown_enable", "yes", no_effect("close_notify is sent and not waited for"),
        "Do not wait for the peer's end of TLS."),
    boolean("tls_legacy_public_key_fingerprints", "no", NOT_YET,
        "Compute fingerprints of keys by an old mistake."),
    boolean("tls_preempt_cipherlist", "no", NOT_YET, "Let the server's order of ciphers count."),
    boolean("tls_wildcard_matches_multiple_labels", "yes", NOT_YET,
        "Let * in a certificate stand for several labels."),
];
