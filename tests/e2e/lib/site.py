"""The files of the two tutorials, in each state that their text passes through.

003 ("mail server step by step") grows by lines: MAIN and DOVECOT list its states in order, each with all its lines. 000 is
Debian's split Dovecot configuration in one file, with sdbox and virtual aliases.
"""
import crypt
import os
import shutil
import subprocess

DOMAIN, HOST = "maildomain.test", "mailhost"
USER, PASSWORD = "mailuser@maildomain.test", "123456"
CERT, KEY = "/etc/dovecot/dovecot.pem", "/etc/dovecot/private/dovecot.pem"
LMTP_SOCKET, AUTH_SOCKET = "/var/spool/postfix/private/dovecot-lmtp", "/var/spool/postfix/private/auth"

MAIN_VIRTUAL = """mydomain = maildomain.test
myhostname = mailhost.$mydomain
myorigin = $myhostname
mydestination = $myhostname
virtual_mailbox_domains = maildomain.test
virtual_transport = lmtp:unix:private/dovecot-lmtp
"""
MAIN_SASL = MAIN_VIRTUAL + """smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
"""
MAIN_TLS = MAIN_SASL + """smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/dovecot/dovecot.pem
smtpd_tls_key_file = /etc/dovecot/private/dovecot.pem
"""
MAIN = {"virtual": MAIN_VIRTUAL, "sasl": MAIN_SASL, "tls": MAIN_TLS, "final": MAIN_TLS + "smtpd_tls_auth_only = yes\n"}

PASSDB = """passdb {
  driver = passwd-file
  args = scheme=PLAIN /etc/dovecot/users.db
}
"""
OWNER = "mail_gid = vmail\nmail_uid = vmail\n"
PLACE = "mail_home = /var/vmail/%d/%n\nmail_location = maildir:~/mail\n"
TLS = "ssl = required\nssl_cert = <" + CERT + "\nssl_key = <" + KEY + "\n"
SOCKET = """service %s {
  unix_listener %s {
    user = postfix
    group = postfix
    mode = 0600
  }
}
"""
SECURE = PASSDB + OWNER + PLACE + TLS
LMTP = "protocols = imap lmtp\n" + SECURE + SOCKET % ("lmtp", LMTP_SOCKET)
POSTMASTER = LMTP + "postmaster_address = postmaster@maildomain.test\nhostname = mailhost\n"
CRYPT = POSTMASTER.replace("scheme=PLAIN", "scheme=SHA512-CRYPT")
DOVECOT = {
    "protocols": "protocols = imap\n",
    "no-ssl": "protocols = imap\nssl = no\n",
    "passdb": "protocols = imap\nssl = no\n" + PASSDB,
    "owner": "protocols = imap\nssl = no\n" + PASSDB + OWNER,
    "place": "protocols = imap\nssl = no\n" + PASSDB + OWNER + PLACE,
    "plaintext": "protocols = imap\nssl = no\n" + PASSDB + OWNER + PLACE + "disable_plaintext_auth = no\n",
    "secure": "protocols = imap\n" + SECURE,
    "lmtp": LMTP,
    "postmaster": POSTMASTER,
    "crypt": CRYPT,
    "final": CRYPT + SOCKET % ("auth", AUTH_SOCKET),
}

# Postfix 3.7 does not start with a main.cf that has neither compatibility_level nor this, as the tutorial's has; the tutorial
# was written for one that did, and Posthorn does, with the defaults of compatibility level 3.6.
PEER_MAIN = """smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtputf8_enable = yes
"""

# 000: `virtual`, sdbox, one file of users that is both passdb and userdb.
MAIN_000 = """compatibility_level = 3.6
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
smtpd_tls_cert_file = /etc/dovecot/dovecot.pem
smtpd_tls_key_file = /etc/dovecot/private/dovecot.pem
smtpd_tls_security_level = may
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mail.example.jp
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = /etc/mailname
mydestination = localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
virtual_mailbox_domains = mail.example.jp, example.jp
virtual_transport = lmtp:unix:private/dovecot-lmtp
virtual_alias_maps = hash:/etc/postfix/virtual
"""
VIRTUAL_000 = "".join("%s@mail.example.jp info@mail.example.jp\n" % name for name in ("admin", "mailer-daemon", "postmaster", "root"))
DOVECOT_000 = """protocols = imap lmtp
auth_mechanisms = plain login
ssl = yes
ssl_cert = </etc/dovecot/dovecot.pem
ssl_key = </etc/dovecot/private/dovecot.pem
passdb {
  driver = passwd-file
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = username_format=%u /etc/dovecot/users
  default_fields = uid=vmail gid=vmail home=/home/vmail/%d/%n mail=sdbox:~/dbox
}
""" + SOCKET % ("lmtp", LMTP_SOCKET)

