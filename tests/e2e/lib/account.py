"""What the system under test costs: processor time and memory of a control group that holds its processes and no others.

Version 1 (`cpuacct`) and version 2 are understood; without either, there are no such figures.
"""
import os

V1, V2 = "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"


def new_group(name):
    """Makes a group; returns its folder, or None where the machine has none to give."""
    if os.path.exists(V2 + "/cgroup.controllers"):
        folder = os.path.join(V2, name)
    elif os.path.exists(V1 + "/cpuacct.usage"):
        folder = os.path.join(V1, name)
    else:
        return None
    try:
        os.mkdir(folder)
    except OSError:
        return None
    return folder


def remove_group(folder):
    """Removes a group whose processes have ended. One that will not go is left: it costs nothing."""
    if folder:
        try:
            os.rmdir(folder)
        except OSError:
            pass


def join(folder):
    """Puts the calling process, and with it all that it starts, into the group."""
    with open(folder + "/cgroup.procs", "w") as file:
        file.write("0")


def processor_seconds(folder):
    """What all its processes have taken so far, those that have ended included."""
    if os.path.exists(folder + "/cpuacct.usage"):
        with open(folder + "/cpuacct.usage") as file:
            return int(file.read()) / 1e9
    with open(folder + "/cpu.stat") as file:
        return int(dict(line.split() for line in file)["usage_usec"]) / 1e6


def processes(folder):
    with open(folder + "/cgroup.procs") as file:
        return [int(line) for line in file if int(line) > 0]


def memory_kib(folder):
    """The proportional set size of all its processes: a page that several share counts once."""
    total = 0
    for pid in processes(folder):
        try:
            with open("/proc/%d/smaps_rollup" % pid) as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass        # it has ended
    return total
