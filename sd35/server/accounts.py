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
    "MAX_NAME",
    "MAX_PASSWORD",
    "STRONG",
    "Account",
    "AccountError",
    "Accounts",
    "Cost",
    "PasswordHash",
    "accounts_in",
    "generated_login",
    "hash_password",
    "plain_name",
]

MAX_NAME: Final = 64
MAX_PASSWORD: Final = 1024
"""Characters; more than that is no name or password but somebody's attempt to keep this machine busy."""

LETTERS: Final = "acdefghjkmnpqrtuvwxy347"
"""None of them is taken for another one: no 0 and o, 1, i and l, 2 and z, 5 and s, 6, 8 and b, 9 and g."""

_AT_ONCE: Final = threading.BoundedSemaphore(4)
"""Hashes that are made at the same time; each takes its memory, and a good part of a second of one core."""

_HASH: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=8,p=([0-9]{1,2})\$([A-Za-z0-9+/]{22,86})\$([A-Za-z0-9+/]{43})"
)
"""The PHC string format, https://github.com/P-H-C/phc-string-format, with r = 8 as RFC 7914 has it."""


class AccountError(ValueError):
    """What was given can't be used for logins; `str` is fit for the person who gave it, and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """How much work one hash is: scrypt with N = 2^ln, r = 8 and p; it takes 2^ln KiB of memory."""

    ln: int
    p: int


STRONG: Final = Cost(ln=15, p=3)
"""One of the equally strong ones that OWASP's Password Storage Cheat Sheet recommends: 32 MiB."""

_MOST: Final = Cost(ln=17, p=8)
"""What a hash from elsewhere may cost: OWASP's largest memory, 128 MiB."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password; `str` is the line's part of it in a file."""

    cost: Cost
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, password: str, cost: Cost = STRONG) -> "PasswordHash":
        """Hash a password, with a salt of its own.

        Raises:
            AccountError: it can't be a password.

        """
        salt = secrets.token_bytes(16)
        return cls(cost, salt, _scrypt(_password_bytes(password), salt, cost))

    @classmethod
    def read(cls, text: str) -> "PasswordHash":
        """Read what `str` has written.

        Raises:
            AccountError: it isn't that.

        """
        parts = _HASH.fullmatch(text)
        if parts is None or len(parts[3]) % 4 == 1:
            raise AccountError(
                "what follows the name isn't a hash that `python -m sd35 user add` has made"
            )
        cost = Cost(int(parts[1]), int(parts[2]))
        if not (1 <= cost.ln <= _MOST.ln and 1 <= cost.p <= _MOST.p):
            raise AccountError("the hash there would take too much of this machine, or is none")
        return cls(
            cost, *(base64.b64decode(part + "=" * (-len(part) % 4)) for part in parts.groups()[2:])
        )

    def __str__(self) -> str:
        salt, digest = (
            base64.b64encode(part).decode("ascii").rstrip("=") for part in (self.salt, self.digest)
        )
        return f"$scrypt$ln={self.cost.ln},r=8,p={self.cost.p}${salt}${digest}"

    def matches(self, password: bytes) -> bool:
        """Whether it was made of this password; it takes as long whether it was or not."""
        return hmac.compare_digest(self.digest, _scrypt(password, self.salt, self.cost))


def _scrypt(password: bytes, salt: bytes, cost: Cost) -> bytes:
    number = 2**cost.ln
    memory = 128 * 8 * (number + cost.p + 2)
    with _AT_ONCE:  # what it waits for is arithmetic, and ends by itself
        return hashlib.scrypt(password, salt=salt, n=number, r=8, p=cost.p, maxmem=memory, dklen=32)


def hash_password(password: str, cost: Cost = STRONG) -> str:
    """Return what a file of logins keeps of a password: scrypt's parameters, a random salt, and the hash.

    Raises:
        AccountError: it can't be a password.

    """
    return str(PasswordHash.of(password, cost))


def _password_bytes(password: object) -> bytes:
    """Return a password as it is hashed: in NFKC, as NIST SP 800-63B has it, so that every keyboard writes it alike."""
    if not isinstance(password, str) or not password:
        raise AccountError("The password is empty.")
    if len(password) > MAX_PASSWORD:
        raise AccountError(f"The password has more than {MAX_PASSWORD} characters.")
    # Beside what can't be typed that is NUL: HMAC, and scrypt with it, takes “a” and “a\0” for the
    # same password.
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in password):
        raise AccountError("The password has a control character, or a broken one.")
    return unicodedata.normalize("NFKC", password).encode("utf-8")


