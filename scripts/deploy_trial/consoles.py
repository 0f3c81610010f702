"""The console as Compose and Kubernetes start it: read-only, and only for who may ask."""

from __future__ import annotations

import http.client
import json
import secrets
from typing import Any, NamedTuple
from urllib.parse import urlencode

import yaml

from scripts.deploy_check import tools
from scripts.deploy_check.documents import load_all
from scripts.deploy_check.tools import REPOSITORY
from scripts.deploy_trial.services import COMPOSE_TOKEN, container, run_compose
from scripts.deploy_trial.world import World

PORT = 8642
ORIGIN = f"http://localhost:{PORT}"
POD = "market-spine-console"
DATA = "/d/finra/partitions.json?range=all"


class _Answer(NamedTuple):
    """What the console answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def _ask(path: str, form: dict[str, str] | None = None, **headers: str) -> _Answer:
    """Ask as a browser on this machine does, without following where it leads."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    sent = {"Host": f"localhost:{PORT}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        if form is None:
            connection.request("GET", path, headers=sent)
        else:
            sent |= {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", path, urlencode(form), sent)
        answer = connection.getresponse()
        return _Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def _wait(world: World) -> None:
    """Until it answers to its health check; what listens is asked from outside the container."""
    look = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/healthz', timeout=5)"
    world.wait("the console", world.program("python"), "-c", look)


def _captured(answer: _Answer) -> int:
    """How many partitions of FINRA a page shows as loaded."""
    assert answer.status == 200, answer
    counts: dict[str, Any] = json.loads(answer.body)["counts"]
    return sum(counts.get(state, 0) for state in ("captured", "revised", "warned"))


def compose(world: World) -> str:
    """Compose's console shows what is loaded to who has the token and to nobody else, and writes nothing."""
    run_compose(world, "up", "--detach", "--no-build", "console")
    _wait(world)
    name = container(world, "console")
    assert [_ask(path).status for path in ("/healthz", "/readyz")] == [200, 200]
    refused = [_ask(path) for path in ("/", DATA)]
    assert [(each.status, each.headers["Location"]) for each in refused] == [(303, "/login")] * 2, refused
    token = (world.folder / "compose" / COMPOSE_TOKEN).read_text().strip()
    assert _ask("/login", {"token": secrets.token_hex(24)}).status == 403
    entered = _ask("/login", {"token": token})
    cookie = str(entered.headers["Set-Cookie"]).partition(";")[0]
    assert entered.status == 303, entered
    assert _ask("/", Cookie=cookie).status == 200
    loaded = _captured(_ask(DATA, Cookie=cookie))
    assert loaded == 12, loaded
    assert _ask("/", Cookie=cookie, Host="elsewhere.example").status >= 400
    assert _ask("/actions/backfill", {"domain": "finra"}, Cookie=cookie).status >= 400
    world.podman("healthcheck", "run", name)
    world.podman("exec", name, "sh", "-c", "! touch /app/data/file /app/file 2> /dev/null")
    world.podman("stop", "--time", "60", name)
    state = json.loads(world.podman("inspect", name))[0]["State"]
    assert state["ExitCode"] == 0, state
    return f"/ leads to /login, with the token 200 and {loaded} partitions; a strange host and an action are refused"


def pod(world: World) -> str:
    """The pod of the overlay console listens on its loopback alone; behind a proxy it answers whom that names."""
    built = tools.call("kubectl", "kustomize", REPOSITORY / "deploy/kubernetes/overlays/console", cwd=REPOSITORY)
    (deployment,) = [each for each in load_all(built.stdout) if each["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    _play(world, template)
    assert _captured(_ask(DATA)) == 12
    assert f"127.0.0.1:{PORT}" in world.run("ss", "--listening", "--tcp", "--numeric", "--no-header")
    _end(world)
    template["spec"]["containers"][0]["args"] = ["--proxy-header=X-Forwarded-User", "--trusted-proxy=127.0.0.1"]
    _play(world, template)
    assert [_ask(path).status for path in ("/healthz", "/readyz")] == [200, 200]
    assert [_ask(path).status for path in ("/", DATA)] == [403, 403]
    assert _captured(_ask(DATA, X_Forwarded_User="ada")) == 12
    _end(world)
    return "12 partitions; behind a proxy 403 without its header, 200 with it; /healthz and /readyz 200"


def _play(world: World, template: dict[str, Any]) -> None:
    path = world.folder / "console.yaml"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": template["spec"]}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "market-spine"}, "data": {"TZ": "UTC"}}
    path.write_text(yaml.safe_dump_all([settings, pod], sort_keys=False))
    world.podman("play", "kube", "--network", "host", path)
    _wait(world)


def _end(world: World) -> None:
    world.podman("pod", "stop", "--time", "60", POD)
    world.podman("pod", "rm", "--force", POD)
