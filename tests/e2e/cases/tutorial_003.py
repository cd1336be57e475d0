"""Tutorial 003 from "Dovecot as IMAP server" on, command by command: what its text shows beside the dialogues.

Each case begins with the machine in one state of the tutorial, with Debian's own master.cf, and looks at what the text looks at:
open ports, log lines, the folders below /var/vmail, sockets, `mailq`. `003-walk` is the whole way in one life of the machine.
"""
import os
import re
import stat

from cases import case
from cases.halves import listening
from lib import site
from lib.chat import Closed
from lib.system import answer, run, wait_until

BOX = "/var/vmail/maildomain.test/mailuser"


def begin(world, main="virtual", dovecot="final", **options):
    """The machine in that state, both halves started."""
    site.tutorial_003(main, dovecot, **options)
    site.stock_table()
    return world.begin()


def tree(path):
    """path -> `drwx------ owner group` for everything below `path`; what only a cache needs is left out."""
    lines = run("find", path, "-printf", "%P %M %u %g\n").splitlines()
    cache = re.compile(r"dovecot(\.list)?\.index|posthorn\.|dovecot-uidvalidity")
    return {name: rest for name, _, rest in (line.partition(" ") for line in lines) if not cache.search(name)}


def owner_and_mode(path):
    return run("stat", "-c", "%A %U %G", path).strip()


@case("003-empty", "an empty dovecot.conf: neither 143 nor 993 listens, and the start is logged")
def _(world):
    site.tutorial_003("virtual", "protocols")
    site.write("/etc/dovecot/dovecot.conf", "")
    site.stock_table()
    world.begin()
    assert owner_and_mode("/var/vmail") == "drwxr-xr-x vmail vmail"
    world.wait_log(r"^dovecot: master: .* starting up without any protocols")
    assert listening(25) and not listening(143) and not listening(993) and not listening(110)


@case("003-protocols", "protocols = imap: 143 and 993 listen; 993 closes, and the log speaks of SSL")
def _(world):
    begin(world, dovecot="protocols")
    assert listening(143) and listening(993) and not listening(110)
    world.wait_log(r"^dovecot: master: .* starting up for imap")
    client = world.network.connect(993)
    assert client.recv(100) == b""
    world.wait_log(r"^dovecot: imap-login: Error: Failed to initialize SSL server context: Can't load SSL certificate "
                   r"\(ssl_cert setting\): The certificate is empty")


@case("003-no-ssl", "ssl = no: 143 listens, 993 does not; without a passdb the log says what is missing")
def _(world):
    begin(world, dovecot="no-ssl")
    assert listening(143) and not listening(993)
    client = world.imap(greeting=False)
    client.expect(r"\* BYE Auth process broken")
    client.expect_closed()
    world.wait_log(r"^dovecot: auth: Fatal: No passdbs specified in configuration file\. PLAIN mechanism needs one$")
    world.wait_log(r"^dovecot: imap-login: Disconnected: Auth process broken \(disconnected before auth was ready, waited 0 secs\): "
                   r"user=<>, rip=127\.0\.0\.1, lip=127\.0\.0\.1, secured, session=<\S+>$")


@case("003-passwords", "a wrong password, a bare name and an unknown user are refused alike, the log says how often")
def _(world):
    begin(world, dovecot="place")
    for user, password in ((site.USER, "654321"), ("mailuser", site.PASSWORD), ("nobody@maildomain.test", site.PASSWORD)):
        # Each from a connection of its own: Dovecot answers the next failure of an address later and later.
        client = world.imap()
        client.command("LOGIN %s %s" % (user, password), r"NO \[AUTHENTICATIONFAILED\] Authentication failed\.")
        client.command("LOGOUT")
        world.wait_log(r"^dovecot: imap-login: Disconnected: Aborted login by logging out \(auth failed, 1 attempts in \d+ secs\): "
                       r"user=<%s>, method=PLAIN, rip=127\.0\.0\.1" % re.escape(user))
    assert not world.journal.find(re.escape("654321")), "a password is in the log"


