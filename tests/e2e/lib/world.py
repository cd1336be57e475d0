"""What a case is given: a machine as the tutorials find it, the system under test, clients, log and mailboxes."""
import glob
import os
import re
import socket

from . import network, site
from .chat import Imap, Smtp
from .journal import Journal
from .system import System, run, wait_until


class Skip(Exception):
    """The case cannot be run here; the text says why."""


class World:
    """`target` is "ours" or "peer"; a case that mixes them says so in `begin`."""

    def __init__(self, target):
        self.target, self.chat, self.notes, self.system = target, [], [], None
        os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C", HOME="/root")
        socket.sethostname("mailhost")
        site.machine()
        self.network, self.journal = network.Network(), Journal()

    def begin(self, transport=True, mailbox=True, start=True):
        """Chooses the halves and starts them. True means the target; "ours", "peer" and None are themselves."""
        choose = lambda half: self.target if half is True else half
        self.system = System(choose(transport), choose(mailbox))
        run("postalias", "/etc/aliases", check=False)
        if self.system.half["transport"] == "peer":
            self.complete_peer()
        if start:
            self.system.start()
        return self.system

    def complete_peer(self):
        """Gives the real Postfix what it needs beside the tutorial's lines."""
        with open("/etc/postfix/main.cf", "r+") as file:
            if not re.search("^(compatibility_level|smtpd_relay_restrictions)", file.read(), re.M):
                file.write(site.PEER_MAIN)

    def tutorial_003(self, main="final", dovecot="final", **options):
        """Files of 003 and both halves running."""
        site.tutorial_003(main, dovecot, **options)
        return self.begin()

    def change_003(self, main="final", dovecot="final"):
        """Another state of 003 while it runs, and what the text says then: a reload of Postfix, a restart of Dovecot."""
        site.tutorial_003(main, dovecot)
        if self.system.half["transport"] == "peer":
            self.complete_peer()
        self.system.restart_mailbox()
        self.system.reload_transport()

    def tutorial_000(self):
        site.tutorial_000()
        system = self.begin(start=False)
        run("postmap", "/etc/postfix/virtual")
        system.start()
        return system

    # ---- clients --------------------------------------------------------------------------------

    def smtp(self, source="exthost", port=25, hello=True):
        client = Smtp(self.network.connect(port, source), self.chat)
        if hello:
            client.hello()
        return client

    def imap(self, source="localhost", port=143, greeting=True):
        client = Imap(self.network.connect(port, source), self.chat)
        if port == 993:
            client.start_tls()
        if greeting:
            client.greeting()
        return client

    def imap_user(self, user=site.USER, password=site.PASSWORD):
        """Logged in on 993."""
        client = self.imap("exthost", 993)
        client.login(user, password)
        return client

    def lmtp(self, path=site.LMTP_SOCKET):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        client = Smtp(connection, self.chat)
        assert client.reply()[-1].startswith("220 ")
        client.command("LHLO test", "250 .*")
        return client

    def send(self, recipients=(site.USER,), data=b"Subject: test\r\n\r\nhello", sender="extuser@extdomain.test", source="exthost"):
        """One message by SMTP; returns its queue ID."""
        client = self.smtp(source)
        queue_id = client.message(sender, list(recipients), data)
        client.quit()
        return queue_id

    # ---- what can be seen -----------------------------------------------------------------------

    def wait_log(self, pattern, timeout=15):
        return wait_until(lambda: self.journal.find(pattern), "the log line /%s/" % pattern, timeout)

    def log_tail(self):
        return "\n".join(self.journal.lines[-60:])

    def maildir(self, user=site.USER):
        name, domain = user.split("@")
        return "/var/vmail/%s/%s/mail" % (domain, name)

    def mails(self, user=site.USER, folder=""):
        """The texts of the messages in a Maildir folder, in order of their names."""
        texts = []
        for path in sorted(glob.glob(os.path.join(self.maildir(user), folder, "[nc]*", "*"))):
            if os.path.basename(os.path.dirname(path)) in ("new", "cur"):
                with open(path, newline="") as file:
                    texts.append(file.read())
        return texts

    def wait_mails(self, count, user=site.USER, timeout=15):
        """Waits until there are that many messages or more, and returns them."""
        return wait_until(lambda: len(found := self.mails(user)) >= count and found, "%d messages for %s" % (count, user), timeout)
