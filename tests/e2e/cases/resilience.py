"""Reload, crash and kill while mail flows: nothing acknowledged is lost, nobody is refused."""
import collections
import contextlib
import os
import random
import re
import signal
import time

from cases import case
from lib import site
from lib.load import Load
from lib.system import kill, run, wait_until

USERS = 5


def loaded(world, sessions, patient, users=USERS, messages=None, **options):
    system = world.tutorial_003(count=users, **options)
    load = Load(world, ["user%d@%s" % (number, site.DOMAIN) for number in range(users)], patient)
    load.start(sessions, messages)
    return system, load


@case("reload-under-load", "reload while connections come: none refused, none broken, nothing lost")
def _(world):
    system, load = loaded(world, sessions=4, patient=True)
    reader = world.imap_user()
    for _ in range(6):
        time.sleep(0.5)
        system.reload()
    time.sleep(0.5)
    load.stop()
    assert len(load.acknowledged) > 20, "hardly any load: %d" % len(load.acknowledged)
    if world.target == "ours":      # Postfix's own reload drops a connection now and then
        assert not load.trouble, dict(load.trouble)
        reader.command("NOOP")      # a session of before the first reload still works
    doubled = load.check(60)
    world.notes.append("%d messages, %d twice" % (len(load.acknowledged), doubled))
    # A reload of the real Postfix ends its agents, in the middle of a delivery, too.
    assert world.target != "ours" or doubled == 0, doubled


@case("reload-broken", "a broken dovecot.conf is refused and leaves everything as it was", targets=("ours",))
def _(world):
    system = world.tutorial_003()
    site.write("/etc/dovecot/dovecot.conf", site.DOVECOT["final"] + "service imap-login {\n")
    try:
        system.reload()
    except Exception as refused:
        world.notes.append(str(refused).strip()[-200:])
    world.send()
    world.wait_mails(1)
    world.imap_user().command("LOGOUT")


@case("kill-each", "every worker is killed once while mail flows; it is replaced, and what was acknowledged arrives", targets=("ours",), limit=240)
def _(world):
    system, load = loaded(world, sessions=3, patient=True)
    wait_until(lambda: len(load.acknowledged) > 10, "some mail")
    world.imap_user()
    killed = []
    for program in sorted(set(system.workers().values())):
        for pid, name in system.workers().items():
            if name == program and kill(pid):
                killed.append(program)
        before = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) > before + 5, "mail to flow again after %s was killed; trouble: %r"
                   % (program, dict(load.trouble)), 30)
    load.stop()
    doubled = load.check(90)
    world.imap_user().command("LOGOUT")
    world.notes.append("killed %s; %d messages, %d twice, trouble %r" % (killed, len(load.acknowledged), doubled, dict(load.trouble)))
    # A copy too many is allowed for what was in flight at a kill: at most the deliveries of one moment for each.
    assert doubled <= 20 * len(killed), doubled


STORM_MESSAGES, STORM_KILLS, STORM_SECONDS = 5000, 100, 120


def lived(pid, seconds):
    """Whether a process has run for so long."""
    try:
        with open("/proc/%d/stat" % pid) as stat, open("/proc/uptime") as uptime:
            started = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
            return float(uptime.read().split()[0]) - started > seconds
    except FileNotFoundError:
        return False


@case("kill-storm", "20 sessions send to 100 users, 5,000 messages or more, while 100 random workers are killed", targets=("ours",),
      long=True, limit=900)
def _(world):
    system, load = loaded(world, sessions=20, patient=True, users=100)
    chance, killed, began = random.Random(20), collections.Counter(), time.monotonic()
    def enough():
        return len(load.acknowledged) >= STORM_MESSAGES and sum(killed.values()) >= STORM_KILLS

    while not enough() and time.monotonic() - began < STORM_SECONDS:
        time.sleep(0.2)
        workers = [(pid, program) for pid, program in system.workers().items() if lived(pid, 2) or chance.random() < 0.01]
        if workers:
            pid, program = chance.choice(sorted(workers))
            killed[program] += kill(pid)
    load.stop(90)
    doubled = load.check(300)
    world.notes.append("%d killed: %s" % (sum(killed.values()), ", ".join("%s %d" % pair for pair in sorted(killed.items()))))
    world.notes.append("%d acknowledged in %d s, %d twice, %d refused or broken: %r" % (
        len(load.acknowledged), time.monotonic() - began, doubled, sum(load.trouble.values()), load.trouble.most_common(5)))
    assert {"cleanup", "qmgr", "smtpd", "deliver"} <= set(killed), killed
    assert len(load.acknowledged) > STORM_MESSAGES / 5, "hardly any mail was taken: %d" % len(load.acknowledged)
    wait_until(lambda: system.queue() == "Mail queue is empty\n", "an empty queue", 120)


