"""A signed pipeline that real agents built, for looking at in a browser: a server, keys, an uploader and a runner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Route

from pipeseal.controlplane.services.accounts import make_first_link
from pipeseal.controlplane.store.database import Transaction
from pipeseal.lab.stage import Actors, make_repository
from pipeseal.signing.keys.jwk import parse_jwks
from tests.controlplane.running import QUICK, Api, RunningServer, find_job, running_server, until
from tests.web.conftest import PATIENCE_MILLISECONDS

SLUG = "widgets"
KEY_ID = "uploader-1"
PIPELINE = """\
env:
  GREETING: "hello"
steps:
  - {key: lint, label: Lint, command: "echo linted"}
  - key: test
    label: "Test {{matrix}}"
    command: 'echo "$$GREETING from {{matrix}}"'
    matrix: [alpine, debian]
    env: {LEVEL: "2"}
"""


class Scene:
    """What the tests look at.

    Parameters:
        running: the server.
        build: the build, as the REST API has it.
        thumbprint: of the signing key, as the command line prints it.
        keys: folder with the keys.
    """

    def __init__(self, running: RunningServer, build: dict[str, Any], thumbprint: str, keys: Path) -> None:
        self.running = running
        self.api: Api = running.api
        self.build = build
        self.thumbprint = thumbprint
        self.public: dict[str, Any] = json.loads((keys / "verification.json").read_text())["keys"][0]
        self.keys = keys
        self.path = f"/local/{SLUG}/builds/{build['number']}"

    def job(self, key: str) -> dict[str, Any]:
        """A job of the build, by its step."""
        return find_job(self.build, key)

    def job_path(self, key: str, tab: str = "") -> str:
        """The address of a job's page."""
        return f"{self.path}/jobs/{self.job(key)['id']}{tab and f'/{tab}'}"

    @contextmanager
    def tampered(self, key: str, change: Callable[[str], str]) -> Iterator[None]:
        """The step's JSON in the database is another one for a while."""
        database, step = self.running.plane.database, self.job(key)["step"]["id"]

        def read(tx: Transaction) -> str:
            row = tx.one("SELECT content FROM steps WHERE id = :id", id=step)
            assert row is not None
            return str(row["content"])

        def write(text: str) -> Callable[[Transaction], int]:
            return lambda tx: tx.run("UPDATE steps SET content = :text WHERE id = :id", text=text, id=step)

        before = database.submit(read).result()
        after = change(before)
        assert after != before
        database.submit(write(after)).result()
        try:
            yield
        finally:
            database.submit(write(before)).result()

    @contextmanager
    def forged(self, query: str, before: Any, after: Any) -> Iterator[None]:
        """One value of the database is another one for a while.

        Parameters:
            query: an UPDATE with `:value`.
        """
        database = self.running.plane.database
        database.submit(lambda tx: tx.run(query, value=after)).result()
        try:
            yield
        finally:
            database.submit(lambda tx: tx.run(query, value=before)).result()


@contextmanager
def trust_scene(folder: Path) -> Iterator[Scene]:
    """A build of a signed pipeline that agents verified and ran."""
    (folder / "logs").mkdir()
    repository = folder / "widgets"
    commit = make_repository(repository, {".buildkite/pipeline.yml": PIPELINE})
    environment = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data")}
    with (
        running_server(folder / "server", QUICK) as running,
        Actors(folder / "logs", environment) as actors,
    ):
        keys = folder / "config" / "pipeseal"
        made = actors.run(
            [
                "init",
                "--directory",
                str(keys),
                "--key-id",
                KEY_ID,
                "--repository",
                str(repository),
                "--pipeline",
                SLUG,
            ]
        )
        assert made.returncode == 0, made.stderr
        (key,) = parse_jwks((keys / "verification.json").read_bytes())
        body = {"name": SLUG, "slug": SLUG, "repository": str(repository)}
        answer = running.api.rest("POST", "/pipelines", {**body, "configuration": (keys / "steps.yml").read_text()})
        assert answer.status == 201, answer.json
        common = [
            "agent", "start", "--token", f"file://{folder / 'server' / 'agent-token'}",
            "--verification-jwks-file", str(keys / "verification.json"), "--policy-file", str(keys / "policy.toml"),
            "--build-path", str(folder / "builds"), "--plugins-path", str(folder / "plugins"),
            "--endpoint", f"{running.api.url}/v3",
        ]  # fmt: skip
        uploader = ["--queue", "uploader", "--signing-jwks-file", str(keys / "signing.json")]
        actors.start("uploader", [*common, "--name", "uploader", *uploader], ready="Waiting for jobs")
        actors.start("runner", [*common, "--name", "linux-1"], ready="Waiting for jobs")
        running.api.create_build(SLUG, commit=commit, branch="main", message="A signed build")
        until(lambda: running.api.build(1, SLUG)["finished_at"] is not None, "the end of the build", 60)
        build = running.api.build(1, SLUG)
        assert build["state"] == "passed", build
        actors.stop("runner")
        actors.stop("uploader")
        yield Scene(running, build, key.thumbprint(), keys)


