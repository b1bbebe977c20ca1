"""Who may log in to a page that is shared, how often somebody may try, and `python -m sd35 user`."""

import contextlib
import hashlib
import math
import os
import pty
import re
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.cli.user_file import UserFile
from sd35.core.errors import WriteError
from sd35.server.accounts import (
    DEFAULT_PARAMS,
    PASSWORD_CHARS,
    Account,
    AccountError,
    CredentialStore,
    PasswordHash,
    ScryptParams,
    generate_credentials,
    hash_password,
    normalize_username,
    parse_password_file,
)
from sd35.server.rate_limit import MAX_TRACKED_KEYS, LoginThrottle
from tests.test_cli import LIMIT_SECONDS, ROOT, SECRET_TOKEN, invoke, run_process, start_process

CHEAP_PARAMS = ScryptParams(log2_n=1, p=1)
PASSWORD_FILE = Path("users.txt")

any_value = st.one_of(
    st.text(st.characters(), max_size=80), st.none(), st.integers(), st.binary(max_size=9)
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def make_account(
    name: str, password: str = SECRET_TOKEN, cost: ScryptParams = CHEAP_PARAMS
) -> Account:
    return Account(name, PasswordHash.from_password(password, cost))


def password_line(
    name: str, password: str = SECRET_TOKEN, cost: ScryptParams = CHEAP_PARAMS
) -> str:
    return f"{make_account(name, password, cost)}\n"


def write_password_file(*lines: str, at: int) -> None:
    """Write the file in its place, as some editors do, at a time that is told."""
    PASSWORD_FILE.write_text("".join(lines), encoding="utf-8")
    os.utime(PASSWORD_FILE, ns=(at, at))


# Names and passwords


def test_a_strong_hash() -> None:
    """What is kept of a password is quickly guessed, the same for two who have the same one, or takes all memory."""
    assert (DEFAULT_PARAMS.log2_n, DEFAULT_PARAMS.p) in {
        (17, 1),
        (16, 2),
        (15, 3),
        (14, 5),
        (13, 10),
    }, "OWASP's Password Storage Cheat Sheet"
    assert 2**DEFAULT_PARAMS.log2_n <= 64 * 1024, "KiB"
    accounts = CredentialStore([f"anna:{SECRET_TOKEN}"])
    assert accounts.verify("anna", SECRET_TOKEN)
    assert not accounts.verify("anna", SECRET_TOKEN.upper())
    hashes = {hash_password(SECRET_TOKEN, CHEAP_PARAMS) for _ in range(9)}
    assert len(hashes) == 9
    assert all(
        re.fullmatch(r"\$scrypt\$ln=1,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}", password_hash)
        for password_hash in hashes
    )


@pytest.mark.parametrize(
    ("username", "stored_value"),
    [
        ("anna", "anna"),
        ("Anna", "anna"),
        ("ＡＮＮＡ", "anna"),
        ("mo\u0308we", "möwe"),
        ("anna maria", "anna maria"),
        ("anna@example.org", "anna@example.org"),
        ("安娜", "安娜"),
        ("x" * 64, "x" * 64),
        *(
            (bad, None)
            for bad in (
                "",
                " ",
                " anna",
                "anna ",
                "anna\u00a0",
                "a:b",
                "a：b",
                "#anna",
                "＃a",
                "x" * 65,
            )
        ),
        *(
            (bad, None)
            for bad in (
                "a\nb",
                "a\0",
                "a\x1b[2J",
                "a\u202eb",
                "a\u200bb",
                "\ud800",
                "ﷺ" * 9,
                None,
                7,
                b"a",
            )
        ),
    ],
)
def test_names(username: object, stored_value: str | None) -> None:
    """A name breaks the file or the terminal, or a phone that begins it with a capital keeps its owner out."""
    if stored_value is None:
        with pytest.raises(AccountError):
            normalize_username(username)
    else:
        assert normalize_username(username) == stored_value


@given(any_value)
def test_every_name_is_a_name_or_none(username: object) -> None:
    """A name is another one after it was stored, or a line of the file is read as somebody else's."""
    try:
        name = normalize_username(username)
    except AccountError:
        return
    assert normalize_username(name) == name
    stored_value = make_account(name)
    assert parse_password_file(f"# those\n{stored_value}\r\n".encode(), PASSWORD_FILE)[1] == (
        str(stored_value),
        stored_value,
    )


@given(any_value, any_value)
def test_every_password_is_a_password_or_none(password: Any, other_value: object) -> None:  # noqa: ANN401  # not all are text
    """A password that was taken doesn't let in, another one does, or one that isn't taken ends in an exception."""
    try:
        stored_value = hash_password(password, CHEAP_PARAMS)
    except AccountError:
        assert not CredentialStore(["anna:x"], params=CHEAP_PARAMS).verify("anna", password)
        return
    PASSWORD_FILE.write_text(f"anna:{stored_value}\n")
    accounts = CredentialStore(password_file=PASSWORD_FILE)
    assert accounts.verify("anna", password)
    assert not accounts.verify("anna", f"{password}x")
    assert not accounts.verify(other_value, other_value)


def test_keyboards_that_compose_letters() -> None:
    """The password that was set on one machine isn't the one that is typed on another."""
    accounts = CredentialStore(["zoe\u0308:möwe ２"], params=CHEAP_PARAMS)
    assert accounts.verify("Zoë", "mo\u0308we 2")


@pytest.mark.parametrize(
    "hostile_input",
    [None, 7, b"anna", "", "a\0", "\ud800", "x" * 1025, "x" * 10**7, ["anna"], "\x1b"],
)
def test_hostile_logins(hostile_input: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page's form never sends ends in an exception, keeps the machine busy, or lets in."""
    accounts = CredentialStore(["anna:a"], params=CHEAP_PARAMS)
    monkeypatch.setattr(hashlib, "scrypt", None)  # nothing is hashed
    assert not accounts.verify(hostile_input, "a")
    assert not accounts.verify("anna", hostile_input)


def test_a_longest_password() -> None:
    """Where a password is cut off, one that only begins like it lets in."""
    longest = "ö" * 1024
    accounts = CredentialStore([f"anna:{longest}"], params=CHEAP_PARAMS)
    assert accounts.verify("anna", longest)
    assert not accounts.verify("anna", longest[:-1])


@pytest.mark.parametrize(
    "costs", [[CHEAP_PARAMS], [ScryptParams(2, 3)], [ScryptParams(ln, 1) for ln in range(1, 8)], []]
)
def test_an_unknown_name_costs_the_same(
    costs: list[ScryptParams], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long an answer takes tells which names there are."""
    write_password_file(
        *(password_line(f"known {index}", cost=cost) for index, cost in enumerate(costs)), at=1
    )
    accounts, scrypt_calls = (
        CredentialStore(password_file=PASSWORD_FILE, params=CHEAP_PARAMS),
        list[ScryptParams](),
    )
    scrypt = hashlib.scrypt

    def counting_scrypt(password: bytes, **parameters: Any) -> bytes:  # noqa: ANN401
        scrypt_calls.append(ScryptParams(parameters["n"].bit_length() - 1, parameters["p"]))
        return scrypt(password, **parameters)

    monkeypatch.setattr(
        hashlib, "scrypt", counting_scrypt
    )  # time itself can't be measured in a test that holds everywhere
    names = [f"{kind} {index}" for kind in ("known", "unknown") for index in range(60)]
    assert [accounts.verify(name, "wrong") for name in names] == [False] * 120
    assert len(scrypt_calls) == 120
    assert set(scrypt_calls[60:]) == set(costs or [CHEAP_PARAMS])
    known_costs = scrypt_calls[60:]
    scrypt_calls.clear()
    assert not any(accounts.verify(name, "other") for name in names[60:])
    assert scrypt_calls == known_costs, "a cost that changes would tell it, too"


def test_generated_logins() -> None:
    """A password that is made for a guest is guessed, mistyped, or isn't taken."""
    logins = {generate_credentials() for _ in range(99)}
    assert len(logins) == 99
    assert 16 * math.log2(len(PASSWORD_CHARS)) >= 64
    assert len(set(PASSWORD_CHARS)) == len(PASSWORD_CHARS)
    assert not set(PASSWORD_CHARS) & set("0o1il2z5s68b9ABC")
    for name, password in logins:
        assert re.fullmatch(rf"([{PASSWORD_CHARS}]{{4}}-){{3}}[{PASSWORD_CHARS}]{{4}}", password)
        assert normalize_username(name) == name
    assert CredentialStore(
        [":".join(login) for login in list(logins)[:1]], params=CHEAP_PARAMS
    ).usernames() == {"guest"}


# Where they come from


@pytest.mark.parametrize(
    "pairs",
    [
        ["anna"],
        [f":{SECRET_TOKEN}"],
        [f"an\nna:{SECRET_TOKEN}"],
        ["anna:"],
        [f"anna:{SECRET_TOKEN}\0"],
        ["anna:x", "Anna:y"],
    ],
)
def test_pairs_that_are_none(pairs: list[str]) -> None:
    """A login that can't be used is passed over, or its password is shown."""
    with pytest.raises(
        AccountError, match=rf"^Login {len(pairs)} isn't name:password\. "
    ) as error_info:
        CredentialStore(pairs, params=CHEAP_PARAMS)
    assert SECRET_TOKEN not in str(error_info.value)


def test_nothing_is_shown() -> None:
    """A password, or its hash, stands in the memory as it was given, or in a log."""
    accounts = CredentialStore([f"anna:{SECRET_TOKEN}:x"], params=CHEAP_PARAMS)
    assert accounts.verify("anna", f"{SECRET_TOKEN}:x")
    assert SECRET_TOKEN not in repr(vars(accounts))
    user_account = make_account("anna")
    assert not any(
        part in repr(user_account)
        for part in (
            *str(user_account.password_hash).split("$")[3:],
            repr(user_account.password_hash.digest),
        )
    )


INVALID_LINES = {
    b"anna": "it isn't name:hash",
    b"anna:verysecret": "what follows the name isn't a hash",
    b"anna:$scrypt$ln=40,r=8,p=1$"
    + b"A" * 22
    + b"$"
    + b"A" * 43: "the hash there would take too much",
    b"anna:$scrypt$ln=15,r=8,p=99$"
    + b"A" * 22
    + b"$"
    + b"A" * 43: "the hash there would take too much",
    b"anna:$scrypt$ln=0,r=8,p=1$"
    + b"A" * 22
    + b"$"
    + b"A" * 43: "the hash there would take too much",
    b"anna:$scrypt$ln=1,r=8,p=1$"
    + b"A" * 25
    + b"$"
    + b"A" * 43: "what follows the name isn't a hash",
    password_line("caf\xe9").encode("latin-1").rstrip(): "it isn't UTF-8",
    password_line("a\x1bb").encode().rstrip(): "a name has letters",
    password_line("Guest").encode().rstrip(): "the same name is in a line above it",
}


@pytest.mark.parametrize("invalid_line", INVALID_LINES, ids=INVALID_LINES.values())
def test_broken_lines(invalid_line: bytes) -> None:
    """A broken line lets somebody in, keeps somebody out without a word, or its hash is shown."""
    write_password_file("\ufeff# those who may\r\n\n", password_line("guest"), at=1)
    accounts = CredentialStore(password_file=PASSWORD_FILE)
    with PASSWORD_FILE.open("ab") as file:
        file.write(invalid_line + b"\n")
    with pytest.raises(
        AccountError, match=rf"^Line 4 of users\.txt can't be used: {INVALID_LINES[invalid_line]}"
    ) as error_info:
        accounts.verify("guest", SECRET_TOKEN)
    assert not any(part in str(error_info.value) for part in ("$", "AAA", SECRET_TOKEN, "\x1b"))
    with pytest.raises(AccountError, match="Line 4"):
        CredentialStore(password_file=PASSWORD_FILE)
    write_password_file(password_line("guest"), at=2)
    assert accounts.verify("guest", SECRET_TOKEN)


@given(st.binary(max_size=60))
def test_every_file_is_one_or_none(data: bytes) -> None:
    """What stands in a file ends in another exception than the one that is foreseen."""
    try:
        lines = parse_password_file(data, PASSWORD_FILE)
    except AccountError:
        return
    assert not any(parsed_account for _, parsed_account in lines)
    assert len(lines) == data.count(b"\n") + 1


def test_the_file_changes() -> None:
    """Who is added must wait for a restart; who is removed, or has a new password, still gets in with the old one."""
    write_password_file(password_line("anna"), at=1)
    accounts = CredentialStore([f"owner:{SECRET_TOKEN}"], PASSWORD_FILE, CHEAP_PARAMS)
    assert accounts.verify("anna", SECRET_TOKEN)
    write_password_file(password_line("bert"), at=2)
    assert not accounts.verify("anna", SECRET_TOKEN)
    assert accounts.verify("bert", SECRET_TOKEN)
    UserFile(PASSWORD_FILE).upsert(make_account("bert", "new"))
    os.utime(PASSWORD_FILE, ns=(2, 2))
    assert accounts.verify("bert", "new")
    assert not accounts.verify("bert", SECRET_TOKEN)
    write_password_file(password_line("owner", "other"), at=3)
    assert accounts.verify("owner", SECRET_TOKEN), "the pair counts"
    assert accounts.usernames() == {"owner"}
    PASSWORD_FILE.unlink()
    with pytest.raises(AccountError, match=r"can't be read from users\.txt: No such file"):
        accounts.verify("owner", SECRET_TOKEN)


def test_the_file_is_read_only_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt reads the whole file again."""
    write_password_file(password_line("anna"), at=1)
    accounts = CredentialStore(password_file=PASSWORD_FILE)
    monkeypatch.setattr("sd35.server.accounts.parse_password_file", None)
    assert accounts.verify("anna", SECRET_TOKEN)


# How often somebody may try


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return its time in seconds."""
        return self.now


def measure_delays(
    throttle: LoginThrottle, clock: Clock, count: int, address: str | None = "1.2.3.4"
) -> list[float]:
    """Fail as often, as soon as that may be, and return how long each had to wait."""
    delays = []
    for index in range(count):
        client_ip = f"10.0.0.{index}" if address == "anywhere" else address
        delays.append(wait := throttle.acquire("anna", client_ip))
        clock.now += wait
        assert not wait or throttle.acquire("anna", client_ip) == 0
    return delays


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.2.3.4", [0.0] * 5 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        ("anywhere", [0.0] * 20 + [1, 2, 4, 8, 16, 30, 30]),
        (None, [0.0] * 20 + [1, 2, 4, 8, 16, 30, 30]),
    ],
)
def test_the_waits_double(address: str | None, expected: list[float]) -> None:
    """Who guesses at a password needn't wait, or somebody who mistypes it must wait at once, or for ever."""
    attempts = LoginThrottle(clock := Clock())
    assert measure_delays(attempts, clock, len(expected), address=address) == expected
    assert attempts.acquire("bert", "1.2.3.4") == 0, "another name"
    if address == "1.2.3.4":
        assert attempts.acquire("anna", "1.2.3.5") == 0, "another address"
        clock.now += 301
        assert attempts.acquire("anna", "1.2.3.4") == 0
        assert attempts.acquire("anna", "1.2.3.4") == 300
        clock.now += 3600
        assert measure_delays(attempts, clock, 6)[-2:] == [0, 1], "forgotten"


def test_what_is_refused_is_not_counted() -> None:
    """Who asks too early waits the longer for it, and a stranger's guesses keep the owner out for good."""
    attempts = LoginThrottle(clock := Clock())
    assert measure_delays(attempts, clock, 5) == [0] * 5
    for _ in range(99):
        assert attempts.acquire("anna", "1.2.3.4") == 1
    clock.now += 0.75
    assert attempts.acquire("anna", "1.2.3.4") == 0.25
    clock.now += 0.25
    assert attempts.acquire("anna", "1.2.3.4") == 0


def test_one_place_can_not_use_up_everybody_s_minute() -> None:
    """Who guesses at made-up names, from one place, keeps all others from logging in."""
    attempts = LoginThrottle(clock := Clock())
    assert [attempts.acquire(f"name {index}", "6.6.6.6") for index in range(16)] == [0.0] * 15 + [
        60.0
    ]
    assert attempts.acquire("anna", "1.2.3.4") == 0
    clock.now += 61
    assert attempts.acquire("name 16", "6.6.6.6") == 0


def test_who_has_been_in_is_not_kept_out() -> None:
    """Guesses at somebody's name, from many places, keep out the one who has logged in from here before."""
    attempts = LoginThrottle(clock := Clock())
    assert attempts.acquire("anna", "1.2.3.4") == 0
    attempts.reset("anna", "1.2.3.4")
    for index in range(60):
        clock.now += attempts.acquire("anna", f"10.0.1.{index}")
        attempts.acquire(f"name {index}", f"10.0.2.{index}")
    assert attempts.acquire("anna", "5.6.7.8") > 0, "from elsewhere the name has to wait"
    assert [attempts.acquire("anna", "1.2.3.4") for _ in range(6)] == [0.0] * 5 + [1.0], (
        "its own failures count"
    )


def test_sixty_a_minute() -> None:
    """From many addresses, at many names, there are as many guesses as the line takes; or those who know wait, too."""
    attempts = LoginThrottle(clock := Clock())
    for index in range(60):
        assert attempts.acquire(f"name {index}", f"10.0.0.{index}") == 0
        clock.now += 0.5
    assert attempts.acquire("anna", "1.2.3.4") == 30
    attempts.reset("name 7", "10.0.0.7")
    assert attempts.acquire("anna", "1.2.3.4") == 0
    assert attempts.acquire("bert", "1.2.3.4") == 30.5
    clock.now += 30.5
    assert attempts.acquire("bert", "1.2.3.4") == 0


def test_who_knows_it_never_waits() -> None:
    """A program that logs in again and again, with the right password, is taken for one that guesses."""
    attempts = LoginThrottle(Clock())
    for _ in range(500):
        assert attempts.acquire("anna", "1.2.3.4") == 0
        attempts.reset("anna", "1.2.3.4")


def test_the_right_password_forgives() -> None:
    """Whoever has mistyped a password now and then must wait, though each time they knew it in the end."""
    attempts = LoginThrottle(clock := Clock())
    for _ in range(30):
        assert measure_delays(attempts, clock, 4) == [0] * 4
        assert attempts.acquire("anna", "1.2.3.4") == 0
        attempts.reset("anna", "1.2.3.4")
        clock.now += 60


def test_the_right_password_forgives_no_guesser() -> None:
    """Those who guess at a name from elsewhere begin anew each time its owner comes."""
    for address in ("1.2.3.4", None):
        attempts = LoginThrottle(clock := Clock())
        measure_delays(attempts, clock, 22, "anywhere")
        clock.now += attempts.acquire("anna", address)
        assert attempts.acquire("anna", address) == 0
        attempts.reset("anna", address)
        assert attempts.acquire("anna", "1.2.3.5") == 4


def test_many_at_once() -> None:
    """Who sends two hundred guesses at the same moment has them all looked at before the first has failed."""
    attempts, together = LoginThrottle(Clock()), threading.Barrier(50)

    def attempt_four_times(_: int) -> list[float]:
        together.wait(LIMIT_SECONDS)
        return [attempts.acquire("anna", "1.2.3.4") for _ in range(4)]

    with ThreadPoolExecutor(50) as pool:
        delays = [
            wait for four_waits in pool.map(attempt_four_times, range(50)) for wait in four_waits
        ]
    assert (len(delays), delays.count(0), delays.count(1)) == (200, 5, 195)


@pytest.mark.parametrize(
    ("names", "addresses"),
    [
        (["anna", "Anna", "ＡＮＮＡ"], ["1.2.3.4"]),
        (["anna"], ["2001:db8::1", "2001:db8::2", "2001:DB8:0:0:ffff::", "2001:db8::1%eth0"]),
        (["anna"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        (["anna"], ["testclient"]),
        (["", "a\0", "x" * 99, "a:b"], ["1.2.3.4"]),
        ([None, 7, b"x"], ["1.2.3.4"]),
    ],
    ids=["name", "network", "mapped", "no address", "no names", "no text"],
)
def test_who_is_the_same(names: list[object], addresses: list[str]) -> None:
    """A guesser has five more guesses by writing the name or the address in another way."""
    attempts = LoginThrottle(Clock())
    attempts_made = [(name, address) for name in names for address in addresses] * 6
    assert [attempts.acquire(*attempt) for attempt in attempts_made][:6] == [0] * 5 + [1]


def test_memory_is_bounded() -> None:
    """Who guesses at ever other names fills the memory, or is forgotten by it."""
    attempts = LoginThrottle(clock := Clock())
    assert measure_delays(attempts, clock, 7)[-1] == 2
    for index in range(2 * MAX_TRACKED_KEYS):
        clock.now += 1.1
        assert attempts.acquire(f"name {index}", f"address {index}") == 0
        if index == 3000:
            assert measure_delays(attempts, clock, 1) == [0], "long waited"
            assert measure_delays(attempts, clock, 1) == [8], "not forgotten"
    assert (
        len(attempts._by_name._failures)
        == len(attempts._by_name_and_ip._failures)
        == MAX_TRACKED_KEYS
    )
    assert len(attempts._recent_attempts) == 60


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["1", "2", None]),
            st.booleans(),
            st.floats(0, 40),
        ),
        max_size=200,
    )
)
def test_whatever_comes(login_attempts: list[tuple[str, str | None, bool, float]]) -> None:
    """There is an order of attempts with more than 60 failures in a minute, or in which somebody waits too long."""
    attempts, failed = LoginThrottle(clock := Clock()), list[float]()
    for name, address, is_right, seconds in login_attempts:
        clock.now += seconds / 20
        wait = attempts.acquire(name, address)
        assert 0 <= wait <= (60 if address is None else 300)
        if wait == 0 and is_right:
            attempts.reset(name, address)
        elif wait == 0:
            failed.append(clock.now)
    assert all(later - first >= 59.999 for first, later in zip(failed, failed[60:], strict=False))


