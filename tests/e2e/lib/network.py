"""The network of a test: the server's own namespace, and an outside one with a host in the Internet.

The server is SERVER; EXTHOST connects from outside, so that neither `mynetworks` nor "local means secure" applies to it. A DNS
server on 127.0.0.1 knows both names in both directions, a block list (`blocklist.test`) that has EXTHOST, and nothing else.
"""
import ctypes
import os
import socket
import subprocess
import time

SERVER, EXTHOST = "172.28.45.212", "198.51.100.10"
HOSTS = {"mailhost.maildomain.test": SERVER, "exthost.extdomain.test": EXTHOST}
# Domains out there: one with a server, one whose best exchanger is dead, one that believes that we take its mail.
ADDRESSES = {"mail.example.jp": SERVER, "implicit.test": EXTHOST, "dead.two.test": "172.28.45.1"}
EXCHANGERS = [("extdomain.test", "exthost.extdomain.test", 10), ("two.test", "dead.two.test", 10),
              ("two.test", "exthost.extdomain.test", 20), ("loop.test", "mailhost.maildomain.test", 10)]
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def ip(arguments):
    subprocess.run(["ip", *arguments.split()], check=True, stdout=subprocess.DEVNULL)


class Network:
    """Both sides of the wire, and the name server."""

    def __init__(self):
        ip("link set lo up")
        ip("netns add outside")
        ip("link add inner type veth peer name outer netns outside")
        ip("addr add %s/24 dev inner" % SERVER)
        ip("link set inner up")
        ip("-n outside link set lo up")
        ip("-n outside addr add 172.28.45.1/24 dev outer")
        ip("-n outside addr add %s/32 dev outer" % EXTHOST)
        ip("-n outside link set outer up")
        ip("route add default via 172.28.45.1")
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.outside = os.open("/run/netns/outside", os.O_RDONLY)
        self.name_server()

    def name_server(self):
        names = ["--host-record=%s,%s" % pair for pair in HOSTS.items()]
        names += ["--address=/%s/%s" % pair for pair in ADDRESSES.items()]
        names += ["--mx-host=%s,%s,%d" % exchanger for exchanger in EXCHANGERS]
        listed = ".".join(reversed(EXTHOST.split("."))) + ".blocklist.test"
        names += ["--address=/%s/127.0.0.2" % listed, "--txt-record=%s,listed for a test" % listed]
        subprocess.Popen(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--local=/#/",
                          "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=", *names],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", 53)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("the name server did not start")

    def connect(self, port, source="localhost", timeout=20):
        """A connection to the server's `port` from `localhost` or from `exthost`."""
        if source == "localhost":
            return socket.create_connection(("127.0.0.1", port), timeout)
        return self.outside_socket(port, timeout)

    def outside_socket(self, port, timeout):
        made = self.made_outside()
        made.settimeout(timeout)
        made.bind((EXTHOST, 0))
        made.connect((SERVER, port))
        return made

    def outside_listener(self, port):
        """A socket that listens on `port` of EXTHOST."""
        made = self.made_outside()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((EXTHOST, port))
        made.listen(20)
        return made

    def made_outside(self):
        # A socket belongs to the namespace in which it was made; the thread comes home at once.
        if libc.setns(self.outside, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return socket.socket()
        finally:
            if libc.setns(self.home, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
