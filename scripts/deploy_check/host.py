"""cron and systemd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy_check import shell, tools
from scripts.deploy_check.documents import schedule_problem

UNFOUNDED = ("Security.UMaskOW", "Security.Delegate", "ExecNotFound")
"""What the linter says of a UMask of 0007, of any service, and where the program is not installed."""


def check_cron(root: Path) -> list[str]:
    """Problems of the crontab and of the script that it starts."""
    place = "deploy/cron/crontab"
    found = shell.check_text(
        "deploy/cron/market-spine-cron", (root / "deploy/cron/market-spine-cron").read_text("utf-8"), "sh"
    )
    for number, line in enumerate((root / place).read_text("utf-8").splitlines(), 1):
        if line and not line.startswith("#") and not re.match(r"[A-Z]\w*=", line):
            found += [f"{place}:{number}: {problem}" for problem in _entry(line)]
    return found


def _entry(line: str) -> Iterator[str]:
    fields = line.split(maxsplit=5)
    if len(fields) < 6:
        yield "five fields and a command are needed"
        return
    if problem := schedule_problem(" ".join(fields[:5])):
        yield problem
    if "%" in fields[5]:
        yield "% means a line break to cron"
    if not fields[5].startswith("market-spine-cron "):
        yield "it could overlap with itself: market-spine-cron is what takes the lock"
    yield from shell.check_text("command", fields[5], "sh")


def check_systemd(root: Path) -> list[str]:
    """Problems of the units."""
    units = sorted((root / "deploy/systemd").iterdir())
    done = tools.call("systemdlint", "--norootfs", *units, cwd=root)
    lines = (done.stdout + done.stderr).splitlines()
    found = [
        line.replace(f"{root}/", "") for line in lines if line and not any(f"[{each}]" in line for each in UNFOUNDED)
    ]
    names = {unit.name for unit in units}
    for unit in units:
        text = unit.read_text("utf-8")
        place = f"deploy/systemd/{unit.name}"
        for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
            found += shell.check_text(place, line.replace("%i", "4"))
            if not list(shell.commands(line)):
                found.append(f"{place}: {line!r} is no command of the program")
        if unit.suffix == ".timer":
            service = re.sub(r"@.*", "@.service", unit.name) if "@" in unit.name else f"{unit.stem}.service"
            found += [] if service in names else [f"{place}: there is no {service}"]
            found += [] if "OnCalendar=" in text else [f"{place}: it has no OnCalendar"]
    return found
