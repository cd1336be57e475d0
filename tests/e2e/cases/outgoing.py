"""Mail to other hosts: which server is chosen, and what the log says of it."""
import ssl

from cases import case
from lib import site
from lib.sink import Sink
from lib.system import wait_until

TO = "somebody@extdomain.test"
TIMES = r"delay=[\d.]+, delays=[\d./]+"


def sink(world, port=25, **options):
    return Sink(world.network.outside_listener(port), **options)


def send(world, to=TO, data=b"Subject: out\r\n\r\nhello\r\n..dot"):
    return world.send([to], data, sender=site.USER, source="localhost")


@case("out-mx", "mail for another domain goes to its mail exchanger")
def _(world):
    world.tutorial_003()
    server = sink(world)
    queue_id = send(world)
    world.wait_log(r"postfix/smtp\[\d+\]: " + queue_id + r": to=<somebody@extdomain\.test>, relay=exthost\.extdomain\.test\[198\.51\.100\.10\]:25, "
                   + TIMES + r", dsn=2\.0\.0, status=sent \(250 2\.0\.0 Ok: queued as SINK\)")
    world.wait_log(queue_id + ": removed")
    assert server.commands[0] == "EHLO mailhost.maildomain.test", server.commands
    assert "MAIL FROM:<mailuser@maildomain.test> SIZE=" in server.commands[1], server.commands
    assert server.messages[0].endswith(b"\r\n\r\nhello\r\n..dot\r\n"), server.messages


@case("out-refused", "an exchanger that does not listen: the mail waits, and is delivered when it does")
def _(world):
    system = world.tutorial_003()
    queue_id = send(world)
    reason = r"connect to exthost\.extdomain\.test\[198\.51\.100\.10\]:25: Connection refused"
    world.wait_log(r"postfix/smtp\[\d+\]: " + reason)
    world.wait_log(queue_id + r": to=<somebody@extdomain\.test>, relay=none, " + TIMES + r", dsn=4\.4\.1, status=deferred \(" + reason + r"\)")
    server = sink(world)
    # The destination is left alone for a while, unless an administrator wants it tried.
    wait_until(lambda: system.flush() or server.messages, "the second attempt")


@case("out-no-domain", "a domain that does not exist goes back to the sender")
def _(world):
    world.tutorial_003()
    queue_id = send(world, "somebody@nosuch.test")
    world.wait_log(queue_id + r": to=<somebody@nosuch\.test>, relay=none, " + TIMES + r", dsn=5\.4\.4, status=bounced \(Host or domain name "
                   r"not found\. Name service error for name=nosuch\.test type=AAAA: Host not found\)")
    bounce, = world.wait_mails(1)
    assert "Name service error for name=nosuch.test type=AAAA: Host not found" in " ".join(bounce.split()), bounce


@case("out-loop", "mail for a domain whose best exchanger we are, but that we do not know, goes back")
def _(world):
    world.tutorial_003()
    queue_id = send(world, "somebody@loop.test")
    world.wait_log(queue_id + r": to=<somebody@loop\.test>, relay=none, " + TIMES + r", dsn=5\.4\.6, status=bounced \(mail for loop\.test "
                   r"loops back to myself\)")


@case("out-second-mx", "a dead exchanger is passed over")
def _(world):
    world.tutorial_003()
    server = sink(world)
    queue_id = send(world, "somebody@two.test")
    world.wait_log(r"postfix/smtp\[\d+\]: connect to dead\.two\.test\[172\.28\.45\.1\]:25: Connection refused")
    world.wait_log(queue_id + r": to=<somebody@two\.test>, relay=exthost\.extdomain\.test\[198\.51\.100\.10\]:25, .*status=sent")
    assert len(server.messages) == 1


@case("out-implicit-mx", "a domain without exchangers is its own")
def _(world):
    world.tutorial_003()
    sink(world)
    queue_id = send(world, "somebody@implicit.test")
    world.wait_log(queue_id + r": to=<somebody@implicit\.test>, relay=implicit\.test\[198\.51\.100\.10\]:25, .*status=sent")


@case("out-relayhost", "relayhost with brackets and port takes everything")
def _(world):
    world.tutorial_003(more_main="relayhost = [exthost.extdomain.test]:2525\n")
    server = sink(world, 2525)
    queue_id = send(world, "somebody@nosuch.test")
    world.wait_log(queue_id + r": to=<somebody@nosuch\.test>, relay=exthost\.extdomain\.test\[198\.51\.100\.10\]:2525, .*status=sent")
    assert len(server.messages) == 1


