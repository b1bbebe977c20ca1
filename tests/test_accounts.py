"""Names, password hashes and the password file, and `python -m sd35 user`."""

import contextlib
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
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from sd35.cli.user_file import UserFile
from sd35.core.errors import WriteError
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
from tests.test_cli import LIMIT_SECONDS, ROOT, SECRET_TOKEN, invoke, run_process, start_process

PASSWORD_FILE = Path("users.txt")

any_value = st.one_of(
    st.text(st.characters(), max_size=80), st.none(), st.integers(), st.binary(max_size=9)
)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


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
def test_any_valid_password_works(password: Any, other: object) -> None:  # noqa: ANN401  # not all are text
    """A password that can be hashed logs in, and no other; one that can't is refused, not an error."""
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
    assert [store.verify(name, SECRET_TOKEN) for name in names].count(True) == len(costs)
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


@pytest.mark.parametrize("invalid_line", INVALID_LINES)
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


# The command `user`


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
        (["add", "anna"], f"{SECRET_TOKEN}\0\n", 2, "contains a control character"),
        (["add", "anna"], SECRET_TOKEN * 1000, 2, "1024 characters"),
        (["add", "anna"], "😀" * 9999, 2, "1024 characters"),
        (["add", "an:na"], SECRET_TOKEN, 2, "must not contain a colon"),
        (["add", "anna "], SECRET_TOKEN, 2, "no space at either end"),
        (["add", "an\x1b[2Jna"], SECRET_TOKEN, 2, "visible characters"),
        (["add", "x" * 65], SECRET_TOKEN, 2, "1 to 64"),
        (["add", ""], SECRET_TOKEN, 2, "1 to 64"),
        (["add", "anna", "--password", "x"], SECRET_TOKEN, 2, "--password"),
        (["add", "anna", SECRET_TOKEN[:4]], SECRET_TOKEN, 2, "unexpected extra argument"),
        (["add"], SECRET_TOKEN, 2, "NAME"),
        (
            ["add", "anna", "--file", "broken"],
            SECRET_TOKEN,
            2,
            "Line 2 of broken can't be used: it must have the form name:hash.",
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
