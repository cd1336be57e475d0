"""The LMTP server by itself: where mail goes, what is written on it, what a client and the log are told."""
import glob
import os
import re

from cases import case
from lib import site
from lib.system import run

MESSAGE = b"From: Ann <ann@extdomain.test>\r\nSubject: =?utf-8?q?h=C3=A9?= two\r\n words\r\nMessage-Id: <1@x>\r\n\r\nhello"
SENDER = "MAIL FROM:<ann@extdomain.test>"
SAVED = r"250 2\.0\.0 <%s> (\S+) Saved"


def deliver(world, recipients, data=MESSAGE, sender=SENDER):
    """One message; returns the last line of each recipient's reply, of RCPT where that was refused."""
    client = world.lmtp()
    client.command(sender, r"250 .*")
    replies, accepted = [], []
    for number, recipient in enumerate(recipients):
        client.send("RCPT TO:" + recipient)
        replies.append(client.reply()[-1])
        if replies[-1].startswith("250 "):
            accepted.append(number)
    client.command("DATA", r"354 .*")
    client.send(data + b"\r\n.\r\n")
    for number in accepted:
        replies[number] = client.reply()[-1]
    client.close()
    return replies


def expect(reply, pattern):
    assert re.fullmatch(pattern, reply), "expected %r, got %r" % (pattern, reply)


@case("lmtp-detail", "user+detail is the mailbox detail, made and subscribed to as the settings say; what cannot be is INBOX")
def _(world):
    detail = "lmtp_save_to_detail_mailbox = yes\n"
    world.tutorial_003(more_dovecot=detail, count=2)
    recipient = "<%s>" % site.USER.replace("@", "+work@")
    expect(deliver(world, [recipient])[0], SAVED % re.escape(recipient[1:-1]))
    assert len(world.mails()) == 1 and not world.mails(folder=".work")
    world.wait_log(r"msgid=<1@x>: save failed to open mailbox work: Mailbox doesn't exist: work")
    world.wait_log(r"msgid=<1@x>: saved mail to INBOX")
    site.tutorial_003(more_dovecot=detail + "lda_mailbox_autocreate = yes\nlda_mailbox_autosubscribe = yes\n", count=2)
    world.system.restart_mailbox()
    deliver(world, [recipient, "<user0+a/b@maildomain.test>"])
    assert len(world.mails()) == 1 and len(world.mails(folder=".work")) == 1
    assert len(world.mails("user0@maildomain.test")) == 1
    with open(world.maildir() + "/subscriptions") as file:
        assert file.read() == "V\t2\n\nwork\n"
    world.wait_log(r"msgid=<1@x>: saved mail to work")


@case("lmtp-header", "the fields that a delivery adds are Dovecot's, for one recipient and for several")
def _(world):
    world.tutorial_003(more_dovecot="lmtp_hdr_delivery_address = original\n", count=1)
    reply = deliver(world, ["<%s> ORCPT=rfc822;old@extdomain.test" % site.USER])[0]
    session = re.fullmatch(SAVED % re.escape(site.USER), reply)[1]
    received = r"Return-Path: <ann@extdomain\.test>\n%sReceived: from test\n\tby mailhost with LMTP\n\tid %s\n\t\(envelope-from " \
        r"<ann@extdomain\.test>\)%s; \w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\nFrom: Ann"
    one = received % (r"Delivered-To: old@extdomain\.test\n", re.escape(session), r"\n\tfor <old@extdomain\.test>")
    assert re.match(one, world.mails()[0]), world.mails()
    replies = deliver(world, ["<user0@maildomain.test>", "<nobody@maildomain.test>", "<%s>" % site.USER])
    session = re.fullmatch(SAVED % r"user0@maildomain\.test", replies[0])[1]
    expect(replies[1], r"550 5\.1\.1 <nobody@maildomain\.test> User doesn't exist: nobody@maildomain\.test")
    expect(replies[2], SAVED % re.escape(site.USER))
    assert replies[2].endswith(" %s:R3 Saved" % session), replies
    several = received % ("", re.escape(session), "")
    assert re.match(several, world.mails("user0@maildomain.test")[0]), world.mails("user0@maildomain.test")


@case("lmtp-log", "deliver_log_format, mail_log_prefix and mail_debug")
def _(world):
    world.tutorial_003(more_dovecot="deliver_log_format = %m|%s|%f|%e|%p|%w|%{to_envelope}|%$|%{storage_id}\nmail_debug = yes\n"
                       "mail_log_prefix = \"%Us at %{hostname} for %u,%{session}: \"\n")
    deliver(world, ["<%s>" % site.USER])
    path, = glob.glob(world.maildir() + "/new/*")
    size, name = os.stat(path).st_size, os.path.basename(path)
    with open(path, "rb") as file:
        virtual = size + file.read().count(b"\n")
    world.wait_log(r"dovecot: LMTP at \S+ for mailuser@maildomain\.test,\S{22}: " + re.escape(
        "<1@x>|hé two words|ann@extdomain.test|ann@extdomain.test|%d|%d|%s|saved mail to INBOX|%s" % (size, virtual, site.USER, name)))
    world.wait_log(r"dovecot: LMTP at .*: Debug: .*Effective uid=5000, gid=5000, home=/var/vmail/maildomain\.test/mailuser")


@case("lmtp-workarounds", "broken paths are taken where the settings say so")
def _(world):
    world.tutorial_003(more_dovecot="lmtp_client_workarounds = whitespace-before-path mailbox-for-path\n", count=1)
    replies = deliver(world, [" <%s>" % site.USER, "user0@maildomain.test"], sender="MAIL FROM: ann@extdomain.test")
    assert all(" Saved" in reply for reply in replies), replies


