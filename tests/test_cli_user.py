"""`python -m sd35 user`, and the password file that it edits."""

import os
import pty
import re
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from sd35.cli.user_file import UserFile
from sd35.core.errors import WriteError
from sd35.server.accounts import Account, CredentialStore, hash_password
from tests.app_server import CHEAP_HASHER
from tests.cli_program import (
    LIMIT_SECONDS,
    ROOT,
    SECRET_TOKEN,
    CliResult,
    invoke,
    read_terminal,
    run_process,
    start_process,
)

PASSWORD_FILE = Path("users.txt")


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # What a hash costs isn't under test here.
    monkeypatch.setattr(hash_password, "__defaults__", (CHEAP_HASHER,))


def invoke_user(*arguments: str, stdin: str | bytes = "") -> CliResult:
    return invoke("user", *arguments, stdin=stdin)


def make_account(name: str) -> Account:
    return Account(name, hash_password(SECRET_TOKEN, CHEAP_HASHER))


def can_log_in(name: str, password: str, file: Path = PASSWORD_FILE) -> bool:
    store = CredentialStore(password_file=file, hasher=CHEAP_HASHER)
    return store.verify(name, password) is not None


def visible_files() -> list[str]:
    """Return the files here without hidden ones, such as the lock, which stays."""
    return sorted(path.name for path in Path().iterdir() if not path.name.startswith("."))


def test_users_are_added_changed_and_removed() -> None:
    """An added user can log in; comments and others stay; only the owner reads the file."""
    PASSWORD_FILE.write_text(f"# mine\n\n{make_account('bert')}\n#end", encoding="utf-8")
    PASSWORD_FILE.chmod(0o644)
    result = invoke_user("add", "Anna", stdin=f"{SECRET_TOKEN}\r\nmore\n")
    assert result == (0, "", "✓ Added anna in users.txt.\n")
    assert PASSWORD_FILE.stat().st_mode & 0o777 == 0o600
    assert can_log_in("anna", SECRET_TOKEN)
    code, _, err = invoke_user("add", "ANNA", stdin="new")
    assert (code, err.splitlines()[0]) == (0, "✓ Changed the password of anna in users.txt.")
    assert "! This password is weak." in err
    assert can_log_in("anna", "new")
    assert invoke_user("list") == (0, "bert\nanna\n", "")
    assert invoke_user("remove", "bert") == (0, "", "✓ Removed bert from users.txt.\n")
    lines = [re.sub(":.*", "", line) for line in PASSWORD_FILE.read_text().splitlines()]
    assert lines == ["# mine", "", "#end", "anna"]
    assert invoke_user("remove", "anna")[0] == 0
    assert invoke_user("list") == (0, "", "· No users in users.txt.\n")
    assert visible_files() == ["users.txt"]


def test_generated_password_is_printed_once() -> None:
    """A generated password goes to stdout, lets the user in, and isn't in the file."""
    code, out, err = invoke_user("add", "guest", "--generate", "--file", "other.txt")
    assert (code, err) == (0, "✓ Added guest in other.txt.\n")
    assert can_log_in("guest", out.removesuffix("\n"), Path("other.txt"))
    assert out.strip() not in Path("other.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "expected_message"),
    [
        (["add", "anna"], "", 2, "No password in stdin."),
        (["add", "anna"], "\nx", 2, "No password in stdin."),
        (["add", "anna"], b"\xff\n", 2, "isn't UTF-8"),
        (["add", "anna"], f"{SECRET_TOKEN}\0\n", 2, "contains a control character"),
        (["add", "anna"], SECRET_TOKEN * 1000, 2, "1024 characters"),
        (["add", "anna"], "😀" * 9999, 2, "1024 characters"),
        (["add", "an:na"], SECRET_TOKEN, 2, "must not contain a colon"),
        (["add", "an\x1b[2Jna"], SECRET_TOKEN, 2, "visible characters"),
        (["add", "anna", "--password", "x"], SECRET_TOKEN, 2, "--password"),
        (["add", "anna", SECRET_TOKEN[:4]], SECRET_TOKEN, 2, "unexpected extra argument"),
        (["add"], SECRET_TOKEN, 2, "NAME"),
        (["add", "anna", "--file", "broken"], SECRET_TOKEN, 2, "Line 2 of broken"),
        (["add", "anna", "--file", "."], SECRET_TOKEN, 2, "Couldn't read .: Is a directory"),
        (["add", "anna", "--file", "missing/u"], SECRET_TOKEN, 9, "Couldn't write missing/u: No"),
        (["remove", "anna"], "", 2, "File not found: users.txt."),
        (["remove", "anna", "--file", "empty"], "", 2, "No user anna in empty."),
        (["list"], "", 2, "File not found: users.txt."),
        (["list", "--file", "broken"], "", 2, "Line 2 of broken"),
        (["rename"], "", 2, "rename"),
        ([], "", 2, "Commands:"),
    ],
)
def test_mistakes_change_nothing(
    arguments: list[str], stdin: str | bytes, code: int, expected_message: str
) -> None:
    """A mistake has its exit code and message; no file changes, and no password is shown."""
    Path("broken").write_text(f"# two\n{SECRET_TOKEN}\n")
    Path("empty").touch()
    exit_code, out, err = invoke_user(*arguments, stdin=stdin)
    assert (exit_code, out) == (code, "")
    assert expected_message in " ".join(err.split())
    assert visible_files() == ["broken", "empty"]
    assert Path("broken").read_text() == f"# two\n{SECRET_TOKEN}\n"


