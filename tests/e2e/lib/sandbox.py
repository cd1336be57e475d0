"""A root and a process tree of a test's own.

`enter` turns the calling process, which `COMMAND` has put into fresh namespaces, into the init of that tree: it builds an
overlay of `/` whose upper layer is a tmpfs, enters it, and runs a function in a child. Nothing on the machine is written,
and everything ends with the init. State that is to lie on a real disk (benchmarks) is bound in by name.
"""
import os
import shutil
import subprocess

COMMAND = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]

# What other tests on this machine may have left behind, and what each run starts without.
STALE = ["/var/vmail", "/home/vmail", "/etc/posthorn", "/var/spool/posthorn", "/var/lib/dovecot", "/etc/dovecot",
         "/etc/postfix/main.cf", "/etc/aliases.db"]
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, stdout=subprocess.DEVNULL)


def private_root(disk, seen):
    """Builds the overlay and enters it.

    `disk`: path inside -> existing folder outside that is to stand there. `seen`: further folders that stay visible at
    their own path (a build folder that is itself a mount would be hidden otherwise)."""
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt")
    root = "/mnt/root"
    for folder in ("upper", "work", "root"):
        os.mkdir("/mnt/" + folder)
    mount("-t", "overlay", "-o", "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work", "overlay", root)
    mount("-t", "proc", "proc", root + "/proc")
    for folder, mode in (("run", "755"), ("tmp", "1777"), ("dev", "755"), ("var/log", "755"), ("var/spool", "755")):
        mount("-t", "tmpfs", "-o", "mode=" + mode, "tmpfs", os.path.join(root, folder))
    for name, (major, minor) in DEVICES.items():
        os.mknod(root + "/dev/" + name, 0o020666, os.makedev(major, minor))
        os.chmod(root + "/dev/" + name, 0o666)
    os.symlink("/proc/self/fd", root + "/dev/fd")
    os.mkdir(root + "/dev/shm", 0o1777)
    os.mkdir(root + "/dev/pts")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", root + "/dev/pts")
    os.symlink("pts/ptmx", root + "/dev/ptmx")
    for stale in STALE:
        if os.path.isdir(root + stale):
            shutil.rmtree(root + stale)
        elif os.path.lexists(root + stale):
            os.unlink(root + stale)
    for inner, outer in disk.items():
        os.makedirs(root + inner, exist_ok=True)
        mount("--bind", outer, root + inner)
    if os.path.isdir("/var/spool/postfix"):     # folders with the owners that Debian's package gives them
        subprocess.run(["cp", "-a", "/var/spool/postfix", root + "/var/spool/"], check=True)
    for folder in seen:
        os.makedirs(root + folder, exist_ok=True)
        mount("--bind", folder, root + folder)
    os.makedirs(root + "/run/netns")
    os.makedirs(root + "/run/lock")
    os.chroot(root)
    os.chdir("/")


def enter(work, disk=None, seen=()):
    """Builds the private root, runs `work` in a child and stays as the init that buries orphans until the child ends."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    private_root(disk or {}, [folder for folder in (here, os.environ["OURS_BIN"], *seen) if os.path.isdir(folder)])
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    while True:
        ended, _ = os.wait()
        if ended == child:
            return 0
