"""What is measured. Each function is given a started system and returns figures by name: `…/s` is better when higher, all
others when lower. No wait is without an end: a case that does not get on fails and says how far it came."""
import json
import os
import select
import statistics
import subprocess
import time

from lib import account, network, site
from lib.system import System, run, wait_until

LOAD = os.path.join(os.environ["OURS_BIN"], "bench-load")
RECIPIENTS, SESSIONS, SIZE = 100, 20, 4096
ADDRESS = "127.0.0.1"

# Seconds: for one run of the load client, and for what it sent to be in the Maildirs.
LOAD_LIMIT, DELIVERY_LIMIT = 150, 60

WARM_SESSIONS = 3

# What a good administrator sets for throughput, the same for both.
MAIN = """in_flow_delay = 0
smtpd_client_connection_count_limit = 0
default_process_limit = 700
"""
DOVECOT = """mail_max_userip_connections = 0
service imap-login {
  service_count = 0
  process_min_avail = 2
  client_limit = 2000
}
service imap {
  service_count = 256
  process_limit = 2000
}
service lmtp {
  process_min_avail = 4
}
maildir_very_dirty_syncs = yes
auth_cache_size = 10 M
service auth {
  client_limit = 8000
}
service anvil {
  client_limit = 8000
}
"""


class Bench:
    """A machine with the system running on it, and the tools to load and count."""

    def __init__(self, target, quick, group):
        self.group, self.quick = group, quick
        os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C", HOME="/root")
        site.machine()
        network.Network()
        for index, path in enumerate(("/dev/log", "/var/spool/postfix/dev/log")):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            subprocess.Popen([LOAD, "syslog", "at=" + path, "into=/bench/log.%d" % index])
            wait_until(lambda: os.path.exists(path), path)
        site.tutorial_003(more_main=MAIN + site.PEER_MAIN, more_dovecot=DOVECOT, count=2000)
        self.system = System(target, target)
        run("postalias", "/etc/aliases", check=False)
        self.start()

    def start(self):
        """In a process of its own that joins the group first: the daemons inherit it, the clients do not."""
        child = os.fork()
        if child == 0:
            try:
                if self.group:
                    account.join(self.group)
                self.system.start()
                os._exit(0)
            except BaseException as problem:
                os.write(2, str(problem).encode())
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0, "the system did not start"

    def count(self, full):
        return max(full // 10, 20) if self.quick else full

    def load(self, case, **options):
        """Runs the load client; returns its figures."""
        words = ["%s=%s" % pair for pair in options.items()]
        ended = subprocess.run([LOAD, case, *words], capture_output=True, text=True, timeout=LOAD_LIMIT)
        assert ended.returncode == 0, "%s; %d messages in the Maildirs" % (ended.stderr[-400:].strip(), self.delivered())
        return json.loads(ended.stdout.splitlines()[-1])

    def processor(self):
        return account.processor_seconds(self.group) if self.group else float("nan")

    def delivered(self):
        """Messages in all Maildirs."""
        total = 0
        for number in range(RECIPIENTS):
            for folder in ("new", "cur"):
                try:
                    total += len(os.listdir("/var/vmail/%s/user%d/mail/%s" % (site.DOMAIN, number, folder)))
                except FileNotFoundError:
                    pass
        return total

    def wait_delivered(self, messages):
        """Waits until that many messages are in the Maildirs; there must be no more."""
        try:
            wait_until(lambda: self.delivered() >= messages, "deliveries", DELIVERY_LIMIT)
        except AssertionError:
            queue = run("mailq", check=False).splitlines()[-1:]
            raise AssertionError("%d of %d messages delivered after %d s; mailq: %s" % (self.delivered(), messages, DELIVERY_LIMIT, queue))
        assert self.delivered() == messages, "%d messages became %d" % (messages, self.delivered())

    def fill(self, user, messages):
        """Puts messages into a user's Maildir as any other program would."""
        folder = "/var/vmail/%s/%s/mail" % (site.DOMAIN, user)
        for name in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(folder, name))
        for number in range(messages):
            lines = ["Received: from relay%d.test by mailhost; Sat, 21 Nov 2026 00:00:00 +0000" % number,
                     "From: Some Body <some%d@extdomain.test>" % number, "To: %s@%s" % (user, site.DOMAIN),
                     "Subject: message number %d" % number, "Message-Id: <%d@extdomain.test>" % number,
                     "Date: Sat, 21 Nov 2026 00:00:00 +0000", "", *["The quick brown fox jumps over the lazy dog." for _ in range(80)], ""]
            with open("%s/cur/%d.M%dP1.mailhost:2,S" % (folder, 1700000000 + number, number), "w") as file:
                file.write("\n".join(lines))
        run("chown", "-R", "vmail:vmail", "/var/vmail/" + site.DOMAIN)


def flow(bench, **more):
    """Sends and waits until everything is in the Maildirs: exactly that much."""
    messages = bench.count(5000)
    spent, began = bench.processor(), time.monotonic()
    sent = bench.load("smtp", to=ADDRESS + ":25", sessions=SESSIONS, messages=messages, recipients=RECIPIENTS, size=SIZE, **more)
    bench.wait_delivered(messages)
    seconds, spent = time.monotonic() - began, bench.processor() - spent
    return {"delivered/s": messages / seconds, "accepted/s": sent["per_second"], "CPU ms/message": 1000 * spent / messages,
            "accept median ms": sent["accept_median_ms"], "client cores": sent["client_cores"]}


