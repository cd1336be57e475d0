"""IMAP by real clients: curl, imaplib, mbsync, and by hand."""
import imaplib
import os
import re
import ssl
import time

from cases import case
from lib import site
from lib.chat import client_context
from lib.system import run

MESSAGE = b"From: a@extdomain.test\r\nTo: %s\r\nSubject: number %d\r\n\r\nbody of number %d\r\n"


def message(number):
    return MESSAGE % (site.USER.encode(), number, number)


def fill(world, count):
    """Delivers messages 1 to `count` in order and logs in by imaplib on 993."""
    for number in range(1, count + 1):
        world.send(data=message(number)[:-2])
        world.wait_mails(number)
    client = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=client_context(), timeout=20)
    client.login(site.USER, site.PASSWORD)
    return client


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


@case("imap-curl", "curl reads a message on 993 and, with STARTTLS, on 143")
def _(world):
    world.tutorial_003()
    world.send(data=message(1)[:-2])
    world.wait_mails(1)
    for url, more in (("imaps://127.0.0.1/INBOX;MAILINDEX=1", []), ("imap://127.0.0.1/INBOX;MAILINDEX=1", ["--ssl-reqd"])):
        text = run("curl", "-sS", "-k", "--max-time", "20", "-u", site.USER + ":" + site.PASSWORD, url, *more)
        assert "body of number 1" in text and "Delivered-To: " + site.USER in text, text


@case("imap-starttls", "imaplib: STARTTLS on 143, and no login without it from outside")
def _(world):
    world.tutorial_003()
    client = world.imap("exthost", greeting=False)
    assert " STARTTLS " in client.greeting() and "LOGINDISABLED" in client.record[-1]
    lines = client.command("LOGIN %s %s" % (site.USER, site.PASSWORD), r"NO \[PRIVACYREQUIRED\] .*")
    assert len(lines) in (1, 2), lines
    client = imaplib.IMAP4("127.0.0.1", 143, timeout=20)
    ok(client.starttls(client_context()))
    ok(client.login(site.USER, site.PASSWORD))
    assert ok(client.select()) == [b"0"]
    client.logout()


@case("imap-tls-versions", "ssl_min_protocol decides which versions of TLS a client may speak")
def _(world):
    def reach(version):
        """Whether a client that speaks this version alone gets a greeting."""
        context = client_context()
        context.minimum_version = context.maximum_version = version
        try:
            imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=context, timeout=20).logout()
            return True
        except (ssl.SSLError, ConnectionError):
            return False

    world.tutorial_003()
    assert reach(ssl.TLSVersion.TLSv1_2) and reach(ssl.TLSVersion.TLSv1_3)
    world.system.stop()
    site.tutorial_003(more_dovecot="ssl_min_protocol = TLSv1.3\n")
    world.system.start()
    assert not reach(ssl.TLSVersion.TLSv1_2) and reach(ssl.TLSVersion.TLSv1_3)


@case("imap-flags", "flags are kept, in the file name too, and another session sees them")
def _(world):
    world.tutorial_003()
    client = fill(world, 2)
    assert ok(client.select()) == [b"2"]
    assert ok(client.store("1", "+FLAGS", r"(\Flagged \Seen $Label)")) == [rb"1 (FLAGS (\Flagged \Seen \Recent $Label))"]
    other = world.imap_user()
    other.exists()
    lines = other.command("FETCH 1:* FLAGS")
    assert lines[0].startswith(r"* 1 FETCH (FLAGS (\Flagged \Seen $Label") and lines[1].startswith("* 2 FETCH (FLAGS ("), lines
    name, = [name for name in os.listdir(world.maildir() + "/cur") if "F" in name.split(":2,")[1]]
    assert re.search(r",S=\d+,W=\d+:2,FSa$", name), name
    client.logout()


@case("imap-move-search", "folders, COPY, MOVE, SEARCH, EXPUNGE")
def _(world):
    world.tutorial_003()
    client = fill(world, 3)
    ok(client.select())
    ok(client.create("Work"))
    ok(client.uid("MOVE", "2", "Work"))
    assert ok(client.search(None, "ALL")) == [b"1 2"]
    assert ok(client.search(None, "SUBJECT", "number")) == [b"1 2"]
    assert ok(client.search(None, "BODY", '"of number 3"')) == [b"2"]
    assert ok(client.search(None, "NOT", "TEXT", '"number 3"')) == [b"1"]
    ok(client.copy("1", "Work"))
    ok(client.store("1", "+FLAGS", r"(\Deleted)"))
    assert client.expunge()[0] == "OK"
    assert len(world.mails()) == 1 and len(world.mails(folder=".Work")) == 2
    assert ok(client.select("Work")) == [b"2"]
    assert b"number 2" in ok(client.fetch("1", "(BODY[HEADER.FIELDS (SUBJECT)])"))[0][1]
    client.logout()


