"""Parameters of the SMTP server that only a running one shows: time limits and TLS."""
import ssl
import time

from cases import case
from lib import site
from lib.chat import Smtp, client_context

PORT = 2501


def rows(*settings):
    """One listener for each group of settings, from PORT on."""
    options = lambda group: "".join("  -o { %s }\n" % setting for setting in group)
    return "".join("%d inet n - y - - smtpd\n%s" % (PORT + number, options(group)) for number, group in enumerate(settings))


def begin(world, *settings):
    site.tutorial_003()
    site.write("/etc/postfix/master.cf", site.MASTER + rows(*settings))
    return world.begin()


@case("smtpd-timeouts", "a silent client hears 421 after smtpd_timeout, and a handshake ends after smtpd_starttls_timeout")
def _(world):
    begin(world, ["smtpd_timeout = 2s"], ["smtpd_starttls_timeout = 2s"])
    began = time.time()
    client = world.smtp(port=PORT)
    assert client.reply() == ["421 4.4.2 mailhost.maildomain.test Error: timeout exceeded"]
    client.expect_closed()
    assert 1.5 < time.time() - began < 8, time.time() - began
    world.wait_log(r"timeout after EHLO from exthost\.extdomain\.test\[198\.51\.100\.10\]$")
    client = world.smtp(port=PORT + 1)
    client.command("STARTTLS", "220 .*")
    began = time.time()
    client.expect_closed()
    assert 1.5 < time.time() - began < 8, time.time() - began
    world.wait_log(r"SSL_accept error from exthost\.extdomain\.test\[198\.51\.100\.10\]: Connection timed out$")
    world.wait_log(r"lost connection after STARTTLS from exthost\.extdomain\.test\[198\.51\.100\.10\]$")


def version(world, port, best):
    """The version that a client agrees on with STARTTLS who speaks none better, or None."""
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = best
    client = world.smtp(port=port)
    client.command("STARTTLS", "220 .*")
    try:
        return context.wrap_socket(client.socket).version()
    except (ssl.SSLError, ConnectionError):
        return None


@case("smtpd-tls-protocols", "versions of TLS are those of smtpd_tls_protocols, or of smtpd_tls_mandatory_protocols where TLS is required")
def _(world):
    only12, only13 = "!TLSv1.3", ">=TLSv1.3"
    begin(world, ["smtpd_tls_protocols = " + only12], ["smtpd_tls_protocols = " + only13],
          ["smtpd_tls_security_level = encrypt", "smtpd_tls_mandatory_protocols = " + only12, "smtpd_tls_protocols = " + only13], [])
    any_version, old = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
    assert version(world, PORT, any_version) == "TLSv1.2"
    assert version(world, PORT + 1, old) is None
    assert version(world, PORT + 1, any_version) == "TLSv1.3"
    assert version(world, PORT + 2, any_version) == "TLSv1.2"
    assert (version(world, PORT + 3, any_version), version(world, PORT + 3, old)) == ("TLSv1.3", "TLSv1.2")


@case("smtpd-tls-wrapped", "with smtpd_tls_wrappermode TLS begins at once")
def _(world):
    begin(world, ["smtpd_tls_wrappermode = yes"])
    client = Smtp(world.network.connect(PORT, "exthost"), world.chat)
    client.start_tls()
    assert not any("STARTTLS" in line for line in client.hello())
    client.plain(site.USER, site.PASSWORD)
    client.quit()


@case("smtpd-tls-chain", "a key and its certificate in one file of smtpd_tls_chain_files, in place of the pair")
def _(world):
    texts = [open(path).read() for path in (site.KEY, site.CERT)]
    site.write("/etc/postfix/chain.pem", "".join(texts), 0o600)
    begin(world, ["smtpd_tls_chain_files = /etc/postfix/chain.pem", "smtpd_tls_cert_file =", "smtpd_tls_key_file ="])
    client = world.smtp(port=PORT)
    client.tls()
    client.quit()