@case("003-no-uid-log", "a login without mail_uid: the log names the setting, and nothing is made in /var/vmail")
def _(world):
    begin(world, dovecot="passdb")
    client = world.imap()
    client.command("LOGIN %s %s" % (site.USER, site.PASSWORD), r"OK Logged in, but initialization failed\.")
    client.expect(r"\* BYE Internal error occurred\. Refer to server log for more information\.")
    client.expect_closed()
    world.wait_log(r"^dovecot: imap\(.*Error: .*Couldn't drop privileges: User is missing UID \(see mail_uid setting\)$")
    assert os.listdir("/var/vmail") == []


@case("003-folders", "the first login makes the user's folders, a Trash its own, all of them vmail's alone")
def _(world):
    begin(world, dovecot="place")
    client = world.imap()
    client.login(site.USER, site.PASSWORD)
    client.command('list "" "*"', r"OK List completed.*")
    client.command("logout", r"OK Logout completed.*")
    made = tree("/var/vmail")
    assert made == {"": "drwxr-xr-x vmail vmail", "maildomain.test": "drwx------ vmail vmail",
                    "maildomain.test/mailuser": "drwx------ vmail vmail", "maildomain.test/mailuser/mail": "drwx------ vmail vmail"}, made
    client = world.imap()
    client.login(site.USER, site.PASSWORD)
    client.command("create Trash", r"OK Create completed.*")
    client.command("select INBOX", r"OK \[READ-WRITE\] Select completed.*")
    client.command("logout")
    folders = {name: rest for name, rest in tree(BOX + "/mail").items() if rest.startswith("d") and name}
    assert set(folders) == {prefix + name for prefix in ("", ".Trash/") for name in ("cur", "new", "tmp")} | {".Trash"}, folders
    assert set(folders.values()) == {"drwx------ vmail vmail"}, folders
    assert tree(BOX + "/mail/.Trash")["maildirfolder"] == "-rw------- vmail vmail"
    world.wait_log(r"^dovecot: imap\(mailuser@maildomain\.test\)<\d+><\S+>: Disconnected: Logged out in=\d+ out=\d+ deleted=0 expunged=0 "
                   r"trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0$")


@case("003-plaintext-log", "a login in clear from outside, refused and then allowed, and its log lines")
def _(world):
    begin(world, dovecot="place")
    client = world.imap("exthost")
    client.command("authenticate PLAIN", r"NO \[PRIVACYREQUIRED\] Plaintext authentication disabled\.")
    client.command("logout")
    world.wait_log(r"^dovecot: imap-login: Disconnected: Aborted login by logging out \(tried to use disallowed plaintext auth\): "
                   r"user=<>, method=PLAIN, rip=198\.51\.100\.10, lip=172\.28\.45\.212, session=<\S+>$")
    world.change_003("virtual", "plaintext")
    client = world.imap("exthost")
    client.login(site.USER, site.PASSWORD)
    client.command("logout")
    world.wait_log(r"^dovecot: imap-login: Login: user=<mailuser@maildomain\.test>, method=PLAIN, rip=198\.51\.100\.10, "
                   r"lip=172\.28\.45\.212, mpid=\d+, session=<\S+>$")


@case("003-tls", "ssl = required: STARTTLS on 143 and TLS on 993 let in, clear text on either does not")
def _(world):
    begin(world, dovecot="secure")
    assert listening(143) and listening(993)
    client = world.imap("exthost")
    client.command("STARTTLS", r"OK Begin TLS negotiation now\.")
    client.start_tls()
    client.login(site.USER, site.PASSWORD)
    client.command("logout")
    client = world.imap_user()
    client.command("logout")
    assert len(world.journal.find_all(r"imap-login: Login: .* rip=198\.51\.100\.10, .*, TLS, session=")) == 2
    client = world.network.connect(993, "exthost")
    client.sendall(b"a LOGIN %s %s\r\n" % (site.USER.encode(), site.PASSWORD.encode()))
    try:
        assert b"OK" not in client.recv(100)
    except ConnectionError:
        pass
    world.wait_log(r"^dovecot: imap-login: Disconnected: Connection closed: .*TLS handshaking: .*session=<\S+>$")