def deliver_new(bench):
    return flow(bench)


def deliver_kept(bench):
    return flow(bench, keep="yes")


def submission(bench):
    messages = bench.count(2000)
    spent = bench.processor()
    sent = bench.load("smtp", to=ADDRESS + ":25", sessions=SESSIONS, messages=messages, recipients=RECIPIENTS, size=SIZE,
                      user=site.USER, password=site.PASSWORD)
    accepted = bench.processor() - spent
    bench.wait_delivered(messages)
    return {"accepted/s": sent["per_second"], "CPU ms/message": 1000 * accepted / messages, "client cores": sent["client_cores"]}


def latency(bench):
    found = bench.load("latency", to=ADDRESS + ":25", messages=bench.count(300), size=SIZE,
                       maildir="/var/vmail/%s/user0/mail" % site.DOMAIN)
    return {"accept median ms": found["accept_median_ms"], "visible median ms": found["visible_median_ms"],
            "visible p95 ms": found["visible_p95_ms"]}


def logins(bench):
    figures = {}
    for name, port, tls in (("143 plain", 143, "no"), ("993", 993, "yes"), ("143 STARTTLS", 143, "starttls")):
        count = bench.count(3000)
        spent = bench.processor()
        found = bench.load("logins", to="%s:%d" % (ADDRESS, port), sessions=SESSIONS, count=count, recipients=RECIPIENTS,
                           password=site.PASSWORD, tls=tls)
        figures[name + " logins/s"] = found["per_second"]
        figures[name + " CPU ms"] = 1000 * (bench.processor() - spent) / count
    return figures


def fetch(bench):
    messages = bench.count(5000)
    bench.fill("user0", messages)
    figures = {}
    # Cold: no index has ever been written, and each kind of answer is asked for the first time. Warm: later sessions of the
    # same user, each with a process and a connection of its own.
    look = lambda: bench.load("fetch", to=ADDRESS + ":993", user="user0@" + site.DOMAIN, password=site.PASSWORD, expect=messages)
    cold, spent = look(), bench.processor()
    warm = [look() for _ in range(WARM_SESSIONS)]
    for state, found in (("cold", [cold]), ("warm", warm)):
        for name in ("select", "flags", "envelopes", "headers", "bodies", "search"):
            figures["%s %s ms" % (state, name)] = statistics.median(one[name + "_ms"] for one in found)
    figures["warm CPU ms/session"] = 1000 * (bench.processor() - spent) / WARM_SESSIONS
    return figures


def append(bench):
    figures = {}
    for sessions in (1, SESSIONS):
        count, spent = bench.count(500 * min(sessions, 6)), bench.processor()
        found = bench.load("append", to=ADDRESS + ":993", sessions=sessions, count=count, recipients=RECIPIENTS,
                           password=site.PASSWORD, size=SIZE)
        figures["%d sessions, appended/s" % sessions] = found["per_second"]
        figures["%d sessions, CPU ms" % sessions] = 1000 * (bench.processor() - spent) / count
    return figures


def notify(bench):
    found = bench.load("notify", to=ADDRESS + ":993", smtp=ADDRESS + ":25", user="user0@" + site.DOMAIN, password=site.PASSWORD,
                       count=bench.count(100) // 4)
    return {"notify median ms": found["notify_median_ms"], "notify p95 ms": found["notify_p95_ms"]}


def memory(bench):
    assert bench.group, "no control group: memory is not measured"
    time.sleep(2)
    figures = {"at start KiB": account.memory_kib(bench.group)}
    for kind in ("imap", "smtp"):
        before, sessions = account.memory_kib(bench.group), bench.count(500)
        holder = subprocess.Popen([LOAD, "hold", "kind=" + kind, "imap=%s:993" % ADDRESS, "smtp=%s:25" % ADDRESS,
                                   "sessions=%d" % sessions, "recipients=500", "password=" + site.PASSWORD],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = select.select([holder.stdout], [], [], LOAD_LIMIT)[0]
        assert ready and holder.stdout.readline() == "ready\n", "%d %s connections did not open" % (sessions, kind)
        time.sleep(5)
        figures["%s KiB/connection" % kind] = (account.memory_kib(bench.group) - before) / sessions
        holder.stdin.close()
        holder.wait(60)
        time.sleep(3)
    return figures


CASES = {"deliver new connections": deliver_new, "deliver kept connections": deliver_kept, "one at a time": latency,
         "submission TLS AUTH": submission, "IMAP logins": logins, "fetch 5,000": fetch, "append": append, "IDLE": notify,
         "memory": memory}

# What is aimed at: so many times better than the peer (a number), or so much (a string).
AIMS = {("deliver new connections", "delivered/s"): 10, ("deliver new connections", "CPU ms/message"): 12,
        ("deliver kept connections", "delivered/s"): 10, ("deliver kept connections", "CPU ms/message"): 12,
        ("one at a time", "visible median ms"): 3, ("submission TLS AUTH", "accepted/s"): 5,
        ("IMAP logins", "143 plain logins/s"): 3, ("IMAP logins", "993 logins/s"): 3, ("fetch 5,000", "warm envelopes ms"): 4,
        ("fetch 5,000", "warm search ms"): 8, ("append", "1 sessions, appended/s"): 3, ("append", "20 sessions, appended/s"): 3,
        ("IDLE", "notify median ms"): "10 ms", ("memory", "at start KiB"): 1, ("memory", "imap KiB/connection"): "40 KiB",
        ("memory", "smtp KiB/connection"): "40 KiB"}
