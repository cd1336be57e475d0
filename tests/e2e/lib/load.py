"""Mail under load, in threads, with an account of what was acknowledged."""
import collections
import threading
import time

from .chat import Closed
from .system import wait_until


class Load:
    """Sessions that send numbered messages. `acknowledged` maps a message's mark to its recipient; what failed is counted.

    A message that was cut off before its reply may have been taken or not: its mark is in `unsure`, and it may arrive."""

    def __init__(self, world, recipients, patient):
        self.world, self.recipients, self.patient = world, recipients, patient
        self.acknowledged, self.unsure, self.trouble = {}, set(), collections.Counter()
        self.lock, self.stopped, self.next = threading.Lock(), threading.Event(), 0
        self.threads = []

    def start(self, sessions, messages=None):
        """`messages` in all, or until `stop`."""
        for _ in range(sessions):
            thread = threading.Thread(target=self.session, args=(messages,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def stop(self, timeout=60):
        self.stopped.set()
        self.join(timeout)

    def join(self, timeout):
        for thread in self.threads:
            thread.join(timeout)
            assert not thread.is_alive(), "a session did not end"

    def take(self, messages):
        with self.lock:
            if self.stopped.is_set() or self.next == messages:
                return None
            self.next += 1
            return self.next

    def session(self, messages):
        """One message a connection: every connection is a chance to be refused."""
        while (number := self.take(messages)) is not None:
            mark, recipient = "mark-%06d-end" % number, self.recipients[number % len(self.recipients)]
            sent = False
            try:
                client = self.world.smtp("localhost")
                client.record = []
                client.command("MAIL FROM:<extuser@extdomain.test>", "250 .*")
                client.command("RCPT TO:<%s>" % recipient, "250 .*")
                client.command("DATA", "354 .*")
                sent = True
                client.send(b"Subject: %s\r\n\r\n%s\r\n.\r\n" % (mark.encode(), b"x" * 500))
                reply = client.reply()[-1]
                assert reply.startswith("250 "), reply
                self.acknowledged[mark] = recipient
                client.quit()
            except (AssertionError, OSError, Closed) as problem:
                if mark in self.acknowledged:
                    continue        # only QUIT was lost
                if sent:
                    self.unsure.add(mark)
                self.trouble["%s: %.100s" % (type(problem).__name__, problem)] += 1
                if not self.patient:
                    raise
                if isinstance(problem, ConnectionRefusedError):
                    time.sleep(0.05)        # nobody listens yet: asking faster would only count that

    def arrived(self):
        """mark -> how many copies are in its recipients' Maildirs."""
        count = collections.Counter()
        for recipient in self.recipients:
            for text in self.world.mails(recipient):
                head = text.split("\n\n", 1)[0]
                at = head.find("Subject: mark-")
                if at >= 0:
                    count[head[at + 9:at + 24]] += 1
        return count

    def check(self, timeout):
        """Waits until everything that was acknowledged has arrived; returns how many came twice."""
        missing = lambda: set(self.acknowledged) - set(self.arrived())
        time.sleep(1)
        if missing():       # what was deferred for a moment need not wait for its next attempt
            self.world.system.flush()
        try:
            wait_until(lambda: not missing(), "all acknowledged messages", timeout)
        except AssertionError:
            lost = sorted(missing())
            raise AssertionError("%d of %d acknowledged messages did not arrive: %s; queue: %s"
                                 % (len(lost), len(self.acknowledged), lost[:5], self.world.system.queue()[-400:]))
        arrived = self.arrived()
        strangers = set(arrived) - set(self.acknowledged) - self.unsure
        assert not strangers, "messages that nobody sent: %s" % sorted(strangers)[:5]
        return sum(1 for copies in arrived.values() if copies > 1)
