"""The image and Compose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.deploy_check import program, shell, tools
from scripts.deploy_check.documents import load

COMPOSE = "deploy/compose"
VERSION = "market-spine-basic/src/market_spine/__init__.py"


def check_image(root: Path) -> list[str]:
    """Problems of the Dockerfile."""
    found = tools.complaints("hadolint", "--no-color", "Dockerfile", cwd=root)
    text = (root / "Dockerfile").read_text("utf-8")
    labelled = re.findall(r"^ARG VERSION=(.*)$", text, re.MULTILINE)
    version = re.findall(r'^__version__ = "(.*)"$', (root / VERSION).read_text("utf-8"), re.MULTILINE)
    if labelled != version:
        found.append(f"Dockerfile: ARG VERSION is {labelled}, the program's version is {version}")
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        found += [f"Dockerfile: there is no {name}" for name in source.split() if not (root / name).exists()]
    names = [name for line in re.findall(r"^ENV ((?:.*\\\n)*.*)", text, re.MULTILINE) for name in _assigned(line)]
    known = re.compile(r"PATH|PIP_\w+|PYTHON\w+")
    strange = [name for name in names if not known.fullmatch(name) and name not in program.variables()]
    return found + [f"Dockerfile: {name} is no variable of the program" for name in strange]


def _assigned(line: str) -> list[str]:
    return re.findall(r"(?:^|\s)([A-Z]\w*)=", line)


def check_compose(root: Path) -> list[str]:
    """Problems of the Compose files and of the settings that they take."""
    found: list[str] = []
    asked: set[str] = set()
    files = sorted((root / COMPOSE).glob("compose*.yaml"))
    for path in files:
        place = str(path.relative_to(root))
        found += tools.complaints(
            "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "--output-format", "text", path, cwd=root
        )
        asked |= set(re.findall(r"\$\{([A-Z]\w*)", path.read_text("utf-8")))
        for name, service in ((load(path) or {}).get("services") or {}).items():
            found += [f"{place}: {name}: {problem}" for problem in _service(name, service, path)]
    offered = set(re.findall(r"^([A-Z]\w*)=", (root / COMPOSE / ".env.example").read_text("utf-8"), re.MULTILINE))
    found += [f"{COMPOSE}/.env.example: {name} is missing, which Compose asks for" for name in sorted(asked - offered)]
    return found + [f"{COMPOSE}/.env.example: {name} is used by nothing" for name in sorted(offered - asked)]


def _service(name: str, service: Mapping[str, Any], path: Path) -> Iterator[str]:
    base = path.name == "compose.yaml"
    if (base or "image" in service) and (service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]):
        yield "its root is writable or it keeps capabilities"
    if "build" in service and not (path.parent / service["build"]["context"] / "Dockerfile").is_file():
        yield "there is no Dockerfile where it is built"
    if name == "db":
        return
    for variable in service.get("environment", {}):
        if variable not in program.variables():
            yield f"{variable} is no variable of the program"
    if command := " ".join(str(service.get("command", "")).split()):
        if not list(shell.commands(command)):
            yield f"{command!r} is no command of the program"
        yield from shell.check_text("command", command)