def taken(world, data):
    try:
        return world.send(data=data)
    except AssertionError:
        return None


@case("full-disk", "a full queue disk: 452, what was taken survives the death of its keepers, and mail flows when there is room", targets=("ours",))
def _(world):
    spool, filler = "/var/spool/posthorn", "/var/spool/posthorn/filler"
    os.makedirs(spool, exist_ok=True)
    # The journal takes 64 MiB of it.
    run("mount", "-t", "tmpfs", "-o", "size=112m,mode=755", "tmpfs", spool)
    system = world.tutorial_003()
    world.send(data=b"Subject: before\r\n\r\n")
    world.wait_mails(1)
    stuck = [pid for pid, name in system.workers().items() if name in ("lmtp", "deliver")]
    for pid in stuck:
        os.kill(pid, signal.SIGSTOP)
    try:
        world.send(data=b"Subject: taken\r\n\r\n")
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))
        client = world.smtp()
        for size in (10, 600000):
            client.command("MAIL FROM:<a@extdomain.test>", r"250 2\.1\.0 Ok")
            client.command("RCPT TO:<%s>" % site.USER, r"250 2\.1\.5 Ok")
            client.content(b"Subject: refused\r\n\r\n" + (b"x" * 70 + b"\r\n") * (size // 70) + b"end", r"452 4\.3\.1 Insufficient system storage")
        world.wait_log("no queue file: .*No space left on device")
        for pid, name in system.workers().items():
            if name in ("cleanup", "qmgr"):
                kill(pid)
    finally:
        for pid in stuck:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: any("Subject: taken" in mail for mail in world.mails()), "the message that was taken", 40)
    os.unlink(filler)
    # As any sender, this one comes again when it is told to: cleanup has only just been replaced.
    wait_until(lambda: taken(world, b"Subject: after\r\n\r\n"), "a message to be taken")
    wait_until(lambda: any("Subject: after" in mail for mail in world.mails()), "mail after the disk has room again", 40)
    assert not any("Subject: refused" in mail for mail in world.mails())


@case("backlog", "1,500 messages wait for an LMTP server that is stuck, and none is put off when it goes on", targets=("ours",), limit=180)
def _(world):
    system = world.tutorial_003(count=USERS)
    world.send(("user0@" + site.DOMAIN,))
    world.wait_mails(1, "user0@" + site.DOMAIN)
    stuck = [pid for pid, name in system.workers().items() if name in ("lmtp", "deliver")]
    for pid in stuck:
        os.kill(pid, signal.SIGSTOP)
    try:
        load = Load(world, ["user%d@%s" % (number, site.DOMAIN) for number in range(USERS)], patient=False)
        load.start(4, 1500)
        load.join(90)
    finally:
        for pid in stuck:
            os.kill(pid, signal.SIGCONT)
    assert len(load.acknowledged) == 1500, (len(load.acknowledged), dict(load.trouble))
    assert load.check(60) == 0
    assert not re.search(r"warning: channel|status=deferred", "\n".join(world.journal.lines)), "a channel broke or mail was put off"


@case("stop-and-start", "what was taken before a stop is delivered after the next start")
def _(world):
    system, load = loaded(world, sessions=3, patient=True)
    wait_until(lambda: len(load.acknowledged) > 20, "some mail")
    system.stop()
    load.stop()
    assert world.target != "ours" or not system.workers(), system.workers()
    system.start()
    load.check(60)


@case("master-killed", "after SIGKILL to the master no worker stays, and the next start delivers what was taken", targets=("ours",))
def _(world):
    system, load = loaded(world, sessions=3, patient=True)
    wait_until(lambda: len(load.acknowledged) > 20, "some mail")
    master = system.master()
    kill(master)
    load.stop()
    wait_until(lambda: not system.workers(), "the end of all workers")
    system.start()
    load.check(60)


@case("log-service-dead", "a dead or stuck log service stops no mail", targets=("ours",))
def _(world):
    world.tutorial_003()
    os.unlink("/dev/log")
    for _ in range(3):
        world.send()
    world.wait_mails(3)
