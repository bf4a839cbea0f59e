"""Who made a prompt file: detached Ed25519 signatures, as the minisign program writes and reads.

    prompt bytes, SecretKey --sign--> text of a .minisig file
    prompt bytes, that text --Signers.check--> name of the key that made it, "" if none is asked for
                                  └--> TaskRejected: unsigned, unknown_key, bad_signature

A signature is checked before anything of the prompt is read, at the graft and again wherever the
prompt is loaded from the task store. It tells who made the file; the file itself says for which
task and backbone. Four lines: a comment, the key's id and the signature of the file's BLAKE2b, a
comment that is signed too, and the signature of both.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from service.auth import NAME
from service.errors import ConfigError, TaskRejected

MAX_SIGNATURE_BYTES = 4096
_KEY_KIND, _PREHASHED = b"Ed", b"ED"
_ID_BYTES, _KEY_BYTES, _SIGNATURE_BYTES = 8, 32, 64
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and what we call it.

    Attributes:
        text: as minisign writes it: the base64 of kind, id and key.
    """

    name: str
    text: str

    @property
    def id(self) -> bytes:
        return self._part(len(_KEY_KIND), _ID_BYTES)

    @property
    def raw(self) -> bytes:
        return self._part(len(_KEY_KIND) + _ID_BYTES, _KEY_BYTES)

    def line(self) -> str:
        """The form that read_trusted_key takes."""
        return f"{self.name}:{self.text}"

    def _part(self, start: int, size: int) -> bytes:
        return base64.b64decode(self.text)[start : start + size]


@dataclass(frozen=True, slots=True)
class SecretKey:
    """What signs; its id follows from its public half."""

    private: Ed25519PrivateKey

    @classmethod
    def new(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, pem: bytes) -> Self:
        """Raises ConfigError."""
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as err:
            raise ConfigError("not a secret key: expected what `taskgraft keys new` wrote") from err
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError("the secret key is of another kind than Ed25519")
        return cls(private)

    def pem(self) -> bytes:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def trusted(self, name: str) -> TrustedKey:
        """The public half, under a name.

        Raises:
            ConfigError: a name that no configuration could hold.
        """
        raw = self.private.public_key().public_bytes_raw()
        key_id = hashlib.blake2b(raw, digest_size=_ID_BYTES).digest()
        return read_trusted_key(f"{name}:{_text(_KEY_KIND + key_id + raw)}")

    def sign(self, content: bytes, comment: str) -> str:
        """The text of the signature's file; the comment is one line, and signed too."""
        signature = self.private.sign(_digest(content))
        whole = self.private.sign(signature + comment.encode())
        head = _PREHASHED + self.trusted("key").id + signature
        return (
            f"{_UNTRUSTED}signature of a taskgraft prompt\n{_text(head)}\n"
            f"{_TRUSTED}{comment}\n{_text(whole)}\n"
        )


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose prompts are served.

    Attributes:
        keys: without any, nothing can be checked.
        required: whether a prompt without a signature is refused.
    """

    keys: Sequence[TrustedKey] = ()
    required: bool = False

    def check(self, content: bytes, signature: str) -> str:
        """The name of the key that signed, or "" for a prompt that need not be signed.

        Raises:
            TaskRejected: the signature is missing, by another key, or not of these bytes.
        """
        if not signature and self.required:
            raise TaskRejected(
                "unsigned",
                "the prompt is not signed, and this service takes signed ones alone: "
                "`taskgraft sign` it with a trusted key, then graft it with its signature",
            )
        if not signature or not self.keys:
            return ""
        key_id, made, comment, whole = _read(signature)
        found = next((key for key in self.keys if key.id == key_id), None)
        if found is None:
            raise TaskRejected(
                "unknown_key",
                f"key {_shown(key_id)} made the signature, and is not trusted here: sign with a "
                "trusted one, or add it to TASKGRAFT_TRUSTED_KEYS",
                {"key": _shown(key_id)},
            )
        public = Ed25519PublicKey.from_public_bytes(found.raw)
        try:
            public.verify(made, _digest(content))
            public.verify(whole, made + comment)
        except InvalidSignature as err:
            raise TaskRejected(
                "bad_signature",
                f"the signature by {found.name} is not of this file: sign the file as it is",
                {"key": _shown(key_id)},
            ) from err
        return found.name


def read_trusted_key(line: str) -> TrustedKey:
    """Read `name:public key`, the key as minisign and `taskgraft keys new` write it.

    Raises:
        ConfigError: another form.
    """
    name, _, text = line.partition(":")
    raw = _bytes(text, len(_KEY_KIND) + _ID_BYTES + _KEY_BYTES)
    if not NAME.fullmatch(name) or raw is None or not raw.startswith(_KEY_KIND):
        raise ConfigError(
            f"trusted key {name[:64]!r}: expected name:RW..., as `taskgraft keys new` prints it"
        )
    return TrustedKey(name, text)


def stamp(task: str) -> str:
    """What a signature says of itself."""
    return f"task:{task}\ttimestamp:{int(time.time())}"


def _read(signature: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Key id, signature of the file, trusted comment, signature of both."""
    lines = signature.splitlines()
    if len(lines) == 4 and lines[2].startswith(_TRUSTED):  # noqa: PLR2004  # see the module
        head = _bytes(lines[1], len(_PREHASHED) + _ID_BYTES + _SIGNATURE_BYTES)
        whole = _bytes(lines[3], _SIGNATURE_BYTES)
        if head is not None and whole is not None and head.startswith(_PREHASHED):
            start = len(_PREHASHED) + _ID_BYTES
            comment = lines[2].removeprefix(_TRUSTED).encode()
            return head[len(_PREHASHED) : start], head[start:], comment, whole
    raise TaskRejected(
        "bad_signature", "that is no signature: expected the .minisig file of `taskgraft sign`"
    )


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content).digest()


def _shown(key_id: bytes) -> str:
    """As the minisign program shows it."""
    return key_id[::-1].hex().upper()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _bytes(text: str, size: int) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # One text for each value, so that no byte of a signature can be changed.
    return raw if len(raw) == size and _text(raw) == text else None
