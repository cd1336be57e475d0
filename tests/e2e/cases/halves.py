"""Either half alone, and beside the other real program."""
import imaplib

from cases import case
from lib import site
from lib.chat import client_context
from lib.system import wait_until

LISTENERS = "/proc/net/tcp"


def listening(port):
    """Whether a TCP socket listens on that port, over IPv4 or IPv6."""
    for path in (LISTENERS, LISTENERS + "6"):
        with open(path) as table:
            for line in list(table)[1:]:
                _, local, _, state = line.split()[:4]
                if state == "0A" and int(local.rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def road(world):
    """One message all the way, an unknown user, a submission and a login."""
    world.send()
    assert "hello" in world.wait_mails(1)[0]
    queue_id = world.send(["nobody@maildomain.test"], sender=site.USER)
    world.wait_log(queue_id + r": to=<nobody@maildomain\.test>, .*dsn=5\.1\.1, status=bounced")
    client = world.smtp()
    client.tls()
    client.plain(site.USER, "wrong", r"535 5\.7\.8 Error: authentication failed:.*")
    client.plain(site.USER, site.PASSWORD)
    client.message(site.USER, [site.USER], b"Subject: submitted\r\n\r\nx")
    client.quit()
    wait_until(lambda: any("Subject: submitted" in text for text in world.mails()), "the submitted message")
    reader = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=client_context(), timeout=20)
    reader.login(site.USER, site.PASSWORD)
    assert int(reader.select()[1][0]) >= 2
    reader.logout()


@case("half-transport-alone", "without dovecot.conf only the transport half runs")
def _(world):
    site.tutorial_003("virtual")
    world.begin(mailbox=None)
    queue_id = world.send()
    world.wait_log(queue_id + r": to=<mailuser@maildomain\.test>, relay=none, .*status=deferred")
    assert listening(25) and not listening(143) and not listening(993)


@case("half-mailbox-alone", "without main.cf and master.cf only the mailbox half runs")
def _(world):
    site.tutorial_003()
    world.begin(transport=None)
    client = world.lmtp()
    client.command("MAIL FROM:<a@extdomain.test>", r"250 2\.1\.0 .*")
    client.command("RCPT TO:<%s>" % site.USER, r"250 2\.1\.5 .*")
    client.command("RCPT TO:<nobody@maildomain.test>", r"550 5\.1\.1 <nobody@maildomain\.test> User doesn't exist: nobody@maildomain\.test")
    client.content(b"Subject: by hand\r\n\r\nx", r"250 2\.0\.0 <mailuser@maildomain\.test> \S+ Saved")
    client.quit()
    reader = world.imap_user()
    assert reader.exists() == 1
    assert listening(143) and listening(993) and not listening(25)


@case("half-peer-transport", "the real Postfix delivers to our LMTP socket and authenticates at our auth socket", targets=("ours",))
def _(world):
    site.tutorial_003()
    world.begin(transport="peer")
    road(world)


@case("half-peer-mailbox", "our transport delivers to the real Dovecot's LMTP socket and authenticates at its auth socket", targets=("ours",))
def _(world):
    site.tutorial_003()
    world.begin(mailbox="peer")
    road(world)


@case("half-both", "the whole road with both halves of one kind")
def _(world):
    world.tutorial_003()
    road(world)


@case("half-maildir-moves", "what one mailbox half leaves behind the other reads: UIDs, flags and keywords", targets=("ours",))
def _(world):
    site.tutorial_003()
    world.begin(transport=None, mailbox="peer")
    before = mailbox_state(world, write=True)
    world.system.stop()
    world.begin(transport=None, mailbox="ours")
    assert mailbox_state(world) == before
    world.system.stop()
    world.begin(transport=None, mailbox="peer")
    assert mailbox_state(world) == before


def mailbox_state(world, write=False):
    """UIDVALIDITY and every message's UID, flags and size; `write` puts three messages and some flags there first."""
    wait_until(lambda: listening(993), "port 993")
    client = world.imap_user()
    if write:
        for number in range(3):
            client.append("INBOX", b"Subject: %d\r\n\r\nx\r\n" % number)
    lines = client.command("SELECT INBOX")
    validity = next(line for line in lines if "UIDVALIDITY" in line)
    if write:
        client.command(r"STORE 1 +FLAGS (\Seen $Done)")
        client.command(r"STORE 2 +FLAGS (\Deleted)")
        client.command("EXPUNGE")
    state = [line for line in client.command("FETCH 1:* (UID FLAGS RFC822.SIZE)") if line.startswith("* ")]
    client.command("LOGOUT")
    return validity, [line.replace(r" \Recent", "").replace(r"\Recent", "") for line in state]
