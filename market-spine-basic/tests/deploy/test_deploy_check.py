"""``make deploy-check``: what is shipped passes, and planted faults are found by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.deploy_check import program, shell, tools
from scripts.deploy_check.__main__ import CHECKS

pytestmark = pytest.mark.process

STATIC = sorted(set(CHECKS) - {"steps"})
POD = "deploy/kubernetes/components/pod/cronjob.yaml"
FINRA = "deploy/kubernetes/base/finra.yaml"
BACKFILL = "deploy/kubernetes/overlays/backfill/kustomization.yaml"
SHARDS = "deploy/kubernetes/overlays/backfill/job.yaml"
COMPOSE = "deploy/compose/compose.yaml"
WORKFLOW = "deploy/github-actions/finra.yml"
GITLAB = "deploy/gitlab-ci/finra.gitlab-ci.yml"
CRONTAB = "deploy/cron/crontab"
UNIT = "deploy/systemd/market-spine-finra@.service"
RULES = "deploy/monitoring/market-spine.rules.yaml"
AIRFLOW = "deploy/orchestrators/airflow/market_spine_finra.py"
DAGSTER = "deploy/orchestrators/dagster/market_spine_finra.py"
PAGE = "docs/deploy.md"

FAULTS = {
    "a rule that cannot be read": ("monitoring", RULES, "> 4 * 86400", "> 4 *", "parse error"),
    "a metric that there is not": ("monitoring", RULES, "market_spine_oldest_late", "market_spine_late", "no metric"),
    "a rule that fires too late": ("monitoring", RULES, "> 4 * 86400", "> 9 * 86400", "MarketSpineNoSuccess"),
    "an alert that is not tried": (
        "monitoring",
        RULES,
        "alert: MarketSpineLate",
        "alert: Unseen",
        "never seen to fire",
    ),
    "a tab in YAML": ("yaml", FINRA, "  schedule:", "\tschedule:", "cannot start any token"),
    "a key given twice": ("yaml", FINRA, "  schedule:", "  schedule: a\n  schedule:", "duplication of key"),
    "a relative WORKDIR": ("image", "Dockerfile", "WORKDIR /app", "WORKDIR app", "DL3000"),
    "another version": ("image", "Dockerfile", "ARG VERSION=", "ARG VERSION=9.", "ARG VERSION is"),
    "a copied file that is not there": ("image", "Dockerfile", "COPY LICENSE", "COPY LICENCE", "there is no LICENCE"),
    "a variable of the image": ("image", "Dockerfile", "PYTHONUNBUFFERED=1", "FINRA_SORCE=1", "FINRA_SORCE"),
    "a misspelt field of Compose": ("compose", COMPOSE, "healthcheck:", "healthchek:", "healthchek"),
    "a secret that .env.example lacks": (
        "compose",
        "deploy/compose/.env.example",
        "POSTGRES_PASSWORD=",
        "#",
        "POSTGRES_PASSWORD is missing",
    ),
    "a setting that nothing uses": ("compose", COMPOSE, "POLYGON_API_KEY:-", "ALPHA_VANTAGE_API_KEY:-", "used by"),
    "a variable of Compose": ("compose", COMPOSE, "FINRA_SOURCE: ", "FINRA_SORCE: ", "FINRA_SORCE"),
    "a flag of Compose": ("compose", COMPOSE, "--lookback-weeks", "--look-back-weeks", "--look-back-weeks"),
    "capabilities kept": ("compose", COMPOSE, "cap_drop: [ALL]", "cap_drop: []", "keeps capabilities"),
    "a misspelt field of Kubernetes": (
        "kubernetes",
        POD,
        "startingDeadlineSeconds",
        "startDeadlineSeconds",
        "startDead",
    ),
    "a misspelt field of a container": ("kubernetes", POD, "imagePullPolicy", "imagePolicy", "imagePolicy"),
    "a value of another type": ("kubernetes", POD, "backoffLimit: 2", "backoffLimit: two", "two"),
    "a resource that is not there": (
        "kubernetes",
        "deploy/kubernetes/base/kustomization.yaml",
        "finra.yaml",
        "f.yaml",
        "f.yaml",
    ),
    "a flag of a CronJob": ("kubernetes", FINRA, "--lookback-weeks=4", "--lookback=4", "--lookback"),
    "a value that a command refuses": ("kubernetes", FINRA, "--json]", "--log-level=LOUD]", "LOUD"),
    "a script that is not there": ("kubernetes", FINRA, "schedule_finra.py", "schedule_fin.py", "no command"),
    "a variable of a ConfigMap": (
        "kubernetes",
        "deploy/kubernetes/base/config.yaml",
        "FINRA_SOURCE",
        "FINRA_FROM",
        "FINRA_FROM",
    ),
    "a schedule that never comes": ("kubernetes", FINRA, "0 6 * * 2-6", "0 6 31 2 *", "no schedule"),
    "a time zone": ("kubernetes", POD, "America/New_York", "America/Newyork", "no time zone"),
    "two jobs at once": ("kubernetes", POD, "concurrencyPolicy: Forbid", "concurrencyPolicy: Allow", "at once"),
    "a partial run that is retried": ("kubernetes", POD, "values: [2]", "values: [3]", "is retried"),
    "more shards than pods": ("kubernetes", SHARDS, "INDEX)/4", "INDEX)/5", "5] shards, and the job 4"),
    "a shard that ends the others": ("kubernetes", BACKFILL, "value: FailIndex", "value: FailJob", "is retried"),
    "a volume not declared": ("kubernetes", POD, "- name: tmp\n", "- name: temp\n", "mounted but not declared"),
    "an account that is not there": (
        "kubernetes",
        POD,
        "serviceAccountName: market",
        "serviceAccountName: my",
        "Account",
    ),
    "a fixed uid on OpenShift": (
        "kubernetes",
        POD,
        "runAsNonRoot: true",
        "runAsNonRoot: true\n            runAsUser: 7",
        "assigns",
    ),
    "a writable root": ("kubernetes", POD, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "writable"),
    "a Secret that nobody makes": ("kubernetes", PAGE, "secret generic vendor", "secret generic other", "vendor-cred"),
    "a key that no Secret has": (
        "kubernetes",
        PAGE,
        "--from-literal=url=",
        "--from-literal=address=",
        "db-credentials url",
    ),
    "a minute of cron": ("cron", CRONTAB, "30 18 *", "60 18 *", "no schedule"),
    "a command that can overlap": ("cron", CRONTAB, "2-6 market-spine-cron", "2-6 market-spine", "overlap"),
    "a percent sign": ("cron", CRONTAB, "symbols.txt", "symbols-$(date +%a).txt", "line break"),
    "a flag in the crontab": ("cron", CRONTAB, "--symbols-file", "--symbol-file", "--symbol-file"),
    "a shell script": (
        "cron",
        "deploy/cron/market-spine-cron",
        'if [ "$code" -ne 0 ]; then',
        "if [ x ]",
        "yntax error",
    ),
    "a directive of systemd": ("systemd", UNIT, "ProtectHome=", "ProtectHoome=", "ProtectHoome"),
    "a value of systemd": ("systemd", UNIT, "Type=oneshot", "Type=once", "Type=once"),
    "a flag of the unit": ("systemd", UNIT, "--lookback-weeks", "--lookback", "--lookback"),
    "a timer of nothing": (
        "systemd",
        UNIT,
        None,
        "deploy/systemd/other@.service",
        "there is no market-spine-finra@.service",
    ),
    "an unpinned action": (
        "github",
        WORKFLOW,
        "@11bd71901bbe5b1630ceea73d27597364c9af683",
        "@v4",
        "not pinned",
    ),
    "an input in the shell text": ("github", WORKFLOW, '--weeks "$WEEKS"', "--weeks ${{ inputs.weeks }}", "expression"),
    "a flag of the workflow": ("github", WORKFLOW, "arguments+=(--force)", "arguments+=(--forced)", "--forced"),
    "a key of the workflow": ("github", WORKFLOW, "timeout-minutes", "timeout-minute", "timeout-minute"),
    "a variable of the workflow": ("github", WORKFLOW, "FINRA_SOURCE: api", "FINRA_SORCE: api", "FINRA_SORCE"),
    "a secret that nobody sets": ("github", PAGE, "gh secret set DATABASE_URL", "gh secret list", "DATABASE_URL"),
    "a schedule that is none": ("github", WORKFLOW, "schedule == '47", "schedule == '48", "none of the schedules"),
    "a key of GitLab": ("gitlab", GITLAB, "interruptible:", "interuptible: x\n  interruptible:", "interuptible"),
    "a flag in GitLab": ("gitlab", GITLAB, '"$@" --weeks', '"$@" --week', "--week"),
    "a variable of GitLab": ("gitlab", GITLAB, "FINRA_SOURCE: api", "FINRA_SORCE: api", "FINRA_SORCE"),
    "a flag of an Airflow task": ("orchestrators", AIRFLOW, '"--shard", ', '"--share", ', "--share"),
    "a flag of a Dagster asset": (
        "orchestrators",
        DAGSTER,
        '("--lookback-weeks", "4")',
        '("--weeks-back", "4")',
        "back",
    ),
    "a gate that there is not": ("orchestrators", DAGSTER, 'call("ready", "finra")', 'call("done", "finra")', "done"),
    "a kind that there is not": ("orchestrators", AIRFLOW, '"rate_limited"', '"rate_limit"', "rate_limit is no kind"),
    "a name that nothing has": ("orchestrators", DAGSTER, "json.loads", "jason.loads", "F821"),
    "an example that cannot be read": ("orchestrators", AIRFLOW, "def call(", "def call((", "invalid-syntax"),
    "a schedule of Airflow": ("orchestrators", AIRFLOW, "0 6 * * 2-6", "0 6 31 2 *", "no schedule"),
    "a quote on the page": ("texts", PAGE, "oc new-project market-spine", "oc new-project 'market", "unexpected EOF"),
    "a command on the page": (
        "texts",
        PAGE,
        "market-spine:latest market-spine status",
        "market-spine:latest market-spine stat",
        "stat",
    ),
    "a variable on the page": ("texts", PAGE, "-e FINRA_SOURCE=api", "-e FINRA_ORIGIN=api", "FINRA_ORIGIN"),
    "a variable in a comment": ("texts", "deploy/compose/.env.example", "# api asks", "# FINRA_KIND api", "FINRA_KIND"),
}
"""What is done: the check that must find it, the file, what stands there, what it becomes, part of the finding."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is checked."""
    for name in ("deploy", "docs", "Dockerfile", "LICENSE", "requirements-runtime.lock"):
        source = tools.REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for name in ("market-spine-basic", "packages", "scripts"):
        (tmp_path / name).symlink_to(tools.REPOSITORY / name)
    return tmp_path