# From a terminal


def invoke_user(*arguments: str, stdin: str | bytes = "") -> tuple[int, str, str]:
    return invoke("user", *arguments, stdin=stdin)


def test_adding_and_removing() -> None:
    """Who was added can't log in, others or comments in the file are lost, or others can read it."""
    PASSWORD_FILE.write_text(f"# mine\n\n{password_line('bert')}#end", encoding="utf-8")
    PASSWORD_FILE.chmod(0o644)
    assert invoke_user("add", "Anna", stdin=f"{SECRET_TOKEN}\r\nmore\n") == (
        0,
        "",
        "✓ anna was added in users.txt.\n",
    )
    assert PASSWORD_FILE.stat().st_mode & 0o777 == 0o600
    assert CredentialStore(password_file=PASSWORD_FILE).verify("anna", SECRET_TOKEN)
    code, _, err = invoke_user("add", "ANNA", stdin="new")
    assert (code, err.splitlines()[0]) == (0, "✓ anna has a new password in users.txt.")
    assert "The password is short" in err
    assert CredentialStore(password_file=PASSWORD_FILE).verify("anna", "new")
    assert invoke_user("list") == (0, "bert\nanna\n", "")
    assert invoke_user("remove", "bert") == (0, "", "✓ bert was removed from users.txt.\n")
    assert [
        re.sub(":.*", "", text_line) for text_line in PASSWORD_FILE.read_text().splitlines()
    ] == [
        "# mine",
        "",
        "#end",
        "anna",
    ]
    assert invoke_user("remove", "anna")[0] == 0
    assert invoke_user("list") == (0, "", "· There is nobody in users.txt.\n")
    assert os.listdir() == ["users.txt"]  # noqa: PTH208  # names