@case("out-refusals", "what the server says against the recipient, the message or us")
def _(world):
    world.tutorial_003()
    server = sink(world, RCPT="550 5.1.1 no such user")
    said = r"host exthost\.extdomain\.test\[198\.51\.100\.10\] said: "
    queue_id = send(world)
    world.wait_log(queue_id + r": .*dsn=5\.1\.1, status=bounced \(" + said + r"550 5\.1\.1 no such user \(in reply to RCPT TO command\)\)")
    server.replies = {".": "451 4.3.0 later"}
    queue_id = send(world)
    world.wait_log(queue_id + r": .*dsn=4\.3\.0, status=deferred \(" + said + r"451 4\.3\.0 later \(in reply to end of DATA command\)\)")


@case("out-refused-greeting", "a server that refuses to talk to us")
def _(world):
    world.tutorial_003()
    sink(world, greeting="554 5.7.1 go away")
    queue_id = send(world)
    world.wait_log(queue_id + r": to=<somebody@extdomain\.test>, relay=exthost\.extdomain\.test\[198\.51\.100\.10\]:25, " + TIMES +
                   r", dsn=4\.7\.1, status=deferred \(host exthost\.extdomain\.test\[198\.51\.100\.10\] refused to talk to me: 554 5\.7\.1 go away\)")


@case("out-tls-none", "a server's STARTTLS is not used unless smtp_tls_security_level wants it")
def _(world):
    world.tutorial_003()
    server = sink(world, certificate=(site.CERT, site.KEY))
    queue_id = send(world)
    world.wait_log(queue_id + r": .*status=sent")
    assert "STARTTLS" not in server.commands, server.commands


@case("out-tls-may", "smtp_tls_security_level = may: STARTTLS with any certificate")
def _(world):
    world.tutorial_003(more_main="smtp_tls_security_level = may\n")
    server = sink(world, certificate=(site.CERT, site.KEY))
    queue_id = send(world)
    world.wait_log(queue_id + r": .*status=sent")
    words = [command.split(" ")[0] for command in server.commands]
    assert words[:7] == ["EHLO", "STARTTLS", "TLS", "EHLO", "MAIL", "RCPT", "DATA"], words


@case("out-tls-broken", "smtp_tls_security_level = may: a server whose TLS does not work gets no new mail in clear at once")
def _(world):
    world.tutorial_003(more_main="smtp_tls_security_level = may\n")
    def old(context):
        context.maximum_version = ssl.TLSVersion.TLSv1
    server = sink(world, certificate=(site.CERT, site.KEY), tls=old)
    queue_id = send(world)
    world.wait_log(queue_id + r": to=<somebody@extdomain\.test>, relay=exthost\.extdomain\.test\[198\.51\.100\.10\]:25, " + TIMES + r", dsn=4\.7\.5, "
                   r"status=deferred \(Cannot start TLS: handshake failure\)")
    assert server.messages == []


@case("out-tls-encrypt", "smtp_tls_security_level = encrypt: nothing leaves in clear")
def _(world):
    world.tutorial_003(more_main="smtp_tls_security_level = encrypt\n")
    server = sink(world)
    queue_id = send(world)
    world.wait_log(queue_id + r": to=<somebody@extdomain\.test>, relay=exthost\.extdomain\.test\[198\.51\.100\.10\]:25, " + TIMES + r", dsn=4\.7\.4, "
                   r"status=deferred \(TLS is required, but was not offered by host exthost\.extdomain\.test\[198\.51\.100\.10\]\)")
    assert not any(command.startswith("MAIL") for command in server.commands), server.commands


@case("out-7bit", "content in 8 bits becomes quoted-printable for a server without 8BITMIME")
def _(world):
    world.tutorial_003()
    server = sink(world, extensions=("PIPELINING",))
    header = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    queue_id = send(world, data=header + "ä = b \r\n".encode() + b"x" * 80)
    world.wait_log(queue_id + r": .*status=sent")
    assert "MAIL FROM:<mailuser@maildomain.test>" in server.commands, server.commands
    text, = server.messages
    assert text.endswith(b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4 =3D b=20\r\n" + b"x" * 73 + b"=\r\nxxxxxxx\r\n"), text
    assert b"8bit" not in text, text
