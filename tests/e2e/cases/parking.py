"""Quiet IMAP sessions without a process: the client notices nothing."""
import os
import shutil
import time

from cases import case
from lib import site
from lib.system import kill, wait_until

MESSAGE = b"Subject: new\r\n\r\nbody"
MEMORY = 40     # KiB for a connection


def parent(pid):
    """None for one that has ended."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def templates(system):
    """Processes that hold sessions, and those that serve one."""
    imap = {pid: parent(pid) for pid, program in system.workers().items() if program == "imap"}
    return [pid for pid in imap if imap[pid] not in imap], [pid for pid in imap if imap[pid] in imap]


def wait_parked(system):
    wait_until(lambda: not templates(system)[1], "every session to be parked")


def idling(world):
    client = world.imap_user()
    client.exists()
    client.send("a IDLE")
    client.expect(r"\+ idling")
    return client


def memory(pids):
    """KiB of the processes, a page that several share counted once."""
    total = 0
    for pid in pids:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total


@case("parked", "a quiet session has no process until the client speaks or mail comes; a reload changes nothing for it", targets=("ours",))
def _(world):
    system = world.tutorial_003()
    idle, silent = idling(world), world.imap_user()
    silent.exists()
    wait_parked(system)
    world.send(data=MESSAGE)
    idle.expect(r"\* 1 EXISTS")
    idle.expect(r"\* 1 RECENT")
    wait_parked(system)
    assert silent.command("NOOP")[0] == "* 1 EXISTS"
    wait_parked(system)
    system.reload()
    times = []
    for number in range(2, 7):
        wait_parked(system)
        folder = world.maildir()
        with open("%s/tmp/%d" % (folder, number), "wb") as file:
            file.write(MESSAGE)
        os.chmod(file.name, 0o666)
        began = time.monotonic()
        os.rename(file.name, "%s/new/%d.x" % (folder, number))
        idle.expect(r"\* %d EXISTS" % number)
        times.append(1000 * (time.monotonic() - began))
        idle.expect(r"\* \d+ RECENT")
    world.notes.append("mail was told after %s ms" % ", ".join("%.1f" % ms for ms in times))
    assert min(times) < 50, times
    idle.send("DONE")
    idle.expect("a OK Idle completed.*")
    idle.command("LOGOUT")
    world.wait_log(r"imap\(%s\)<\d+><.*>: (Info: )?Disconnected: Logged out in=\d+ out=\d+ " % site.USER)
    silent.close()
    world.wait_log(r"Disconnected: Connection closed \(NOOP finished ")


@case("parked-gone", "the user is deleted, the process that holds the sessions is killed: their clients are let go, others come in",
      targets=("ours",))
def _(world):
    system = world.tutorial_003()
    client = idling(world)
    wait_parked(system)
    site.write("/etc/dovecot/users.db", "")
    home = os.path.dirname(world.maildir())
    os.rename(home, home + ".gone")     # at once: what wakes must not find a half of it
    shutil.rmtree(home + ".gone")
    client.expect(r"\* BYE IMAP session state is inconsistent, please relogin\.")
    client.expect_closed()
    assert not os.path.exists(home), "the home of a deleted user was made again"

    site.users()
    client = idling(world)
    wait_parked(system)
    template, = templates(system)[0]
    assert kill(template)
    client.expect_closed()
    again = idling(world)
    wait_parked(system)
    world.send(data=MESSAGE)
    again.expect(r"\* 1 EXISTS")


@case("parked-thousand", "1,000 idling clients under TLS take 40 KiB each, and all hear of new mail", targets=("ours",), limit=240)
def _(world):
    system = world.tutorial_003(more_dovecot="mail_max_userip_connections = 0\n")
    idling(world).close()
    wait_parked(system)
    before = memory(system.workers())
    clients = [idling(world) for _ in range(1000)]
    wait_until(lambda: not templates(system)[1], "every session to be parked", 60)
    each = (memory(system.workers()) - before) / len(clients)
    world.notes.append("%.1f KiB each" % each)
    assert each < MEMORY, each
    world.send(data=MESSAGE)
    for client in clients:
        client.expect(r"\* 1 EXISTS")
    wait_until(lambda: not templates(system)[1], "every session to be parked again", 60)
