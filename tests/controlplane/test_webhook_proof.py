"""No delivery counts unless a holder of the secret made it, byte for byte, lately."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.webhooks import Provider, read_webhook, verify_delivery
from pipeseal.controlplane.domain.webhooks.proof import WINDOW_SECONDS
from pipeseal.errors import ConfigurationError, PipesealError, VerificationError
from tests.controlplane.webhook_payloads import (
    NOW,
    SECRET,
    SIGNING_TOKEN,
    encode,
    github_push,
    gitlab_push,
    hub,
    prove,
)

SCHEMES = [(provider, SECRET) for provider in Provider] + [(Provider.GITLAB, SIGNING_TOKEN)]
TIMED = [(Provider.GIT, SECRET), (Provider.GITLAB, SIGNING_TOKEN)]
PROOF_HEADERS = (
    "x-hub-signature-256",
    "x-hub-signature",
    "x-gitlab-token",
    "webhook-signature",
    "x-pipeseal-signature",
)
BODY = encode(github_push())


def code_of(provider: Provider, headers: dict[str, str], body: bytes, *secrets: str, now: float = NOW) -> str:
    with pytest.raises(PipesealError) as caught:
        verify_delivery(provider, headers, body, secrets=secrets, now=now)
    return caught.value.code


@pytest.mark.parametrize(("provider", "secret"), SCHEMES)
def test_a_genuine_delivery_is_proven(provider: Provider, secret: str) -> None:
    headers = prove(provider, "push", BODY, secret)
    proof = verify_delivery(provider, headers, BODY, secrets=[secret], now=NOW)
    assert (proof.provider, proof.event, proof.body) == (provider, "push", BODY)
    upper = {name.upper(): value for name, value in headers.items()}
    assert verify_delivery(provider, upper, BODY, secrets=[secret], now=NOW) == proof


@pytest.mark.parametrize(("provider", "secret"), SCHEMES)
def test_during_a_change_both_secrets_work(provider: Provider, secret: str) -> None:
    headers = prove(provider, "push", BODY, secret)
    other = "another-secret-of-decent-length"
    assert verify_delivery(provider, headers, BODY, secrets=[other, secret], now=NOW)
    assert verify_delivery(provider, headers, BODY, secrets=[secret, other], now=NOW)
    assert code_of(provider, headers, BODY, other) in ("webhook.signature", "webhook.unsigned")


@pytest.mark.parametrize(("provider", "secret"), SCHEMES)
def test_without_its_proof_a_delivery_is_nothing(provider: Provider, secret: str) -> None:
    headers = prove(provider, "push", BODY, secret)
    stripped = {name: value for name, value in headers.items() if name.lower() not in PROOF_HEADERS}
    assert code_of(provider, stripped, BODY, secret) == "webhook.unsigned"
    emptied = {name: "" if name.lower() in PROOF_HEADERS else value for name, value in headers.items()}
    assert code_of(provider, emptied, BODY, secret) == "webhook.unsigned"


@pytest.mark.parametrize(
    ("provider", "header", "value"),
    [
        (Provider.GITHUB, "x-hub-signature-256", hub(BODY)[7:]),
        (Provider.GITHUB, "x-hub-signature-256", hub(BODY).replace("sha256", "sha1")),
        (Provider.GITHUB, "x-hub-signature-256", hub(BODY)[:-1]),
        (Provider.GITHUB, "x-hub-signature-256", hub(BODY) + " "),
        (Provider.GITHUB, "x-hub-signature-256", "sha256=" + "é" * 64),
        (Provider.BITBUCKET, "x-hub-signature", "sha256=" + "0" * 64),
        (Provider.GITLAB, "x-gitlab-token", SECRET + "x"),
        (Provider.GITLAB, "x-gitlab-token", SECRET[:-1]),
        (Provider.GITLAB, "x-gitlab-token", "é\ud800"),
        (Provider.GIT, "x-pipeseal-signature", "signature=00,timestamp=1"),
        (Provider.GIT, "x-pipeseal-signature", f"timestamp={NOW:.0f},signature=" + "0" * 64),
    ],
)
def test_wrong_and_malformed_proofs(provider: Provider, header: str, value: str) -> None:
    assert code_of(provider, {header: value}, BODY, SECRET) == "webhook.signature"


@pytest.mark.parametrize(
    "signature", ["", "v1,", "v1a,AAAA", "v2,AAAA", "v1,AAAA v1,BBBB", "v1," + "é" * 44, "v1,A " * 400]
)
def test_wrong_standard_signatures(signature: str) -> None:
    headers = {"webhook-id": "id-1", "webhook-timestamp": f"{NOW:.0f}", "webhook-signature": signature}
    assert code_of(Provider.GITLAB, headers, BODY, SIGNING_TOKEN) in ("webhook.signature", "webhook.unsigned")


def test_one_right_signature_among_several_is_enough() -> None:
    headers = prove(Provider.GITLAB, "Push Hook", BODY, SIGNING_TOKEN)
    headers["webhook-signature"] = f"v1a,xxxx v1,AAAA {headers['webhook-signature']}"
    assert verify_delivery(Provider.GITLAB, headers, BODY, secrets=[SIGNING_TOKEN], now=NOW).identifier == "id-1"


def test_a_published_example_of_standard_webhooks() -> None:
    """The example of the Standard Webhooks specification."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    assert verify_delivery(Provider.GITLAB, headers, b'{"test": 2432232314}', secrets=secrets, now=1614265330.0)


def test_a_published_example_of_github() -> None:
    """The test values of GitHub's page on validating deliveries."""
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert verify_delivery(
        Provider.GITHUB, headers, b"Hello, World!", secrets=["It's a Secret to Everybody"], now=NOW
    )


