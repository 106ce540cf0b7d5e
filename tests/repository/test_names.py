"""Which host an address leads to: the one that git goes to, or nothing that could be taken for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.repository.names import repository_host


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://git.example.test/acme/app.git", "git.example.test"),
        ("https://user:secret@Git.Example.test:8443/acme/app", "git.example.test"),
        ("ssh://git@git.example.test:22/acme/app", "git.example.test"),
        ("git@git.example.test:acme/app.git", "git.example.test"),
        ("git.example.test:acme", "git.example.test"),
        ("ssh://[2001:db8::1]/x", "[2001:db8::1]"),
        ("/srv/git/app", ""),
        ("file:///srv/git/app", ""),
        ("../app", ""),
        ("https://good.test\\@evil.test/x", None),
        ("https://good.test#@evil.test/x", None),
        ("https://good.test?@evil.test/x", None),
        ("https://a@good.test@evil.test/x", None),
        ("https://good.test%2f@evil.test/x", "evil.test"),
        ("ssh://-oProxyCommand=x/y", None),
        ("-oProxyCommand=x:y", None),
        ("ext::sh -c evil", None),
        ("git.example.test", None),
        ("https://", None),
        ("", None),
        ("https://good.test /x", None),
        ("https://good.test\n.evil.test/x", None),
    ],
)
def test_the_host_of_an_address(address: str, host: str | None) -> None:
    assert repository_host(address) == host


@given(
    st.text(alphabet=st.sampled_from("ab.:/@#?\\[]%- \n\tA1"), max_size=40),
    st.sampled_from(["", "https://", "ssh://"]),
)
def test_what_has_a_host_has_it_where_others_look_for_it_too(text: str, scheme: str) -> None:
    from urllib.parse import urlsplit

    host = repository_host(scheme + text)
    if host and scheme:
        assert (urlsplit(scheme + text).hostname or "") == host.strip("[]")
    if host:
        assert host in (scheme + text).lower() and not host.startswith("-")
