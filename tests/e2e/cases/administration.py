"""Commands under their classic names, beside what the real ones print."""
import json
import os
import re

from cases import case
from lib import site
from lib.system import FOLDER, CommandFailed, run, wait_until


def as_user(name, *command, check=True):
    return run("setpriv", "--reuid=" + name, "--regid=nogroup", "--clear-groups", *command, check=check)


@case("adm-mailq", "root, every user and the real postqueue see the same queue, byte for byte", targets=("ours",))
def _(world):
    world.tutorial_003("virtual", "secure")
    for recipients in ([site.USER], ["nobody@maildomain.test", site.USER], ['"odd one"@maildomain.test']):
        world.send(recipients, sender='"me you"@extdomain.test')
    wait_until(lambda: run("mailq").count("No such file or directory") == 3, "three deferred messages")
    held = re.findall(r"^([0-9A-F]+) ", run("mailq"), re.M)[0]
    run("postsuper", "-h", held)
    queue = run("mailq")
    assert re.search(r"^%s! +\d+ .*  \"me you\"@extdomain\.test$" % held, queue, re.M), queue
    assert queue.endswith("-- 0 Kbytes in 3 Requests.\n"), queue
    assert as_user("games", "mailq") == queue
    assert as_user("games", "postqueue", "-j") == run("postqueue", "-j")
    by_id = lambda text: sorted(text.split("\n\n"))
    real = run("/usr/sbin/postqueue", "-p")
    heading, rest = real.split("\n", 1)
    assert by_id(rest) == by_id(queue.split("\n", 1)[1]), (real, queue)
    as_objects = lambda text: sorted((json.loads(line) for line in text.splitlines()), key=lambda one: one["queue_id"])
    assert as_objects(run("/usr/sbin/postqueue", "-j")) == as_objects(run("postqueue", "-j"))


@case("adm-queue-users", "authorized_mailq_users and authorized_flush_users decide who may ask", targets=("ours",))
def _(world):
    world.tutorial_003("virtual", "secure")
    queue_id = world.send()
    waits = queue_id + r": to=<mailuser@maildomain\.test>, .*status=deferred"
    world.wait_log(waits)
    run("postconf", "-e", "authorized_mailq_users=nobody", "authorized_flush_users=!nobody, static:anyone")
    run("postfix", "reload")
    assert queue_id in as_user("nobody", "mailq")
    refused = as_user("games", "mailq", check=False)
    assert refused == "postqueue: fatal: User games(5) is not allowed to view the mail queue\n", refused
    refused = as_user("nobody", "postqueue", "-f", check=False)
    assert refused == "postqueue: fatal: User nobody(65534) is not allowed to flush the mail queue\n", refused
    for option in (["-f"], ["-i", queue_id], ["-s", "maildomain.test"]):
        before = len(world.journal.find_all(waits))
        assert as_user("games", "postqueue", *option) == ""
        wait_until(lambda: len(world.journal.find_all(waits)) > before, "an attempt after postqueue " + option[0])
    refused = as_user("games", "postsuper", "-d", "ALL", check=False)
    assert refused == "postsuper: fatal: use of this command is reserved for the superuser\n", refused
    assert queue_id in run("mailq")


MAILBOX_PROGRAMS = {"auth", "imap-login", "imap", "lmtp", "deliver"}


@case("adm-stop", "stop returns when the processes have ended: those of one half, sessions included, or all", targets=("ours",))
def _(world):
    system = world.tutorial_003()
    client = world.imap_user()
    client.exists()
    assert "imap" in system.workers().values()
    run(system.control, "-c", FOLDER, "stop", "mailbox")
    left = MAILBOX_PROGRAMS & set(system.workers().values())
    assert not left and not os.path.exists("/run/dovecot/master.pid"), left
    assert "qmgr" in system.workers().values()
    run(system.control, "-c", FOLDER, "start", "mailbox")
    world.imap_user().command("LOGOUT")
    run(system.control, "-c", FOLDER, "stop")
    assert not system.processes(), system.processes()


@case("adm-reload", "reload returns when the new configuration serves, or says why it is refused", targets=("ours",))
def _(world):
    system = world.tutorial_003()
    for number in range(3):
        run("postconf", "-e", "smtpd_banner=$myhostname ESMTP number %d" % number)
        run(system.control, "-c", FOLDER, "reload")
        client = world.smtp(hello=False)
        client.expect(r"220 mailhost\.maildomain\.test ESMTP number %d" % number)
        client.socket.close()
    run("postconf", "-e", "biff=maybe")
    try:
        run(system.control, "-c", FOLDER, "reload")
    except CommandFailed as refused:
        assert "exit status 78" in str(refused) and "biff" in str(refused), refused
    else:
        raise AssertionError("a bad main.cf was taken over")
    world.smtp().quit()
