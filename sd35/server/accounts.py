"""Logins for a page that is shared: passwords as hashes, who may log in, and how often somebody may try.

A file of logins has one `name:hash` a line, as `hash_password` returns it; empty lines, and those
that begin with `#`, are passed over.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = [
    "DEFAULT_PARAMS",
    "MAX_NAME_LENGTH",
    "MAX_PASSWORD_LENGTH",
    "Account",
    "AccountError",
    "CredentialStore",
    "PasswordHash",
    "ScryptParams",
    "generate_credentials",
    "hash_password",
    "normalize_username",
    "parse_password_file",
]

MAX_NAME_LENGTH: Final = 64
MAX_PASSWORD_LENGTH: Final = 1024
"""Characters; more than that is no name or password but somebody's attempt to keep this machine busy."""

PASSWORD_CHARS: Final = "acdefghjkmnpqrtuvwxy347"  # noqa: S105
"""None of them is taken for another one: no 0 and o, 1, i and l, 2 and z, 5 and s, 6, 8 and b, 9 and g."""

_HASH_SEMAPHORE: Final = threading.BoundedSemaphore(4)
"""Hashes that are made at the same time; each takes its memory, and a good part of a second of one core."""

_HASH_PATTERN: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=8,p=([0-9]{1,2})\$([A-Za-z0-9+/]{22,86})\$([A-Za-z0-9+/]{43})"
)
"""The PHC string format, https://github.com/P-H-C/phc-string-format, with r = 8 as RFC 7914 has it."""


class AccountError(ValueError):
    """What was given can't be used for logins; `str` is fit for the person who gave it, and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class ScryptParams:
    """How much work one hash is: scrypt with N = 2^ln, r = 8 and p; it takes 2^ln KiB of memory."""

    log2_n: int
    p: int


DEFAULT_PARAMS: Final = ScryptParams(log2_n=15, p=3)
"""One of the equally strong ones that OWASP's Password Storage Cheat Sheet recommends: 32 MiB."""

_MAX_PARAMS: Final = ScryptParams(log2_n=17, p=8)
"""What a hash from elsewhere may cost: OWASP's largest memory, 128 MiB."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password; `str` is the line's part of it in a file."""

    params: ScryptParams
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def from_password(cls, password: str, params: ScryptParams = DEFAULT_PARAMS) -> "PasswordHash":
        """Hash a password, with a salt of its own.

        Raises:
            AccountError: it can't be a password.

        """
        salt = secrets.token_bytes(16)
        return cls(params, salt, _scrypt(_encode_password(password), salt, params))

    @classmethod
    def parse(cls, text: str) -> "PasswordHash":
        """Read what `str` has written.

        Raises:
            AccountError: it isn't that.

        """
        match = _HASH_PATTERN.fullmatch(text)
        if match is None or len(match[3]) % 4 == 1:
            raise AccountError(
                "what follows the name isn't a hash that `python -m sd35 user add` has made"
            )
        params = ScryptParams(int(match[1]), int(match[2]))
        if not (1 <= params.log2_n <= _MAX_PARAMS.log2_n and 1 <= params.p <= _MAX_PARAMS.p):
            raise AccountError("the hash there would take too much of this machine, or is none")
        return cls(
            params,
            *(base64.b64decode(part + "=" * (-len(part) % 4)) for part in match.groups()[2:]),
        )

    def __str__(self) -> str:
        salt, digest = (
            base64.b64encode(part).decode("ascii").rstrip("=") for part in (self.salt, self.digest)
        )
        return f"$scrypt$ln={self.params.log2_n},r=8,p={self.params.p}${salt}${digest}"

    def matches(self, password: bytes) -> bool:
        """Whether it was made of this password; it takes as long whether it was or not."""
        return hmac.compare_digest(self.digest, _scrypt(password, self.salt, self.params))


def _scrypt(password: bytes, salt: bytes, params: ScryptParams) -> bytes:
    cost_factor = 2**params.log2_n
    max_memory = 128 * 8 * (cost_factor + params.p + 2)
    with _HASH_SEMAPHORE:  # what it waits for is arithmetic, and ends by itself
        return hashlib.scrypt(
            password, salt=salt, n=cost_factor, r=8, p=params.p, maxmem=max_memory, dklen=32
        )


def hash_password(password: str, params: ScryptParams = DEFAULT_PARAMS) -> str:
    """Return what a file of logins keeps of a password: scrypt's parameters, a random salt, and the hash.

    Raises:
        AccountError: it can't be a password.

    """
    return str(PasswordHash.from_password(password, params))


def _encode_password(password: object) -> bytes:
    """Return a password as it is hashed: in NFKC, as NIST SP 800-63B has it, so that every keyboard writes it alike."""
    if not isinstance(password, str) or not password:
        raise AccountError("The password is empty.")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise AccountError(f"The password has more than {MAX_PASSWORD_LENGTH} characters.")
    # Beside what can't be typed that is NUL: HMAC, and scrypt with it, takes “a” and “a\0” for the
    # same password.
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in password):
        raise AccountError("The password has a control character, or a broken one.")
    return unicodedata.normalize("NFKC", password).encode("utf-8")