@case("lmtp-return-path", "a forged Return-Path is removed", targets=("ours",))
def _(world):
    world.tutorial_003()
    deliver(world, ["<%s>" % site.USER], b"RETURN-path : <forged@x>\r\n <folded@x>\r\nSubject: x\r\n\r\nReturn-Path: <body@x>")
    mail, = world.mails()
    assert "forged" not in mail and "folded" not in mail and "body@x" in mail, mail
    assert mail.startswith("Return-Path: <ann@extdomain.test>\n") and mail.lower().count("return-path:") == 2, mail


@case("lmtp-smtputf8", "mail with addresses beyond ASCII comes in by SMTP and is in the mailbox", targets=("ours",))
def _(world):
    world.tutorial_003(more_dovecot="auth_username_chars =\n")
    with open("/etc/dovecot/users.db", "a") as file:
        file.write("grün@maildomain.test:%s\n" % site.hashed(site.PASSWORD))
    client = world.smtp()
    client.command("MAIL FROM:<jürgen@extdomain.test> SMTPUTF8", r"250 .*")
    for user in ("grün@maildomain.test", site.USER):
        client.command("RCPT TO:<%s>" % user, r"250 .*")
    client.content("Subject: grün\r\n\r\nhallo".encode())
    for user in ("grün@maildomain.test", site.USER):
        mail = world.wait_mails(1, user)[0]
        assert mail.startswith("Return-Path: <jürgen@extdomain.test>\n") and " with UTF8LMTP\n" in mail, mail


@case("lmtp-stale-lock", "locks that a crash left behind delay no delivery and no reader", targets=("ours",))
def _(world):
    import time
    world.tutorial_003()
    deliver(world, ["<%s>" % site.USER])
    world.imap_user().exists()
    for name in ("dovecot-uidlist.lock", "subscriptions.lock"):
        with open(world.maildir() + "/" + name, "w") as file:
            file.write("4000000:mailhost")
        os.chown(file.name, 5000, 5000)
    began = time.time()
    expect(deliver(world, ["<%s>" % site.USER])[0], r"250 .*")
    reader = world.imap_user()
    assert reader.exists() == 2
    reader.command("SUBSCRIBE INBOX")
    assert time.time() - began < 5, "it took %.1f s" % (time.time() - began)


@case("lmtp-full-disk", "a full disk is 452, nothing is lost, and no UID is given twice", targets=("ours",))
def _(world):
    site.tutorial_003(count=1)
    os.makedirs("/var/vmail/maildomain.test", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", "/var/vmail/maildomain.test")
    world.begin()
    recipient = ["<%s>" % site.USER]
    expect(deliver(world, recipient)[0], r"250 .*")
    reader = world.imap_user()
    assert reader.exists() == 1
    first = reader.command("UID FETCH 1:* UID")[0]
    filler = "/var/vmail/maildomain.test/filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    refused = deliver(world, recipient, MESSAGE + b"x" * 20000)[0]
    expect(refused, r"452 4\.2\.2 <%s> Not enough disk space" % re.escape(site.USER))
    assert len(world.mails()) == 1 and not os.listdir(world.maildir() + "/tmp")
    os.unlink(filler)
    expect(deliver(world, recipient)[0], r"250 .*")
    reader = world.imap_user()
    assert reader.exists() == 2
    uids = [int(line.split("UID ")[1].rstrip(")")) for line in reader.command("UID FETCH 1:* UID")[:-1]]
    assert len(set(uids)) == 2 and "UID %d)" % uids[0] in first, (first, uids)


@case("lmtp-hostile", "junk, long lines and NUL bytes get their replies, and the mail after them is delivered", targets=("ours",))
def _(world):
    world.tutorial_003()
    client = world.lmtp()
    for line, reply in ((b"JUNK\x00\xff\r\n", r"500 5\.5\.2 .*"), (b"RCPT TO:<" + b"x" * 9000 + b">\r\n", r"500 5\.5\.2 Line too long"),
                        (b"MAIL FROM:<a\x00b@extdomain.test>\r\n", r"500 5\.5\.2 .*"), (SENDER.encode() + b"\r\n", r"250 2\.1\.0 OK"),
                        (b"RCPT TO:<mailuser\x00@maildomain.test>\r\n", r"500 5\.5\.2 .*"),
                        (b"RCPT TO:<%s>\r\n" % (b"x" * 2000 + b"@maildomain.test"), r"501 5\.5\.4 .*"),
                        (b"RCPT TO:<%s>\r\n" % site.USER.encode(), r"250 2\.1\.5 OK")):
        client.send(line)
        expect(client.reply()[-1], reply)
    # A header line and a body line of a megabyte, and a NUL: all of it is the user's.
    body = b"X-Long: " + b"y" * 1000000 + b"\r\nSubject: x\r\n\r\nnul \x00 here\r\n" + b"z" * 1000000
    client.content(body, SAVED % re.escape(site.USER))
    mail, = world.mails()
    assert mail.endswith("\nSubject: x\n\nnul \x00 here\n" + "z" * 1000000 + "\n") and "X-Long: " + "y" * 1000000 in mail
    # Pipelined commands are answered in their order, the message's recipient as well.
    client.send(b"%s\r\nRCPT TO:<nobody@maildomain.test>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (SENDER.encode(), site.USER.encode()))
    for reply in (r"250 .*", r"550 5\.1\.1 .*", r"250 .*", r"354 .*"):
        expect(client.reply()[-1], reply)
    client.send(b"Subject: y\r\n\r\n.\r\nQUIT\r\n")
    expect(client.reply()[-1], SAVED % re.escape(site.USER))
    client.expect(r"221 2\.0\.0 Bye")
