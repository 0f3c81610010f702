"""Whole processes, cold, measured from outside: wall time, CPU time and peak memory of a child."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_BLOCK = 512
"""Bytes of what the kernel counts as one block."""
_UNSET = ("PYTHONDONTWRITEBYTECODE", "DATABASE_URL", "FINRA_DATA_DIR")
"""Python must be allowed to keep its bytecode: a user's machine has it, and compiling is no part of a cold start."""

Watch = Callable[[str, int], None]

_SHOWN = 2_000
"""Characters of a failed program's last words."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a process.

    Attributes:
        wall: seconds.
        cpu: seconds, user and system.
        peak: peak resident memory in MB.
        written: MB handed to the disk.
        size: MB of the files that it left in its folder.
        output: what it printed.
    """

    wall: float
    cpu: float
    peak: float
    written: float
    size: float
    output: str


@dataclass(frozen=True, slots=True)
class Contender:
    """One program in a comparison.

    Attributes:
        name: as the report shows it.
        command: what to start; it runs in an empty folder of its own.
        state: a folder whose files are copied there beforehand, outside the measured time.
        check: raises if the output does not say that the work was done.
    """

    name: str
    command: Sequence[str]
    state: Path | None = None
    check: Callable[[str], None] = lambda _output: None


@dataclass(frozen=True, slots=True)
class Measured:
    """The samples of one contender."""

    name: str
    samples: Sequence[Sample]

    @property
    def wall(self) -> float:
        """Least wall seconds: what disturbs a run only ever makes it longer."""
        return min(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Least CPU seconds."""
        return min(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> float:
        """Largest peak memory in MB."""
        return max(sample.peak for sample in self.samples)

    @property
    def size(self) -> float:
        """Largest MB of the files left behind."""
        return max(sample.size for sample in self.samples)

    @property
    def written(self) -> float:
        """Median MB handed to the disk."""
        return statistics.median(sample.written for sample in self.samples)


def interleave(contenders: Sequence[Contender], repeat: int) -> dict[str, Measured]:
    """Run the contenders in turn, ``repeat`` rounds after one that is not counted, so that noise hits all alike."""
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(repeat + 1):
        for contender in contenders:
            sample = run_once(contender)
            if number:
                samples[contender.name].append(sample)
    return {name: Measured(name, found) for name, found in samples.items()}


def run_once(contender: Contender, folder: Path | None = None, watch: Watch | None = None) -> Sample:
    """Run a contender in a fresh folder, or where it is to leave something, and check what it printed.

    Args:
        contender: what to run.
        folder: where; by default in an empty folder, or a copy of its state, that is removed afterwards.
        watch: is called with every line of stderr and the id of the process while that runs.
    """
    if folder is not None:
        sample = _measure(contender.command, folder, watch)
        contender.check(sample.output)
        return sample
    with tempfile.TemporaryDirectory(prefix="bench-") as fresh:
        if contender.state is not None:
            shutil.copytree(contender.state, fresh, dirs_exist_ok=True)
        # What was copied or deleted a moment ago is not to be written out during the measurement.
        os.sync()
        sample = _measure(contender.command, Path(fresh))
    contender.check(sample.output)
    return sample


def prepare(command: Sequence[str], folder: Path) -> Path:
    """Run a command in a folder, unmeasured; returns the folder, to be the state of a contender."""
    folder.mkdir(parents=True, exist_ok=True)
    _measure(command, folder)
    return folder


def environment() -> Mapping[str, str]:
    """The environment of every child."""
    return {name: value for name, value in os.environ.items() if name not in _UNSET}


def _measure(command: Sequence[str], folder: Path, watch: Watch | None = None) -> Sample:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        told = errors if watch is None else subprocess.PIPE
        process = subprocess.Popen(command, stdout=output, stderr=told, cwd=folder, env=environment())
        if watch is not None and process.stderr is not None:
            for line in process.stderr:
                errors.write(line)
                watch(line.decode(), process.pid)
            process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (output, errors):
            stream.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read().decode()[-_SHOWN:]}")
        cpu = usage.ru_utime + usage.ru_stime
        written = usage.ru_oublock * _BLOCK / 1e6
        peak = usage.ru_maxrss * _MAXRSS_UNIT / 1e6
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        return Sample(wall, cpu, peak, written, size, output.read().decode())
