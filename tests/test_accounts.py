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
from sd35.core.errors import NotWrittenError
from sd35.server.accounts import (
    LETTERS,
    STRONG,
    Account,
    AccountError,
    Accounts,
    Cost,
    PasswordHash,
    accounts_in,
    generated_login,
    hash_password,
    plain_name,
)
from sd35.server.rate_limit import MAX_KEYS, Attempts
from tests.test_cli import LIMIT, ROOT, SECRET, invoke, run, started

CHEAP = Cost(ln=1, p=1)
FILE = Path("users.txt")

anything = st.one_of(
    st.text(st.characters(), max_size=80), st.none(), st.integers(), st.binary(max_size=9)
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def account(name: str, password: str = SECRET, cost: Cost = CHEAP) -> Account:
    return Account(name, PasswordHash.of(password, cost))


def line(name: str, password: str = SECRET, cost: Cost = CHEAP) -> str:
    return f"{account(name, password, cost)}\n"


def write(*lines: str, at: int) -> None:
    """Write the file in its place, as some editors do, at a time that is told."""
    FILE.write_text("".join(lines), encoding="utf-8")
    os.utime(FILE, ns=(at, at))


# Names and passwords


def test_a_strong_hash() -> None:
    """What is kept of a password is quickly guessed, the same for two who have the same one, or takes all memory."""
    assert (STRONG.ln, STRONG.p) in {(17, 1), (16, 2), (15, 3), (14, 5), (13, 10)}, (
        "OWASP's Password Storage Cheat Sheet"
    )
    assert 2**STRONG.ln <= 64 * 1024, "KiB"
    accounts = Accounts([f"anna:{SECRET}"])
    assert accounts.check("anna", SECRET)
    assert not accounts.check("anna", SECRET.upper())
    hashes = {hash_password(SECRET, CHEAP) for _ in range(9)}
    assert len(hashes) == 9
    assert all(
        re.fullmatch(r"\$scrypt\$ln=1,r=8,p=1\$[\w+/]{22}\$[\w+/]{43}", each) for each in hashes
    )


@pytest.mark.parametrize(
    ("typed", "stored"),
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
def test_names(typed: object, stored: str | None) -> None:
    """A name breaks the file or the terminal, or a phone that begins it with a capital keeps its owner out."""
    if stored is None:
        with pytest.raises(AccountError):
            plain_name(typed)
    else:
        assert plain_name(typed) == stored


@given(anything)
def test_every_name_is_a_name_or_none(typed: object) -> None:
    """A name is another one after it was stored, or a line of the file is read as somebody else's."""
    try:
        name = plain_name(typed)
    except AccountError:
        return
    assert plain_name(name) == name
    stored = account(name)
    assert accounts_in(f"# those\n{stored}\r\n".encode(), FILE)[1] == (str(stored), stored)


@given(anything, anything)
def test_every_password_is_a_password_or_none(password: Any, other: object) -> None:  # noqa: ANN401  # not all are text
    """A password that was taken doesn't let in, another one does, or one that isn't taken ends in an exception."""
    try:
        stored = hash_password(password, CHEAP)
    except AccountError:
        assert not Accounts(["anna:x"], cost=CHEAP).check("anna", password)
        return
    FILE.write_text(f"anna:{stored}\n")
    accounts = Accounts(file=FILE)
    assert accounts.check("anna", password)
    assert not accounts.check("anna", f"{password}x")
    assert not accounts.check(other, other)


def test_keyboards_that_compose_letters() -> None:
    """The password that was set on one machine isn't the one that is typed on another."""
    accounts = Accounts(["zoe\u0308:möwe ２"], cost=CHEAP)
    assert accounts.check("Zoë", "mo\u0308we 2")


@pytest.mark.parametrize(
    "hostile", [None, 7, b"anna", "", "a\0", "\ud800", "x" * 1025, "x" * 10**7, ["anna"], "\x1b"]
)
def test_hostile_logins(hostile: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page's form never sends ends in an exception, keeps the machine busy, or lets in."""
    accounts = Accounts(["anna:a"], cost=CHEAP)
    monkeypatch.setattr(hashlib, "scrypt", None)  # nothing is hashed
    assert not accounts.check(hostile, "a")
    assert not accounts.check("anna", hostile)


def test_a_longest_password() -> None:
    """Where a password is cut off, one that only begins like it lets in."""
    longest = "ö" * 1024
    accounts = Accounts([f"anna:{longest}"], cost=CHEAP)
    assert accounts.check("anna", longest)
    assert not accounts.check("anna", longest[:-1])


@pytest.mark.parametrize("costs", [[CHEAP], [Cost(2, 3)], [Cost(ln, 1) for ln in range(1, 8)], []])
def test_an_unknown_name_costs_the_same(costs: list[Cost], monkeypatch: pytest.MonkeyPatch) -> None:
    """How long an answer takes tells which names there are."""
    write(*(line(f"known {number}", cost=cost) for number, cost in enumerate(costs)), at=1)
    accounts, hashed = Accounts(file=FILE, cost=CHEAP), list[Cost]()
    scrypt = hashlib.scrypt

    def counted(password: bytes, **parameters: Any) -> bytes:  # noqa: ANN401
        hashed.append(Cost(parameters["n"].bit_length() - 1, parameters["p"]))
        return scrypt(password, **parameters)

    monkeypatch.setattr(
        hashlib, "scrypt", counted
    )  # time itself can't be measured in a test that holds everywhere
    names = [f"{kind} {number}" for kind in ("known", "unknown") for number in range(60)]
    assert [accounts.check(name, "wrong") for name in names] == [False] * 120
    assert len(hashed) == 120
    assert set(hashed[60:]) == set(costs or [CHEAP])
    before = hashed[60:]
    hashed.clear()
    assert not any(accounts.check(name, "other") for name in names[60:])
    assert hashed == before, "a cost that changes would tell it, too"


def test_generated_logins() -> None:
    """A password that is made for a guest is guessed, mistyped, or isn't taken."""
    logins = {generated_login() for _ in range(99)}
    assert len(logins) == 99
    assert 16 * math.log2(len(LETTERS)) >= 64
    assert len(set(LETTERS)) == len(LETTERS)
    assert not set(LETTERS) & set("0o1il2z5s68b9ABC")
    for name, password in logins:
        assert re.fullmatch(rf"([{LETTERS}]{{4}}-){{3}}[{LETTERS}]{{4}}", password)
        assert plain_name(name) == name
    assert Accounts([":".join(login) for login in list(logins)[:1]], cost=CHEAP).names() == {
        "guest"
    }


# Where they come from


@pytest.mark.parametrize(
    "pairs",
    [
        ["anna"],
        [f":{SECRET}"],
        [f"an\nna:{SECRET}"],
        ["anna:"],
        [f"anna:{SECRET}\0"],
        ["anna:x", "Anna:y"],
    ],
)
def test_pairs_that_are_none(pairs: list[str]) -> None:
    """A login that can't be used is passed over, or its password is shown."""
    with pytest.raises(
        AccountError, match=rf"^Login {len(pairs)} isn't name:password\. "
    ) as caught:
        Accounts(pairs, cost=CHEAP)
    assert SECRET not in str(caught.value)


def test_nothing_is_shown() -> None:
    """A password, or its hash, stands in the memory as it was given, or in a log."""
    accounts = Accounts([f"anna:{SECRET}:x"], cost=CHEAP)
    assert accounts.check("anna", f"{SECRET}:x")
    assert SECRET not in repr(vars(accounts))
    kept = account("anna")
    assert not any(
        part in repr(kept)
        for part in (*str(kept.password).split("$")[3:], repr(kept.password.digest))
    )


BROKEN = {
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
    line("caf\xe9").encode("latin-1").rstrip(): "it isn't UTF-8",
    line("a\x1bb").encode().rstrip(): "a name has letters",
    line("Guest").encode().rstrip(): "the same name is in a line above it",
}


@pytest.mark.parametrize("broken", BROKEN, ids=BROKEN.values())
def test_broken_lines(broken: bytes) -> None:
    """A broken line lets somebody in, keeps somebody out without a word, or its hash is shown."""
    write("\ufeff# those who may\r\n\n", line("guest"), at=1)
    accounts = Accounts(file=FILE)
    with FILE.open("ab") as file:
        file.write(broken + b"\n")
    with pytest.raises(
        AccountError, match=rf"^Line 4 of users\.txt can't be used: {BROKEN[broken]}"
    ) as caught:
        accounts.check("guest", SECRET)
    assert not any(part in str(caught.value) for part in ("$", "AAA", SECRET, "\x1b"))
    with pytest.raises(AccountError, match="Line 4"):
        Accounts(file=FILE)
    write(line("guest"), at=2)
    assert accounts.check("guest", SECRET)


@given(st.binary(max_size=60))
def test_every_file_is_one_or_none(data: bytes) -> None:
    """What stands in a file ends in another exception than the one that is foreseen."""
    try:
        lines = accounts_in(data, FILE)
    except AccountError:
        return
    assert not any(found for _, found in lines)
    assert len(lines) == data.count(b"\n") + 1


def test_the_file_changes() -> None:
    """Who is added must wait for a restart; who is removed, or has a new password, still gets in with the old one."""
    write(line("anna"), at=1)
    accounts = Accounts([f"owner:{SECRET}"], FILE, CHEAP)
    assert accounts.check("anna", SECRET)
    write(line("bert"), at=2)
    assert not accounts.check("anna", SECRET)
    assert accounts.check("bert", SECRET)
    UserFile(FILE).put(account("bert", "new"))
    os.utime(FILE, ns=(2, 2))
    assert accounts.check("bert", "new")
    assert not accounts.check("bert", SECRET)
    write(line("owner", "other"), at=3)
    assert accounts.check("owner", SECRET), "the pair counts"
    assert accounts.names() == {"owner"}
    FILE.unlink()
    with pytest.raises(AccountError, match=r"can't be read from users\.txt: No such file"):
        accounts.check("owner", SECRET)


def test_the_file_is_read_only_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt reads the whole file again."""
    write(line("anna"), at=1)
    accounts = Accounts(file=FILE)
    monkeypatch.setattr("sd35.server.accounts.accounts_in", None)
    assert accounts.check("anna", SECRET)


# How often somebody may try


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return its time in seconds."""
        return self.now


def waits(
    attempts: Attempts, clock: Clock, count: int, address: str | None = "1.2.3.4"
) -> list[float]:
    """Fail as often, as soon as that may be, and return how long each had to wait."""
    told = []
    for number in range(count):
        place = f"10.0.0.{number}" if address == "anywhere" else address
        told.append(wait := attempts.begin("anna", place))
        clock.now += wait
        assert not wait or attempts.begin("anna", place) == 0
    return told


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
    attempts = Attempts(clock := Clock())
    assert waits(attempts, clock, len(expected), address=address) == expected
    assert attempts.begin("bert", "1.2.3.4") == 0, "another name"
    if address == "1.2.3.4":
        assert attempts.begin("anna", "1.2.3.5") == 0, "another address"
        clock.now += 301
        assert attempts.begin("anna", "1.2.3.4") == 0
        assert attempts.begin("anna", "1.2.3.4") == 300
        clock.now += 3600
        assert waits(attempts, clock, 6)[-2:] == [0, 1], "forgotten"


def test_what_is_refused_is_not_counted() -> None:
    """Who asks too early waits the longer for it, and a stranger's guesses keep the owner out for good."""
    attempts = Attempts(clock := Clock())
    assert waits(attempts, clock, 5) == [0] * 5
    for _ in range(99):
        assert attempts.begin("anna", "1.2.3.4") == 1
    clock.now += 0.75
    assert attempts.begin("anna", "1.2.3.4") == 0.25
    clock.now += 0.25
    assert attempts.begin("anna", "1.2.3.4") == 0


def test_one_place_can_not_use_up_everybody_s_minute() -> None:
    """Who guesses at made-up names, from one place, keeps all others from logging in."""
    attempts = Attempts(clock := Clock())
    assert [attempts.begin(f"name {number}", "6.6.6.6") for number in range(16)] == [0.0] * 15 + [
        60.0
    ]
    assert attempts.begin("anna", "1.2.3.4") == 0
    clock.now += 61
    assert attempts.begin("name 16", "6.6.6.6") == 0


def test_who_has_been_in_is_not_kept_out() -> None:
    """Guesses at somebody's name, from many places, keep out the one who has logged in from here before."""
    attempts = Attempts(clock := Clock())
    assert attempts.begin("anna", "1.2.3.4") == 0
    attempts.succeeded("anna", "1.2.3.4")
    for number in range(60):
        clock.now += attempts.begin("anna", f"10.0.1.{number}")
        attempts.begin(f"name {number}", f"10.0.2.{number}")
    assert attempts.begin("anna", "5.6.7.8") > 0, "from elsewhere the name has to wait"
    assert [attempts.begin("anna", "1.2.3.4") for _ in range(6)] == [0.0] * 5 + [1.0], (
        "its own failures count"
    )


def test_sixty_a_minute() -> None:
    """From many addresses, at many names, there are as many guesses as the line takes; or those who know wait, too."""
    attempts = Attempts(clock := Clock())
    for number in range(60):
        assert attempts.begin(f"name {number}", f"10.0.0.{number}") == 0
        clock.now += 0.5
    assert attempts.begin("anna", "1.2.3.4") == 30
    attempts.succeeded("name 7", "10.0.0.7")
    assert attempts.begin("anna", "1.2.3.4") == 0
    assert attempts.begin("bert", "1.2.3.4") == 30.5
    clock.now += 30.5
    assert attempts.begin("bert", "1.2.3.4") == 0


def test_who_knows_it_never_waits() -> None:
    """A program that logs in again and again, with the right password, is taken for one that guesses."""
    attempts = Attempts(Clock())
    for _ in range(500):
        assert attempts.begin("anna", "1.2.3.4") == 0
        attempts.succeeded("anna", "1.2.3.4")


def test_the_right_password_forgives() -> None:
    """Whoever has mistyped a password now and then must wait, though each time they knew it in the end."""
    attempts = Attempts(clock := Clock())
    for _ in range(30):
        assert waits(attempts, clock, 4) == [0] * 4
        assert attempts.begin("anna", "1.2.3.4") == 0
        attempts.succeeded("anna", "1.2.3.4")
        clock.now += 60


def test_the_right_password_forgives_no_guesser() -> None:
    """Those who guess at a name from elsewhere begin anew each time its owner comes."""
    for address in ("1.2.3.4", None):
        attempts = Attempts(clock := Clock())
        waits(attempts, clock, 22, "anywhere")
        clock.now += attempts.begin("anna", address)
        assert attempts.begin("anna", address) == 0
        attempts.succeeded("anna", address)
        assert attempts.begin("anna", "1.2.3.5") == 4


def test_many_at_once() -> None:
    """Who sends two hundred guesses at the same moment has them all looked at before the first has failed."""
    attempts, together = Attempts(Clock()), threading.Barrier(50)

    def try_four_times(_: int) -> list[float]:
        together.wait(LIMIT)
        return [attempts.begin("anna", "1.2.3.4") for _ in range(4)]

    with ThreadPoolExecutor(50) as pool:
        told = [wait for four in pool.map(try_four_times, range(50)) for wait in four]
    assert (len(told), told.count(0), told.count(1)) == (200, 5, 195)


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
    attempts = Attempts(Clock())
    both = [(name, address) for name in names for address in addresses] * 6
    assert [attempts.begin(*each) for each in both][:6] == [0] * 5 + [1]


def test_memory_is_bounded() -> None:
    """Who guesses at ever other names fills the memory, or is forgotten by it."""
    attempts = Attempts(clock := Clock())
    assert waits(attempts, clock, 7)[-1] == 2
    for number in range(2 * MAX_KEYS):
        clock.now += 1.1
        assert attempts.begin(f"name {number}", f"address {number}") == 0
        if number == 3000:
            assert waits(attempts, clock, 1) == [0], "long waited"
            assert waits(attempts, clock, 1) == [8], "not forgotten"
    assert len(attempts._by_name._seen) == len(attempts._by_pair._seen) == MAX_KEYS
    assert len(attempts._all) == 60


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
def test_whatever_comes(tries: list[tuple[str, str | None, bool, float]]) -> None:
    """There is an order of attempts with more than 60 failures in a minute, or in which somebody waits too long."""
    attempts, failed = Attempts(clock := Clock()), list[float]()
    for name, address, is_right, seconds in tries:
        clock.now += seconds / 20
        wait = attempts.begin(name, address)
        assert 0 <= wait <= (60 if address is None else 300)
        if wait == 0 and is_right:
            attempts.succeeded(name, address)
        elif wait == 0:
            failed.append(clock.now)
    assert all(later - first >= 59.999 for first, later in zip(failed, failed[60:], strict=False))


# From a terminal


def user(*arguments: str, given: str | bytes = "") -> tuple[int, str, str]:
    return invoke("user", *arguments, given=given)


def test_adding_and_removing() -> None:
    """Who was added can't log in, others or comments in the file are lost, or others can read it."""
    FILE.write_text(f"# mine\n\n{line('bert')}#end", encoding="utf-8")
    FILE.chmod(0o644)
    assert user("add", "Anna", given=f"{SECRET}\r\nmore\n") == (
        0,
        "",
        "✓ anna was added in users.txt.\n",
    )
    assert FILE.stat().st_mode & 0o777 == 0o600
    assert Accounts(file=FILE).check("anna", SECRET)
    code, _, err = user("add", "ANNA", given="new")
    assert (code, err.splitlines()[0]) == (0, "✓ anna has a new password in users.txt.")
    assert "The password is short" in err
    assert Accounts(file=FILE).check("anna", "new")
    assert user("list") == (0, "bert\nanna\n", "")
    assert user("remove", "bert") == (0, "", "✓ bert was removed from users.txt.\n")
    assert [re.sub(":.*", "", each) for each in FILE.read_text().splitlines()] == [
        "# mine",
        "",
        "#end",
        "anna",
    ]
    assert user("remove", "anna")[0] == 0
    assert user("list") == (0, "", "· There is nobody in users.txt.\n")
    assert os.listdir() == ["users.txt"]  # noqa: PTH208  # names


def test_a_generated_password() -> None:
    """The password that was made isn't told, is told twice, or isn't the one that lets in."""
    code, out, err = user("add", "guest", "--generate", "--file", "other.txt")
    assert (code, err) == (0, "✓ guest was added in other.txt.\n")
    assert Accounts(file=Path("other.txt")).check("guest", out.removesuffix("\n"))
    assert out.strip() not in Path("other.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "given", "code", "said"),
    [
        (["add", "anna"], "", 2, "There is no password in the standard input."),
        (["add", "anna"], "\nx", 2, "There is no password"),
        (["add", "anna"], b"\xff\n", 2, "isn't UTF-8"),
        (["add", "anna"], f"{SECRET}\0\n", 2, "a control character"),
        (["add", "anna"], SECRET * 1000, 2, "more than 1024"),
        (["add", "anna"], "😀" * 9999, 2, "more than 1024"),
        (["add", "an:na"], SECRET, 2, "no colon"),
        (["add", "anna "], SECRET, 2, "no space at its ends"),
        (["add", "an\x1b[2Jna"], SECRET, 2, "letters that can be seen"),
        (["add", "x" * 65], SECRET, 2, "1 to 64"),
        (["add", ""], SECRET, 2, "1 to 64"),
        (["add", "anna", "--password", "x"], SECRET, 2, "--password"),
        (["add", "anna", SECRET[:4]], SECRET, 2, "unexpected extra argument"),
        (["add"], SECRET, 2, "NAME"),
        (
            ["add", "anna", "--file", "broken"],
            SECRET,
            2,
            "Line 2 of broken can't be used: it isn't name:hash.",
        ),
        (["add", "anna", "--file", "."], SECRET, 2, "can't be read: Is a directory"),
        (
            ["add", "anna", "--file", "missing/users"],
            SECRET,
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
def test_mistakes(arguments: list[str], given: str | bytes, code: int, said: str) -> None:
    """A mistake ends in a traceback, with the code of another one, changes the file, or shows the password."""
    Path("broken").write_text(f"# two\n{SECRET}\n")
    Path("empty").touch()
    ended_with, out, err = user(*arguments, given=given)
    assert (ended_with, out) == (code, "")
    assert said in " ".join(err.split())
    assert sorted(os.listdir()) == ["broken", "empty"]  # noqa: PTH208
    assert Path("broken").read_text() == f"# two\n{SECRET}\n"


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ([SECRET, SECRET], 0, "anna was added in users.txt."),
        ([SECRET, "other"], 2, "two different passwords"),
        (["", ""], 2, "The password is empty."),
        (["\x04"], 2, "No password was given"),
        (["\x03"], 130, ""),
    ],
    ids=["right", "different", "empty", "end", "ctrl-c"],
)
def test_on_a_terminal(typed: list[str], code: int, said: str) -> None:
    """On a terminal the password is shown, asked for once, or another one is taken than the one that was meant."""
    leader, follower = pty.openpty()
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    with started(
        "user", "add", "anna", **streams, start_new_session=True, preexec_fn=_its_terminal
    ) as process:
        os.close(follower)
        shown, left = b"", list(typed)
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while chunk := os.read(leader, 65536):
                shown += chunk
                if shown.endswith(b": ") and left:
                    each = left.pop(0)
                    os.write(leader, each.encode() + (b"" if each in {"\x03", "\x04"} else b"\n"))
        assert process.wait(LIMIT) == code
    os.close(leader)
    text = shown.decode()
    assert said in " ".join(text.split())
    assert SECRET not in text
    assert FILE.exists() == (code == 0)


def _its_terminal() -> None:
    """Make the standard input the terminal that the process belongs to, so that Ctrl-C reaches it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def test_many_add_at_once() -> None:
    """Of those who are added at the same moment one is lost, or a reader sees half a file."""
    names, is_done = [f"name {number:02}" for number in range(24)], threading.Event()

    def read() -> int:
        most = 0
        while not is_done.is_set():
            most = max(most, len(UserFile(FILE).accounts()))
        return most

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        assert not any(pool.map(lambda name: UserFile(FILE, LIMIT).put(account(name)), names))
        is_done.set()
        assert reader.result(LIMIT) <= 24
    assert sorted(each.name for each in UserFile(FILE).accounts()) == names
    assert [path.name for path in Path().iterdir()] == ["users.txt"]


def test_a_lock_that_was_left() -> None:
    """A program that was killed keeps all later ones waiting, and nobody knows why; or its lock is overrun."""
    before = line("bert")
    FILE.write_text(before)
    Path(".users.txt.lock").touch()
    with pytest.raises(NotWrittenError, match=r"Another program .* remove .*\.users\.txt\.lock"):
        UserFile(FILE, lock_seconds=0).put(account("anna"))
    assert FILE.read_text() == before
    assert Path(".users.txt.lock").exists()


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full leaves half a file, and nobody can log in any more."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = line("bert")
    FILE.write_text(before)
    limit = (10, 10)
    code, out, err = run(
        *("user", "add", "anna", "--generate"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert (code, out) == (9, "")
    assert "users.txt can't be written: File too large." in err
    assert FILE.read_text() == before
    assert [path.name for path in Path().iterdir()] == ["users.txt"]


def test_a_link_stays_a_link() -> None:
    """A file that is elsewhere, behind a link, is left as it was, and the link is replaced."""
    Path("elsewhere").mkdir()
    FILE.symlink_to("elsewhere/real.txt")
    UserFile(FILE).put(account("anna"))
    assert FILE.is_symlink()
    assert Accounts(file=Path("elsewhere/real.txt")).check("anna", SECRET)
