"""Tutorial 003's dialogues, word for word: one case for each file of ../dialogues.

A file begins with `name: value` lines, then a blank line, then the dialogue:

    main, dovecot   the states of the files (lib/site.py)
    connect         localhost or exthost, and the port
    text            what the tutorial says about it

`C:` is sent, `S:` must come. In an `S:` line `...` stands for anything; `S: [closed]` is the end of the connection. `log:` must
be found in the log within some seconds. Where the text and Dovecot 2.3 disagree, the file has what Dovecot 2.3 says.
"""
import glob
import os
import re

from cases import case
from lib import site
from lib.chat import Chat

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "dialogues")


def pattern(line):
    return ".*".join(re.escape(part) for part in line.split("..."))


def parse(path):
    """Returns the header as a dictionary and the dialogue as (`C`, `S` or `log`, text) pairs."""
    header, steps, body = {}, [], False
    with open(path) as file:
        for line in file.read().split("\n"):
            kind, _, text = line.partition(": ")
            if not line:
                body = body or bool(header)
            elif body:
                steps.append((kind, text))
            else:
                header[kind] = text
    return header, steps


def replay(world, header, steps):
    site.tutorial_003(header["main"], header["dovecot"])
    world.begin()
    source, port = header["connect"].split()
    client = Chat(world.network.connect(int(port), source), world.chat)
    for kind, text in steps:
        if kind == "C":
            client.send(text)
        elif kind == "log":
            world.wait_log(text)
        elif text == "[closed]":
            client.expect_closed()
        else:
            client.expect(pattern(text))
    client.close()


def register():
    for path in sorted(glob.glob(FOLDER + "/*.txt")):
        header, steps = parse(path)
        name = "003-" + os.path.basename(path)[:-4]
        case(name, header["text"])(lambda world, header=header, steps=steps: replay(world, header, steps))


register()
