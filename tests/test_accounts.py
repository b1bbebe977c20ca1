"""Names, password hashes and the password file."""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from sd35.cli.user_file import UserFile
from sd35.server.accounts import (
    DEFAULT_HASHER,
    PASSWORD_CHARS,
    Account,
    AccountError,
    CredentialStore,
    generate_credentials,
    hash_password,
    normalize_username,
    parse_password_file,
)
from tests.app_server import CHEAP_HASHER
from tests.cli_program import SECRET_TOKEN

PASSWORD_FILE = Path("users.txt")

any_value = st.one_of(
    st.text(st.characters(), max_size=80), st.none(), st.integers(), st.binary(max_size=9)
)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_account(
    name: str, password: str = SECRET_TOKEN, hasher: PasswordHasher = CHEAP_HASHER
) -> Account:
    return Account(name, hash_password(password, hasher))


def password_line(
    name: str, password: str = SECRET_TOKEN, hasher: PasswordHasher = CHEAP_HASHER
) -> str:
    return f"{make_account(name, password, hasher)}\n"


def write_password_file(*lines: str, at: int) -> None:
    """Write the file in place, as some editors do, with this modification time."""
    PASSWORD_FILE.write_text("".join(lines), encoding="utf-8")
    os.utime(PASSWORD_FILE, ns=(at, at))


# Names and passwords


def test_hashes_are_strong() -> None:
    """Hashes are Argon2id, salted, and no weaker than OWASP's Password Storage Cheat Sheet asks."""
    assert DEFAULT_HASHER.memory_cost >= 19 * 1024
    assert DEFAULT_HASHER.time_cost >= 2
    store = CredentialStore([f"anna:{SECRET_TOKEN}"])
    assert store.verify("anna", SECRET_TOKEN)
    assert not store.verify("anna", SECRET_TOKEN.upper())
    Account.parse(f"anna:{hash_password(SECRET_TOKEN)}")
    assert len({hash_password(SECRET_TOKEN, CHEAP_HASHER) for _ in range(9)}) == 9


@pytest.mark.parametrize(
    ("name", "normalized"),
    [
        ("anna", "anna"),
        ("Anna", "anna"),
        ("ＡＮＮＡ", "anna"),
        ("mo\u0308we", "möwe"),
        ("anna maria", "anna maria"),
        ("anna@example.org", "anna@example.org"),
        ("安娜", "安娜"),
        ("x" * 64, "x" * 64),
    ],
)
def test_names_are_normalized(name: str, normalized: str) -> None:
    """Upper case and other compositions of the same letters are the same name."""
    assert normalize_username(name) == normalized


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " anna", "anna ", "anna\u00a0", "a:b", "a：b", "#anna", "＃a", "x" * 65),
        *("a\nb", "a\0", "a\x1b[2J", "a\u202eb", "a\u200bb", "\ud800", "ﷺ" * 9),
        *(None, 7, b"a"),
    ],
)
def test_names_that_would_break_file_or_terminal_are_refused(name: object) -> None:
    """A name is one visible word or more, without what separates the parts of a line."""
    with pytest.raises(AccountError):
        normalize_username(name)


@given(any_value)
def test_any_valid_name_survives_the_file(name: object) -> None:
    """A normalized name stays as it is, and its line is read as the same account."""
    try:
        normalized = normalize_username(name)
    except AccountError:
        return
    assert normalize_username(normalized) == normalized
    account = make_account(normalized)
    lines = parse_password_file(f"# users\n{account}\r\n".encode(), PASSWORD_FILE)
    assert lines[1] == (str(account), account)


@given(any_value, any_value)
def test_any_valid_password_works(
    password: Any,  # noqa: ANN401  # not all are text
    other: object,
) -> None:
    """A password that can be hashed logs in, and no other; any other input is refused."""
    try:
        password_hash = hash_password(password, CHEAP_HASHER)
    except AccountError:
        assert not CredentialStore(["anna:x"], hasher=CHEAP_HASHER).verify("anna", password)
        return
    PASSWORD_FILE.write_text(f"anna:{password_hash}\n")
    store = CredentialStore(password_file=PASSWORD_FILE, hasher=CHEAP_HASHER)
    assert store.verify("anna", password)
    assert not store.verify("anna", f"{password}x")
    assert not store.verify(other, other)


def test_passwords_are_compared_as_letters() -> None:
    """Keyboards that compose letters differently give the same password."""
    store = CredentialStore(["zoe\u0308:möwe ２"], hasher=CHEAP_HASHER)
    assert store.verify("Zoë", "mo\u0308we 2")


