"""Restriction lists, access tables and what they say: each on a port of its own, with the same words from both targets."""
import re

from cases import case
from lib import site
from lib.system import run

CLIENT = r"exthost.extdomain.test[198.51.100.10]"
TABLE = """198.51.100\tREJECT 5.7.9 Not from here
exthost.extdomain.test\t450 4.7.8 Come again
bad@sender.test\tREJECT
sender2.test\tDEFER
user@\tOK
info@sender3.test\tINFO look at this
class@sender.test\tmine
held@sender.test\tdefer_if_permit Wait a bit
"""
# What stands in the list, the commands that come before RCPT, and the reply to it.
HELO, NOBODY, MAIL = "EHLO exthost.extdomain.test", "MAIL FROM:<>", "MAIL FROM:<a@exthost.extdomain.test>"
UNKNOWN = "MAIL FROM:<a@nowhere.test>"
OK = "250 2.1.5 Ok"
TO = site.USER
ROWS = [
    ("reject", [HELO, NOBODY], "554 5.7.1 <%s>: Recipient address rejected: Access denied" % TO),
    ("defer", [HELO, NOBODY], "450 4.3.2 <%s>: Recipient address rejected: Try again later" % TO),
    ("defer_if_reject,reject", [HELO, NOBODY], "450 4.7.0 <%s>: Recipient address rejected: defer_if_reject requested" % TO),
    ("defer_if_permit,permit", [HELO, NOBODY], "450 4.7.0 <%s>: Recipient address rejected: defer_if_permit requested" % TO),
    ("reject_unknown_client_hostname,permit", [HELO, NOBODY], OK),
    ("reject_unknown_reverse_client_hostname,permit", [HELO, NOBODY], OK),
    ("reject_invalid_helo_hostname", ["HELO a..b", NOBODY], "501 5.5.2 <a..b>: Helo command rejected: Invalid name"),
    ("reject_invalid_helo_hostname", ["HELO [a]", NOBODY], "501 5.5.2 <[a]>: Helo command rejected: invalid ip address"),
    ("reject_invalid_helo_hostname", ["HELO [198.51.100.10]", NOBODY], OK),
    ("reject_non_fqdn_helo_hostname", ["HELO host", NOBODY], "504 5.5.2 <host>: Helo command rejected: need fully-qualified hostname"),
    ("reject_unknown_helo_hostname", ["HELO nowhere.test", NOBODY], "450 4.7.1 <nowhere.test>: Helo command rejected: Host not found"),
    ("reject_unknown_helo_hostname", [HELO, NOBODY], OK),
    ("reject_unknown_sender_domain", [HELO, UNKNOWN], "450 4.1.8 <a@nowhere.test>: Sender address rejected: Domain not found"),
    ("reject_unknown_sender_domain", [HELO, MAIL], OK),
    ("reject_unknown_sender_domain", [HELO, NOBODY], OK),
    ("reject_unknown_recipient_domain", [HELO, NOBODY], OK),
    ("reject_non_fqdn_sender", [HELO, "MAIL FROM:<a@b>"], "504 5.5.2 <a@b>: Sender address rejected: need fully-qualified address"),
    ("reject_plaintext_session", [HELO, NOBODY], "450 4.7.1 Session encryption is required"),
    ("reject_unlisted_sender", [HELO, "MAIL FROM:<nobody-here@mailhost.maildomain.test>"],
     "550 5.1.0 <nobody-here@mailhost.maildomain.test>: Sender address rejected: User unknown in local recipient table"),
    ("check_client_access hash:/etc/postfix/access", [HELO, NOBODY], "450 4.7.8 <%s>: Client host rejected: Come again" % CLIENT),
    ("check_client_access texthash:/etc/postfix/nets", [HELO, NOBODY], "554 5.7.9 <%s>: Client host rejected: Not from here" % CLIENT),
    ("check_helo_access hash:/etc/postfix/access", [HELO, NOBODY],
     "450 4.7.8 <exthost.extdomain.test>: Helo command rejected: Come again"),
    ("check_sender_access hash:/etc/postfix/access", [HELO, "MAIL FROM:<bad@sender.test>"],
     "554 5.7.1 <bad@sender.test>: Sender address rejected: Access denied"),
    ("check_sender_access hash:/etc/postfix/access", [HELO, "MAIL FROM:<a@x.sender2.test>"],
     "450 4.7.1 <a@x.sender2.test>: Sender address rejected: Access denied"),
    ("check_sender_access hash:/etc/postfix/access,reject", [HELO, "MAIL FROM:<user@else.test>"], OK),
    ("check_sender_access hash:/etc/postfix/access", [HELO, "MAIL FROM:<class@sender.test>"],
     "450 4.3.2 <class@sender.test>: Sender address rejected: Try again later"),
    ("check_sender_access hash:/etc/postfix/access", [HELO, "MAIL FROM:<held@sender.test>"],
     "450 4.7.1 <held@sender.test>: Sender address rejected: Wait a bit"),
    ("reject_rbl_client blocklist.test", [HELO, NOBODY],
     "554 5.7.1 Service unavailable; Client host [198.51.100.10] blocked using blocklist.test; listed for a test"),
    ("reject_rbl_client blocklist.test=127.0.0.[4;6..9]", [HELO, NOBODY], OK),
    ("permit_inet_interfaces,defer", [HELO, NOBODY], "450 4.3.2 <%s>: Recipient address rejected: Try again later" % TO),
    ("mine", [HELO, NOBODY], "450 4.3.2 <%s>: Recipient address rejected: Try again later" % TO),
]
MORE = "smtpd_restriction_classes = mine\nmine = defer\n"
PORT = 2501


