"""What a hostile or broken peer sends: the right reply, no second message, and the others are served."""
import re
import time

from cases import case
from lib import site
from lib.chat import Closed


def served(world):
    """Another session does its work as if nothing had happened."""
    client = world.smtp()
    client.command("MAIL FROM:<a@extdomain.test>", r"250 2\.1\.0 Ok")
    client.command("RCPT TO:<%s>" % site.USER, r"250 2\.1\.5 Ok")
    client.quit()


def settled(world, queue_ids):
    for queue_id in queue_ids:
        world.wait_log(queue_id + ": removed")


# Ends of data that one server takes for the end of the message and another does not, each followed by a whole transaction.
FALSE_ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n"]
SMUGGLED = b"MAIL FROM:<evil@extdomain.test>\r\nRCPT TO:<mailuser@maildomain.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil"


@case("hostile-smuggling", "no end of data but CRLF.CRLF makes two messages out of one", targets=("ours",))
def _(world):
    world.tutorial_003()
    for count, end in enumerate(FALSE_ENDS, 1):
        client = world.smtp()
        client.command("MAIL FROM:<a@extdomain.test>", r"250 .*")
        client.command("RCPT TO:<%s>" % site.USER, r"250 .*")
        client.command("DATA", r"354 .*")
        client.send(b"Subject: honest\r\n\r\nbody" + end + SMUGGLED + b"\r\n.\r\n")
        assert re.fullmatch(r"250 2\.0\.0 Ok: queued as \w+", client.reply()[-1])
        client.quit()
        world.wait_mails(count)
    time.sleep(0.5)
    assert len(world.mails()) == len(FALSE_ENDS), "%d messages out of %d" % (len(world.mails()), len(FALSE_ENDS))
    assert not world.journal.find("from=<evil@")


@case("hostile-smuggling-lmtp", "LMTP, too, ends DATA only at CRLF.CRLF", targets=("ours",))
def _(world):
    world.tutorial_003()
    for count, end in enumerate(FALSE_ENDS, 1):
        client = world.lmtp()
        client.command("MAIL FROM:<a@extdomain.test>", r"250 .*")
        client.command("RCPT TO:<%s>" % site.USER, r"250 .*")
        client.command("DATA", r"354 .*")
        client.send(b"Subject: honest\r\n\r\nbody" + end + SMUGGLED + b"\r\n.\r\n")
        assert re.fullmatch(r"250 2\.0\.0 <mailuser@maildomain\.test> \S+ Saved", client.reply()[-1])
        client.quit()
        assert len(world.wait_mails(count)) == count


@case("hostile-bare-lf", "mail whose lines end in a bare LF is one message")
def _(world):
    world.tutorial_003()
    client = world.smtp("localhost")
    client.command("MAIL FROM:<a@extdomain.test>", r"250 .*")
    client.command("RCPT TO:<%s>" % site.USER, r"250 .*")
    queue_id = client.content(b"Subject: one\n\nfirst\nsecond")
    client.quit()
    settled(world, [queue_id])
    text, = world.wait_mails(1)
    assert text.endswith("\nSubject: one\n\nfirst\nsecond\n") or "Subject: one\n" in text and text.endswith("first\nsecond\n"), text


@case("hostile-dots", "dot-stuffing is undone once")
def _(world):
    world.tutorial_003()
    world.send(data=b"Subject: dots\r\n\r\n..\r\n...\r\n..x")
    assert world.wait_mails(1)[0].endswith("\n\n.\n..\n.x\n")


@case("hostile-long-lines", "a command line of a megabyte, junk and NUL bytes end nothing but their own session")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.send(b"NOOP " + b"x" * (1 << 20) + b"\r\n")
    try:
        assert re.match(r"(250|500|421) ", client.reply()[-1])
    except (Closed, ConnectionError):
        pass
    served(world)
    for junk in (b"\0\0\0\r\n", b"\xff\xfe\xfd junk\r\n", b"XYZZY\r\n"):
        client = world.smtp()
        client.send(junk)
        reply = client.reply()[-1]
        # smtpd_forbidden_commands has what does not begin with a letter.
        assert re.match(r"50[02] 5\.5\.[12] Error: |221 2\.7\.0 Error: I can break rules, too", reply), reply
        served(world)


@case("hostile-nul-address", "a NUL never cuts an address", targets=("ours",))
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.command("MAIL FROM:<a@extdomain.test>", r"250 .*")
    client.send(b"RCPT TO:<mailuser@maildomain.test\0@nowhere.test>\r\n")
    reply = client.reply()[-1]
    assert reply.startswith("5"), reply
    served(world)


@case("hostile-errors", "after the hard error limit the session is closed with 421")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    for _ in range(40):
        client.send("XYZZY")
        reply = client.reply()[-1]
        if reply.startswith("421"):
            break
    assert reply == "421 4.7.0 mailhost.maildomain.test Error: too many errors", reply
    client.expect_closed()
    served(world)


