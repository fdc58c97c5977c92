"""Claims: which of several processes, on one machine or on many, trains a run."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = ["alone", "claim", "claim_path", "is_claimed", "started", "state_of"]


def alone(folder: Path) -> FileLock:
    """Held for moments: no other process claims or reports in the meantime."""
    return FileLock(folder / ".lock")


@contextmanager
def claim(folder: Path, run: Path) -> Iterator[bool]:
    """Claim a run, and give it back at the end; false if another process has it."""
    path = claim_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": started(os.getpid())}
    with alone(folder):
        owner = _owner(path)
        if _is_dead(owner):
            path.unlink()
        try:  # machines whose locks do not see each other still agree on who creates a file
            path.touch(exist_ok=False)
            claimed = True
        except FileExistsError:
            claimed = False
    try:
        if claimed:
            path.write_text(json.dumps(mine))
        yield claimed
    finally:
        if claimed:
            path.unlink(missing_ok=True)


def claim_path(run: Path) -> Path:
    """The file that says who trains a run."""
    return run.with_name(f"{run.name}.claim")


def _owner(path: Path) -> dict[str, Any] | None:
    """Who holds a claim; None if nobody does, or they have just begun to write it."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _is_dead(owner: dict[str, Any] | None) -> bool:
    """Whether a process of this machine held a claim and was killed; of other machines nobody can tell."""
    return bool(owner) and owner["host"] == socket.gethostname() and started(owner["pid"]) != owner["started"]


def started(pid: int) -> str | None:
    """When a process of this machine started, as far as that can be told, or None if it does not live.

    Numbers of processes are used again, the number and the start together are not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").is_file():
            return None
    if os.name == "nt":  # where the signal 0 is Ctrl-C
        return "unknown"
    try:  # no Linux: it lives, and that is all there is to know
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"


def is_claimed(run: Path) -> bool:
    """Whether a process that may live has claimed a run."""
    path = claim_path(run)
    return path.is_file() and not _is_dead(_owner(path))


def state_of(run: Path) -> str:
    """What there is to say of a run that is not finished."""
    path = claim_path(run)
    if is_claimed(run):
        owner = _owner(path) or {"pid": "unknown", "host": "unknown"}
        return f"claimed by process {owner['pid']} on {owner['host']} (if it is gone, remove {path})"
    return "stopped" if run.is_dir() else "not begun"