def test_a_token_in_the_clear_is_no_substitute_for_a_signature() -> None:
    headers = {"x-gitlab-token": SIGNING_TOKEN}
    assert code_of(Provider.GITLAB, headers, BODY, SIGNING_TOKEN) == "webhook.unsigned"
    assert code_of(Provider.GITLAB, headers, BODY, SIGNING_TOKEN, SECRET) == "webhook.signature"


@pytest.mark.parametrize(("provider", "secret"), TIMED)
def test_old_and_early_deliveries_are_refused(provider: Provider, secret: str) -> None:
    headers = prove(provider, "push", BODY, secret)
    assert verify_delivery(provider, headers, BODY, secrets=[secret], now=NOW + WINDOW_SECONDS)
    assert verify_delivery(provider, headers, BODY, secrets=[secret], now=NOW - WINDOW_SECONDS)
    assert code_of(provider, headers, BODY, secret, now=NOW + WINDOW_SECONDS + 1) == "webhook.stale"
    assert code_of(provider, headers, BODY, secret, now=NOW - WINDOW_SECONDS - 1) == "webhook.stale"


def test_the_signed_time_cannot_be_moved() -> None:
    later = NOW + 10_000
    headers = prove(Provider.GIT, "push", BODY)
    headers["X-Pipeseal-Signature"] = headers["X-Pipeseal-Signature"].replace(f"{NOW:.0f}", f"{later:.0f}")
    assert code_of(Provider.GIT, headers, BODY, SECRET, now=later) == "webhook.signature"
    headers = prove(Provider.GITLAB, "push", BODY, SIGNING_TOKEN) | {"webhook-timestamp": f"{later:.0f}"}
    assert code_of(Provider.GITLAB, headers, BODY, SIGNING_TOKEN, now=later) == "webhook.signature"
    headers = prove(Provider.GITLAB, "push", BODY, SIGNING_TOKEN) | {"webhook-timestamp": "soon"}
    assert code_of(Provider.GITLAB, headers, BODY, SIGNING_TOKEN) == "webhook.signature"


@pytest.mark.parametrize("secrets", [[], [""], ["short"], [SECRET, "short"], ["whsec_" + "!" * 40]])
def test_a_webhook_needs_a_secret_worth_the_name(secrets: list[str]) -> None:
    headers = prove(Provider.GITLAB, "push", BODY)
    with pytest.raises(ConfigurationError) as caught:
        verify_delivery(Provider.GITLAB, headers, BODY, secrets=secrets, now=NOW)
    assert caught.value.code == "webhook.secret"


@pytest.mark.parametrize("provider", [Provider.GITHUB, Provider.BITBUCKET, Provider.BITBUCKET_SERVER])
def test_a_replay_is_recognised_whatever_its_headers_say(provider: Provider) -> None:
    headers = prove(provider, "push", BODY)
    first = verify_delivery(provider, headers, BODY, secrets=[SECRET], now=NOW)
    dressed_up = headers | {"X-GitHub-Delivery": "new", "X-Request-UUID": "new", "X-GitHub-Event": "create"}
    again = verify_delivery(provider, dressed_up, BODY, secrets=[SECRET], now=NOW + 10_000)
    assert again.replay_key == first.replay_key
    other = encode(github_push(ref="refs/heads/other"))
    assert verify_delivery(provider, prove(provider, "push", other), other, secrets=[SECRET], now=NOW).replay_key != (
        first.replay_key
    )


def test_a_push_made_twice_is_no_replay_where_the_provider_says_so() -> None:
    body = encode(gitlab_push())
    keys = {
        verify_delivery(
            Provider.GIT, prove(Provider.GIT, "", body, now=now), body, secrets=[SECRET], now=now
        ).replay_key
        for now in (NOW, NOW + 60)
    }
    assert len(keys) == 2


def test_identifiers_are_for_logs_so_only_printable_ones_count() -> None:
    headers = prove(Provider.GITHUB, "push", BODY) | {"X-GitHub-Delivery": "a\nb"}
    assert verify_delivery(Provider.GITHUB, headers, BODY, secrets=[SECRET], now=NOW).identifier == ""


@given(st.sampled_from(SCHEMES), st.data())
def test_any_single_change_is_noticed(scheme: tuple[Provider, str], data: st.DataObject) -> None:
    provider, secret = scheme
    headers = prove(provider, "push", BODY, secret)
    body = bytearray(BODY)
    names = [name for name in headers if name.lower() in (*PROOF_HEADERS, "webhook-id", "webhook-timestamp")]
    target = data.draw(st.sampled_from([*names, "" if "X-Gitlab-Token" not in headers else names[0]]))
    if target:
        value = headers[target]
        at = data.draw(st.integers(0, len(value) - 1))
        changed = data.draw(st.characters(codec="utf-8").filter(lambda c: c.lower() != value[at].lower()))
        headers[target] = value[:at] + changed + value[at + 1 :]
    else:
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError):
        verify_delivery(provider, headers, bytes(body), secrets=[secret], now=NOW)


@given(
    st.sampled_from(Provider),
    st.dictionaries(
        st.sampled_from([*PROOF_HEADERS, "webhook-id", "webhook-timestamp", "x-github-event", "content-type"]),
        st.text(max_size=80),
    ),
    st.binary(max_size=64),
)
def test_only_our_errors_come_out_and_nothing_unproven_is_read(
    provider: Provider, headers: dict[str, str], body: bytes
) -> None:
    with pytest.raises(VerificationError):
        read_webhook(provider, headers, body, secrets=[SECRET, SIGNING_TOKEN], now=NOW)
