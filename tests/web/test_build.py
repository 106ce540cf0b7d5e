"""Build and job pages: steps in four views, block steps, attempts, annotations, artifacts, variables; live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.controlplane.job_side import upload
from tests.controlplane.running import FakeAgent, find_job, until
from tests.web.build_stage import Stage, check_accessible, open_stage, wait_until

pytestmark = pytest.mark.peer("chromium")

STEPS = """
env: {COLOUR: green}
steps:
  - {label: lint, key: lint, command: make lint, env: {LEVEL: "2"}}
  - group: tests
    key: tests
    steps:
      - {label: "test {{matrix}}", key: unit, command: make test, matrix: [py3.10, py3.11]}
      - {label: slow, command: make slow, parallelism: 2}
  - wait
  - {label: package, key: package, command: make package}
  - {label: publish, key: publish, depends_on: [package, lint], command: make publish}
"""
BLOCK = """
steps:
  - block: Release
    prompt: Goes to everybody.
    fields:
      - {text: Version, key: version, hint: as in the changelog, format: "[0-9]+[.][0-9]+"}
      - {select: Channel, key: channel, options: [{label: Beta, value: beta}, {label: Stable, value: stable}]}
      - select: Notify
        key: notify
        multiple: true
        required: false
        default: [ops]
        options: [{label: Ops, value: ops}, {label: Support, value: support}]
      - select: Region
        key: region
        default: r7
        options: [r1, r2, r3, r4, r5, r6, r7]
  - {label: after, command: make}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("stage"), browser) as stage:
        yield stage


def test_build_is_watched_while_it_runs(stage: Stage) -> None:
    path, build, tag = stage.build(STEPS, message="first words\n\nmore words", author={"name": "A developer"})
    agent = FakeAgent(stage.api, tag, name="linux-1")
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.get_by_role("heading", level=1)).to_contain_text("first words")
        expect(page.locator(".build-facts")).to_contain_text("main @ aaaaaaaaaa")
        expect(page.locator(".build-facts")).to_contain_text("A developer")
        lint = page.locator(".step", has_text="lint")
        expect(lint).to_contain_text("waiting for an agent")
        job = agent.take()
        expect(lint).to_contain_text("running")
        assert job.finish(1).status == 200
        expect(lint).to_contain_text("failed")
        for _ in range(4):
            agent.run(0)
        expect(page.get_by_role("heading", level=1)).to_contain_text("failed")
        expect(page.locator(".steps-count")).to_have_text("7 jobs, 1 failed")
        assert page.title().startswith("#1 failed")
        expect(page.locator("#status")).to_have_text("Build failed")
        page.keyboard.press("f")
        page.wait_for_url(f"**/jobs/{find_job(build, 'lint')['id']}")
        check_accessible(owner.visit(path))


def test_what_is_folded_has_no_elements_and_is_found(stage: Stage) -> None:
    path, _, _ = stage.build(STEPS)
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.locator(".step")).to_have_count(5)
        expect(page.get_by_role("treeitem", name="tests (4)")).to_have_attribute("aria-expanded", "false")
        page.get_by_role("treeitem", name="tests (4)").click()
        page.get_by_role("treeitem", name="test (2)").click()
        expect(page.get_by_role("treeitem", name="test (2)")).to_be_focused()
        expect(page.locator(".step")).to_have_count(9)
        page.keyboard.press("g")
        expect(page.locator(".step")).to_have_count(5)
        page.keyboard.press("s")
        page.keyboard.type("PY3.11")
        expect(page.get_by_role("treeitem", name="test py3.11")).to_be_visible()
        expect(page.locator(".steps-count")).to_contain_text("1 of 7 jobs")
        assert "q=PY3.11" in page.url
        page.reload()
        expect(page.get_by_role("treeitem", name="test py3.11")).to_be_visible()
        page.get_by_role("button", name="Clear the filter").click()
        expect(page.locator(".steps-count")).to_have_text("7 jobs")
        page.get_by_label("Order of steps").select_option("state")
        expect(page.locator(".step")).to_have_count(7)