@pytest.mark.parametrize(
    "value", [None, 7, b"anna", "", "a\0", "\ud800", "x" * 1025, "x" * 10**7, ["anna"], "\x1b"]
)
def test_invalid_logins_cost_nothing(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input that can't be a name or a password is refused without computing a hash."""
    store = CredentialStore(["anna:a"], hasher=CHEAP_HASHER)
    monkeypatch.setattr(PasswordHasher, "verify", None)
    assert not store.verify(value, "a")
    assert not store.verify("anna", value)


def test_long_passwords_are_not_cut_off() -> None:
    """Every character of the longest password counts."""
    longest = "ö" * 1024
    store = CredentialStore([f"anna:{longest}"], hasher=CHEAP_HASHER)
    assert store.verify("anna", longest)
    assert not store.verify("anna", longest[:-1])


def cheap_hasher(passes: int) -> PasswordHasher:
    return PasswordHasher(time_cost=passes, memory_cost=8, parallelism=1)


@pytest.mark.parametrize("costs", [[1], [3], [1, 2, 3, 4, 5, 6], []])
def test_unknown_names_cost_the_same(costs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A login with an unknown name computes one hash, at the cost of a known one: always the same.

    Time itself can't be measured reliably in a test.
    """
    lines = [
        password_line(f"known {index}", hasher=cheap_hasher(cost))
        for index, cost in enumerate(costs)
    ]
    write_password_file(*lines, at=1)
    store = CredentialStore(password_file=PASSWORD_FILE, hasher=cheap_hasher(9))
    verified_costs: list[int] = []
    verify = PasswordHasher.verify

    def counting_verify(self: PasswordHasher, password_hash: str, password: str) -> bool:
        verified_costs.append(int(password_hash.split("t=")[1].partition(",")[0]))
        return verify(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting_verify)
    names = [f"{kind} {index}" for kind in ("known", "unknown") for index in range(60)]
    assert [store.verify(name, SECRET_TOKEN) is not None for name in names].count(True) == len(
        costs
    )
    assert len(verified_costs) == 120
    assert set(verified_costs[60:]) == set(costs or [9])
    first_costs = verified_costs[60:]
    verified_costs.clear()
    assert not any(store.verify(name, "other") for name in names[60:])
    assert verified_costs == first_costs, "a cost that varies would reveal an unknown name"


def test_generated_passwords_are_strong_and_easy_to_type() -> None:
    """A generated login is random, can be used, and has no letters that look alike."""
    logins = {generate_credentials() for _ in range(99)}
    assert len(logins) == 99
    assert 16 * math.log2(len(PASSWORD_CHARS)) >= 64
    assert len(set(PASSWORD_CHARS)) == len(PASSWORD_CHARS)
    assert not set(PASSWORD_CHARS) & set("0o1il2z5s68b9ABC")
    for name, password in logins:
        assert re.fullmatch(rf"([{PASSWORD_CHARS}]{{4}}-){{3}}[{PASSWORD_CHARS}]{{4}}", password)
        assert CredentialStore([f"{name}:{password}"], hasher=CHEAP_HASHER).usernames() == {"guest"}


# Sources


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["anna"], "must have the form name:password."),
        ([f":{SECRET_TOKEN}"], "can't be used. A username must have 1 to 64 characters."),
        ([f"an\nna:{SECRET_TOKEN}"], "can't be used. A username must consist of visible"),
        (["anna:"], "can't be used. The password is empty."),
        ([f"anna:{SECRET_TOKEN}\0"], "can't be used. The password contains a control character"),
        (["anna:x", "Anna:y"], "can't be used. The name is given twice."),
    ],
)
def test_invalid_pairs_are_refused(pairs: list[str], message: str) -> None:
    """The message says which login can't be used, and why, without its password."""
    with pytest.raises(AccountError) as error_info:
        CredentialStore(pairs, hasher=CHEAP_HASHER)
    assert str(error_info.value).startswith(f"Login {len(pairs)} {message}")
    assert SECRET_TOKEN not in str(error_info.value)


def test_secrets_are_neither_kept_nor_shown() -> None:
    """No password is kept, and no hash is part of a `repr`, which may end up in a log."""
    store = CredentialStore([f"anna:{SECRET_TOKEN}:x"], hasher=CHEAP_HASHER)
    assert store.verify("anna", f"{SECRET_TOKEN}:x")
    assert SECRET_TOKEN not in repr(vars(store))
    account = make_account("anna")
    assert not any(part in repr(account) for part in account.password_hash.split("$")[4:])


def phc_line(parameters: str, salt: str = "A" * 22, digest: str = "A" * 43) -> bytes:
    return f"anna:$argon2id$v=19${parameters}${salt}${digest}".encode()


INVALID_LINES = {
    b"anna": "it must have the form name:hash",
    b"anna:verysecret": "the hash isn't one that",
    phc_line("m=1048576,t=1,p=1"): "the hash has invalid parameters, or would take too much",
    phc_line("m=65536,t=99,p=1"): "the hash has invalid parameters, or would take too much",
    phc_line("m=65536,t=3,p=99"): "the hash has invalid parameters, or would take too much",
    phc_line("m=8,t=1,p=4"): "the hash has invalid parameters, or would take too much",
    phc_line("m=8,t=0,p=1"): "the hash has invalid parameters, or would take too much",
    phc_line("m=8,t=1,p=1", salt="A" * 25): "the hash isn't one that",
    phc_line("m=8,t=1,p=1", digest="A" * 42 + "B"): "the hash isn't one that",
    b"anna:$scrypt$ln=15,r=8,p=3$AAA$AAA": (
        "the hash is from an older version; delete the line, then run "
        "`python -m sd35 user add NAME` to set the password again"
    ),
    password_line("caf\xe9").encode("latin-1").rstrip(): "it isn't UTF-8",
    password_line("a\x1bb").encode().rstrip(): "a username must consist of visible",
    password_line("Guest").encode().rstrip(): "the same name is in a line above",
}


# Salts are random, and xdist needs the same names of tests in each process.
@pytest.mark.parametrize("invalid_line", INVALID_LINES, ids=lambda _: "line")
def test_file_with_an_invalid_line_lets_nobody_in(invalid_line: bytes) -> None:
    """The message names the line and the reason, not the hash; a repaired file works again."""
    write_password_file("\ufeff# users\r\n\n", password_line("guest"), at=1)
    store = CredentialStore(password_file=PASSWORD_FILE, hasher=CHEAP_HASHER)
    with PASSWORD_FILE.open("ab") as file:
        file.write(invalid_line + b"\n")
    message = f"Line 4 of users.txt can't be used: {INVALID_LINES[invalid_line]}"
    with pytest.raises(AccountError, match=f"^{re.escape(message)}") as error_info:
        store.verify("guest", SECRET_TOKEN)
    assert not any(part in str(error_info.value) for part in ("$", "AAA", SECRET_TOKEN, "\x1b"))
    with pytest.raises(AccountError, match="Line 4"):
        CredentialStore(password_file=PASSWORD_FILE, hasher=CHEAP_HASHER)
    write_password_file(password_line("guest"), at=2)
    assert store.verify("guest", SECRET_TOKEN)


@given(st.binary(max_size=60))
def test_any_file_is_parsed_or_refused(data: bytes) -> None:
    """Arbitrary bytes raise no other error."""
    try:
        lines = parse_password_file(data, PASSWORD_FILE)
    except AccountError:
        return
    assert not any(account for _, account in lines)
    assert len(lines) == data.count(b"\n") + 1


def test_changes_of_the_file_apply_at_once() -> None:
    """New users can log in, removed ones can't, and a pair from a flag overrides the file."""
    write_password_file(password_line("anna"), at=1)
    store = CredentialStore([f"owner:{SECRET_TOKEN}"], PASSWORD_FILE, CHEAP_HASHER)
    assert store.verify("anna", SECRET_TOKEN)
    write_password_file(password_line("bert"), at=2)
    assert not store.verify("anna", SECRET_TOKEN)
    assert store.verify("bert", SECRET_TOKEN)
    UserFile(PASSWORD_FILE).upsert(make_account("bert", "new"))
    os.utime(PASSWORD_FILE, ns=(2, 2))
    assert store.verify("bert", "new"), "another file with the same time and size"
    assert not store.verify("bert", SECRET_TOKEN)
    write_password_file(password_line("bert"), at=2)
    assert not store.verify("bert", "new"), "the same file with the same time and size"
    write_password_file(password_line("owner", "other"), at=3)
    assert store.verify("owner", SECRET_TOKEN)
    assert store.usernames() == {"owner"}
    PASSWORD_FILE.unlink()
    with pytest.raises(AccountError, match=r"Can't read users\.txt: No such file"):
        store.verify("owner", SECRET_TOKEN)


def test_unchanged_file_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login attempt costs no parsing."""
    write_password_file(password_line("anna"), at=1)
    store = CredentialStore(password_file=PASSWORD_FILE, hasher=CHEAP_HASHER)
    monkeypatch.setattr("sd35.server.accounts.parse_password_file", None)
    assert store.verify("anna", SECRET_TOKEN)
