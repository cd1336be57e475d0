"""A package upgrade under load: the files of all programs are replaced while they run."""
import os

from cases import case
from cases.resilience import loaded
from lib import site
from lib.system import kill, run, wait_until


def installed():
    """Lays a folder over the binaries in which they can be replaced; returns the folder below and that one."""
    below, above = os.environ["OURS_BIN"], "/opt/posthorn"
    for folder in ("/run/bin-upper", "/run/bin-work", above):
        os.makedirs(folder)
    run("mount", "-t", "overlay", "-o", "lowerdir=%s,upperdir=/run/bin-upper,workdir=/run/bin-work" % below, "overlay", above)
    os.environ["OURS_BIN"] = above
    return below, above


def replace(folder, make):
    """Replaces every program in the folder as dpkg does: the new one beside it, and renamed over it."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            make(name, path + ".dpkg-new")
            os.rename(path + ".dpkg-new", path)


@case("upgrade-under-load", "every binary is replaced while mail flows: what runs stays one build, killed workers included, until the restart",
      targets=("ours",), limit=240)
def _(world):
    below, above = installed()
    system, load = loaded(world, sessions=3, patient=True)
    wait_until(lambda: len(load.acknowledged) > 10, "some mail")
    # New programs that do nothing: if one of them is ever started, mail stops.
    replace(above, lambda name, path: site.write(path, "#!/bin/sh\nexit 1\n", 0o755))
    for program in sorted(set(system.workers().values())):
        for pid, name in system.workers().items():
            if name == program:
                kill(pid)
        before = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) > before + 3, "mail to flow again after %s was killed; trouble: %r"
                   % (program, dict(load.trouble)), 30)
    world.imap_user().command("LOGOUT")
    replace(above, lambda name, path: os.symlink(os.path.join(below, name), path))
    before = len(load.acknowledged)
    system.reload()
    wait_until(lambda: len(load.acknowledged) > before + 5, "mail after the reload", 30)
    system.stop()
    os.environ["OURS_BIN"] = below
    system.start()
    before = len(load.acknowledged)
    wait_until(lambda: len(load.acknowledged) > before + 5, "mail after the restart", 30)
    assert system.workers(), "the programs that were put there do not run"
    load.stop()
    doubled = load.check(60)
    world.notes.append("%d messages, %d twice, trouble %r" % (len(load.acknowledged), doubled, dict(load.trouble)))
