"""Usernames and password hashes, and the file that holds them.

A password file has one `name:hash` per line; empty lines and lines that begin with `#` are ignored.
"""

import hmac
import re
import secrets
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

__all__ = [
    "MAX_NAME_LENGTH",
    "MAX_PASSWORD_LENGTH",
    "Account",
    "AccountError",
    "CredentialStore",
    "generate_credentials",
    "hash_password",
    "normalize_username",
    "parse_password_file",
]

MAX_NAME_LENGTH: Final = 64
MAX_PASSWORD_LENGTH: Final = 1024  # characters; longer input would only keep the hash function busy

# Each of these characters is unlike all others: no 0/o, 1/i/l, 2/z, 5/s, 6/8/b or 9/g.
PASSWORD_CHARS: Final = "acdefghjkmnpqrtuvwxy347"  # noqa: S105  # an alphabet, not a password

# The library's defaults are the second recommendation of RFC 9106: 64 MiB, 3 passes, 4 lanes.
DEFAULT_HASHER: Final = PasswordHasher()

# A hash needs its 64 MiB while it is computed: more at once could exhaust a small machine.
_HASH_SEMAPHORE: Final = threading.BoundedSemaphore(4)

# A password file may come from another program, and the parameters of its hashes determine the cost
# of each login attempt.
_MAX_MEMORY_KIB: Final = 128 * 1024
_MAX_PASSES: Final = 10
_MAX_LANES: Final = 8

# The PHC string format. The last characters of salt and digest are limited to those that leave no
# bits over: libargon2 rejects others, but only at the first login.
_HASH_PATTERN: Final = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,3}),p=([0-9]{1,3})"
    r"\$[A-Za-z0-9+/]{21}[AQgw]\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"
)


class AccountError(ValueError):
    """A name, password or password file that can't be used; `str` reveals no password."""


def _check_hash(text: str) -> str:
    """Return the hash, unless its format is unknown or its parameters are too expensive."""
    if text.startswith("$scrypt$"):
        raise AccountError(
            "the hash is from an older version; delete the line, then run "
            "`python -m sd35 user add NAME` to set the password again"
        )
    match = _HASH_PATTERN.fullmatch(text)
    if match is None:
        raise AccountError("the hash isn't one that `python -m sd35 user add` creates")
    memory_kib, passes, lanes = map(int, match.groups())
    if not (
        1 <= lanes <= _MAX_LANES
        and 1 <= passes <= _MAX_PASSES
        and 8 * lanes <= memory_kib <= _MAX_MEMORY_KIB  # 8 blocks of 1 KiB per lane: RFC 9106, 3.1
    ):
        raise AccountError("the hash has invalid parameters, or would take too much memory or time")
    return text


def hash_password(password: str, hasher: PasswordHasher = DEFAULT_HASHER) -> str:
    """Return the password's Argon2id hash, with parameters and a random salt.

    Raises:
        AccountError: the password is empty, too long, or has invalid characters.
    """
    normalized = _normalize_password(password)
    with _HASH_SEMAPHORE:
        return hasher.hash(normalized)


def _matches(password_hash: str, normalized_password: str) -> bool:
    with _HASH_SEMAPHORE:
        try:
            # Parameters come from the hash; the hasher's own are those of new hashes.
            return DEFAULT_HASHER.verify(password_hash, normalized_password)
        except VerificationError:
            return False


def _normalize_password(password: object) -> str:
    """Return the password in NFKC (NIST SP 800-63B): keyboards compose letters differently."""
    if not isinstance(password, str) or not password:
        raise AccountError("The password is empty.")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise AccountError(f"The password is longer than {MAX_PASSWORD_LENGTH} characters.")
    # Surrogates (Cs) can't be encoded as UTF-8, and control characters can't be typed in a form.
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in password):
        raise AccountError("The password contains a control character or an invalid one.")
    return unicodedata.normalize("NFKC", password)


def normalize_username(name: object) -> str:
    """Return a name in the form that is stored and compared: NFKC, lower case.

    Phones capitalize the first letter, and keyboards compose letters differently.

    Raises:
        AccountError: the name is empty, too long, or has invalid characters.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise AccountError(f"A username must have 1 to {MAX_NAME_LENGTH} characters.")
    normalized = _fold_case(name)
    if (
        not normalized.isprintable()
        or normalized != normalized.strip()
        or _fold_case(normalized) != normalized  # else it would change when it is read again
    ):
        raise AccountError(
            "A username must consist of visible characters, with no space at either end."
        )
    if ":" in normalized or normalized.startswith("#"):
        raise AccountError("A username must not contain a colon or begin with #.")
    if not 0 < len(normalized) <= MAX_NAME_LENGTH:  # NFKC makes 18 characters of one ligature
        raise AccountError(f"A username must have 1 to {MAX_NAME_LENGTH} characters.")
    return normalized


def _fold_case(name: str) -> str:
    # Case folding can take NFKC apart, so normalization comes before and after it.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def generate_credentials() -> tuple[str, str]:
    """Return a guest's name and a random password of 72 bits that is easy to type."""
    groups = ("".join(secrets.choice(PASSWORD_CHARS) for _ in range(4)) for _ in range(4))
    return "guest", "-".join(groups)