@case("003-queue", "Test H waits for the socket: a log line, mailq, postqueue -j; postconf shows what is set")
def _(world):
    system = begin(world, "virtual", "secure")
    queue_id = world.send(data=b"Test H")
    world.wait_log(r"^postfix/qmgr\[\d+\]: " + queue_id + r": from=<extuser@extdomain\.test>, size=\d+, nrcpt=1 \(queue active\)$")
    world.wait_log(r"^postfix/lmtp\[\d+\]: " + queue_id + r": to=<mailuser@maildomain\.test>, relay=none, delay=[\d.]+, delays=[\d./]+, "
                   r"dsn=4\.4\.1, status=deferred \(connect to mailhost\.maildomain\.test\[private/dovecot-lmtp\]: No such file or directory\)$")
    wait_until(lambda: "No such file" in system.queue(), "the reason in mailq")
    assert re.fullmatch(r"-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
                        + queue_id + r" +\d+ \w{3} \w{3} [ \d]\d [\d:]{8}  extuser@extdomain\.test\n"
                        r" *\(connect to mailhost\.maildomain\.test\[private/dovecot-lmtp\]: No such file or directory\)\n"
                        r" {41}mailuser@maildomain\.test\n\n-- \d+ Kbytes in 1 Request\.\n", system.queue()), system.queue()
    assert '"queue_name": "deferred", "queue_id": "%s"' % queue_id in run("postqueue", "-j")
    assert run("postconf", "virtual_transport", "virtual_mailbox_domains") == (
        "virtual_transport = lmtp:unix:private/dovecot-lmtp\nvirtual_mailbox_domains = maildomain.test\n")
    assert not os.path.exists(site.LMTP_SOCKET)


@case("003-sockets", "the LMTP and the auth socket are postfix's alone")
def _(world):
    begin(world, "final", "final")
    for path in (site.LMTP_SOCKET, site.AUTH_SOCKET):
        assert stat.S_ISSOCK(os.stat(path).st_mode) and owner_and_mode(path) == "srw------- postfix postfix", owner_and_mode(path)


@case("003-delivered", "with postmaster_address the mail is delivered: log lines, one file in new/, shown by IMAP")
def _(world):
    begin(world, "virtual", "postmaster")
    queue_id = world.send(data=b"Test I")
    world.wait_log(queue_id + ": removed")
    world.wait_log(r"^dovecot: lmtp\(mailuser@maildomain\.test\)<\d+><\S+>: msgid=unspecified: saved mail to INBOX$")
    world.wait_log(r"^dovecot: lmtp\(\d+\): Disconnect from local: Logged out \(state=READY\)$")
    name, = os.listdir(BOX + "/mail/new")
    size = os.stat(BOX + "/mail/new/" + name).st_size
    assert re.fullmatch(r"\d{10}\.M\d+P\d+\.mailhost,S=%d,W=\d+" % size, name), name
    assert owner_and_mode(BOX + "/mail/new/" + name) == "-rw------- vmail vmail"
    client = world.imap_user()
    assert client.exists() == 1
    line = client.command("FETCH 1 (FLAGS BODY[TEXT])")[0]
    assert line == "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[TEXT] {8}\nTest I\r\n)", line
    client.command("logout")


@case("003-doveadm-pw", "doveadm pw asks twice; its line in users.db lets the same password in")
def _(world):
    site.tutorial_003("virtual", "crypt")
    site.stock_table()
    system = world.begin(start=False)
    again = [("Enter new password: ", "one"), ("Retype new password: ", "other")]
    out = answer("doveadm pw -s SHA512-CRYPT", again + [("Enter new password: ", site.PASSWORD), ("Retype new password: ", site.PASSWORD)])
    found = re.search(r"^\{SHA512-CRYPT\}(\$6\$[./0-9A-Za-z]{16}\$[./0-9A-Za-z]{86})\r?$", out, re.M)
    assert found, out
    assert site.PASSWORD not in out, "the password is echoed"
    site.write("/etc/dovecot/users.db", "%s:%s\n" % (site.USER, found[1]))
    system.start()
    world.imap_user().command("logout")
    client = world.imap("exthost", 993)
    client.command("LOGIN %s wrong" % site.USER, r"NO \[AUTHENTICATIONFAILED\] Authentication failed\.")


