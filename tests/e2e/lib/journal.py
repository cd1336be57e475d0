"""The system log of a test: /dev/log, and the one that a chrooted Postfix daemon reaches, into one file."""
import os
import re
import socket
import threading
import time

PATH = "/var/log/mail.log"
SOCKETS = ["/dev/log", "/var/spool/postfix/dev/log"]
FACILITY_MAIL = 2


class Journal:
    """Receives datagrams in threads; `lines` are what came, without time and host, in order."""

    def __init__(self):
        self.lines, self.facilities = [], set()
        for path in SOCKETS:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            receiver.bind(path)
            os.chmod(path, 0o666)
            threading.Thread(target=self.receive, args=(receiver,), daemon=True).start()

    def receive(self, receiver):
        with open(PATH, "a", buffering=1) as file:
            while True:
                text = receiver.recv(65536).decode("utf-8", "replace").rstrip("\n\0")
                found = re.match(r"<(\d+)>(?:\w{3} [ \d]\d \d\d:\d\d:\d\d )?(.*)", text, re.S)
                if not found:
                    continue
                self.facilities.add(int(found[1]) >> 3)
                self.lines.append(found[2])
                file.write("%s mailhost %s\n" % (time.strftime("%b %e %H:%M:%S"), found[2]))

    def find(self, pattern):
        """The first line in which `pattern` is found, as a match; None if there is none."""
        return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

    def find_all(self, pattern):
        return [match for line in list(self.lines) if (match := re.search(pattern, line))]
