"""A user sends: AUTH over TLS only, to another user and to the outside."""

from cases import case
from lib import site
from lib.chat import Closed
from lib.system import run, wait_until


def swaks(*more):
    return run("swaks", "--server", "mailhost.maildomain.test", "--from", site.USER, "--helo", "client.test", "-au", site.USER,
               "-ap", site.PASSWORD, *more)


def begin(world):
    site.tutorial_003(count=1)
    site.write("/etc/postfix/master.cf", site.MASTER + site.SUBMISSION)
    return world.begin()


@case("submit-local", "swaks: AUTH after STARTTLS on 25 and 587, to another user")
def _(world):
    begin(world)
    for number, port in enumerate(("25", "587"), 1):
        out = swaks("--port", port, "-tls", "-a", "PLAIN",
                    "--to", "user0@maildomain.test")
        assert "235 2.7.0 Authentication successful" in out, out
        world.wait_mails(number, "user0@maildomain.test")
    world.wait_log(r"postfix/submission/smtpd\[\d+\]: \w+: client=\S+\[[\d.]+\], sasl_method=PLAIN, sasl_username=mailuser@maildomain\.test$")


@case("submit-outside", "an authenticated user's mail to a foreign domain is taken into the queue")
def _(world):
    system = begin(world)
    client = world.smtp("exthost", 587)
    client.tls()
    client.plain(site.USER, site.PASSWORD)
    queue_id = client.message(site.USER, ["somebody@nowhere.test"], b"Subject: out\r\n\r\nx")
    client.quit()
    world.wait_log(queue_id + r": from=<mailuser@maildomain\.test>, size=\d+, nrcpt=1 \(queue active\)")
    wait_until(lambda: world.journal.find(queue_id + r": to=<somebody@nowhere\.test>, relay=none, .*status=(deferred|bounced)"),
               "an attempt at delivery")


@case("submit-tls-only", "without TLS AUTH is neither offered nor taken")
def _(world):
    begin(world)
    client = world.smtp(hello=False)
    assert not any("AUTH" in line for line in client.hello())
    client.plain(site.USER, site.PASSWORD, r"5(03 5\.5\.1 Error: authentication not enabled|30 5\.7\.0 Must issue a STARTTLS command first|"
                 r"38 5\.7\.11 Encryption required for requested authentication mechanism)")
    offered = client.tls()
    assert "250-AUTH PLAIN" in offered, offered
    client.quit()
    client = world.smtp("exthost", 587)
    client.command("MAIL FROM:<%s>" % site.USER, r"530 5\.7\.0 Must issue a STARTTLS command first")
    client.quit()


@case("submit-wrong-password", "a wrong password is refused with Postfix's reply, and the mail after it with 554")
def _(world):
    begin(world)
    client = world.smtp()
    client.tls()
    client.plain(site.USER, "wrong", r"535 5\.7\.8 Error: authentication failed:.*")
    client.command("MAIL FROM:<%s>" % site.USER, r"250 2\.1\.0 Ok")
    client.command("RCPT TO:<x@nowhere.test>", r"554 5\.7\.1 <x@nowhere\.test>: Relay access denied")
    client.quit()
    world.wait_log(r"postfix/smtpd\[\d+\]: warning: exthost\.extdomain\.test\[198\.51\.100\.10\]: SASL PLAIN authentication failed:")


@case("submit-no-auth-socket", "AUTH in TLS alone, and no auth socket: mail in clear is taken, and who turns to TLS is left")
def _(world):
    world.tutorial_003("final", "crypt")
    world.send()
    world.wait_mails(1)
    client = world.smtp()
    try:
        client.tls()
        raise AssertionError("served in TLS without AUTH")
    except Closed:
        pass
    world.wait_log(r"^postfix/smtpd\[\d+\]: fatal: no SASL authentication mechanisms$")