def test_a_generated_password() -> None:
    """The password that was made isn't told, is told twice, or isn't the one that lets in."""
    code, out, err = invoke_user("add", "guest", "--generate", "--file", "other.txt")
    assert (code, err) == (0, "✓ guest was added in other.txt.\n")
    assert CredentialStore(password_file=Path("other.txt")).verify("guest", out.removesuffix("\n"))
    assert out.strip() not in Path("other.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "expected_message"),
    [
        (["add", "anna"], "", 2, "There is no password in the standard input."),
        (["add", "anna"], "\nx", 2, "There is no password"),
        (["add", "anna"], b"\xff\n", 2, "isn't UTF-8"),
        (["add", "anna"], f"{SECRET_TOKEN}\0\n", 2, "a control character"),
        (["add", "anna"], SECRET_TOKEN * 1000, 2, "more than 1024"),
        (["add", "anna"], "😀" * 9999, 2, "more than 1024"),
        (["add", "an:na"], SECRET_TOKEN, 2, "no colon"),
        (["add", "anna "], SECRET_TOKEN, 2, "no space at its ends"),
        (["add", "an\x1b[2Jna"], SECRET_TOKEN, 2, "letters that can be seen"),
        (["add", "x" * 65], SECRET_TOKEN, 2, "1 to 64"),
        (["add", ""], SECRET_TOKEN, 2, "1 to 64"),
        (["add", "anna", "--password", "x"], SECRET_TOKEN, 2, "--password"),
        (["add", "anna", SECRET_TOKEN[:4]], SECRET_TOKEN, 2, "unexpected extra argument"),
        (["add"], SECRET_TOKEN, 2, "NAME"),
        (
            ["add", "anna", "--file", "broken"],
            SECRET_TOKEN,
            2,
            "Line 2 of broken can't be used: it isn't name:hash.",
        ),
        (["add", "anna", "--file", "."], SECRET_TOKEN, 2, "can't be read: Is a directory"),
        (
            ["add", "anna", "--file", "missing/users"],
            SECRET_TOKEN,
            9,
            "missing/users can't be written: No such file",
        ),
        (["remove", "anna"], "", 2, "There is no file users.txt."),
        (["remove", "anna", "--file", "empty"], "", 2, "There is no anna in empty."),
        (["list"], "", 2, "There is no file users.txt."),
        (["list", "--file", "broken"], "", 2, "Line 2 of broken"),
        (["rename"], "", 2, "rename"),
        ([], "", 2, "Commands:"),
    ],
)
def test_mistakes(
    arguments: list[str], stdin: str | bytes, code: int, expected_message: str
) -> None:
    """A mistake ends in a traceback, with the code of another one, changes the file, or shows the password."""
    Path("broken").write_text(f"# two\n{SECRET_TOKEN}\n")
    Path("empty").touch()
    exit_code, out, err = invoke_user(*arguments, stdin=stdin)
    assert (exit_code, out) == (code, "")
    assert expected_message in " ".join(err.split())
    assert sorted(os.listdir()) == ["broken", "empty"]  # noqa: PTH208
    assert Path("broken").read_text() == f"# two\n{SECRET_TOKEN}\n"


