"""How the hooks see what a released trainer computes, while its code stays as it is."""
import contextlib
import functools
import importlib.metadata
import inspect
import pathlib
import sys

from .dump import Dump


@contextlib.contextmanager
def returning(function_name, file_name, seen, calling=None):
    """While the block runs, calls seen(local variables) when the function of that name in that file returns,
    and calling(local variables) when it calls another function of Python's."""
    def is_it(frame):
        return frame.f_code.co_name == function_name and frame.f_code.co_filename.endswith(file_name)

    def hook(frame, event, _):
        if event == "return" and is_it(frame):
            seen(dict(frame.f_locals))
        elif event == "call" and calling and is_it(frame.f_back):
            calling(dict(frame.f_back.f_locals))
    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(before)


def watched(function, seen, calling=None):
    """The function, which after every call also calls seen(its local variables, its result)."""
    code = inspect.unwrap(function).__code__

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        local = {}
        with returning(code.co_name, code.co_filename, local.update, calling):
            result = function(*args, **kwargs)
        seen(local, result)
        return result
    return wrapper


def replace(package, old, new):
    """Puts new wherever a loaded module of the package holds the function old: under a name of its own, or in
    a registry. Returns a function that undoes it."""
    places = []
    for module in [m for name, m in list(sys.modules.items()) if name.split(".")[0] == package
                   and m is not None]:
        for space in [vars(module), *[x for x in vars(module).values() if isinstance(x, dict)]]:
            places += [(space, key) for key, value in list(space.items()) if value is old]
    for space, key in places:
        space[key] = new

    def undo():
        for space, key in places:
            space[key] = old
    return undo


def version(package):
    """package-RELEASE, as a profile is called, or the package alone where it has not been installed."""
    try:
        return f"{package}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def gradient(loss, logps):
    """Derivative of a loss by the log-probabilities; the trainer's own backward pass is left to it. None:
    there is none."""
    if not (getattr(loss, "requires_grad", False) and logps.requires_grad):
        return None
    import torch
    return torch.autograd.grad(loss, logps, retain_graph=True, allow_unused=True)[0]


def masks(mask):
    """A dump's masks of one that says which tokens take part in the loss. What stands between the first and
    the last of a row is the completion; a gap in it is what a tool said."""
    import torch
    on = mask.detach() != 0
    span = (on.long().cumsum(1) > 0) & (on.long().flip(1).cumsum(1).flip(1) > 0)
    return {"completion_mask": span} if torch.equal(span, on) else {"completion_mask": span, "loss_mask": on}


class Watch:
    """What the hooks have in common: dumps numbered by kind, in one folder. As a context it ends the watching
    at its end; a program that trains until it ends may leave it on. config: settings that the functions
    themselves do not know, such as the number of completions of a prompt. at_most: so many dumps of a kind,
    then no more."""

    def __init__(self, folder="dumps", profile=None, at_most=100, **config):
        self.folder, self.profile, self.at_most, self.config = pathlib.Path(folder), profile, at_most, config
        self.count, self.undo, self.written = {}, [], []
        self.start()

    def write(self, kind, tensors, **config):
        """KIND-N.safetensors; config goes before what the user said, since it is what acted in this call."""
        n = self.count[kind] = self.count.get(kind, 0) + 1
        if n <= self.at_most:
            dump = Dump(self.folder / f"{kind}-{n}.safetensors", self.profile, **{**self.config, **config})
            self.written.append(dump.add(tensors).write())

    def stop(self):
        while self.undo:
            self.undo.pop()()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
