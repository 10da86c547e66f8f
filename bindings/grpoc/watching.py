"""How the hooks see what a released trainer computes, while its code stays as it is."""
import contextlib
import sys


@contextlib.contextmanager
def returning(function_name, file_name, seen):
    """While the block runs, calls seen(local variables) when the function of that name in that file returns."""
    def hook(frame, event, _):
        if event == "return" and frame.f_code.co_name == function_name and frame.f_code.co_filename.endswith(file_name):
            seen(dict(frame.f_locals))
    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(before)


def replace(package, old, new):
    """Puts new wherever a loaded module of the package holds the function or class old: as a name of its own, as an entry of
    a registry, or as a method of a class. Returns a function that undoes it."""
    undo = []
    for module in [m for name, m in list(sys.modules.items()) if name.split(".")[0] == package and m is not None]:
        spaces = [vars(module)] + [x for x in vars(module).values() if isinstance(x, dict)]
        for space in spaces:
            for key, value in list(space.items()):
                if value is old and not (isinstance(key, str) and key.startswith("__")):
                    space[key] = new
                    undo.append((space, key))

    def restore():
        for space, key in undo:
            space[key] = old
    return restore