@case("003-no-auth-socket", "SASL without its socket: the log says which is missing, and that there are no mechanisms")
def _(world):
    begin(world, "sasl", "crypt")
    client = world.smtp(hello=False)
    try:
        client.line()
        raise AssertionError("greeted")
    except Closed:
        pass
    world.wait_log(r"^postfix/smtpd\[\d+\]: warning: SASL: Connect to Dovecot auth socket 'private/auth' failed: No such file or directory$")
    world.wait_log(r"^postfix/smtpd\[\d+\]: fatal: no SASL authentication mechanisms$")


@case("003-submit", "the three states of sending: AUTH in clear, AUTH in TLS too, AUTH in TLS alone")
def _(world):
    begin(world, "sasl", "final")
    client = world.smtp()
    client.plain(site.USER, site.PASSWORD)
    queue_ids = [client.message(site.USER, ["extuser@extdomain.test"], b"Subject: in clear\r\n\r\nx")]
    client.quit()
    world.change_003("tls", "final")
    for secure in (False, True):
        client = world.smtp()
        if secure:
            client.tls()
        client.plain(site.USER, site.PASSWORD)
        queue_ids.append(client.message(site.USER, ["extuser@extdomain.test"], b"Subject: either\r\n\r\nx"))
        client.quit()
    for queue_id in queue_ids:
        world.wait_log(r"^postfix/smtpd\[\d+\]: " + queue_id + r": client=exthost\.extdomain\.test\[198\.51\.100\.10\], sasl_method=PLAIN, "
                       r"sasl_username=mailuser@maildomain\.test$")
    world.change_003("final", "final")
    client = world.smtp()
    client.plain(site.USER, site.PASSWORD, r"503 5\.5\.1 Error: authentication not enabled|538 .*")
    client.command("MAIL FROM:<%s>" % site.USER, r"250 2\.1\.0 Ok")
    client.command("RCPT TO:<extuser@extdomain.test>", r"554 5\.7\.1 <extuser@extdomain\.test>: Relay access denied")
    client.quit()
    client = world.smtp()
    client.tls()
    client.plain(site.USER, site.PASSWORD)
    client.message(site.USER, ["extuser@extdomain.test", site.USER], b"Subject: in TLS\r\n\r\nx")
    client.quit()
    # The real Postfix finds no extdomain.test and sends the earlier ones back.
    text = wait_until(lambda: next((text for text in world.mails() if text.endswith("\nSubject: in TLS\n\nx\n")), None), "the mail in TLS")
    assert re.search(r"\n\tby mailhost\.maildomain\.test \(Postfix\) with ESMTPSA id \w+", text), text
    # A client outside this machine gets no header that it did not send (local_header_rewrite_clients), logged in or not.
    assert text.endswith("(UTC)\nSubject: in TLS\n\nx\n"), text


@case("003-walk", "the whole way in one life of the machine: every change as the text makes it, mail waiting across them")
def _(world):
    system = begin(world, "virtual", "secure")
    waiting = [world.send(data=b"Test %d" % number) for number in range(3)]
    for queue_id in waiting:
        world.wait_log(queue_id + r": to=<mailuser@maildomain\.test>, relay=none, .*status=deferred")
    for dovecot in ("lmtp", "postmaster", "crypt"):
        world.change_003("virtual", dovecot)
        wait_until(lambda: os.path.exists(site.LMTP_SOCKET), "the LMTP socket")
        world.send(data=b"Subject: %s" % dovecot.encode())
    system.flush()
    texts = world.wait_mails(6)
    assert sorted(text.splitlines()[-1] for text in texts if "\nSubject: " not in text) == ["Test 0", "Test 1", "Test 2"], texts
    wait_until(lambda: system.queue() == "Mail queue is empty\n", "an empty queue")
    for main in ("sasl", "tls", "final"):
        world.change_003(main, "final")
        wait_until(lambda: os.path.exists(site.AUTH_SOCKET), "the auth socket")
        client = world.smtp()
        if main != "sasl":
            client.tls()
        client.plain(site.USER, site.PASSWORD)
        client.message(site.USER, [site.USER], b"Subject: %s\r\n\r\nx" % main.encode())
        client.quit()
    system.flush()      # a restart of Dovecot may have come in the middle of a delivery
    assert len(world.wait_mails(9)) == 9
    client = world.imap_user()
    assert client.exists() == 9
    client.command("logout")
    system.stop()
    wait_until(lambda: not any(listening(port) for port in (25, 143, 993)), "closed ports")