@pytest.mark.parametrize(
    ("inputs", "code", "expected_message"),
    [
        ([SECRET_TOKEN, SECRET_TOKEN], 0, "anna was added in users.txt."),
        ([SECRET_TOKEN, "other"], 2, "two different passwords"),
        (["", ""], 2, "The password is empty."),
        (["\x04"], 2, "No password was given"),
        (["\x03"], 130, ""),
    ],
    ids=["right", "different", "empty", "end", "ctrl-c"],
)
def test_on_a_terminal(inputs: list[str], code: int, expected_message: str) -> None:
    """On a terminal the password is shown, asked for once, or another one is taken than the one that was meant."""
    terminal_fd, follower = pty.openpty()
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    with start_process(
        "user", "add", "anna", **streams, start_new_session=True, preexec_fn=_claim_terminal
    ) as process:
        os.close(follower)
        output, remaining_inputs = b"", list(inputs)
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while chunk := os.read(terminal_fd, 65536):
                output += chunk
                if output.endswith(b": ") and remaining_inputs:
                    next_input = remaining_inputs.pop(0)
                    os.write(
                        terminal_fd,
                        next_input.encode() + (b"" if next_input in {"\x03", "\x04"} else b"\n"),
                    )
        assert process.wait(LIMIT_SECONDS) == code
    os.close(terminal_fd)
    text = output.decode()
    assert expected_message in " ".join(text.split())
    assert SECRET_TOKEN not in text
    assert PASSWORD_FILE.exists() == (code == 0)