@dataclass(frozen=True, slots=True)
class Account:
    """A user who may log in; `str` is the line of a password file."""

    name: str
    password_hash: str = field(repr=False)

    @classmethod
    def parse(cls, line: str) -> "Account":
        """Read a line of a password file."""
        name, colon, password_hash = line.strip().partition(":")
        if not colon:
            raise AccountError("it must have the form name:hash")
        return cls(normalize_username(name), _check_hash(password_hash))

    def __str__(self) -> str:
        return f"{self.name}:{self.password_hash}"


def parse_password_file(data: bytes, path: Path) -> list[tuple[str, Account | None]]:
    """Return each line of a password file with its account; comments have none.

    Raises:
        AccountError: a line can't be used; the message names line and file.
    """
    lines: list[tuple[str, Account | None]] = []
    names: set[str] = set()
    # Windows editors begin UTF-8 files with a byte order mark.
    for line_number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode("utf-8").rstrip()
            lines.append((text, _parse_line(text, names)))
        except ValueError as error:
            reason = str(error).rstrip(".") if isinstance(error, AccountError) else "it isn't UTF-8"
            raise AccountError(
                f"Line {line_number} of {path} can't be used: {reason[0].lower()}{reason[1:]}."
            ) from None
    return lines


def _parse_line(line: str, previous_names: set[str]) -> Account | None:
    if not line or line.lstrip().startswith("#"):
        return None
    account = Account.parse(line)
    if account.name in previous_names:
        raise AccountError("the same name is in a line above")
    previous_names.add(account.name)
    return account


class CredentialStore:
    """Users from flags and from a password file, which is read again whenever it changes.

    All methods raise an `AccountError` while the file can't be used. Then nobody is let in: the old
    content may name a user who was removed since.

    Args:
        credentials: `name:password` pairs; only hashes of the passwords are stored.
        password_file: names and hashes; a name in `credentials` overrides the file's.
        hasher: for the passwords in `credentials`.

    Raises:
        AccountError: a pair or a line can't be used, or the file can't be read.
    """

    def __init__(
        self,
        credentials: Iterable[str] = (),
        password_file: Path | None = None,
        hasher: PasswordHasher = DEFAULT_HASHER,
    ) -> None:
        self._inline_hashes: dict[str, str] = {}
        self._password_file = password_file
        self._hasher = hasher
        self._key = secrets.token_bytes(32)
        self._spare_hash = hasher.hash(self._key)
        self._lock = threading.Lock()
        self._file_data: bytes | None = None
        self._hashes: Mapping[str, str] = self._inline_hashes
        for index, pair in enumerate(credentials, 1):
            self._add(pair, f"Login {index}")
        self._current_hashes()

    def _add(self, pair: str, label: str) -> None:
        name, colon, password = pair.partition(":")
        if not colon:
            raise AccountError(f"{label} must have the form name:password.")
        try:
            username = normalize_username(name)
            password_hash = hash_password(password, self._hasher)
        except AccountError as error:
            raise AccountError(f"{label} can't be used. {error}") from None
        if username in self._inline_hashes:
            raise AccountError(f"{label} can't be used. The name is given twice.")
        self._inline_hashes[username] = password_hash

    def usernames(self) -> frozenset[str]:
        """Return the names that may log in now."""
        return frozenset(self._current_hashes())

    def verify(self, name: object, password: object) -> str | None:
        """Return the password's fingerprint if it is the user's. Blocks for a tenth of a second."""
        try:
            username = normalize_username(name)
            normalized_password = _normalize_password(password)
        except AccountError:
            return None
        hashes = self._current_hashes()
        # An unknown name is checked against another user's hash: a faster answer would reveal
        # which names exist.
        password_hash = hashes.get(username) or self._decoy_hash(username, hashes)
        is_valid = _matches(password_hash, normalized_password) and username in hashes
        return self._fingerprint(password_hash) if is_valid else None

    def is_current(self, username: str, fingerprint: str) -> bool:
        """Return whether the user still has the password with this fingerprint."""
        password_hash = self._current_hashes().get(username)
        return password_hash is not None and self._fingerprint(password_hash) == fingerprint

    def _fingerprint(self, password_hash: str) -> str:
        """Return a value that changes with the password and reveals nothing about it."""
        return hmac.digest(self._key, password_hash.encode(), "sha256").hex()

    def _decoy_hash(self, name: str, hashes: Mapping[str, str]) -> str:
        """Return a hash to check for an unknown name: always the same one for the same name.

        Hashes may differ in cost. Varying times would reveal that a name is unknown.
        """
        candidates = list(hashes.values()) or [self._spare_hash]
        digest = hmac.digest(self._key, name.encode("utf-8"), "sha256")
        return candidates[int.from_bytes(digest) % len(candidates)]

    def _current_hashes(self) -> Mapping[str, str]:
        if self._password_file is None:
            return self._inline_hashes
        with self._lock:
            try:
                self._reload_if_changed(self._password_file)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise AccountError(f"Can't read {self._password_file}: {reason}.") from error
            return self._hashes

    def _reload_if_changed(self, path: Path) -> None:
        # Not by time and size: two changes within a tick of the clock have the same.
        data = path.read_bytes()
        if data == self._file_data:
            return
        lines = parse_password_file(data, path)
        file_hashes = {account.name: account.password_hash for _, account in lines if account}
        self._hashes = file_hashes | self._inline_hashes
        self._file_data = data