# Debian's stock table, without the rows for programs that are not installed with it.
MASTER = """smtp      inet  n       -       y       -       -       smtpd
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       y       1000?   1       tlsmgr
rewrite   unix  -       -       y       -       -       trivial-rewrite
bounce    unix  -       -       y       -       0       bounce
defer     unix  -       -       y       -       0       bounce
trace     unix  -       -       y       -       0       bounce
verify    unix  -       -       y       -       1       verify
flush     unix  n       -       y       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
showq     unix  n       -       y       -       -       showq
error     unix  -       -       y       -       -       error
retry     unix  -       -       y       -       -       error
discard   unix  -       -       y       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       y       -       -       lmtp
anvil     unix  -       -       y       -       1       anvil
scache    unix  -       -       y       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""
SUBMISSION = """submission inet n       -       y       -       -       smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
"""


def write(path, text, mode=0o644):
    """Writes a file whose time lies back: Postfix waits until a file that it reads is some seconds old."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    past = os.stat(path).st_mtime - 60
    os.utime(path, (past, past))


def hashed(password):
    """SHA512-CRYPT at its least cost: load tests measure mail, not hashing."""
    return crypt.crypt(password, "$6$rounds=1000$g6adDoglZXU5CJq1")


def machine():
    """What stands on the machine before either tutorial begins: accounts, certificate, stock table."""
    write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    write("/etc/mailname", "mail.example.jp\n")
    write("/etc/aliases", "postmaster: root\n")
    write("/etc/postfix/master.cf", MASTER)
    for name in ("postfix", "dovecot", "dovenull", "vmail"):
        if subprocess.run(["id", name], capture_output=True).returncode != 0:
            subprocess.run(["useradd", "-r", "-U", "-s", "/usr/sbin/nologin", name], check=True)
    # Mailboxes may not belong to a uid below first_valid_uid (500).
    subprocess.run(["usermod", "-u", "5000", "vmail"], check=True, capture_output=True)
    subprocess.run(["groupmod", "-g", "5000", "vmail"], check=True, capture_output=True)
    os.makedirs("/etc/dovecot/private", exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=mailhost.maildomain.test",
                    "-keyout", KEY, "-out", CERT], check=True, capture_output=True)
    os.chmod(KEY, 0o600)
    for folder in ("/var/vmail", "/home/vmail"):
        os.makedirs(folder, exist_ok=True)
        shutil.chown(folder, "vmail", "vmail")
    os.makedirs("/var/spool/postfix/private", exist_ok=True)


def stock_table():
    """Debian's master.cf as its package installs it, with the rows for programs that are not there (uucp, mailman, …)."""
    shutil.copy("/usr/share/postfix/master.cf.dist", "/etc/postfix/master.cf")


def users(count=0, plain=False):
    """003's user database: the tutorial's user, and `count` more (user0@… to), all with the same password."""
    secret = PASSWORD if plain else hashed(PASSWORD)
    names = [USER] + ["user%d@%s" % (number, DOMAIN) for number in range(count)]
    write("/etc/dovecot/users.db", "".join("%s:%s\n" % (name, secret) for name in names))


def tutorial_003(main="final", dovecot="final", more_main="", more_dovecot="", count=0):
    """Writes the files of one state of tutorial 003."""
    write("/etc/postfix/main.cf", MAIN[main] + more_main)
    write("/etc/dovecot/dovecot.conf", DOVECOT[dovecot] + more_dovecot)
    users(count, plain="scheme=PLAIN" in DOVECOT[dovecot])


def tutorial_000():
    """Writes the files of tutorial 000; `postmap` for `virtual` and `aliases` is left to the caller."""
    write("/etc/postfix/main.cf", MAIN_000)
    write("/etc/postfix/virtual", VIRTUAL_000)
    write("/etc/dovecot/dovecot.conf", DOVECOT_000)
    write("/etc/dovecot/users", "".join("%s:{CRYPT}%s::::::\n" % (name, hashed("secret"))
                                        for name in ("info@example.jp", "info@mail.example.jp")))
