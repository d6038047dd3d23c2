# ruff: noqa: SIM105, PLC0415, PTH106, PTH108, PTH120, PTH208
# Runs as `sitecustomize` of an interpreter that was started ahead with `main.py` as its
# program (see Prestart in base.py). Everything that a start costs has happened by now;
# opening and running main.py is left to the interpreter itself, so that tracebacks,
# sys.path, __main__ and exit codes are its own. Never imported by the platform.


def _wait() -> None:
    import os
    import sys

    folder = os.path.dirname(__file__)
    try:
        os.unlink(__file__)
    except OSError:
        pass  # it lies where all sandboxes share it
    else:
        _remove(folder, os.path.dirname(__cached__))
    sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    del os.environ["PYTHONPATH"]

    line = b""
    while not line.endswith(b"\n"):
        data = os.read(3, 65536)
        if not data:
            os._exit(0)
        line += data
    os.close(3)
    # Only strings, lists and objects: a literal of ours, which spares importing json.
    orders = eval(line, {"__builtins__": {}})  # noqa: S307
    for name, text in orders["env"].items():
        os.environ[_joined(name)] = _joined(text)
    sys.argv[1:] = sys.orig_argv[2:] = [_joined(text) for text in orders["argv"][1:]]


def _remove(folder: str, bytecode: str) -> None:
    import os

    try:
        for name in os.listdir(bytecode):  # that of another version may be there too
            os.unlink(f"{bytecode}/{name}")
        os.rmdir(bytecode)
    except OSError:
        pass  # it could not be written
    try:
        os.rmdir(folder)
    except OSError:
        pass


def _joined(text: str) -> str:
    """Make one character of each pair of surrogates, as JSON means them."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _give_way() -> None:
    """Let the system's own sitecustomize take our place, or be missed as usual."""
    import sys

    del sys.modules[__name__]
    import sitecustomize  # noqa: F401


_wait()
_give_way()
# No gc.freeze() here, which would save a millisecond at exit: what __main__ and patched
# modules hold would then never be finalized, and files left open lose their last lines.
