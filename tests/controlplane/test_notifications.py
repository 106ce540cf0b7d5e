"""Outgoing webhooks: bodies and signatures that receivers know, `notify`, and where nothing may be sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.conditions import ConditionFacts
from pipeseal.controlplane.domain.destinations import parse_destination, parse_networks, verify_destination
from pipeseal.controlplane.domain.notifications import (
    NOTIFY_EVENTS,
    Event,
    SignatureStyle,
    due_rules,
    notification_headers,
    parse_notify,
    render_notification,
)
from pipeseal.errors import ConfigurationError, MalformedInput, VerificationError

SECRET = "a-secret-of-decent-length"
NOW = 1_790_000_000.9
SENDER = {"id": "u-1", "name": "Ada"}
BUILD = {"id": "b-1", "number": 7, "state": "passed", "blocked": False, "jobs": [{"id": "j-1"}]}
PIPELINE = {"id": "p-1", "slug": "api"}


# --- bodies ---


def test_a_build_event_has_the_ecosystem_s_members() -> None:
    body = render_notification(Event.BUILD_FINISHED, {"build": BUILD, "pipeline": PIPELINE}, sender=SENDER)
    document = json.loads(body)
    assert list(document) == ["event", "build", "pipeline", "sender", "proof"]
    assert document["event"] == "build.finished"
    assert document["build"] == {"id": "b-1", "number": 7, "state": "passed", "blocked": False}
    assert document["sender"] == SENDER
    assert "nothing about what it says" in document["proof"]
    assert "jobs" in BUILD


@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_body(event: Event) -> None:
    members = {
        "ping": ["service", "organization"],
        "build": ["build", "pipeline"],
        "job": ["job", "build", "pipeline"],
        "agent": ["agent"],
    }[event.split(".")[0]]
    document = json.loads(render_notification(event, {name: {"id": name} for name in members}, sender=SENDER))
    assert document["event"] == event.value
    assert [document[name]["id"] for name in members] == members
    with pytest.raises(ValueError, match="members"):
        render_notification(event, {name: {} for name in members[1:]}, sender=SENDER)


# --- signatures ---


def test_signatures_verify_as_receivers_are_told_to() -> None:
    body = b'{"event":"build.finished"}'
    headers = notification_headers(Event.BUILD_FINISHED, body, identifier="msg_1", secret=SECRET, now=NOW)
    assert headers["X-Buildkite-Event"] == "build.finished"
    assert "X-Buildkite-Token" not in headers
    # Buildkite's page: split at the comma, HMAC over `timestamp.body`.
    fields = dict(pair.split("=", 1) for pair in headers["X-Buildkite-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), f"{fields['timestamp']}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(fields["signature"], expected)
    assert fields["timestamp"] == "1790000000"
    # Standard Webhooks: base64 HMAC over `id.timestamp.body`.
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_the_published_example_of_standard_webhooks() -> None:
    headers = notification_headers(
        Event.PING,
        b'{"test": 2432232314}',
        identifier="msg_p5jXN8AQM9LWM0D4loKWxJek",
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        now=1614265330.0,
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_token_is_sent_only_where_it_is_asked_for() -> None:
    headers = notification_headers(
        Event.PING, b"{}", identifier="m", secret=SECRET, now=NOW, style=SignatureStyle.TOKEN
    )
    assert headers["X-Buildkite-Token"] == SECRET
    assert not {"X-Buildkite-Signature", "webhook-signature"} & set(headers)
    unsigned = notification_headers(Event.PING, b"{}", identifier="m", secret=None, now=NOW)
    assert set(unsigned) == {"Content-Type", "X-Buildkite-Event", "webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize("secret", ["", "short", "whsec_" + "!" * 30])
def test_secrets_that_are_none(secret: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        notification_headers(Event.PING, b"{}", identifier="m", secret=secret, now=NOW)
    assert caught.value.code == "notification.secret"


# --- notify ---


def test_notify_of_a_pipeline() -> None:
    value = [
        {"webhook": "https://example.com/a"},
        {"webhook": "https://example.com/b", "if": 'build.state == "failed"'},
        {"email": "dev@example.com", "if": "build.branch == pipeline.default_branch"},
        {"slack": {"channels": ["#ops"]}},
        "github_commit_status",
    ]
    notify = parse_notify(value, source="pipeline.yml")
    assert [rule.destination.url for rule in notify.rules] == ["https://example.com/a", "https://example.com/b"]
    assert len(notify.warnings) == 3
    assert "'email'" in notify.warnings[0]
    assert "'github_commit_status'" in notify.warnings[2]
    assert parse_notify(None, source="x").rules == ()
    assert len(parse_notify({"webhook": "https://example.com/a"}, source="x").rules) == 1


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([{"webhook": "http://example.com"}], "notification.url"),
        ([{"webhook": ["https://example.com"]}], "notification.malformed"),
        ([{"webhook": "https://example.com", "if": True}], "notification.malformed"),
        ([{"webhook": "https://example.com", "if": "build.stat == null"}], "condition.unknown_name"),
        ([{"email": "a@b", "if": "build.state == "}], "condition.malformed"),
        ([{"if": "true"}], "notification.malformed"),
        ([7], "notification.malformed"),
        ([""], "notification.malformed"),
        ([{}], "notification.malformed"),
        ([{"email": "a@b"}] * 101, "notification.malformed"),
    ],
)
def test_notify_that_cannot_be_read(value: Any, code: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_notify(value, source="pipeline.yml")
    assert caught.value.code == code


def test_which_rules_are_due() -> None:
    value = [
        {"webhook": "https://example.com/always"},
        {"webhook": "https://example.com/failed", "if": 'build.state == "failed"'},
        {"webhook": "https://example.com/undecided", "if": '${TEAM:?} == "x"'},
    ]
    rules = parse_notify(value, source="x").rules

    def due(event: Event, state: str) -> list[str]:
        facts = ConditionFacts({"build.state": state})
        return [rule.destination.target for rule in due_rules(rules, event, facts)]

    assert due(Event.BUILD_FINISHED, "failed") == ["/always", "/failed"]
    assert due(Event.BUILD_FINISHED, "passed") == ["/always"]
    assert due(Event.JOB_FINISHED, "failed") == []
    assert all(due(event, "passed") == ["/always"] for event in NOTIFY_EVENTS)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.text(max_size=9)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["webhook", "if", "email"]), inner, max_size=3),
        ),
    )
)
def test_any_notify_is_read_or_refused(value: Any) -> None:
    try:
        parse_notify(value, source="x")
    except MalformedInput as error:
        assert error.code.startswith(("notification.", "condition."))


# --- destinations ---


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("https://Example.COM./a/b?c=d", "example.com", 443, "/a/b?c=d"),
        ("HTTPS://example.com:8443/a#fragment", "example.com", 8443, "/a"),
        ("https://example.com:443/", "example.com", 443, "/"),
        ("https://[2606:4700::1111]:444/x", "2606:4700::1111", 444, "/x"),
        ("https://10.0.0.1/x", "10.0.0.1", 443, "/x"),
        ("https://a_b.example.com/%20", "a_b.example.com", 443, "/%20"),
    ],
)
def test_urls(url: str, host: str, port: int, target: str) -> None:
    destination = parse_destination(url)
    assert (destination.host, destination.port, destination.target) == (host, port, target)
    assert parse_destination(destination.url) == destination


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com:6379/_x",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://example.com@10.0.0.1/",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: x",
        "https://example.com\\@evil.example/",
        "https://exämple.com/",
        "https://-example.com/",
        "https://a..b/",
        "https://[::1/",
        "https://[::1%25eth0]/",
        "https://[v1.x]/",
        "https://" + "a" * 64 + ".com/",
        "https://example.com/" + "x" * 3000,
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_destination(url)
    assert caught.value.code == "notification.url"


def test_http_is_for_those_who_allow_it() -> None:
    assert parse_destination("http://example.com/x", allow_http=True).port == 80


OPEN = ["93.184.216.34", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2a00:1450::1"]
CLOSED = [
    *["127.0.0.1", "127.255.255.254", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0.0.0.0"],
    *["169.254.169.254", "100.64.0.1", "100.127.255.255", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1"],
    *["192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.0.8", "192.88.99.1"],
    *["::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"],
    *["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"],
    *["64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "3fff::1", "100::1", "5f00::1", "4000::1"],
]


@pytest.mark.parametrize("address", [*OPEN, "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_open_addresses(address: str) -> None:
    destination = parse_destination("https://example.com/")
    assert verify_destination(destination, [address]).addresses == (address,)


@pytest.mark.parametrize("address", [*CLOSED, "", "example.com", "127.1", "0x7f000001", "1.1.1.1/8"])
def test_closed_addresses(address: str) -> None:
    destination = parse_destination("https://example.com/secret-path")
    for addresses in ([address], ["1.1.1.1", address], [address, "1.1.1.1"]):
        with pytest.raises(VerificationError) as caught:
            verify_destination(destination, addresses)
        assert caught.value.code == "notification.destination"
        assert "secret-path" not in f"{caught.value} {caught.value.evidence}"


def test_a_name_for_nothing_is_no_destination() -> None:
    with pytest.raises(VerificationError):
        verify_destination(parse_destination("https://example.com/"), [])


def test_what_the_operator_allows() -> None:
    destination = parse_destination("https://ci.internal/")
    allowed = parse_networks(["10.1.0.0/16", "fd00::/8", "127.0.0.1"])
    verified = verify_destination(
        destination, ["10.1.2.3", "fd00::1", "::ffff:127.0.0.1", "1.1.1.1"], allowed=allowed
    )
    assert verified.destination == destination
    for address in ("10.2.0.1", "127.0.0.2", "fe80::1"):
        with pytest.raises(VerificationError):
            verify_destination(destination, [address], allowed=allowed)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "internal", "10.1"])
def test_networks_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_networks([text])
    assert caught.value.code == "notification.network"


@given(st.ip_addresses())
def test_nothing_closed_is_ever_let_through(address: Any) -> None:
    try:
        verify_destination(parse_destination("https://example.com/"), [str(address)])
    except VerificationError:
        return
    inner = getattr(address, "ipv4_mapped", None) or address
    if inner in ip_network("64:ff9b::/96") if inner.version == 6 else False:
        inner = ip_address(int(inner) & 0xFFFFFFFF)
    assert not (inner.is_private or inner.is_loopback or inner.is_link_local or inner.is_multicast)
    assert not (inner.is_reserved or inner.is_unspecified)


@given(st.one_of(st.text(max_size=40), st.text(alphabet="htps:/@[]#?%.\\0a-", max_size=30).map("https://".__add__)))
def test_any_url_is_read_or_refused(url: str) -> None:
    try:
        destination = parse_destination(url)
    except MalformedInput as error:
        assert error.code == "notification.url"
        return
    assert parse_destination(destination.url) == destination
    assert not set(destination.host) & set("@/\\?#%")
