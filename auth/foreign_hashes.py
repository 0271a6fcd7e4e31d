"""Algorithms of other systems' hashes that no library here has: phpass, SHA-crypt, Firebase's scrypt.

Each is bounded by its caller. The first two are loops in Python, which hold the GIL for a few milliseconds at a time.
"""

import hashlib
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

SHA512_ORDER: Final = (
    *((0, 21, 42), (22, 43, 1), (44, 2, 23), (3, 24, 45), (25, 46, 4), (47, 5, 26), (6, 27, 48)),
    *((28, 49, 7), (50, 8, 29), (9, 30, 51), (31, 52, 10), (53, 11, 32), (12, 33, 54), (34, 55, 13)),
    *((56, 14, 35), (15, 36, 57), (37, 58, 16), (59, 17, 38), (18, 39, 60), (40, 61, 19), (62, 20, 41)),
    (63,),
)
SHA256_ORDER: Final = (
    *((0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14), (15, 25, 5), (6, 16, 26), (27, 7, 17)),
    *((18, 28, 8), (9, 19, 29), (31, 30)),
)
"""The order of the digest's bytes in the text, from the most significant of each group (Drepper, SHA-crypt)."""


def phpass(secret: bytes, salt: bytes, rounds: int) -> str:
    """The 22 characters of Openwall's portable hash: MD5, `rounds` times."""
    digest = hashlib.md5(salt + secret, usedforsecurity=False).digest()
    for _ in range(rounds):
        digest = hashlib.md5(digest + secret, usedforsecurity=False).digest()
    text = ""
    for at in range(0, 16, 3):
        group = digest[at : at + 3]
        text += _characters(int.from_bytes(group, "little"), len(group) + 1)
    return text


def sha_crypt(secret: bytes, salt: bytes, rounds: int, *, bits: int) -> str:
    """The hash part of `$5$` (256 bits) or `$6$` (512 bits), after Drepper's specification."""
    new = hashlib.sha512 if bits == 512 else hashlib.sha256
    other = new(secret + salt + secret).digest()
    start = secret + salt + _repeated(other, len(secret))
    length = len(secret)
    while length:
        start += other if length & 1 else secret
        length >>= 1
    digest = new(start).digest()
    p = _repeated(new(secret * len(secret)).digest(), len(secret))
    s = _repeated(new(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):
        odd = number & 1
        text = p if odd else digest
        if number % 3:
            text += s
        if number % 7:
            text += p
        digest = new(text + (digest if odd else p)).digest()
    return "".join(
        _characters(int.from_bytes(bytes(digest[at] for at in group), "big"), len(group) + 1)
        for group in (SHA512_ORDER if bits == 512 else SHA256_ORDER)
    )


def firebase_scrypt(secret: bytes, salt: bytes, signer_key: bytes, n: int, r: int, memory: int) -> bytes:
    """The signer key, encrypted by a key that scrypt makes of the password (https://github.com/firebase/scrypt)."""
    key = hashlib.scrypt(secret, salt=salt, n=n, r=r, p=1, maxmem=memory, dklen=64)[:32]
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(signer_key) + encryptor.finalize()


def _characters(number: int, count: int) -> str:
    return "".join(ITOA64[number >> 6 * place & 0x3F] for place in range(count))


def _repeated(text: bytes, length: int) -> bytes:
    return (text * (length // len(text) + 1))[:length]
