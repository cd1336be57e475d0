"""Log lines, field for field: what log summaries and ban lists read."""
from cases import case
from lib import site


@case("log-message", "every line of one message's way, in Postfix's and Dovecot's shape")
def _(world):
    world.tutorial_003()
    queue_id = world.send(data=b"Message-Id: <one@extdomain.test>\r\nSubject: s\r\n\r\nx")
    world.wait_mails(1)
    host = r"exthost\.extdomain\.test\[198\.51\.100\.10\]"
    for pattern in (r"postfix/smtpd\[\d+\]: connect from " + host,
                    r"postfix/smtpd\[\d+\]: " + queue_id + ": client=" + host,
                    r"postfix/cleanup\[\d+\]: " + queue_id + r": message-id=<one@extdomain\.test>",
                    r"postfix/qmgr\[\d+\]: " + queue_id + r": from=<extuser@extdomain\.test>, size=\d+, nrcpt=1 \(queue active\)",
                    r"postfix/smtpd\[\d+\]: disconnect from " + host + " ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
                    r"postfix/lmtp\[\d+\]: " + queue_id + r": to=<mailuser@maildomain\.test>, "
                    r"relay=mailhost\.maildomain\.test\[private/dovecot-lmtp\], delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, "
                    r"dsn=2\.0\.0, status=sent \(250 2\.0\.0 <mailuser@maildomain\.test> \S+ Saved\)",
                    r"postfix/qmgr\[\d+\]: " + queue_id + ": removed",
                    r"dovecot: lmtp\(\d+\): Connect from local",
                    r"dovecot: lmtp\(mailuser@maildomain\.test\)<\d+><\S+>: msgid=<one@extdomain\.test>: saved mail to INBOX",
                    r"dovecot: lmtp\(\d+\): Disconnect from local: .*"):
        world.wait_log("^" + pattern + "$")
    assert world.journal.facilities <= {2}, "facilities beside mail: %r" % world.journal.facilities


@case("log-imap", "login and logout lines of IMAP")
def _(world):
    world.tutorial_003()
    world.send(data=b"Subject: s\r\n\r\nx")
    world.wait_mails(1)
    client = world.imap_user()
    client.exists()
    client.command("FETCH 1 BODY[]")
    client.command("LOGOUT")
    world.wait_log(r"^dovecot: imap-login: Login: user=<mailuser@maildomain\.test>, method=PLAIN, rip=198\.51\.100\.10, "
                   r"lip=172\.28\.45\.212, mpid=\d+, TLS, session=<\S+>$")
    world.wait_log(r"^dovecot: imap\(mailuser@maildomain\.test\)<\d+><\S+>: (Disconnected: )?Logged out in=\d+ out=\d+ deleted=0 expunged=0 "
                   r"trashed=0 hdr_count=0 hdr_bytes=0 body_count=1 body_bytes=\d+$")
    client = world.imap("localhost", greeting=True)
    client.close()
    world.wait_log(r"^dovecot: imap-login: (Disconnected|Aborted login|Login aborted)[^()]*\(no auth attempts in \d+ secs\).*: user=<>, "
                   r"rip=127\.0\.0\.1, lip=127\.0\.0\.1, secured, session=<\S+>$")


@case("log-lost", "a client that goes away in the middle is logged as lost")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.command("MAIL FROM:<a@extdomain.test>", r"250 .*")
    client.close()
    host = r"exthost\.extdomain\.test\[198\.51\.100\.10\]"
    world.wait_log(r"^postfix/smtpd\[\d+\]: lost connection after MAIL from " + host + "$")
    world.wait_log(r"^postfix/smtpd\[\d+\]: disconnect from " + host + " ehlo=1 mail=1 commands=2$")


@case("log-tls", "a TLS session's ehlo and starttls are counted")
def _(world):
    world.tutorial_003()
    client = world.smtp()
    client.tls()
    client.plain(site.USER, site.PASSWORD)
    client.quit()
    world.wait_log(r"^postfix/smtpd\[\d+\]: disconnect from exthost\.extdomain\.test\[198\.51\.100\.10\] ehlo=2 starttls=1 auth=1 quit=1 commands=5$")