def test_steps_are_a_tree_that_arrows_move_in(stage: Stage) -> None:
    path, build, _ = stage.build(STEPS)
    with stage.owner() as owner:
        page = owner.visit(path)
        tree = page.get_by_role("tree", name="Steps")
        item = tree.get_by_role("treeitem")
        expect(item).to_have_count(5)
        # One stop of the Tab key: the first step.
        page.get_by_label("Order of steps").focus()
        page.keyboard.press("Tab")
        expect(item.nth(0)).to_be_focused()
        expect(item.nth(0)).to_have_accessible_name(re.compile("lint.*waiting for an agent"))
        page.keyboard.press("ArrowDown")
        group = tree.get_by_role("treeitem", name="tests (4)")
        expect(group).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(group).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("ArrowRight")
        step = tree.get_by_role("treeitem", name="test (2)")
        expect(step).to_be_focused()
        for name, value in (("aria-level", "2"), ("aria-posinset", "1"), ("aria-setsize", "2")):
            expect(step).to_have_attribute(name, value)
        page.keyboard.press(" ")
        expect(step).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("ArrowDown")
        expect(tree.get_by_role("treeitem", name="py3.10")).to_be_focused()
        page.keyboard.press("ArrowLeft")
        expect(step).to_be_focused()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect(group).to_be_focused()
        page.keyboard.press("ArrowLeft")
        expect(group).to_have_attribute("aria-expanded", "false")
        page.keyboard.press("End")
        expect(tree.get_by_role("treeitem", name="publish")).to_be_focused()
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/jobs/{find_job(build, 'lint')['id']}")
        expect(tree.get_by_role("treeitem", name="lint")).to_have_attribute("aria-current", "page")
        check_accessible(page)


def test_on_a_phone_the_step_that_is_shown_is_in_sight_among_many(stage: Stage) -> None:
    names = "".join(f"  - {{label: step {number}, key: k{number}, command: make}}\n" for number in range(400))
    path, build, _ = stage.build(f"steps:\n{names}")
    job = f"{path}/jobs/{find_job(build, 'k350')['id']}"
    with stage.owner(viewport={"width": 390, "height": 800}) as owner:
        page = owner.visit(job)
        current = page.locator(".step-row[aria-current]")
        toggle = page.get_by_role("button", name="351 of 400 step 350")
        expect(current).to_be_hidden()
        toggle.click()
        expect(toggle).to_have_attribute("aria-expanded", "true")
        expect(current).to_be_in_viewport()
        toggle.click()
        expect(current).to_be_hidden()
        page.get_by_role("link", name="Next step").click()
        expect(page.get_by_role("heading", name="step 351")).to_be_visible()
        page.get_by_role("link", name="Step before").click()
        expect(page.get_by_role("heading", name="step 350")).to_be_visible()
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 1280, "height": 800})
        expect(page.locator(".steps-here")).to_be_hidden()
        owner.visit(job)
        expect(current).to_be_in_viewport()


