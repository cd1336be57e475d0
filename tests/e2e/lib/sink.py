"""A mail server out there: takes what it is sent, or refuses it as it is told."""
import ssl
import threading


class Sink:
    """Speaks SMTP to everybody who connects to `listener`. `replies` replaces the reply to a verb (or to the connection, under
    "greeting", and to the end of a message, under "."); `messages` are the contents, `commands` the lines it was given, with
    "TLS" where it began. `certificate` is a file with the key for STARTTLS, `tls` changes the context."""

    def __init__(self, listener, extensions=("PIPELINING", "8BITMIME", "SIZE 10240000"), certificate=None, tls=None, **replies):
        self.replies, self.extensions, self.tls = replies, extensions, None
        self.messages, self.commands, self.connections = [], [], 0
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
            self.extensions += ("STARTTLS",)
        if tls:
            tls(self.tls)
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()

    def serve(self, listener):
        while True:
            connection, _ = listener.accept()
            self.connections += 1
            threading.Thread(target=self.session, args=(connection,), daemon=True).start()

    def session(self, connection):
        file = connection.makefile("rwb")
        say = lambda text: (file.write((text + "\r\n").encode()), file.flush())
        say(self.replies.get("greeting", "220 exthost.extdomain.test ESMTP"))
        while line := file.readline():
            command = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            self.commands.append(command)
            verb = command.split(" ")[0].upper()
            if verb == "STARTTLS":
                say("220 2.0.0 Ready to start TLS")
                try:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                except ssl.SSLError:
                    return
                file = connection.makefile("rwb")
                self.commands.append("TLS")
                continue
            if verb in self.replies:
                say(self.replies[verb])
            elif verb == "EHLO":
                lines = ["exthost.extdomain.test", *self.extensions]
                say("\r\n".join("250%s%s" % ("-" if rest else " ", text) for rest, text in zip(range(len(lines) - 1, -1, -1), lines)))
            elif verb == "DATA":
                say("354 go on")
                self.messages.append(b"".join(iter(file.readline, b".\r\n")))
                say(self.replies.get(".", "250 2.0.0 Ok: queued as SINK"))
            else:
                say("221 2.0.0 Bye" if verb == "QUIT" else "250 2.0.0 Ok")
                if verb == "QUIT":
                    break
        connection.close()
