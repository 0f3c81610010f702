"""Shell lines, wherever they stand: do they parse, and does the program take the command lines in them?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from scripts.deploy_check import program, tools

COMMANDS = {"market-spine": (), "market-spine-cron": (), "schedule_finra.py": ("schedule", "finra")}
COMMANDS["schedule_prices.py"] = ("schedule", "prices")
"""How our programs begin, and the words of ``market-spine`` that they stand for."""
_OPERATORS = set("();<>|&\n")
_BEFORE = {"--", "exec", "sudo", "finra-scheduler", "if", "then", "do", "!"}
"""Words after which a command begins; so does one after an image's name."""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_COLLECTED = re.compile(r"(?:\barguments\+?=\(|\bset --)([^)\n]*)")
"""Words that a script puts together before it passes them on."""


def check_text(place: str, text: str, shell: str = "bash") -> list[str]:
    """Problems of a shell text."""
    if problems := tools.syntax(shell, text):
        return [f"{place}: {problem}" for problem in problems]
    found = [f"{place}: {name} is no variable of the program" for name in program.unknown_variables(text)]
    for words in commands(text):
        passed = [word for word in words if word not in {"$@", "${arguments[@]}"}]
        if (passed or not words) and (problem := program.misuse(passed)):
            found.append(f"{place}: market-spine {' '.join(words)}: {problem}")
        if passed != words:
            known = program.options(words)
            given = {flag for part in _COLLECTED.findall(text) for flag in re.findall(r"--[a-z][a-z-]*", part)}
            found += [f"{place}: {flag} is no flag of {' '.join(words[:2])}" for flag in sorted(given - known)]
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of ``market-spine`` that a shell text has, as the words after its name."""
    for segment in _segments(text):
        for position, word in enumerate(segment):
            name = word.rpartition("/")[2]
            if name in COMMANDS and _begins(segment, position):
                yield [*COMMANDS[name], *(each for each in segment[position + 1 :])]
                break


def _begins(segment: list[str], position: int) -> bool:
    """Whether a command begins with the word at this position."""
    before = segment[:position]
    if not all(_ASSIGNMENT.fullmatch(word) for word in before):
        last = before[-1]
        python = last.rpartition("/")[2].startswith("python")
        return python or last in _BEFORE or re.match(r"(\S+/)?market-spine:", last) is not None
    return True


def _segments(text: str) -> Iterator[list[str]]:
    """The simple commands of a text, as words without redirections."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    segment: list[str] = []
    for word in lexer:
        if set(word) <= _OPERATORS:
            if set(word) <= {"<", ">", "&"} and set(word) & {"<", ">"}:
                next(lexer, None)  # a file
                if segment and segment[-1].isdigit():
                    segment.pop()  # and which stream goes there
                continue
            yield segment
            segment = []
        else:
            segment.append(word)
    yield segment


def check_document(path: Path, root: Path) -> list[str]:
    """Problems of the shell blocks of a Markdown page, and of the variables that it names."""
    text = path.read_text("utf-8")
    place = str(path.relative_to(root))
    found = [f"{place}: {name} is no variable of the program" for name in program.unknown_variables(text)]
    for block in re.finditer(r"^```(?:bash|sh)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text[: block.start()].count("\n") + 2
        found += check_text(f"{place}:{line}", block[1])
    return list(dict.fromkeys(found))
