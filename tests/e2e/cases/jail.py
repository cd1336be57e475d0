"""What the kernel says of every live process: the jail is read back from /proc, not from our own word."""
import os
import re

from cases import case
from lib import site
from lib.system import SPOOL, run

# The name service needs the system's own root: libc's modules live there.
IN_SYSTEM_ROOT = {"nss"}
# These two share the queue folder through one group; nobody else has any.
SHARE_QUEUE = {"cleanup", "qmgr"}
JAIL = SPOOL + "/jail/"


def status(pid):
    with open("/proc/%d/status" % pid) as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def complaints(pid, program):
    """Every way in which this process is not jailed."""
    found, seen = [], status(pid)
    uids, gids = seen["Uid"].split(), seen["Gid"].split()
    if len(set(uids)) != 1 or uids[0] == "0":
        found.append("uid " + seen["Uid"])
    if len(set(gids)) != 1 or gids[0] == "0":
        found.append("gid " + seen["Gid"])
    if seen["Groups"].split() and program not in SHARE_QUEUE:
        found.append("groups " + seen["Groups"])
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(seen[name], 16) != 0:
            found.append("%s %s" % (name, seen[name]))
    if seen["NoNewPrivs"] != "1":
        found.append("no_new_privs is off")
    if seen["Seccomp"] != "2":
        found.append("no seccomp filter")
    # The kernel gives what belongs to an undumpable process in /proc to root.
    if os.stat("/proc/%d/status" % pid).st_uid != 0:
        found.append("dumpable")
    if program not in IN_SYSTEM_ROOT:
        root = os.readlink("/proc/%d/root" % pid)
        if not root.startswith(JAIL):
            found.append("root directory " + root)
        else:
            within = os.listdir("/proc/%d/root/" % pid)
            if within:
                found.append("its root holds %r" % within)
            owner = os.stat("/proc/%d/root/" % pid)
            if owner.st_uid == int(uids[0]) or owner.st_mode & 0o022:
                found.append("it may write to its root")
    with open("/proc/%d/limits" % pid) as file:
        if not any(line.startswith("Max core file size") and line.split()[4] == "0" for line in file):
            found.append("it may dump core")
    return ["%s (%d): %s" % (program, pid, one) for one in found]


@case("jail-status", "every live worker is jailed, and no two programs share a uid", targets=("ours",))
def _(world):
    system = world.tutorial_003()
    world.send()
    world.wait_mails(1)
    submission = world.smtp()
    submission.tls()
    submission.plain(site.USER, site.PASSWORD)
    reader = world.imap_user()
    reader.exists()
    workers = system.workers()
    programs = set(workers.values())
    for expected in ("smtpd", "cleanup", "qmgr", "smtp", "lmtp", "deliver", "auth", "imap-login", "imap", "tlsmgr", "trivial-rewrite"):
        assert expected in programs, "%s is not among %s" % (expected, sorted(programs))
    found = [one for pid, program in workers.items() for one in complaints(pid, program)]
    assert not found, "; ".join(found)
    owners = {}
    for pid, program in workers.items():
        owners.setdefault(status(pid)["Uid"].split()[0], set()).add(program)
    vmail = str(os.stat("/var/vmail").st_uid)
    shared = {uid: names for uid, names in owners.items() if len(names) > 1 and uid != vmail}
    world.notes.append("uids: " + ", ".join("%s=%s" % (uid, "+".join(sorted(names))) for uid, names in sorted(owners.items())))
    assert not shared, "programs that share a uid: %r" % shared
    master = system.master()
    # Their numbers in <linux/capability.h>.
    needed = dict(CHOWN=0, DAC_OVERRIDE=1, FSETID=4, KILL=5, SETGID=6, SETUID=7, SETPCAP=8, NET_BIND_SERVICE=10, SYS_CHROOT=18,
                  SYS_RESOURCE=24)
    allowed, own = sum(1 << number for number in needed.values()), status(os.getpid())
    for kind, expected in ("CapPrm", allowed), ("CapEff", allowed), ("CapBnd", allowed), ("CapInh", 0), ("CapAmb", 0):
        # Where the test itself lacks one, so does the master.
        assert int(status(master)[kind], 16) == expected & int(own.get(kind if expected else "CapPrm"), 16), (kind, status(master))
    for holder in system.standins():
        assert int(status(holder)["CapEff"], 16) == int(status(holder)["CapBnd"], 16) == 0, status(holder)
    world.notes.append("master: CapPrm %(CapPrm)s CapBnd %(CapBnd)s NoNewPrivs %(NoNewPrivs)s Seccomp %(Seccomp)s" % status(master))


@case("jail-keys", "only tlsmgr has the private key in its memory", targets=("ours",))
def _(world):
    system = world.tutorial_003()
    client = world.smtp()
    client.tls()
    world.imap_user()
    # The first prime as big-number code keeps it (least byte first) and as the file's DER has it, without their ends.
    text = run("openssl", "rsa", "-in", site.KEY, "-noout", "-text")
    digits = re.search(r"prime1:\n((?: +[0-9a-f:]+\n)+)", text)[1]
    prime = bytes.fromhex(re.sub(r"[\s:]", "", digits)).lstrip(b"\0")
    needles = [prime[8:40], prime[::-1][8:40]]
    holders = {program for pid, program in system.workers().items() if any(holds(pid, needle) for needle in needles)}
    assert "tlsmgr" in holders, "the needle is not in tlsmgr: this test sees nothing"
    assert holders == {"tlsmgr"}, holders


