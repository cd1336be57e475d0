"""Line-protocol clients: each checks every reply against what the caller expects and keeps the dialogue."""
import base64
import re
import ssl


def client_context():
    """TLS that takes any certificate: the tests' own is self-signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Closed(Exception):
    """The server closed the connection."""


class Chat:
    """One connection, line by line. `record` is a list that the dialogue is added to."""

    def __init__(self, connection, record, timeout=20):
        self.socket, self.record, self.pending = connection, record, b""
        self.socket.settimeout(timeout)

    def send(self, data):
        """Sends bytes as they are, or a string as a line."""
        data = data.encode() + b"\r\n" if isinstance(data, str) else data
        self.record.append("C: " + data[:2000].decode("latin-1").rstrip("\r\n"))
        self.socket.sendall(data)

    def fill(self):
        try:
            data = self.socket.recv(1 << 16)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        if not data:
            self.record.append("S: [closed]")
            raise Closed()
        self.pending += data

    def line(self):
        """The next line without its end, which must be CRLF."""
        while b"\n" not in self.pending:
            self.fill()
        line, self.pending = self.pending.split(b"\n", 1)
        assert line.endswith(b"\r"), "a line that ends in a bare LF: %r" % line
        text = line[:-1].decode("utf-8", "replace")
        self.record.append("S: " + text)
        return text

    def octets(self, count):
        while len(self.pending) < count:
            self.fill()
        data, self.pending = self.pending[:count], self.pending[count:]
        return data

    def expect(self, pattern):
        line = self.line()
        assert re.fullmatch(pattern, line), "expected %r, got %r" % (pattern, line)
        return line

    def expect_closed(self):
        try:
            line = self.line()
        except Closed:
            return
        raise AssertionError("expected the connection to be closed, got %r" % line)

    def start_tls(self):
        assert not self.pending, "answered before TLS: %r" % self.pending
        self.socket = client_context().wrap_socket(self.socket)
        self.record.append("--- %s %s" % (self.socket.version(), self.socket.cipher()[0]))

    def close(self):
        self.socket.close()


class Smtp(Chat):
    """SMTP, and LMTP."""

    def reply(self):
        """All lines of one reply."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return lines

    def command(self, line, pattern):
        """Sends `line`; the last line of the reply must be `pattern` as a whole."""
        self.send(line)
        lines = self.reply()
        assert re.fullmatch(pattern, lines[-1]), "after %.80r expected %r, got %r" % (line, pattern, lines)
        return lines

    def hello(self, name="exthost.extdomain.test"):
        assert re.fullmatch(r"220 .*", self.reply()[-1])
        return self.command("EHLO " + name, "250 .*")

    def tls(self, name="exthost.extdomain.test"):
        self.command("STARTTLS", r"220 2\.0\.0 Ready to start TLS")
        self.start_tls()
        return self.command("EHLO " + name, "250 .*")

    def plain(self, user, password, pattern=r"235 2\.7\.0 Authentication successful"):
        token = base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode()
        return self.command("AUTH PLAIN " + token, pattern)

    def content(self, data, pattern=r"250 2\.0\.0 Ok: queued as (\w+)"):
        """DATA with these bytes (lines already end in CRLF); returns what the pattern's group caught."""
        self.command("DATA", r"354 .*")
        self.send(data + b"\r\n.\r\n")
        line = self.reply()[-1]
        match = re.fullmatch(pattern, line)
        assert match, "after the message expected %r, got %r" % (pattern, line)
        return match[1] if match.groups() else line

    def message(self, sender, recipients, data):
        """A whole transaction; returns the queue ID."""
        self.command("MAIL FROM:<%s>" % sender, r"250 2\.1\.0 Ok")
        for recipient in recipients:
            self.command("RCPT TO:<%s>" % recipient, r"250 2\.1\.5 Ok")
        return self.content(data)

    def quit(self):
        self.command("QUIT", r"221 2\.0\.0 .*")
        self.close()


class Imap(Chat):
    """IMAP: a response is a list of lines, a literal within stands behind the line that announced it."""

    def response_line(self):
        line = self.line()
        while literal := re.search(r"\{(\d+)\}$", line):
            line += "\n" + self.octets(int(literal[1])).decode("utf-8", "replace") + self.line()
        return line

    def command(self, line, result=r"OK .*"):
        """Sends `a LINE` and returns all lines up to the tagged one, which must go on with `result`."""
        self.send("a " + line)
        lines = []
        while not lines or not lines[-1].startswith("a "):
            lines.append(self.response_line())
        assert re.fullmatch("a " + result, lines[-1], re.S), "after %r expected %r, got %r" % (line, result, lines)
        return lines

    def greeting(self):
        return self.expect(r"\* OK \[CAPABILITY IMAP4rev1 .*\] .*")

    def login(self, user, password):
        return self.command("LOGIN %s %s" % (user, password), r"OK \[CAPABILITY IMAP4rev1 .*\] Logged in")

    def append(self, mailbox, data, flags=""):
        self.send("a APPEND %s %s{%d}" % (mailbox, flags, len(data)))
        self.expect(r"\+ .*")
        self.send(data + b"\r\n")
        return self.command_tail(r"OK .*")

    def command_tail(self, result):
        while not (line := self.response_line()).startswith("a "):
            pass
        assert re.fullmatch("a " + result, line, re.S), line
        return line

    def exists(self, mailbox="INBOX"):
        """Selects a mailbox; returns how many messages it has."""
        return next(int(line.split()[1]) for line in self.command("SELECT " + mailbox) if line.endswith(" EXISTS"))
