"""The cases: each module here registers some with `@case`, and `dialogues` one for each file of ../dialogues."""
import importlib
import os
import pkgutil

_registered = {}


class Case:
    """A name, a sentence that is true if it passes, which targets it is about, and the function that tries it."""

    def __init__(self, name, sentence, run, targets, long, limit, features):
        self.name, self.sentence, self.run, self.targets, self.long, self.limit = name, sentence, run, targets, long, limit
        self.features = features


def case(name, sentence, targets=("ours", "peer"), long=False, limit=90, features=""):
    """Registers the function as a case. `limit` is in seconds; `long` ones run with --all only. With `features` it runs on a
    build of its own, with these features of Cargo."""
    def register(function):
        assert name not in _registered, name
        _registered[name] = Case(name, sentence, function, targets, long, limit, features)
        return function
    return register


def all():
    for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module("cases." + module.name)
    return _registered