def holds(pid, needle):
    """Whether a process has these bytes in any readable private mapping."""
    try:
        maps, memory = open("/proc/%d/maps" % pid), open("/proc/%d/mem" % pid, "rb", buffering=0)
    except FileNotFoundError:
        return False        # it has ended
    with maps, memory:
        for line in maps:
            bounds, permissions = line.split()[:2]
            begin, end = (int(text, 16) for text in bounds.split("-"))
            if "rw" not in permissions or end - begin > 1 << 28:
                continue
            try:
                memory.seek(begin)
                if needle in memory.read(end - begin):
                    return True
            except (OSError, ValueError):
                continue
    return False


# What a worker that has been taken over reaches for. The two mailboxes belong to one account (uid 5000), the third to another.
OWN, OTHER_USER, OTHER_ACCOUNT = ("/var/vmail/maildomain.test/%s/mail/secret" % name for name in ("mailuser", "user0", "apart"))
PASSWORDS, JOURNAL, OUTCOMES = "/etc/dovecot/users.db", SPOOL + "/queue/journal/00", SPOOL + "/queue/outcomes"
REACHED = ["/etc/shadow", site.KEY, PASSWORDS, OWN, OTHER_USER, OTHER_ACCOUNT, JOURNAL, OUTCOMES, "/proc/1/environ"]
# What some must be able to do: their work.
ALLOWED = {
    ("auth", "open " + PASSWORDS), ("cleanup", "open " + JOURNAL), ("qmgr", "open " + OUTCOMES),
    # One process files for all users of an account, and so does the template of their sessions until it has forked.
    ("deliver", "open " + OWN), ("deliver", "open " + OTHER_USER), ("imap", "open " + OWN), ("imap", "open " + OTHER_USER),
    # A session has its own user's mail.
    ("a child", "open " + OWN),
    # The name service lives in the system's root and asks daemons there.
    ("nss", "socket(AF_UNIX)"),
    # They reach the network.
    ("smtp", "socket(AF_INET)"), ("dns", "socket(AF_INET)"),
}
FORBIDDEN = ("Operation not permitted", "Function not implemented")


@case("jail-misbehave", "a worker that misbehaves opens no key, no password, no other service's file and no other user's mail, and "
      "makes no forbidden system call", targets=("ours",), long=True, features="worker/misbehave")
def _(world):
    system = world.tutorial_003(count=1)
    world.send()
    world.wait_mails(1)
    system.stop()
    # All that is reached for exists when the workers begin.
    for path, uid in ((OWN, 5000), (OTHER_USER, 5000), (OTHER_ACCOUNT, 5001)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write("secret")
        home = os.path.dirname(os.path.dirname(path))
        run("chown", "-R", "%d:%d" % (uid, uid), home)
        run("chmod", "-R", "go=", home)
    # The name service sees the system as any account does: what everybody may read is no secret.
    run("chown", "root:dovecot", PASSWORDS)
    run("chmod", "640", PASSWORDS)
    with open("/etc/posthorn-misbehave", "w") as file:
        file.write("\n".join(REACHED))
    assert all(os.path.exists(path) for path in REACHED), REACHED
    began = len(world.journal.lines)
    system.start()
    world.send()
    world.wait_mails(2)
    submission = world.smtp()
    submission.tls()
    submission.plain(site.USER, site.PASSWORD)
    reader = world.imap_user()
    reader.exists()
    world.wait_log("misbehave in a child: end")
    attempts = re.findall(r"misbehave in ([^:]+): (.+?): (.+)", "\n".join(world.journal.lines[began:]))
    places = {place for place, _, _ in attempts}
    for expected in set(system.workers().values()) | {"a child"}:
        assert expected in places, "%s is not among %s" % (expected, sorted(places))
    tried = {what for _, what, _ in attempts}
    assert {"open " + path for path in REACHED} | {"ptrace", "mount", "execve", "bpf", "userfaultfd", "keyctl"} <= tried, tried
    for place in places:
        left_out = tried - {what for other, what, _ in attempts if other == place}
        assert not left_out, "%s has not tried %r" % (place, sorted(left_out))
    done = {(place, what) for place, what, outcome in attempts if outcome == "SUCCEEDED"}
    assert done <= ALLOWED, "these succeeded: %r" % sorted(done - ALLOWED)
    # What the test allows and nobody does would hide a mistake of the test itself.
    own = {("auth", PASSWORDS), ("cleanup", JOURNAL), ("qmgr", OUTCOMES), ("deliver", OWN), ("a child", OWN)}
    assert {(place, "open " + path) for place, path in own} <= done, sorted(done)
    loose = {one for one in attempts if not one[1].startswith("open ") and not one[2].startswith(FORBIDDEN)} - {
        (place, what, "SUCCEEDED") for place, what in ALLOWED}
    assert not loose, "let through by the filter: %r" % sorted(loose)
