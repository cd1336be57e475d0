"""Mail in by SMTP, refused or delivered."""
import os
import re

from cases import case
from lib import site
from lib.system import run, wait_until


@case("in-plain", "mail by SMTP from outside is in the Maildir, with the header that the road adds")
def _(world):
    world.tutorial_003()
    queue_id = world.send()
    text, = world.wait_mails(1)
    assert re.match(r"Return-Path: <extuser@extdomain\.test>\nDelivered-To: mailuser@maildomain\.test\n"
                    r"Received: from mailhost\.maildomain\.test\n\tby mailhost with LMTP\n\tid \S+\n\t"
                    r"\(envelope-from <extuser@extdomain\.test>\)\n\tfor <mailuser@maildomain\.test>; .*\n"
                    r"Received: from exthost\.extdomain\.test \(exthost\.extdomain\.test \[198\.51\.100\.10\]\)\n\t"
                    r"by mailhost\.maildomain\.test \(Postfix\) with ESMTP id " + queue_id +
                    r"\n\tfor <mailuser@maildomain\.test>; ", text), text
    assert text.endswith(" (UTC)\nSubject: test\n\nhello\n"), "a stranger's mail gets no other header: " + text


@case("in-starttls", "swaks delivers with STARTTLS")
def _(world):
    world.tutorial_003()
    out = run("swaks", "--server", "127.0.0.1", "--helo", "exthost.extdomain.test", "--from", "extuser@extdomain.test",
              "--to", site.USER, "-tls", "--header", "Subject: by swaks")
    assert "~> DATA" in out and "TLS started with cipher" in out, out
    text, = world.wait_mails(1)
    assert "Subject: by swaks" in text and "with ESMTPS id" in text, text


@case("in-local-headers", "mail from the machine itself gets Date, From and Message-Id if they are missing")
def _(world):
    world.tutorial_003()
    queue_id = world.send(data=b"Subject: bare\r\n\r\nbody", source="localhost")
    text, = world.wait_mails(1)
    assert re.search(r"\nMessage-Id: <\d{14}\." + queue_id + r"@mailhost\.maildomain\.test>\n", text), text
    assert re.search(r"\nDate: \w{3}, [ \d]\d \w{3} \d{4} [\d:]{8} \+0000 \(UTC\)\n", text), text
    assert "\nFrom: extuser@extdomain.test\n" in text, text


@case("in-swaks-plain", "swaks delivers without TLS")
def _(world):
    world.tutorial_003()
    run("swaks", "--server", "127.0.0.1", "--from", "extuser@extdomain.test", "--to", site.USER)
    assert "This is a test mailing" in world.wait_mails(1)[0]


@case("in-unknown-user", "a user that Dovecot does not know is accepted at RCPT and bounced after LMTP's refusal")
def _(world):
    world.tutorial_003()
    queue_id = world.send(["nobody@maildomain.test"], sender="mailuser@maildomain.test")
    world.wait_log(queue_id + r": to=<nobody@maildomain\.test>, relay=mailhost\.maildomain\.test\[private/dovecot-lmtp\], .*dsn=5\.1\.1, "
                   r"status=bounced \(host mailhost\.maildomain\.test\[private/dovecot-lmtp\] said: 550 5\.1\.1 "
                   r"<nobody@maildomain\.test> User doesn't exist: nobody@maildomain\.test \(in reply to RCPT TO command\)\)")
    bounce, = world.wait_mails(1)
    assert "Undelivered Mail Returned to Sender" in bounce and "User doesn't exist" in bounce, bounce


@case("in-foreign-domain", "a foreign domain is refused to outsiders and taken from the machine itself")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.command("MAIL FROM:<extuser@extdomain.test>", r"250 2\.1\.0 Ok")
    client.command("RCPT TO:<extuser@extdomain.test>", r"554 5\.7\.1 <extuser@extdomain\.test>: Relay access denied")
    client.command("RCPT TO:<mailuser@maildomain.test>", r"250 2\.1\.5 Ok")
    client.quit()
    world.wait_log(r"postfix/smtpd\[\d+\]: NOQUEUE: reject: RCPT from exthost\.extdomain\.test\[198\.51\.100\.10\]: 554 5\.7\.1 "
                   r"<extuser@extdomain\.test>: Relay access denied; from=<extuser@extdomain\.test> to=<extuser@extdomain\.test> "
                   r"proto=ESMTP helo=<exthost\.extdomain\.test>")
    client = world.smtp("localhost")
    client.command("MAIL FROM:<mailuser@maildomain.test>", r"250 2\.1\.0 Ok")
    client.command("RCPT TO:<extuser@extdomain.test>", r"250 2\.1\.5 Ok")
    client.quit()


@case("in-unknown-local", "an unknown local user is refused at RCPT with Postfix's reply")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.command("MAIL FROM:<extuser@extdomain.test>", r"250 2\.1\.0 Ok")
    client.command("RCPT TO:<nobody-here@mailhost.maildomain.test>", r"550 5\.1\.1 <nobody-here@mailhost\.maildomain\.test>: "
                   r"Recipient address rejected: User unknown in local recipient table")
    client.quit()


@case("in-no-lmtp-socket", "without an LMTP socket mail waits, mailq shows it, and a flush delivers it when the socket is there")
def _(world):
    system = world.tutorial_003("virtual", "secure")
    queue_id = world.send()
    world.wait_log(queue_id + r": to=<mailuser@maildomain\.test>, relay=none, delay=[\d.]+, delays=[\d./]+, dsn=4\.4\.1, status=deferred "
                   r"\(connect to mailhost\.maildomain\.test\[private/dovecot-lmtp\]: No such file or directory\)")
    queue = wait_until(lambda: "No such file or directory" in (text := system.queue()) and text, "the reason in mailq")
    assert re.search(r"^" + queue_id + r" +\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d  extuser@extdomain\.test$", queue, re.M), queue
    assert re.search(r"^ +mailuser@maildomain\.test$", queue, re.M) and re.search(r"^-- \d+ Kbytes in 1 Request\.$", queue, re.M), queue
    world.change_003("virtual", "postmaster")
    wait_until(lambda: os.path.exists(site.LMTP_SOCKET), "the LMTP socket")
    system.flush()
    world.wait_mails(1)
    world.wait_log(queue_id + ": removed")
    assert system.queue() == "Mail queue is empty\n", system.queue()


@case("in-000-alias", "tutorial 000: a virtual alias ends in sdbox, and IMAP shows it")
def _(world):
    world.tutorial_000()
    queue_id = world.send(["root@mail.example.jp"])
    world.wait_log(queue_id + r": to=<info@mail\.example\.jp>, orig_to=<root@mail\.example\.jp>, "
                   r"relay=mail\.example\.jp\[private/dovecot-lmtp\], .*status=sent \(250 2\.0\.0 <info@mail\.example\.jp> \S+ Saved\)")
    box = "/home/vmail/mail.example.jp/info/dbox/mailboxes/INBOX/dbox-Mails"
    assert os.path.exists(box + "/u.1"), os.listdir(box)
    client = world.imap_user("info@mail.example.jp", "secret")
    assert client.exists() == 1
    assert any("hello" in line for line in client.command("FETCH 1 BODY[TEXT]"))
    client.command("LOGOUT")


@case("in-000-delimiter", "tutorial 000: info+tag is info")
def _(world):
    world.tutorial_000()
    queue_id = world.send(["info+tag@example.jp"])
    world.wait_log(queue_id + r": to=<info\+tag@example\.jp>, .*status=sent")
    assert world.imap_user("info@example.jp", "secret").exists() == 1