@case("hostile-http", "an HTTP request is not SMTP")
def _(world):
    world.tutorial_003()
    client = world.smtp(hello=False)
    client.reply()
    client.send(b"GET / HTTP/1.1\r\n")
    assert client.reply()[-1] == "221 2.7.0 Error: I can break rules, too. Goodbye."
    client.expect_closed()
    world.wait_log(r"postfix/smtpd\[\d+\]: warning: non-SMTP command from exthost\.extdomain\.test\[198\.51\.100\.10\]: GET / HTTP/1\.1")


@case("hostile-base64", "broken base64 in AUTH is refused and the session goes on")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.tls()
    client.command("AUTH PLAIN !!!!", r"535 5\.7\.8 Error: authentication failed: .*")
    client.command("AUTH PLAIN", r"334 ?")
    client.command("*", r"501 5\.7\.0 Authentication aborted|535 5\.7\.8 Error: authentication failed:.*")
    client.plain(site.USER, site.PASSWORD)
    client.quit()


@case("hostile-starttls-injection", "what was pipelined behind STARTTLS in clear is not obeyed inside TLS")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.send(b"STARTTLS\r\nRSET\r\nVRFY nobody\r\n")
    assert client.line() == "220 2.0.0 Ready to start TLS"
    client.pending = b""
    try:
        client.start_tls()
        assert client.command("EHLO inside.test", r"250 .*")[0].startswith("250-mailhost.maildomain.test")
    except (OSError, Closed):
        pass        # closing is as good
    served(world)
    client = world.imap("exthost")
    client.send(b"a STARTTLS\r\nb NOOP\r\n")
    client.expect(r"a OK Begin TLS negotiation now\.")
    client.pending = b""
    try:
        client.start_tls()
        client.command("CAPABILITY")
    except (OSError, Closed):
        pass
    world.imap_user()


@case("hostile-imap", "IMAP: junk, long lines, great literals and numbers get BAD, and the others are served")
def _(world):
    world.tutorial_003()
    client = world.imap_user()
    client.exists()
    client.command("XYZZY", r"BAD .*")
    client.command("FETCH 99999999999999999999 FLAGS", r"BAD .*")
    client.command('SEARCH ON "32-Foo-2020"', r"(BAD|NO) .*")
    client.command("LOGOUT")
    client = world.imap("exthost")
    client.send(b"a LOGIN {99999999}\r\n")
    assert not client.line().startswith("+")
    client = world.imap("exthost")
    try:
        client.send(b"a LOGIN " + b"x" * (1 << 20) + b"\r\n")
        line = client.line()
        assert re.match(r"(\* BYE|a BAD|\* BAD) ", line), line
    except (Closed, ConnectionError):
        pass
    world.imap_user().command("LOGOUT")


@case("hostile-silent", "200 sessions that say nothing keep nobody out", targets=("ours",))
def _(world):
    world.tutorial_003()
    silent = [world.smtp(hello=False) for _ in range(45)] + [world.imap("exthost", greeting=False) for _ in range(155)]
    world.smtp("localhost").quit()
    world.imap_user().command("LOGOUT")
    for client in silent:
        client.close()


@case("login-queue-full", "when no more clients may wait for their login, the one that waits for longest is let go")
def _(world):
    world.tutorial_003(more_dovecot="service imap-login {\n  process_limit = 1\n  service_count = 0\n  client_limit = 4\n}\n")
    waiting = [world.imap("exthost") for _ in range(4)]
    last = world.imap("exthost")
    last.command("NOOP")
    dropped = []
    for client in waiting:
        try:
            client.command("NOOP")
        except Closed:
            dropped.append(client)
    # Each of ours knows its own clients alone.
    assert len(dropped) == 1 and dropped[0] in waiting[:1 if world.target == "peer" else 3], dropped
    assert "S: * BYE Connection queue full" in dropped[0].record
    world.wait_log(r"dovecot: master: Warning: service\(imap-login\): client_limit \(4\) reached, client connections are being dropped")
    world.wait_log(r"imap-login: Disconnected: Connection queue full \(no auth attempts in \d+ secs\): user=<>, rip=")


@case("login-user-ip", "a user has as many sessions from one address as mail_max_userip_connections allows, parked or not")
def _(world):
    world.tutorial_003(more_dovecot="mail_max_userip_connections = 2\n")
    sessions = [world.imap_user() for _ in range(2)]
    time.sleep(3)       # parked by now
    text = r"Maximum number of connections from user\+IP exceeded \(mail_max_userip_connections=2\)"
    third = world.imap("exthost", 993)
    third.command("LOGIN %s %s" % (site.USER, site.PASSWORD), r"NO \[LIMIT\] " + text)
    third.expect_closed()
    world.wait_log(r"imap-login: Disconnected: %s: user=<%s>, method=PLAIN, rip=\S+, lip=\S+, TLS, session=<" % (text, site.USER))
    local = world.imap()
    local.login(site.USER, site.PASSWORD)       # another address
    sessions[0].command("LOGOUT")
    world.wait_log(r"Disconnected: Logged out")
    sessions[0] = world.imap_user()
    sessions[1].close()
    world.wait_log(r"Disconnected: Connection closed")
    time.sleep(0.2)
    world.imap_user()