def _claim_terminal() -> None:
    """Make the standard input the terminal that the process belongs to, so that Ctrl-C reaches it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def test_many_add_at_once() -> None:
    """Of those who are added at the same moment one is lost, or a reader sees half a file."""
    names, is_done = [f"name {index:02}" for index in range(24)], threading.Event()

    def read_accounts() -> int:
        most = 0
        while not is_done.is_set():
            most = max(most, len(UserFile(PASSWORD_FILE).accounts()))
        return most

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read_accounts)
        assert not any(
            pool.map(
                lambda name: UserFile(PASSWORD_FILE, LIMIT_SECONDS).upsert(make_account(name)),
                names,
            )
        )
        is_done.set()
        assert reader.result(LIMIT_SECONDS) <= 24
    assert sorted(user_account.name for user_account in UserFile(PASSWORD_FILE).accounts()) == names
    assert [path.name for path in Path().iterdir()] == ["users.txt"]


def test_a_lock_that_was_left() -> None:
    """A program that was killed keeps all later ones waiting, and nobody knows why; or its lock is overrun."""
    original = password_line("bert")
    PASSWORD_FILE.write_text(original)
    Path(".users.txt.lock").touch()
    with pytest.raises(WriteError, match=r"Another program .* remove .*\.users\.txt\.lock"):
        UserFile(PASSWORD_FILE, lock_timeout=0).upsert(make_account("anna"))
    assert PASSWORD_FILE.read_text() == original
    assert Path(".users.txt.lock").exists()


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full leaves half a file, and nobody can log in any more."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    original = password_line("bert")
    PASSWORD_FILE.write_text(original)
    limit = (10, 10)
    code, out, err = run_process(
        *("user", "add", "anna", "--generate"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert (code, out) == (9, "")
    assert "users.txt can't be written: File too large." in err
    assert PASSWORD_FILE.read_text() == original
    assert [path.name for path in Path().iterdir()] == ["users.txt"]


def test_a_link_stays_a_link() -> None:
    """A file that is elsewhere, behind a link, is left as it was, and the link is replaced."""
    Path("elsewhere").mkdir()
    PASSWORD_FILE.symlink_to("elsewhere/real.txt")
    UserFile(PASSWORD_FILE).upsert(make_account("anna"))
    assert PASSWORD_FILE.is_symlink()
    assert CredentialStore(password_file=Path("elsewhere/real.txt")).verify("anna", SECRET_TOKEN)