@case("imap-append", "an appended message keeps its flags and date")
def _(world):
    world.tutorial_003()
    client = fill(world, 0)
    ok(client.append("INBOX", r"(\Seen \Draft)", '"17-Jul-1996 02:44:25 -0700"', message(7)))
    ok(client.select())
    (line, text), _ = ok(client.fetch("1", "(FLAGS INTERNALDATE BODY.PEEK[])"))
    assert text == message(7), text
    assert rb"\Seen" in line and rb"\Draft" in line, line
    assert imaplib.Internaldate2tuple(line) == time.gmtime(837596665)[:8] + (imaplib.Internaldate2tuple(line)[8],), line
    client.logout()


@case("imap-idle", "an idling client is told of new mail at once")
def _(world):
    world.tutorial_003()
    client = world.imap_user()
    assert client.exists() == 0
    client.send("a IDLE")
    client.expect(r"\+ idling")
    world.send()
    began = time.monotonic()
    while not client.line().endswith(" EXISTS"):
        pass
    waited = time.monotonic() - began
    world.notes.append("told %.0f ms after the message was accepted" % (1000 * waited))
    assert waited < 3, waited
    client.send("DONE")
    client.command_tail(r"OK Idle completed.*")
    client.command("LOGOUT")


@case("imap-mbsync", "mbsync brings everything down, and a local flag and a local message up")
def _(world):
    world.tutorial_003()
    fill(world, 3).logout()
    site.write("/root/.mbsyncrc", """IMAPAccount there
Host 127.0.0.1
User %s
Pass %s
SSLType STARTTLS
CertificateFile %s

IMAPStore far
Account there

MaildirStore near
Path /root/near/
Inbox /root/near/INBOX

Channel all
Far :far:
Near :near:
Patterns *
Create Both
SyncState *
Expunge Both
""" % (site.USER, site.PASSWORD, site.CERT))
    site.write("/etc/hosts", "127.0.0.1 mailhost.maildomain.test localhost\n")
    site.write("/root/.mbsyncrc", open("/root/.mbsyncrc").read().replace("Host 127.0.0.1", "Host mailhost.maildomain.test"), 0o600)
    os.makedirs("/root/near")
    # It waits for the end of the connection each time: an end that is not passed on now and then shows in a few rounds.
    for _ in range(10):
        run("mbsync", "-a")
    near = [os.path.join(folder, name) for folder in ("/root/near/INBOX/new", "/root/near/INBOX/cur") for name in os.listdir(folder)]
    assert len(near) == 3, near
    base, _, flags = os.path.basename(near[0]).partition(":2,")
    os.rename(near[0], "/root/near/INBOX/cur/%s:2,%s" % (base, "".join(sorted(set(flags + "FS")))))
    site.write("/root/near/INBOX/new/1.local.host", message(9).decode().replace("\r\n", "\n"))
    run("mbsync", "-a")
    client = world.imap_user()
    assert client.exists() == 4
    assert len(client.command("SEARCH FLAGGED SEEN")[0].split()) == 3
    assert client.command("SEARCH SUBJECT {8+}\r\nnumber 9")[0] == "* SEARCH 4"


@case("imap-bad-password", "a wrong password is refused and logged; so is an unknown user")
def _(world):
    world.tutorial_003()
    for user in (site.USER, "nobody@maildomain.test"):
        client = world.imap("exthost", 993)
        client.command("LOGIN %s wrong" % user, r"NO \[AUTHENTICATIONFAILED\] Authentication failed\.")
        client.command("LOGOUT")
        world.wait_log(r"dovecot: imap-login: (Disconnected|Aborted login|Login aborted): .*\(auth failed, 1 attempts? in \d+ secs\).*user=<%s>, "
                       r"method=PLAIN, rip=198\.51\.100\.10, lip=172\.28\.45\.212, TLS" % re.escape(user))