def rows(parameter, lists):
    """One listener for each list, from PORT on."""
    row = "%d inet n - y - - smtpd\n  -o { %s = %s }\n"
    return "".join(row % (PORT + number, parameter, text) for number, text in enumerate(lists))


def begin(world, parameter, lists, more=MORE):
    site.tutorial_003(more_main=more)
    site.write("/etc/postfix/access", TABLE)
    site.write("/etc/postfix/nets", "198.51.100 REJECT 5.7.9 Not from here\n")
    site.write("/etc/postfix/master.cf", site.MASTER + rows(parameter, lists))
    world.begin(start=False)
    run("postmap", "hash:/etc/postfix/access")
    world.system.start()


def said(world, number, commands):
    """The last line of the reply to the last of `commands`."""
    client = world.smtp(port=PORT + number, hello=False)
    client.reply()
    for command in commands:
        client.send(command)
        line = client.reply()[-1]
    client.command("QUIT", "221 .*")
    return line


@case("smtpd-restrictions", "restrictions and access tables refuse in Postfix's words, and log them")
def _(world):
    begin(world, "smtpd_recipient_restrictions", [row[0] for row in ROWS])
    wrong = []
    for number, (restriction, commands, expected) in enumerate(ROWS):
        line = said(world, number, commands + ["RCPT TO:<%s>" % TO])
        if line != expected:
            wrong.append("%s %s: %r" % (restriction, commands, line))
    assert not wrong, "\n".join(wrong)
    world.wait_log(r"NOQUEUE: reject: RCPT from %s: 450 4\.1\.8 <a@nowhere\.test>: Sender address rejected: Domain not found; "
                   r"from=<a@nowhere\.test> to=<%s> proto=ESMTP helo=<exthost\.extdomain\.test>$" % (re.escape(CLIENT), TO))


TUTORIAL_002 = """smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname
smtpd_sender_restrictions = reject_unknown_sender_domain
smtpd_recipient_restrictions = permit_mynetworks,
                               permit_sasl_authenticated,
                               reject_unknown_recipient_domain,
                               reject_unauth_pipelining,
                               reject_unauth_destination
"""
TUTORIAL_001 = """smtpd_helo_required = yes
smtpd_recipient_restrictions =
  reject_unknown_recipient_domain,
  reject_non_fqdn_recipient,
  permit_mynetworks,
  reject_unauth_destination
"""


@case("smtpd-tutorial-002", "tutorial 002's restrictions: HELO, sender and recipient are checked against syntax and DNS")
def _(world):
    site.tutorial_003(more_main=TUTORIAL_002)
    world.begin()
    client = world.smtp(hello=False)
    client.reply()
    client.command(NOBODY, r"503 5\.5\.1 Error: send HELO/EHLO first")
    client.command("HELO a..b", "250 .*")
    client.command(NOBODY, "250 .*")
    client.command("RCPT TO:<%s>" % TO, r"501 5\.5\.2 <a\.\.b>: Helo command rejected: Invalid name")
    client.command(HELO, "250 .*")
    client.command(UNKNOWN, "250 .*")
    client.command("RCPT TO:<%s>" % TO, r"450 4\.1\.8 <a@nowhere\.test>: Sender address rejected: Domain not found")
    client.command("RSET", "250 .*")
    client.command(MAIL, "250 .*")
    client.command("RCPT TO:<a@nowhere.test>", r"450 4\.1\.2 <a@nowhere\.test>: Recipient address rejected: Domain not found"
                   r"|554 5\.7\.1 <a@nowhere\.test>: Relay access denied")
    client.command("RCPT TO:<%s>" % TO, "250 .*")
    client.content(b"Subject: checked\r\n\r\nx")
    client.quit()
    world.wait_mails(1)


@case("smtpd-tutorial-001", "tutorial 001's restrictions: a recipient without a domain is refused, one of ours is taken")
def _(world):
    site.tutorial_003(more_main=TUTORIAL_001 + "smtpd_relay_restrictions =\n")
    world.begin()
    client = world.smtp()
    client.command(MAIL, "250 .*")
    client.command("RCPT TO:<root>", r"504 5\.5\.2 <root>: Recipient address rejected: need fully-qualified address")
    client.command("RCPT TO:<a@nowhere.test>", r"450 4\.1\.2 <a@nowhere\.test>: Recipient address rejected: Domain not found")
    client.command("RCPT TO:<a@exthost.extdomain.test>", r"554 5\.7\.1 <a@exthost\.extdomain\.test>: Relay access denied")
    client.command("RCPT TO:<%s>" % TO, "250 .*")
    client.quit()


@case("smtpd-login-maps", "a user may not send under the address of another")
def _(world):
    lists = "smtpd_sender_login_maps = inline:{ owned@maildomain.test=other, %s=%s }\n" % (site.USER, site.USER)
    site.tutorial_003(more_main=lists + "smtpd_sender_restrictions = reject_sender_login_mismatch\n")
    world.begin()
    client = world.smtp()
    client.command("MAIL FROM:<owned@maildomain.test>", "250 .*")
    client.command("RCPT TO:<%s>" % TO, r"553 5\.7\.1 <owned@maildomain\.test>: Sender address rejected: not logged in")
    client.command("RSET", "250 .*")
    client.tls()
    client.plain(site.USER, site.PASSWORD)
    client.command("MAIL FROM:<owned@maildomain.test>", "250 .*")
    client.command("RCPT TO:<%s>" % TO, r"553 5\.7\.1 <owned@maildomain\.test>: Sender address rejected: "
                   r"not owned by user mailuser@maildomain\.test")
    client.command("RSET", "250 .*")
    client.message(site.USER, [TO], b"Subject: mine\r\n\r\nx")
    client.quit()
    world.wait_mails(1)