@pytest.mark.parametrize("name", STATIC)
def test_what_is_shipped_passes(name: str) -> None:
    """Every check finds nothing in what is shipped."""
    assert CHECKS[name](tools.REPOSITORY) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tree: Path) -> None:
    """Each fault, planted by itself, is found by the check that is meant to, which says what is wrong."""
    name, file, before, after, said = FAULTS[fault]
    path = tree / file
    if before is None:
        path.rename(tree / after)
    else:
        text = path.read_text("utf-8")
        assert before in text
        path.write_text(text.replace(before, after), "utf-8")
    assert [problem for problem in CHECKS[name](tree) if said in problem]


def test_the_programs_variables_are_known() -> None:
    """The variables of settings, of domains, of vendors and of files with secrets are found in the source."""
    expected = {
        *("DATABASE_URL", "MARKET_SPINE_SCHEMA", "MARKET_SPINE_AUTO_MIGRATE"),
        *("FINRA_SOURCE", "FINRA_DATA_DIR", "FINRA_API_URL", "FINRA_TOKEN_URL", "FINRA_CLIENT_ID"),
        *("FINRA_CLIENT_SECRET", "FINRA_CLIENT_SECRET_FILE", "PRICE_SOURCE", "ALPHA_VANTAGE_API_KEY"),
        *("POLYGON_API_KEY", "MASSIVE_API_KEY", "POLYGON_LIMITS", "ALPHA_VANTAGE_URL"),
    }
    assert expected - program.variables() == set()
    assert {"NMS_TIER_1", "FINRA_CLIENT", "PATH"} & program.variables() == set()


def test_command_lines_are_found_in_shell_texts() -> None:
    """Commands are found after assignments, images, pipes and line breaks, and not where the name is a user's."""
    text = """
    A=1 market-spine status --json > out 2>&1 | cat
    docker run -v market-spine:/data market-spine:latest \\
      market-spine db check
    useradd --system market-spine
    if ! /opt/bin/market-spine runs; then python scripts/schedule_finra.py --json; fi
    """
    assert list(shell.commands(text)) == [
        ["status", "--json"],
        ["db", "check"],
        ["runs"],
        ["schedule", "finra", "--json"],
    ]
