"""The system under test: a transport half and a mailbox half, each of them ours or the real one.

`peer` is what Debian installs as postfix and dovecot. Ours is driven by `mailctl -c /etc/posthorn`: that folder holds links
to the classic files of the halves that are ours, and none for the others.
"""
import glob
import os
import pty
import select
import signal
import subprocess
import time

FOLDER = "/etc/posthorn"
SPOOL = "/var/spool/posthorn"
LINKS = {"transport": {"main.cf": "/etc/postfix/main.cf", "master.cf": "/etc/postfix/master.cf"},
         "mailbox": {"dovecot.conf": "/etc/dovecot/dovecot.conf"}}
COMMANDS = {"transport": ["postfix", "postconf", "postmap", "postalias", "postqueue", "postsuper", "postcat", "mailq", "newaliases"],
            "mailbox": ["doveadm", "doveconf", "dovecot"]}


class CommandFailed(Exception):
    """A command ended with another status than 0."""


def run(*command, check=True, timeout=60):
    """Runs a command and returns what it printed. Output goes to a file: a daemon may keep a pipe open."""
    path = "/tmp/output.%d" % time.time_ns()
    with open(path, "w+") as output:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=timeout)
        output.seek(0)
        text = output.read()
    os.unlink(path)
    if check and ended.returncode != 0:
        raise CommandFailed("%s: exit status %d: %s" % (" ".join(command), ended.returncode, text))
    return text


def answer(command, dialogue, timeout=20):
    """Runs a command on a terminal of its own and answers each prompt of `dialogue`; returns all that it showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("sh", ["sh", "-c", command])
    shown, todo, end = "", list(dialogue), time.monotonic() + timeout
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:
                break       # how a terminal says that its other side is closed
            shown += data.decode("utf-8", "replace")
        if todo and todo[0][0] in shown.rsplit("\n", 1)[-1]:
            # A prompt is read with echo off; what is typed before that would be shown.
            time.sleep(0.1)
            os.write(terminal, todo.pop(0)[1].encode() + b"\n")
    else:
        os.kill(child, signal.SIGKILL)
        raise CommandFailed("%s did not end: %r" % (command, shown))
    os.waitpid(child, 0)
    os.close(terminal)
    assert not todo, "the prompt %r did not come: %r" % (todo[0][0], shown)
    return shown


class System:
    """`transport` and `mailbox` are "ours", "peer" or None (that half is not there)."""

    def __init__(self, transport, mailbox):
        self.half = {"transport": transport, "mailbox": mailbox}
        self.control = os.path.join(os.environ["OURS_BIN"], "mailctl")
        ours = [half for half, who in self.half.items() if who == "ours"]
        self.has_ours, self.has_peer_transport, self.has_peer_mailbox = bool(ours), transport == "peer", mailbox == "peer"
        if self.has_ours:
            os.makedirs(FOLDER, exist_ok=True)
            os.makedirs(SPOOL, exist_ok=True)
        for half in ours:
            for name, target in LINKS[half].items():
                os.symlink(target, os.path.join(FOLDER, name))
            for command in COMMANDS[half]:
                os.symlink(self.control, "/usr/local/sbin/" + command)

    def start(self, half=None):
        """Starts both halves (or one of the real ones); returns when they listen."""
        if self.has_ours and half is None:
            run(self.control, "-c", FOLDER, "start")
        if self.has_peer_mailbox and half in (None, "mailbox"):
            run("/usr/sbin/dovecot")
        if self.has_peer_transport and half in (None, "transport"):
            run("/usr/lib/postfix/configure-instance.sh", "-", check=False)
            run("/usr/sbin/postfix", "start")

    def stop(self):
        if self.has_ours:
            run(self.control, "-c", FOLDER, "stop")
        if self.has_peer_transport:
            run("/usr/sbin/postfix", "stop")
        if self.has_peer_mailbox:
            run("/usr/bin/doveadm", "stop")
            wait_until(lambda: not os.path.exists("/run/dovecot/master.pid"), "the end of Dovecot")

    def reload(self):
        if self.has_ours:
            run(self.control, "-c", FOLDER, "reload")
        if self.has_peer_transport:
            self.reload_transport()
        if self.has_peer_mailbox:
            run("/usr/bin/doveadm", "reload")

    def reload_transport(self):
        if self.half["transport"] == "ours":
            run(self.control, "-c", FOLDER, "reload")
        else:
            run("/usr/sbin/postfix", "reload")

    def restart_mailbox(self):
        """What `service dovecot restart` is: for ours, a reload that takes the changed dovecot.conf."""
        if self.half["mailbox"] == "ours":
            run(self.control, "-c", FOLDER, "reload")
        else:
            if os.path.exists("/run/dovecot/master.pid"):
                run("/usr/bin/doveadm", "stop")
                wait_until(lambda: not os.path.exists("/run/dovecot/master.pid"), "the end of Dovecot")
            run("/usr/sbin/dovecot")

    def flush(self):
        run("postqueue", "-f")

    def queue(self):
        """What `mailq` prints."""
        return run("mailq")

    # ---- processes (ours only) ------------------------------------------------------------------

    def processes(self):
        """pid -> program, for every live process of ours."""
        folder, found = os.environ["OURS_BIN"], {}
        for path in glob.glob("/proc/[0-9]*/exe"):
            try:
                program = os.readlink(path).removesuffix(" (deleted)")
            except OSError:
                continue        # it has ended, or it is a kernel thread
            if os.path.dirname(program) == folder:
                found[int(path.split("/")[2])] = os.path.basename(program)
        return found

    def workers(self):
        """pid -> program, without the master and what administrators and benchmarks run."""
        return {pid: program for pid, program in self.processes().items() if program not in ("master", "mailctl", "bench-load")}

    def master(self):
        """The master's pid. The holders of the pid files carry its name, too, and are younger."""
        return min(pid for pid, program in self.processes().items() if program == "master")

    def standins(self):
        """The holders of Postfix's and Dovecot's pid files."""
        master = self.master()
        return [pid for pid, program in self.processes().items() if program == "master" and pid != master]


def kill(pid):
    """SIGKILL; False if it was gone before."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def wait_until(condition, what, timeout=15):
    """Asks `condition` until it returns something true, and returns that."""
    end = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError("waited %d s for %s" % (timeout, what))
        time.sleep(0.02)
    return result