def normalize_username(name: object) -> str:
    """Return a name in the form in which it is stored and compared: NFKC, and in lower case.

    A phone begins it with a capital, and each keyboard composes its letters in its own way.

    Raises:
        AccountError: it can't be a name.

    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise AccountError(f"A name has 1 to {MAX_NAME_LENGTH} characters.")
    normalized = _fold_case(name)
    if (
        not normalized.isprintable()
        or normalized != normalized.strip()
        or _fold_case(normalized) != normalized
    ):
        raise AccountError("A name has letters that can be seen, and no space at its ends.")
    if (
        ":" in normalized
        or normalized.startswith("#")
        or not 0 < len(normalized) <= MAX_NAME_LENGTH
    ):
        raise AccountError(
            f"A name has no colon, doesn't begin with #, and has at most {MAX_NAME_LENGTH} characters."
        )
    return normalized


def _fold_case(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def generate_credentials() -> tuple[str, str]:
    """Return a name, and a new password that is easy to read out and to type: 16 letters, 72 bits of chance."""
    return "guest", "-".join(
        "".join(secrets.choice(PASSWORD_CHARS) for _ in range(4)) for _ in range(4)
    )


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in; `str` is the line of a file."""

    name: str
    password_hash: PasswordHash

    @classmethod
    def parse(cls, line: str) -> "Account":
        """Read a line of a file.

        Raises:
            AccountError: it isn't `name:hash`.

        """
        name, colon, hash_text = line.strip().partition(":")
        if not colon:
            raise AccountError("it isn't name:hash")
        return cls(normalize_username(name), PasswordHash.parse(hash_text))

    def __str__(self) -> str:
        return f"{self.name}:{self.password_hash}"


def parse_password_file(data: bytes, path: Path) -> list[tuple[str, Account | None]]:
    """Return each line of a file of logins, and whose it is; empty lines and comments are nobody's.

    Raises:
        AccountError: a line is broken; it says which of what file.

    """
    lines: list[tuple[str, Account | None]] = []
    names: set[str] = set()
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


def _parse_line(line: str, seen_names: set[str]) -> Account | None:
    if not line or line.lstrip().startswith("#"):
        return None
    account = Account.parse(line)
    if account.name in seen_names:
        raise AccountError("the same name is in a line above it")
    seen_names.add(account.name)
    return account


class CredentialStore:
    """Who may log in: those given as `name:password`, and those in a file, which is read again when it has changed.

    Args:
        pairs: of a name and a password, with a colon between; they are hashed at once, and not
            kept.
        file: of names and hashes. Of a name that is given both ways, the pair counts.
        cost: of the pairs' hashes.

    Raises:
        AccountError: a pair, or a line of the file, can't be used, or the file can't be read.

    """

    def __init__(
        self,
        credentials: Iterable[str] = (),
        password_file: Path | None = None,
        params: ScryptParams = DEFAULT_PARAMS,
    ) -> None:
        self._inline_hashes: dict[str, PasswordHash] = {}
        self._password_file = password_file
        self._params = params
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._file_version: tuple[int, ...] | None = None
        self._hashes: Mapping[str, PasswordHash] = self._inline_hashes
        for index, pair in enumerate(credentials, 1):
            try:
                self._add(pair)
            except AccountError as error:
                raise AccountError(f"Login {index} isn't name:password. {error}") from None
        self._current_hashes()

    def _add(self, pair: str) -> None:
        name, colon, password = pair.partition(":")
        if not colon:
            raise AccountError("There is no colon in it.")
        username = normalize_username(name)
        if username in self._inline_hashes:
            raise AccountError("The name is given twice.")
        self._inline_hashes[username] = PasswordHash.from_password(password, self._params)

    def usernames(self) -> frozenset[str]:
        """Return who may log in at the moment.

        Raises:
            AccountError: the file can't be used any more.

        """
        return frozenset(self._current_hashes())

    def password_fingerprint(self, name: str) -> str:
        """Return what changes with somebody's password, and tells nothing of it; empty for who may not log in.

        Raises:
            AccountError: the file can't be used any more.

        """
        password_hash = self._current_hashes().get(name)
        return (
            ""
            if password_hash is None
            else hmac.digest(self._key, str(password_hash).encode(), "sha256").hex()
        )

    def verify(self, name: object, password: object) -> bool:
        """Whether this is the password of that name. A name that nobody has takes as long as one that somebody has.

        It keeps a core busy for a good part of a second: not in an event loop's own thread.

        Raises:
            AccountError: the file can't be used any more. Nobody is let in then: who was removed
                isn't, either.

        """
        try:
            username, password_bytes = normalize_username(name), _encode_password(password)
        except AccountError:
            return False
        hashes = self._current_hashes()
        is_match = hashes.get(username, self._dummy_hash(username, hashes)).matches(password_bytes)
        return is_match and username in hashes

    def _dummy_hash(self, name: str, hashes: Mapping[str, PasswordHash]) -> PasswordHash:
        """Return a hash of nothing, at the cost of one of those known: for a name always of the same one."""
        params_choices = [password_hash.params for password_hash in hashes.values()] or [
            self._params
        ]
        name_digest = int.from_bytes(hmac.digest(self._key, name.encode("utf-8"), "sha256"))
        return PasswordHash(
            params_choices[name_digest % len(params_choices)],
            secrets.token_bytes(16),
            secrets.token_bytes(32),
        )

    def _current_hashes(self) -> Mapping[str, PasswordHash]:
        if self._password_file is None:
            return self._inline_hashes
        with self._lock:
            try:
                self._reload_if_changed(self._password_file)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise AccountError(
                    f"The logins can't be read from {self._password_file}: {reason}."
                ) from error
            return self._hashes

    def _reload_if_changed(self, path: Path) -> None:
        with path.open("rb") as file:
            stat = os.fstat(
                file.fileno()
            )  # before it is read: what is written meanwhile changes it again
            file_version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if file_version != self._file_version:
                accounts = (
                    account for _, account in parse_password_file(file.read(), path) if account
                )
                self._hashes = {
                    account.name: account.password_hash for account in accounts
                } | self._inline_hashes
                self._file_version = file_version