class Reader:
    """Somebody who is signed in and looks at trust; a browser of their own, which has seen nothing yet."""

    def __init__(self, context: BrowserContext, scene: Scene) -> None:
        self.context = context
        self.scene = scene
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MILLISECONDS)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)

    def visit(self, path: str) -> Page:
        """Go to a page, and wait until it is whole."""
        self.page.goto(self.scene.api.url + path)
        self.page.wait_for_selector("main:not([aria-busy])")
        return self.page

    def draw(self, what: str, key: str = "", *, fragment: str = "", number: int = 1) -> Page:
        """Show one part of trust, in the place of a page: `bar`, `tab`, `job` or `refused`.

        Parameters:
            number: of the build; there is one, so for others the server has to lie.
        """
        # On a page that draws nothing of trust itself, so that each part is there once.
        if self.page.url != f"{self.scene.api.url}{self.scene.path}" or fragment:
            self.page.goto(f"{self.scene.api.url}/local/agents{fragment}")
            self.page.wait_for_selector("main:not([aria-busy])")
        job = self.scene.job(key)["id"] if key else None
        path = self.scene.path.removesuffix("1") + str(number)
        self.page.evaluate(_DRAW, [what, path + fragment, number, job])
        return self.page

    def lie(self, pattern: str, change: Callable[[Any], Any]) -> None:
        """Let the server say something else wherever an address fits: `change` gets the JSON and gives another."""

        def answer(route: Route) -> None:
            # Another build than the one that there is looks like it, but for the lie.
            response = route.fetch(url=re.sub(r"/builds/\d+", "/builds/1", route.request.url))
            route.fulfill(response=response, json=change(response.json()))

        self.page.route(re.compile(pattern), answer)

    @property
    def mark(self) -> str:
        """The state that the first trust bar shows."""
        return self.page.locator(".trust-bar .trust").first.get_attribute("data-trust") or ""

    @property
    def says(self) -> str:
        """What the first trust bar says."""
        return self.page.locator(".trust-bar").first.inner_text()

    def remember(self) -> Mapping[str, Any]:
        """What this browser keeps of the organisation's keys."""
        text = self.page.evaluate("localStorage.getItem('pipeseal-keys/local')")
        kept: dict[str, Any] = json.loads(text) if text else {}
        return kept


_DRAW = """async ([what, path, number, id]) => {
  history.replaceState(null, "", path);
  const { ask, session } = await import("/web/api.js");
  await session();
  const build = await ask(`/pipelines/widgets/builds/${number}`);
  const job = build.jobs.find((one) => one.id === id);
  const element = document.createElement("div");
  const heading = document.createElement("h1");
  heading.textContent = build.message;
  document.getElementById("main").replaceChildren(heading, element);
  document.title = "Trust";
  if (what === "bar") await (await import("/web/trust/bar.js")).drawTrust(element, build, {});
  if (what === "tab") await (await import("/web/trust/tab.js")).drawTrustTab(element, build, {});
  if (what === "job") await (await import("/web/trust/job.js")).drawJobTrust(element, build, job, {});
  if (what === "refused") await (await import("/web/trust/refused.js")).drawRefused(element, build, job);
}"""


def sign_in(browser: Browser, scene: Scene) -> Any:
    """What a browser keeps of somebody who made the first account."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{scene.api.url}/welcome#{make_first_link(scene.running.plane)}")
    page.get_by_label("Your name").fill("The owner")
    page.get_by_label("Email").fill("owner@example.org")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Make the account").click()
    page.wait_for_url(scene.api.url + "/")
    state = {"cookies": context.cookies(), "origins": []}
    context.close()
    return state
