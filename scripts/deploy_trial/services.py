"""Compose, Kubernetes and cron, each as it would start the job."""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.deploy_check import kubernetes, tools
from scripts.deploy_check.documents import load_all
from scripts.deploy_check.pipelines import simulated
from scripts.deploy_check.tools import REPOSITORY
from scripts.deploy_trial.world import CACHE, World

POSTGRES = "docker.io/library/postgres:17"
FILES = ("compose.yaml", "compose.simulated.yaml", "compose.console.yaml")
COMPOSE_TOKEN = "console-token"  # noqa: S105 - the name of a file
PASSWORD = "a1b2c3d4"  # noqa: S105 - of a database that lives for minutes


def run_compose(world: World, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run podman-compose with all files that are shipped."""
    files = [word for name in FILES for word in ("-f", name)]
    return world.run(tools.install() / "podman-compose", *files, *arguments, cwd=world.folder / "compose", codes=codes)


def _result(text: str) -> dict[str, Any]:
    """The result among what a container wrote."""
    document: dict[str, Any] = json.loads(text[text.index("{\n") : text.rindex("}") + 1])
    return document


def compose(world: World) -> str:
    """Compose runs the guide's command against PostgreSQL and a simulated FINRA; a second run loads nothing."""
    folder = world.folder / "postgres"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("postgres_entry.sh"), folder / "entry.sh")
    (folder / "Dockerfile").write_text(
        "FROM localhost/trial/postgres\nENV PGDATA=/var/lib/postgresql/data\nCOPY --chmod=755 entry.sh /entry.sh\n"
        "RUN install -d -o postgres -g postgres $PGDATA && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ || true\n"
        'CMD ["/entry.sh"]\n'
    )
    world.podman("import", CACHE / "postgres.tar", "localhost/trial/postgres")
    world.run("buildah", "bud", "--isolation", "oci", "--tag", POSTGRES, folder)
    shutil.copytree(REPOSITORY / "deploy/compose", world.folder / "compose")
    settings = (world.folder / "compose/.env.example").read_text().replace("PASSWORD=", f"PASSWORD={PASSWORD}")
    (world.folder / "compose/.env").write_text(settings)
    (world.folder / "compose" / COMPOSE_TOKEN).write_text(secrets.token_hex(24) + "\n")
    run_compose(world, "up", "--detach", "--no-build", "db", "simulated-finra")
    world.wait("PostgreSQL", "podman", "exec", container(world, "db"), "pg_isready", "-h", "127.0.0.1")
    ready = ("python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8900), 1)")
    world.wait("the simulator", "podman", "exec", container(world, "simulated-finra"), *ready)
    first = _result(run_compose(world, "run", "--rm", "--no-deps", "-T", "finra-scheduler"))
    assert (first["status"], first["stats"]["succeeded"]) == ("success", 12), first
    second = _result(run_compose(world, "run", "--rm", "--no-deps", "-T", "finra-scheduler"))
    assert second["stats"]["skipped"] == 12, second
    version = world.podman("exec", container(world, "db"), "postgres", "--version").strip()
    return f"12 of 12, then 12 skipped; {version}, a stand-in for {POSTGRES}"


def container(world: World, service: str) -> str:
    """The id of a service's container."""
    return world.podman("ps", "--quiet", "--filter", f"label=com.docker.compose.service={service}").split()[0]


def pods(world: World) -> str:
    """The pods of the migration Job and of a CronJob, with their own arguments, run under podman play kube."""
    built = tools.call("kubectl", "kustomize", REPOSITORY / "deploy/kubernetes/overlays/postgres", cwd=REPOSITORY)
    documents = load_all(built.stdout)
    database = container(world, "db")
    world.podman(
        "exec", "--env", f"PGPASSWORD={PASSWORD}", database, "createdb", "-h", "127.0.0.1", "-U", "spine", "kube"
    )
    host = json.loads(world.podman("inspect", database))[0]["NetworkSettings"]["Networks"]
    address = next(iter(host.values()))["IPAddress"]
    _secret(world, "db-credentials", url=f"postgresql://spine:{PASSWORD}@{address}:5432/kube")
    _secret(world, "vendor-credentials")
    with simulated(world.folder) as place:
        for document in documents:
            if document["kind"] == "ConfigMap" and "FINRA_SOURCE" in document["data"]:
                document["data"]["FINRA_API_URL"] = place
        _play(world, documents, "Job market-spine-migrate")
        result = json.loads(_play(world, documents, "CronJob finra-daily-ingest"))
        again = json.loads(_play(world, documents, "CronJob finra-daily-ingest"))
    assert (result["status"], result["stats"]["succeeded"], again["stats"]["skipped"]) == ("success", 12, 12), result
    assert result["config"]["source"] == "api"
    return "migrated, 12 of 12, then 12 skipped"