def test_what_did_not_run_says_so_in_words_and_why(stage: Stage) -> None:
    path, build, tag = stage.build(
        """
steps:
  - {label: lint, key: lint, command: make lint}
  - {label: docs, key: docs, command: make docs, if: "build.branch == 'other'"}
  - {label: package, key: package, depends_on: lint, command: make package}
  - {label: publish, key: publish, depends_on: package, command: make publish}
"""
    )
    FakeAgent(stage.api, tag).run(127)
    with stage.owner() as owner:
        page = owner.visit(path)
        words = page.locator(".step .state")
        expect(words).to_have_text(["failed", "left out", "not run", "not run"])
        page.keyboard.press("e")
        dialog = page.get_by_role("dialog", name="Why lint did not pass")
        expect(dialog).to_contain_text("It ended with status 127: a command was not found.")
        check_accessible(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Why?").click()
        dialog.get_by_role("link", name="lint").click()
        page.wait_for_url(f"**/jobs/{find_job(build, 'lint')['id']}")
        expect(dialog).to_have_count(0)
        page = owner.visit(f"{path}/jobs/{find_job(build, 'publish')['id']}")
        # The step at the beginning of it, not the one in between, which did not run either.
        reason = page.locator(".job-body .empty")
        expect(reason).to_have_text("It did not run, because what it waits for went wrong: lint.")
        reason.get_by_role("link", name="lint").click()
        page.wait_for_url(f"**/jobs/{find_job(build, 'lint')['id']}")
        page = owner.visit(path + "?view=table")
        filters = page.get_by_role("group", name="Filter by state").get_by_role("button")
        expect(filters).to_have_text(["all 4", "failed 1", "left out 1", "not run 2"])
        page.get_by_role("button", name="not run 2").click()
        expect(page.locator("tbody tr")).to_have_count(2)
        expect(page.get_by_role("button", name="not run 2")).to_have_attribute("aria-pressed", "true")
        page.reload()
        expect(page.locator("tbody tr")).to_have_count(2)


def test_next_failure_is_a_key_and_a_link(stage: Stage) -> None:
    path, build, tag = stage.build(
        "steps:\n" + "".join(f"  - {{label: s{number}, key: s{number}, command: make}}\n" for number in range(4))
    )
    agent = FakeAgent(stage.api, tag)
    for status in (0, 1, 0, 1):
        agent.run(status)
    first, second = (find_job(build, key)["id"] for key in ("s1", "s3"))
    with stage.owner() as owner:
        page = owner.visit(path)
        page.get_by_role("link", name="2 failed").click()
        page.wait_for_url(f"**/jobs/{first}")
        expect(page.get_by_role("heading", name="s1")).to_be_visible()
        page.get_by_role("link", name="2 failed").click()
        page.wait_for_url(f"**/jobs/{second}")
        page = owner.visit(path)
        page.keyboard.press("Shift+F")
        page.wait_for_url(f"**/jobs/{second}")


def test_keyboard_gets_past_what_stands_above(stage: Stage) -> None:
    path, build, tag = stage.build(
        "steps:\n  - {label: one, key: one, command: make}\n  - {label: two, command: make}\n"
    )
    agent = FakeAgent(stage.api, tag)
    agent.run(1, b"said\n")
    agent.run(0, b"said\n")
    job = f"{path}/jobs/{find_job(build, 'one')['id']}"
    with stage.owner() as owner:
        page = owner.visit(job + "#L1")
        skips = page.get_by_role("navigation", name="Skip")
        expect(skips.get_by_role("link")).to_have_text(
            ["Skip to trust", "Skip to the steps and the job", "Skip to the log"]
        )
        for name, target in (("Skip to trust", "#trust"), ("Skip to the log", ".job-body")):
            skips.get_by_role("link", name=name).focus()
            page.keyboard.press("Enter")
            expect(page.locator(target)).to_be_focused()
        # What the address says of lines and keys is still there.
        assert page.url.endswith("#L1")
        owner.visit(path)
        page.get_by_role("link", name="Go to the first failure").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/jobs/{find_job(build, 'one')['id']}")


def test_keys_are_changed_and_switched_off_by_their_reader(stage: Stage) -> None:
    path, _, _ = stage.build(STEPS)
    with stage.owner() as owner:
        page = owner.visit(path)
        search = page.get_by_role("searchbox", name="Find a step")
        page.keyboard.press("?")
        sheet = page.get_by_role("dialog", name="Keys on this page")
        for words in ("explain what went wrong", "in the list of steps: close or open a group", "close what is open"):
            expect(sheet.get_by_role("row").filter(has_text=words)).to_have_count(1)
        change = sheet.get_by_role("row").filter(has_text="open or close all groups").get_by_role("button")
        change.click()
        page.keyboard.press("j")
        expect(sheet.get_by_role("alert")).to_contain_text("j is there already: follow the build")
        page.keyboard.press("x")
        expect(sheet.locator("kbd", has_text="x")).to_have_count(1)
        expect(change).to_be_focused()
        follow = sheet.get_by_role("row").filter(has_text="follow the build")
        follow.get_by_role("button").click()
        page.keyboard.press("Backspace")
        expect(follow).to_contain_text("off")
        check_accessible(page)
        page.keyboard.press("Escape")
        expect(sheet).to_have_count(0)
        # What was changed holds on the next page too.
        owner.visit(path)
        page.keyboard.press("g")
        page.keyboard.press("j")
        expect(page.locator(".step")).to_have_count(5)
        page.keyboard.press("x")
        expect(page.locator(".step")).to_have_count(11)
        assert "follow" not in page.url
        page.keyboard.press("?")
        sheet.get_by_label("Switch single keys off").check()
        sheet.get_by_role("button", name="Close", exact=True).click()
        expect(sheet).to_have_count(0)
        page.keyboard.press("x")
        page.keyboard.press("s")
        expect(search).not_to_be_focused()
        expect(page.locator(".step")).to_have_count(11)
        page.get_by_role("button", name="Keyboard").click()
        sheet.get_by_label("Switch single keys off").uncheck()
        sheet.get_by_role("button", name="All as they were").click()
        sheet.get_by_role("button", name="Close", exact=True).click()
        expect(sheet).to_have_count(0)
        page.keyboard.press("g")
        expect(page.locator(".step")).to_have_count(5)


def test_other_views_say_the_same(stage: Stage) -> None:
    path, _, tag = stage.build(STEPS)
    agent = FakeAgent(stage.api, tag, name="linux-9")
    agent.run(0)
    agent.run(3)
    with stage.owner() as owner:
        page = owner.visit(path)
        page.get_by_role("link", name="Table").click()
        page.wait_for_url("**?view=table")
        expect(page.locator("tbody tr")).to_have_count(7)
        head = page.get_by_role("columnheader", name="Job")

        def is_sorted() -> bool:
            if head.get_attribute("aria-sort") != "ascending":
                head.get_by_role("button").click()  # again, as readers do when the page moved below the first click
            names = page.locator("tbody tr td:first-child a").all_inner_texts()
            return names == sorted(names)

        until(is_sorted, "jobs in the order of their names")
        page.get_by_role("button", name=re.compile("^failed 1")).click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text("linux-9")
        check_accessible(page)
        page.get_by_role("link", name="Graph").click()
        page.wait_for_url("**?view=graph")
        expect(page.locator(".graph .node")).to_have_count(6)
        # lint and both tests before the wait, it before package, package and lint before publish
        expect(page.locator(".graph .edge")).to_have_count(6)
        page.get_by_text("The same as a table").click()
        expect(page.get_by_role("row", name="publish")).to_contain_text("lint, package")
        check_accessible(page)
        page.get_by_role("link", name="Waterfall").click()
        expect(page.locator("tbody tr")).to_have_count(5)
        expect(page.locator("tbody tr .bar .run")).to_have_count(2)
        check_accessible(page)


def test_graph_knows_what_waits_for_what(stage: Stage) -> None:
    path, _, _ = stage.build(
        """
steps:
  - {label: a, key: a, command: make}
  - group: g
    key: g
    depends_on: a
    steps:
      - {label: b, command: make}
      - wait
      - {label: c, command: make}
  - {input: facts, key: facts}
  - {block: gate}
  - {label: d, command: make}
"""
    )
    with stage.owner() as owner:
        page = owner.visit(path + "?view=graph")
        page.get_by_text("The same as a table").click()
        expect(page.locator("tbody tr")).to_have_count(7)
        cells = page.locator("tbody tr").all()
        needs = {row.locator("td").nth(0).inner_text(): row.locator("td").nth(2).inner_text() for row in cells}
        # A group that names what it needs names it for its steps, which wait in the group besides.
        wanted = {"a": "", "b": "a", "wait": "a", "c": "a", "facts": "", "gate": "a, b, wait, c, facts", "d": "gate"}
        assert needs == wanted


def test_block_step_asks_and_says_what_is_wrong(stage: Stage) -> None:
    path, _, _ = stage.build(BLOCK)
    with stage.owner() as owner:
        page = owner.visit(path)
        form = page.get_by_role("region", name="Release")
        expect(form).to_contain_text("It is not signed")
        form.get_by_role("button", name="Unblock").click()
        version = form.get_by_label("Version")
        expect(version).to_be_focused()
        expect(version).to_have_accessible_description(re.compile("as in the changelog.*This is required"))
        version.fill("1")
        form.get_by_label("Support").check()
        form.get_by_role("button", name="Unblock").click()
        expect(version).to_have_attribute("aria-invalid", "true")
        expect(version).to_have_accessible_description(re.compile("does not match"))
        expect(form.get_by_role("alert")).to_have_text("2 answers do not do.")
        check_accessible(page)
        version.fill("1.2")
        form.get_by_label("Stable").check()
        form.get_by_role("button", name="Unblock").click()
        expect(form).to_have_count(0)
        expect(page.locator(".step", has_text="Release")).to_contain_text("passed")
        number = path.rpartition("/")[2]
        found = stage.api.build(int(number), path.split("/")[2])
        assert found["meta_data"] == {"version": "1.2", "channel": "stable", "notify": "ops\nsupport", "region": "r7"}
        assert found["jobs"][0]["unblocked_by"]["name"] == "The owner"


def test_job_runs_again_after_asking_and_its_attempts_are_there(stage: Stage) -> None:
    path, build, tag = stage.build("steps:\n  - {label: flaky, command: make}\n")
    agent = FakeAgent(stage.api, tag)
    agent.run(1, b"first attempt\n")
    first = f"{path}/jobs/{build['jobs'][0]['id']}"
    with stage.owner() as owner:
        page = owner.visit(first)
        page.keyboard.press("r")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Run flaky again?")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        page.get_by_role("button", name="Run again").click()
        page.get_by_role("button", name="Run it again").click()
        page.wait_for_url(lambda url: "/jobs/" in url and not url.endswith(first))
        attempts = page.get_by_role("navigation", name="Attempts").get_by_role("link")
        expect(attempts).to_have_text(["Attempt 1: failed", "Attempt 2: waiting for an agent"])
        agent.run(0, b"second attempt\n")
        expect(attempts).to_have_text(["Attempt 1: failed", "Attempt 2: passed"])
        expect(page.locator(".l")).to_have_text(["second attempt"])
        page.keyboard.press("[")
        expect(page.locator(".l")).to_have_text(["first attempt"])
        owner.visit(path)
        expect(page.locator(".step")).to_contain_text("attempt 2")


def test_build_is_cancelled_and_made_anew_after_asking(stage: Stage) -> None:
    path, _, _ = stage.build("steps:\n  - {label: only, command: make}\n")
    with stage.owner() as owner:
        page = owner.visit(path)
        page.keyboard.press("c")
        page.get_by_role("button", name="Leave it").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel the build").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        page.get_by_role("button", name="Rebuild").click()
        page.get_by_role("dialog").get_by_role("button", name="Rebuild").click()
        page.wait_for_url("**/builds/2")
        expect(page.locator(".step")).to_contain_text("waiting for an agent")


def test_artifacts_are_listed_and_fetched(stage: Stage) -> None:
    path, _, tag = stage.build("steps:\n  - {label: writer, command: make}\n")
    job = FakeAgent(stage.api, tag).take()
    upload(job, "out/report.txt", b"the report")
    assert job.finish(0).status == 200
    with stage.owner() as owner:
        page = owner.visit(path + "/annotations")
        expect(page.locator("main")).to_contain_text("No annotations.")
        page.get_by_role("link", name="Artifacts").click()
        expect(page.get_by_role("row", name="out/report.txt")).to_contain_text("10 bytes")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download out/report.txt").click()
        assert Path(download.value.path()).read_bytes() == b"the report"
        check_accessible(page)


def test_job_page_says_who_set_each_variable_and_when_what_happened(stage: Stage) -> None:
    path, build, tag = stage.build(STEPS, env={"EXTRA": "by hand"})
    FakeAgent(stage.api, tag, name="linux-2").run(0)
    job = f"{path}/jobs/{find_job(build, 'lint')['id']}"
    with stage.owner() as owner:
        page = owner.visit(job + "/environment")
        for name, value, speaker in (
            ("COLOUR", "green", "pipeline env, as uploaded"),
            ("LEVEL", "2", "step env, as uploaded"),
            ("EXTRA", "by hand", "whoever made the build"),
            ("BUILDKITE_COMMIT", "a" * 40, "server"),
            ("BUILDKITE_AGENT_META_DATA_QUEUE", tag.partition("=")[2], "the agent's tags"),
        ):
            row = page.locator("tbody tr", has=page.get_by_role("rowheader", name=name, exact=True))
            expect(row.locator("td")).to_have_text([value, speaker])
        check_accessible(page)
        page.get_by_role("navigation", name="Job").get_by_role("link", name="Timeline").click()
        expect(page.get_by_role("row", name="Started")).to_contain_text("by agent linux-2")
        check_accessible(page)


def test_follow_goes_to_the_job_that_runs(stage: Stage) -> None:
    path, build, tag = stage.build("steps:\n  - {label: one, command: make}\n  - {label: two, command: make}\n")
    agent = FakeAgent(stage.api, tag)
    with stage.owner() as owner:
        page = owner.visit(path)
        page.keyboard.press("j")
        for name in ("one", "two"):
            job = agent.take()
            page.wait_for_url(f"**/jobs/{find_job(build, name)['id']}?follow=1")
            assert job.chunk(1, 0, f"this is {name}\n".encode()).status == 200
            expect(page.locator(".l")).to_have_text([f"this is {name}"])
            assert job.finish(0).status == 200


def test_thousands_of_jobs_stay_usable(stage: Stage) -> None:
    steps = "steps:\n" + "".join(
        f"  - group: g{group}\n    key: g{group}\n    steps:\n"
        + "".join(f"      - {{label: job {group}-{number}, command: make}}\n" for number in range(100))
        for group in range(40)
    )
    path, _, _ = stage.build(steps)
    with stage.owner() as owner:
        page = owner.visit(path)
        expect(page.locator(".steps-count")).to_have_text("4,000 jobs")
        expect(page.locator(".step")).to_have_count(40)
        page.get_by_label("Find a step").fill("job 39-99")
        expect(page.get_by_role("treeitem", name="job 39-99")).to_be_visible()
        page.get_by_label("Find a step").fill("")
        page.get_by_label("Order of steps").select_option("state")
        expect(page.locator(".step")).to_have_count(300)
        page.get_by_role("button", name="Show more: 3,700 are left").click()
        expect(page.locator(".step")).to_have_count(600)
        page.get_by_role("link", name="Table").click()
        expect(page.locator("tbody tr")).to_have_count(300)


def test_stranger_sees_the_pages_of_a_public_build_and_no_buttons(stage: Stage) -> None:
    path, build, tag = stage.build(STEPS, message="words\n\nfor colleagues", author={"name": "A developer"})
    slug = path.split("/")[2]
    FakeAgent(stage.api, tag, name="linux-3").run(0, b"text\n")
    stage.api.rest("PATCH", "", {"public_pipelines": True})
    stage.api.rest("PATCH", f"/pipelines/{slug}", {"visibility": "public", "public_since": "all"})
    job = f"{path}/jobs/{find_job(build, 'lint')['id']}"
    with stage.stranger() as stranger:
        for address in (
            path,
            f"{path}?view=table",
            f"{path}?view=graph",
            f"{path}?view=waterfall",
            f"{path}/annotations",
            f"{path}/artifacts",
        ):
            page = stranger.visit(address)
            expect(page.get_by_role("heading", level=1)).to_contain_text("words")
            expect(page.get_by_text("A developer", exact=True)).to_have_count(0)
            expect(page.get_by_text("colleagues")).to_have_count(0)
            assert page.locator(".problem, .notice.bad").count() == 0
            for name in ("Cancel", "Rebuild", "Run again"):
                expect(page.get_by_role("button", name=name)).to_have_count(0)
        check_accessible(page)
        page = stranger.visit(job + "/environment")
        expect(page.locator("tbody tr")).to_have_count(2)
        page = stranger.visit(job + "/timeline")
        expect(page.get_by_role("row", name=re.compile("^Ended"))).to_contain_text("passed")


def test_server_that_is_away_leaves_the_page_as_it_was(stage: Stage) -> None:
    path, _, tag = stage.build(STEPS)
    with stage.owner() as owner:
        away = [True]
        asked: list[str] = []

        def answer(route: object) -> None:
            asked.append("")
            if len(asked) == 1:
                route.fulfill(response=route.fetch(url=route.request.url.replace("wait=300", "wait=0")))  # type: ignore[attr-defined]
            elif away[0]:
                route.abort()  # type: ignore[attr-defined]
            else:
                route.continue_()  # type: ignore[attr-defined]

        owner.page.route("**/events?*", answer)
        page = owner.visit(path)
        expect(page.get_by_text("the server does not answer. Trying again.")).to_be_visible()
        before = len(asked)
        page.get_by_role("button", name="Try now").click()
        until(lambda: page.locator(".step").count() == 5 and len(asked) > before, "another try")
        expect(page.locator(".step")).to_have_count(5)
        FakeAgent(stage.api, tag).take()
        away[0] = False
        expect(page.locator(".step", has_text="lint")).to_contain_text("running")
        expect(page.get_by_text("Trying again.")).to_have_count(0)
        owner.problems[:] = [one for one in owner.problems if "ERR_FAILED" not in one]


def test_page_of_a_build_that_is_not_there(stage: Stage) -> None:
    path, _, _ = stage.build(STEPS)
    with stage.owner() as owner:
        page = owner.visit(path.removesuffix("1") + "77")
        expect(page.get_by_role("heading", name="Nothing to see here")).to_be_visible()
        page = owner.visit(path + "/jobs/00000000-0000-4000-8000-000000000000")
        expect(page.get_by_text("This build has no such job.")).to_be_visible()
        until(lambda: page.locator(".step").count() == 5, "the steps")
        wait_until(page, "document.querySelector('#trust').textContent !== ''")