@pytest.mark.parametrize(
    ("inputs", "code", "expected_message"),
    [
        ([SECRET_TOKEN, SECRET_TOKEN], 0, "Added anna in users.txt."),
        ([SECRET_TOKEN, "other"], 2, "The passwords don't match."),
        (["", ""], 2, "The password is empty."),
        (["\x04"], 2, "No password entered."),
        (["\x03"], 130, ""),
    ],
    ids=["right", "different", "empty", "end", "ctrl-c"],
)
def test_terminal_asks_twice(inputs: list[str], code: int, expected_message: str) -> None:
    """In a terminal the password is asked for twice, and never shown."""
    leader, follower = pty.openpty()
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    remaining_inputs = list(inputs)

    def type_next(output: bytes) -> None:
        if output.endswith(b": ") and remaining_inputs:
            text = remaining_inputs.pop(0)
            os.write(leader, text.encode() if text in {"\x03", "\x04"} else f"{text}\n".encode())

    with start_process(
        "user", "add", "anna", **streams, start_new_session=True, preexec_fn=_claim_terminal
    ) as process:
        os.close(follower)
        text = read_terminal(leader, type_next).decode()
        assert process.wait(LIMIT_SECONDS) == code
    assert expected_message in " ".join(text.split())
    assert SECRET_TOKEN not in text
    assert PASSWORD_FILE.exists() == (code == 0)


def _claim_terminal() -> None:
    """Make standard input the controlling terminal of the process, so that Ctrl+C reaches it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def test_concurrent_edits_are_all_kept() -> None:
    """Users that are added at the same moment are all there, and a reader sees no half file."""
    names = [f"name {index:02}" for index in range(24)]
    is_done = threading.Event()

    def read_accounts() -> int:
        largest = 0
        while not is_done.is_set():
            largest = max(largest, len(UserFile(PASSWORD_FILE).accounts()))
        return largest

    def add(name: str) -> bool:
        return UserFile(PASSWORD_FILE, LIMIT_SECONDS).upsert(make_account(name))

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read_accounts)
        assert not any(pool.map(add, names))
        is_done.set()
        assert reader.result(LIMIT_SECONDS) <= 24
    assert sorted(account.name for account in UserFile(PASSWORD_FILE).accounts()) == names
    assert visible_files() == ["users.txt"]


def test_only_a_live_program_holds_the_lock() -> None:
    """Another program's lock is respected; the lock file of one that was killed is not."""
    user_file = UserFile(PASSWORD_FILE, lock_timeout=0)
    with FileLock(".users.txt.lock"), pytest.raises(WriteError, match="Another program"):
        user_file.upsert(make_account("anna"))
    assert not PASSWORD_FILE.exists()
    assert Path(".users.txt.lock").exists()
    user_file.upsert(make_account("anna"))
    assert can_log_in("anna", SECRET_TOKEN)


def test_full_disk_leaves_the_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, the file is as it was."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    original = f"{make_account('bert')}\n"
    PASSWORD_FILE.write_text(original)
    code, out, err = run_process(
        *("user", "add", "anna", "--generate"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
    )
    assert (code, out) == (9, "")
    assert "Couldn't write users.txt: File too large." in err
    assert PASSWORD_FILE.read_text() == original
    assert visible_files() == ["users.txt"]


def test_link_stays_a_link() -> None:
    """A link to the file is followed, not replaced."""
    Path("elsewhere").mkdir()
    PASSWORD_FILE.symlink_to("elsewhere/real.txt")
    UserFile(PASSWORD_FILE).upsert(make_account("anna"))
    assert PASSWORD_FILE.is_symlink()
    assert can_log_in("anna", SECRET_TOKEN, Path("elsewhere/real.txt"))
