"""Networks as they are: proxies, certificates, addresses and login pages on the way to a Space."""

import os
import urllib.request

import pytest
from yarl import URL

from sd35.client.proxy import find_proxy, proxy_login_header
from sd35.core.errors import InvalidRequestError
from sd35.core.proxy_address import parse_proxy

pytestmark = pytest.mark.anyio

HUB = URL("https://huggingface.co/")


@pytest.fixture(autouse=True)
def _no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("proxy:8080", "http://proxy:8080"),
        ("proxy", "http://proxy"),
        (" 'HTTP://Proxy:8080/' ", "http://proxy:8080"),
        ('"Https://proxy.example"', "https://proxy.example"),
        ("//10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("[::1]:3128", "http://[::1]:3128"),
        ("me:p@ss/w#rd?:x@proxy:8080", "http://proxy:8080"),
    ],
)
def test_an_address_of_a_proxy_is_read_as_people_write_it(text: str, url: str) -> None:
    proxy = parse_proxy(text)
    assert proxy.url == URL(url)
    assert "p@ss" not in repr(proxy)
    if "@" in text:
        assert (proxy.user, proxy.password) == ("me", "p@ss/w#rd?:x")
    assert bool(proxy_login_header(proxy)) == ("@" in text)


@pytest.mark.parametrize(
    ("variables", "address", "description"),
    [
        ({}, HUB, "none"),
        ({"HTTPS_PROXY": "proxy:8080", "HTTP_PROXY": "x:1"}, HUB, "http://proxy:8080"),
        ({"https_proxy": " 'HTTP://low:1' ", "HTTPS_PROXY": "up:1"}, HUB, "http://low:1"),
        ({"Https_Proxy": "http://me:s3cret@mixed:1"}, HUB, "http://mixed:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "up:1"}, HUB, "http://up:1"),
        ({"ALL_PROXY": "all:1"}, HUB, "http://all:1"),
        ({"all_proxy": "all:1", "HTTP_PROXY": "plain:1"}, HUB, "http://all:1"),
        ({"ALL_PROXY": "socks5h://s:1", "HTTPS_PROXY": "proxy:1"}, HUB, "http://proxy:1"),
        (
            {"ALL_PROXY": "SOCKS5://me:s3cret@s:1"},
            HUB,
            "none: The SOCKS proxy of ALL_PROXY isn't supported and isn't used",
        ),
        (
            {"https_proxy": "socks4a://s:1", "ALL_PROXY": "all:1"},
            HUB,
            "http://all:1: The SOCKS proxy of https_proxy isn't supported and isn't used",
        ),
        (
            {"HTTPS_PROXY": "pac+http://s:1"},
            HUB,
            "none: The pac+http proxy of HTTPS_PROXY isn't supported and isn't used",
        ),
        ({"ALL_PROXY": "all:1"}, URL("http://127.0.0.2:7860/"), "none"),
        ({"HTTP_PROXY": "evil:1", "REQUEST_METHOD": "GET"}, URL("http://space.test/"), "none"),
    ],
)
def test_a_proxy_of_the_environment_is_used_or_named(
    variables: dict[str, str], address: URL, description: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(address, None).description == description


@pytest.mark.parametrize(
    ("exemptions", "is_exempt"),
    [
        ("*", True),
        ("a.test, *.Space.test", True),
        ("'.space.test'", True),
        ("a.test space.test:8080", True),
        ("x.space.test;space.test:8081", False),
        ("pace.test", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_exempts_hosts(
    exemptions: str, monkeypatch: pytest.MonkeyPatch, *, is_exempt: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:1")
    monkeypatch.setenv("NO_PROXY", exemptions)
    route = find_proxy(URL("http://my.space.test:8080/"), None)
    assert (route.proxy is None) is is_exempt
    assert route.description.startswith("none: NO_PROXY") is is_exempt
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, [fd00::1]:80")
    for host in ("10.1.2.3", "[fd00::1]"):
        assert find_proxy(URL(f"http://{host}/"), None).proxy is None


def test_the_proxy_of_the_system_counts_beside_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo Space sets NO_PROXY, which makes urllib overlook the settings of macOS."""
    monkeypatch.setenv("NO_PROXY", "localhost")
    proxies = {"https": "http://mac:1"}
    monkeypatch.setattr(urllib.request, "getproxies_macosx_sysconf", lambda: proxies, raising=False)
    monkeypatch.setattr(
        urllib.request, "proxy_bypass_macosx_sysconf", lambda host: host == "hf.co", raising=False
    )
    assert find_proxy(HUB, None).description == "http://mac:1"
    assert find_proxy(URL("https://hf.co/"), None).description == "none"


def test_a_wrong_proxy_of_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cret@:0")
    with pytest.raises(InvalidRequestError, match="HTTPS_PROXY") as error_info:
        find_proxy(HUB, None)
    assert "s3cret" not in f"{error_info.value!r}"
