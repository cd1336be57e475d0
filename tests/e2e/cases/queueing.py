"""What cleanup, qmgr and bounce make of mail under other settings, as the real ones do."""
import re
import time

from cases import case
from lib import site
from lib.system import wait_until


def header(text):
    """The header of a delivered message below the lines that the road adds."""
    return re.split(r"\n(?=\S)", text.split("\n\n")[0])[4:]


@case("queue-headers", "missing headers are added, unwanted ones dropped, hidden recipients spoken of, stray CRs blanked")
def _(world):
    world.tutorial_003(more_main="always_add_missing_headers = yes\nmessage_drop_headers = x-secret, message-id, bcc\n"
                                 "undisclosed_recipients_header = To: undisclosed-recipients:;\nmessage_strip_characters = \\1\n")
    for data in (b"Subject: a\rb\x01\r\nX-Secret: c\r\nBcc: d@e.test\r\n\r\nx\ry\x01z", b"Message-Id: <1@b.test>\r\ncc: x@y.test\r\n\r\nz"):
        world.send(data=data)
    mails = wait_until(lambda: len(found := world.mails()) == 2 and found, "two messages")
    first, second = sorted(mails, key=lambda text: "cc:" in text)
    names = [field.split(":")[0] for field in header(first)]
    assert names == ["Subject", "Message-Id", "Date", "From", "To"], first
    assert "Subject: a b\n" in first and "\nTo: undisclosed-recipients:;\n\nx yz" in first and "\nFrom: extuser@extdomain.test\n" in first, first
    names = [field.split(":")[0] for field in header(second)]
    assert names == ["cc", "Date", "From"], second


@case("queue-soft-bounce", "soft_bounce keeps what a server refuses")
def _(world):
    system = world.tutorial_003(more_main="soft_bounce = yes\n")
    queue_id = world.send(["nobody@maildomain.test"], sender="mailuser@maildomain.test")
    world.wait_log(queue_id + r": to=<nobody@maildomain\.test>, .*dsn=4\.1\.1, status=SOFTBOUNCE \(host .* said: 550 5\.1\.1 ")
    wait_until(lambda: "User doesn't exist: nobody@maildomain.test" in system.queue(), "the reason in the queue's list")
    assert not world.mails()


@case("queue-delay-warning", "the sender hears of a delay, once, and the postmaster who wants a copy")
def _(world):
    system = world.tutorial_003(more_main="delay_warning_time = 1s\nnotify_classes = delay\n"
                                "delay_notice_recipient = info@maildomain.test\nmaximal_queue_lifetime = 2d\n"
                                "soft_bounce = yes\nbounce_queue_lifetime = 1d\nminimal_backoff_time = 1s\n")
    queue_id = world.send(["nobody@maildomain.test"], sender="mailuser@maildomain.test")
    world.wait_log(queue_id + r": .*status=SOFTBOUNCE")
    for _ in range(3):
        wait_until(lambda: queue_id in system.queue() and queue_id + "*" not in system.queue(), "the end of an attempt")
        time.sleep(1.5)
        system.flush()
    world.wait_log(queue_id + r": sender delay notification: \w+")
    world.wait_log(queue_id + r": postmaster delay notification: \w+")
    warning, = world.wait_mails(1)
    for part in ("Subject: Delayed Mail (still being retried)\n", "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n",
                 "Your message could not be delivered for more than 0 hour(s).\nIt will be retried until it is 2 day(s) old.\n",
                 "\nAction: delayed\nStatus: 4.1.1\n", "\nWill-Retry-Until: ", "Content-Type: text/rfc822-headers\n"):
        assert part in warning, (part, warning)
    assert len(world.journal.find_all(queue_id + r": sender delay notification")) == 1