def _secret(world: World, name: str, **values: str) -> None:
    """A Secret as podman keeps it for the pods of play kube: its data."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    (world.folder / f"{name}.json").write_text(json.dumps(data))
    world.podman("secret", "create", name, world.folder / f"{name}.json")


def _play(world: World, documents: kubernetes.Manifests, job: str) -> str:
    """Start the pod of a job and wait for its end; what it wrote to stdout."""
    name = job.partition(" ")[2]
    path = world.folder / f"{name}.yaml"
    path.write_text(kubernetes.pod_manifest(documents, job))
    world.podman("play", "kube", "--network", "host", path)
    code = world.podman("wait", f"{name}-scheduler").strip()
    command = ["podman", "logs", f"{name}-scheduler"]
    log = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - fixed arguments
    world.podman("pod", "rm", "--force", name)
    if code != "0":
        raise RuntimeError(f"exit code {code} of {job}\n{log.stdout[-1000:]}\n{log.stderr[-2000:]}")
    return log.stdout


def cron(world: World) -> str:
    """A line of the shipped crontab, due each minute here, is fired by cron and loads what there is."""
    home = world.folder / "home"
    home.mkdir()
    sample = ("sample-data", "finra", "--out", home / "files", "--weeks", "4", "--rows", "200")
    world.run(world.program(), *sample)
    (home / "market-spine.env").write_text("FINRA_DATA_DIR=files\n")
    shipped = (REPOSITORY / "deploy/cron/crontab").read_text("utf-8")
    (line,) = re.findall(r"^\S+ \S+ \S+ \S+ \S+ (.*weeks 4)$", shipped, re.MULTILINE)
    programs = f"{REPOSITORY}/deploy/cron:{Path(sys.executable).parent}:/usr/bin:/bin"
    spool = Path("/var/spool/cron/crontabs")
    spool.mkdir(mode=0o1730)
    table = spool / "root"
    table.write_text(f'MAILTO=""\nHOME={home}\nPATH={programs}\n* * * * * {line}\n')
    table.chmod(0o600)
    daemon = subprocess.Popen(["cron", "-f"])  # noqa: S607 - Debian's
    try:
        show = (world.program(), "runs", "--json", "--db", home / "data/market_spine.db")
        world.wait("cron", "bash", "-c", f"{' '.join(map(str, show))} | grep -q success", seconds=150)
    finally:
        daemon.terminate()
        daemon.wait()
    return f"* * * * * {line}"


def systemd(world: World) -> str:
    """The units are accepted by systemd, which knows when the timers come and rates the service."""
    programs = Path("/opt/market-spine/bin")
    programs.mkdir()
    (programs / "market-spine").symlink_to(Path(sys.executable).parent / "market-spine")
    units = world.folder / "units"
    shutil.copytree(REPOSITORY / "deploy/systemd", units)
    shutil.copy(units / "market-spine-finra@.service", units / "market-spine-finra@4.service")
    for unit in sorted(units.iterdir()):
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["systemd-analyze", "verify", unit.name],  # noqa: S607 - Debian's
            cwd=units,
            capture_output=True,
            text=True,
            check=False,
        )
        complaints = [line for line in done.stderr.splitlines() if "market-spine" in line]
        assert not complaints, complaints
        for expression in re.findall(r"^OnCalendar=(.*)$", unit.read_text(), re.MULTILINE):
            assert "Next elapse" in world.run("systemd-analyze", "calendar", expression)
    rating = world.run(
        "systemd-analyze", "security", "--offline=true", "./market-spine-finra@4.service", cwd=units, codes=(0, 1)
    )
    return rating.strip().splitlines()[-1].strip()