def plain_name(name: object) -> str:
    """Return a name in the form in which it is stored and compared: NFKC, and in lower case.

    A phone begins it with a capital, and each keyboard composes its letters in its own way.

    Raises:
        AccountError: it can't be a name.

    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise AccountError(f"A name has 1 to {MAX_NAME} characters.")
    plain = _folded(name)
    if not plain.isprintable() or plain != plain.strip() or _folded(plain) != plain:
        raise AccountError("A name has letters that can be seen, and no space at its ends.")
    if ":" in plain or plain.startswith("#") or not 0 < len(plain) <= MAX_NAME:
        raise AccountError(
            f"A name has no colon, doesn't begin with #, and has at most {MAX_NAME} characters."
        )
    return plain


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def generated_login() -> tuple[str, str]:
    """Return a name, and a new password that is easy to read out and to type: 16 letters, 72 bits of chance."""
    return "guest", "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(4))


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in; `str` is the line of a file."""

    name: str
    password: PasswordHash

    @classmethod
    def read(cls, line: str) -> "Account":
        """Read a line of a file.

        Raises:
            AccountError: it isn't `name:hash`.

        """
        name, colon, text = line.strip().partition(":")
        if not colon:
            raise AccountError("it isn't name:hash")
        return cls(plain_name(name), PasswordHash.read(text))

    def __str__(self) -> str:
        return f"{self.name}:{self.password}"


def accounts_in(data: bytes, file: Path) -> list[tuple[str, Account | None]]:
    """Return each line of a file of logins, and whose it is; empty lines and comments are nobody's.

    Raises:
        AccountError: a line is broken; it says which of what file.

    """
    lines: list[tuple[str, Account | None]] = []
    names: set[str] = set()
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode("utf-8").rstrip()
            lines.append((text, _account_in(text, names)))
        except ValueError as error:
            what = str(error).rstrip(".") if isinstance(error, AccountError) else "it isn't UTF-8"
            raise AccountError(
                f"Line {number} of {file} can't be used: {what[0].lower()}{what[1:]}."
            ) from None
    return lines


def _account_in(line: str, names: set[str]) -> Account | None:
    if not line or line.lstrip().startswith("#"):
        return None
    account = Account.read(line)
    if account.name in names:
        raise AccountError("the same name is in a line above it")
    names.add(account.name)
    return account


class Accounts:
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
        self, pairs: Iterable[str] = (), file: Path | None = None, cost: Cost = STRONG
    ) -> None:
        self._given: dict[str, PasswordHash] = {}
        self._file = file
        self._cost = cost
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._known: Mapping[str, PasswordHash] = self._given
        for number, pair in enumerate(pairs, 1):
            try:
                self._add(pair)
            except AccountError as error:
                raise AccountError(f"Login {number} isn't name:password. {error}") from None
        self._current()

    def _add(self, pair: str) -> None:
        name, colon, password = pair.partition(":")
        if not colon:
            raise AccountError("There is no colon in it.")
        plain = plain_name(name)
        if plain in self._given:
            raise AccountError("The name is given twice.")
        self._given[plain] = PasswordHash.of(password, self._cost)

    def names(self) -> frozenset[str]:
        """Return who may log in at the moment.

        Raises:
            AccountError: the file can't be used any more.

        """
        return frozenset(self._current())

    def mark(self, name: str) -> str:
        """Return what changes with somebody's password, and tells nothing of it; empty for who may not log in.

        Raises:
            AccountError: the file can't be used any more.

        """
        known = self._current().get(name)
        return "" if known is None else hmac.digest(self._key, str(known).encode(), "sha256").hex()

    def check(self, name: object, password: object) -> bool:
        """Whether this is the password of that name. A name that nobody has takes as long as one that somebody has.

        It keeps a core busy for a good part of a second: not in an event loop's own thread.

        Raises:
            AccountError: the file can't be used any more. Nobody is let in then: who was removed
                isn't, either.

        """
        try:
            plain, secret = plain_name(name), _password_bytes(password)
        except AccountError:
            return False
        known = self._current()
        matches = known.get(plain, self._nobody_s(plain, known)).matches(secret)
        return matches and plain in known

    def _nobody_s(self, name: str, known: Mapping[str, PasswordHash]) -> PasswordHash:
        """Return a hash of nothing, at the cost of one of those known: for a name always of the same one."""
        costs = [each.cost for each in known.values()] or [self._cost]
        draw = int.from_bytes(hmac.digest(self._key, name.encode("utf-8"), "sha256"))
        return PasswordHash(
            costs[draw % len(costs)], secrets.token_bytes(16), secrets.token_bytes(32)
        )

    def _current(self) -> Mapping[str, PasswordHash]:
        if self._file is None:
            return self._given
        with self._lock:
            try:
                self._read_if_changed(self._file)
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise AccountError(f"The logins can't be read from {self._file}: {why}.") from error
            return self._known

    def _read_if_changed(self, path: Path) -> None:
        with path.open("rb") as file:
            status = os.fstat(
                file.fileno()
            )  # before it is read: what is written meanwhile changes it again
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                accounts = (account for _, account in accounts_in(file.read(), path) if account)
                self._known = {account.name: account.password for account in accounts} | self._given
                self._stamp = stamp
