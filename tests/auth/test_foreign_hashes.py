"""Hashes that other systems made of one password are verified, each with its cost bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.hash_formats import UnknownHash, check_hash_form, fast_hash, verify_hash
from auth.password_hashing import PROFILES, Passwords
from tests.auth.texts import any_text

PASSWORD = "correct hörse 7"

# Made once by Django 5.2, passlib 1.7.4, Werkzeug, bcryptjs 3, and firebase-scrypt 2.2 with the example parameters of
# Firebase's documentation.
VECTORS = {
    "django pbkdf2_sha256": "pbkdf2_sha256$1000$seasalt2025$CQN9fUcb5U7IRD1+ZqqiR05Umge1TBH028xDXXW/eRk=",
    "django pbkdf2_sha1": "pbkdf2_sha1$1000$seasalt2025$iIWZOOBF85hG4MYACFYcsg7ShTs=",
    "django argon2": "argon2$argon2id$v=19$m=64,t=1,p=1$YzJWaExYTmhiSFE$zSofPNScnX28cN9YPSM/6PuXKA++ieRQs5owBX5TzqY",
    "django bcrypt_sha256": "bcrypt_sha256$$2b$04$O8Tq/.5luWQAY7D6uvEOGewrogAViRRxKbvTu7NZvVA9R.dPKBULG",
    "django bcrypt": "bcrypt$$2b$04$ytdINm3ZNZ65sOCz13JV2eMcUEOpwMbKYXk5A8TbBm8QO0NN1EuzG",
    "django scrypt": (
        "scrypt$1024$seasalt2025$8$5$"
        "FE8ggc5Fi0F6rtBzAtzPca4BQODhH3cgfO8lHmLZ/dGDyHaPEmPw3ZYt7cRTfUNgxfP3ekSEC41ZwX7BvHjA7g=="
    ),
    "passlib pbkdf2-sha1": "$pbkdf2$1000$mNMaw1grpXROKeV8z3lPiQ$NJOS3msm0L1z.Yulib0UkIWVCK0",
    "passlib pbkdf2-sha256": "$pbkdf2-sha256$1000$EwJgzDlH6B0DYKyVEsKYMw$.aNzbJsXTzr7nW/yk4SdG7cAR7VmoSOyo1Q/.WMCPQM",
    "passlib pbkdf2-sha512": (
        "$pbkdf2-sha512$1000$4xxDCCGk9P6/N6b0fi.l9A$"
        "de1uBpZvLu/6rburHZ17ls1yV60t/ajs86l2sD74ozbk5vN4JJ0rAf58UF4voixJZKnLozYtyr8oWgE7U1jp1Q"
    ),
    "ldap pbkdf2-sha256": "{PBKDF2-SHA256}1000$/h9DKGWsNWZs7T3nnLO2dg$BUT73FTzarv6wo2r29p80fi/1g1qpVnoyyPZstoaAtc",
    "ldap pbkdf2-sha1": "{PBKDF2}1000$yXnPWSuFECLkXMtZa20txQ$AUcm/SOr7OaI5EP4.FKxnohg06s",
    "werkzeug pbkdf2": (
        "pbkdf2:sha256:1000$g0HUxViyOvCTODdo$99877a37283734669b41fd2511e3fffb187b1872ad291f6bff7433a5407588c3"
    ),
    "passlib scrypt": "$scrypt$ln=10,r=8,p=1$rLW29j7nXGvt/X/P+b/33g$MwMq++q5LjylkcyNVz2OMSOnsaVAL+dvlQO7PTyItjE",
    "werkzeug scrypt": (
        "scrypt:1024:8:1$Hlhp0FxfDnLQCZpP$577ff7180c6f20a89d088aa1a116a1d036f75b51401c558cf580a1e81af97b2b"
        "22ac6a7340bff005c8a9413f7be49ea76508b5f20f65ff235585cb81fe82380f"
    ),
    "firebase scrypt": (
        "$fbscrypt$v=1,n=16384,r=8,p=1,ss=Bw==,"
        "sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
        "$42xEC+ixf3L2lw==$hxCbrID00Xqvl5Hc5JxcFbq9rV3NPjFOQFolMPKj3Nkh8v7574Dgzfxu1otD+W3t29y2URy4X3ISg+ofxvVDJA=="
    ),
    "phpass": "$P$66viOMU.kejxk/2wFIsEu9leS1WQP50",
    "phpass of phpBB": "$H$6IvtkL1RV5V1R6kNF50TibQXCTJcwN/",
    "wordpress 6.8": "$wp$2y$04$Rgp87qauOcjFVCdfod61mOF5V4WoQFwnTSL8FTA7JwyfpV3CIJnVe",
    "ssha": "{SSHA}skDJvILGlPbGclgI3bVGpMNkiDqk1Nq7",
    "ssha256": "{SSHA256}b1jcQDmTk4WaW/ExZIPFNrCW9g+wyFWxX5tgVr0w9Yz+33vv/R+DEA==",
    "ssha512": (
        "{SSHA512}GkBo6/b9Bm9fupqW0cIr/c/9xdybF58nG2eedptN3u5aRlFmxJYXODxi+vrugMegpwg4k0X+VyA2nRzPT6rIsopRinEOQShF"
    ),
    "sha256-crypt": "$5$rounds=1000$iSgbTF1e8Be4H6Nr$ilsnzkP9s7kcFUqRWmxaPQcWJX87/ZRU1L11L5zC2O.",
    "sha512-crypt": (
        "$6$5SoHkb6VqrfBJXWv$T48np0IFhzE6pjXjSfJoDATeLS/JbGqRUXVTc2UeWDI6Qorsn677WAP838f/7qQmM3656PYYfVWNT2iVwAPsZ."
    ),
    "ldap crypt": (
        "{CRYPT}$6$rounds=1000$cV4zTekhrF27.qn8$"
        "7I/kJgbVW9XF1KAQRDuuJuKrt53ZjHtRLdyoah1d4TRKflA5mUBABv0ws5pKkT9KlCS9xn4Kj5JrhWr0kgIJW."
    ),
    "bcrypt 2": "$2$04$0RcHJUSX3N6tV2TbhkvG3u0NGdnDvbPw0SmTWP8YRujXTMraptlGy",
    "bcrypt 2a": "$2a$04$aN6utJvSXUeSZnMGYBCZxe9gI4AAtSV1LtiyrTDGg5Sxb2JAVvLi6",
    "bcrypt 2b": "$2b$04$TuszUJfSOonWuL5IvTuSye103CkOXAXEU/X8u37u9EhYgLbxlfv2C",
    "bcrypt 2y": "$2y$04$FbBrgpDQI8x668pEzyKmTey0lFtr1I0rcoyY0QT/wvEydAzfUe7GK",
    "ldap bcrypt": "{CRYPT}$2y$04$FbBrgpDQI8x668pEzyKmTey0lFtr1I0rcoyY0QT/wvEydAzfUe7GK",
}
FAST = {
    "hexadecimal md5": "772fd9f4804843d2b0a9de567308c649",
    "django md5": "md5$seasalt2025$36ebb2229507c473ee5189043f53fb8e",
    "ldap md5": "{MD5}dy/Z9IBIQ9Kwqd5WcwjGSQ==",
    "ldap smd5": "{SMD5}mwbXyhP0IfNEAqSJk7Ehc8a4lzI=",
    "ldap sha": "{SHA}z+r3d/DLkdsxynH2CLARWQ0od6g=",
}


@pytest.mark.parametrize("encoded", VECTORS.values(), ids=VECTORS)
def test_each_hash_of_another_system_is_verified(encoded: str) -> None:
    """It matches the password that it was made of, and no other."""
    check_hash_form(encoded)

    assert verify_hash(encoded, PASSWORD)
    for wrong in ("correct horse 7", PASSWORD.upper(), PASSWORD + "x", "", PASSWORD + "\0"):
        assert not verify_hash(encoded, wrong) or (encoded.startswith("$wp") and wrong == PASSWORD + "\0")


@pytest.mark.parametrize("encoded", FAST.values(), ids=FAST)
async def test_md5_and_sha1_are_verified_inside_argon2_only(encoded: str) -> None:
    """As they come they are in no known form; wrapped they match the password and are replaced at a sign-in."""
    with pytest.raises(UnknownHash):
        verify_hash(encoded, PASSWORD)
    found = fast_hash(encoded)
    assert found is not None
    passwords = Passwords(PROFILES["weak-for-tests"], 1)

    wrapped = found.wrapped(await passwords.hash(found.digest))

    check_hash_form(wrapped)
    assert found.digest not in wrapped
    assert await passwords.verify(wrapped, PASSWORD)
    assert not await passwords.verify(wrapped, PASSWORD + "x")
    assert not await passwords.verify(wrapped, found.digest)
    assert passwords.needs_rehash(wrapped)
    passwords.close()


@pytest.mark.parametrize("encoded", VECTORS.values(), ids=VECTORS)
def test_a_hash_of_another_system_is_replaced_at_a_sign_in(encoded: str) -> None:
    """By one of the profile in force."""
    passwords = Passwords(PROFILES["weak-for-tests"], 1)
    assert passwords.needs_rehash(encoded)
    passwords.close()


def test_bcrypt_x_is_verified_for_ascii_only() -> None:
    """Its fault changed what characters beyond ASCII became, so that two passwords could have one hash."""
    encoded = "$2x$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"

    assert verify_hash(encoded, "a")
    assert not verify_hash(VECTORS["bcrypt 2y"].replace("$2y$", "$2x$"), PASSWORD)


def test_a_digest_lets_72_bytes_through() -> None:
    """Where the other system hashed the password first, its end counts: passwords of 72 bytes and more differ."""
    encoded = "bcrypt_sha256$$2b$04$O8Tq/.5luWQAY7D6uvEOGewrogAViRRxKbvTu7NZvVA9R.dPKBULG"

    assert not verify_hash(encoded, PASSWORD + "x" * 80)


@pytest.mark.parametrize(
    ("name", "within", "beyond"),
    [
        ("django pbkdf2_sha1", ("$1000$", "$5000000$"), ("$1000$", "$5000001$")),
        ("passlib pbkdf2-sha512", ("$1000$", "$5000000$"), ("$1000$", "$5000001$")),
        ("werkzeug pbkdf2", (":1000$", ":5000000$"), (":1000$", ":5000001$")),
        ("django scrypt", ("$1024$", "$65536$"), ("$1024$", "$131072$")),
        ("passlib scrypt", ("ln=10", "ln=17"), ("ln=10", "ln=18")),
        ("passlib scrypt", ("ln=10", "ln=17"), ("ln=10", "ln=99")),
        ("werkzeug scrypt", (":8:1", ":8:64"), (":8:1", ":8:999")),
        ("firebase scrypt", ("n=16384", "n=131072"), ("n=16384", "n=16383")),
        ("phpass", ("$P$6", "$P$F"), ("$P$6", "$P$G")),
        ("sha256-crypt", ("rounds=1000", "rounds=100000"), ("rounds=1000", "rounds=100001")),
        ("ssha", ("x", "x"), ("skDJvILGlPbGclgI3bVGpMNkiDqk1Nq7", "skDJvILGlPbGclgI3bVGpMNkiDo=")),
        ("wordpress 6.8", ("$04$", "$15$"), ("$04$", "$16$")),
    ],
)
def test_costs_are_bounded(name: str, within: tuple[str, str], beyond: tuple[str, str]) -> None:
    """A hash may not ask for more than about two seconds or 256 MiB at each sign-in."""
    check_hash_form(VECTORS[name].replace(*within))

    for act in (check_hash_form, lambda encoded: verify_hash(encoded, "password")):
        with pytest.raises(UnknownHash):
            act(VECTORS[name].replace(*beyond))


@pytest.mark.parametrize("encoded", [VECTORS[name] for name in ("passlib scrypt", "ssha", "phpass", "django scrypt")])
@given(data=st.data())
def test_whatever_is_let_in_can_be_verified(encoded: str, data: st.DataObject) -> None:
    """One changed character gives a hash that is refused or verified, and never another error."""
    position = data.draw(st.integers(len(encoded) // 2, len(encoded) - 1))
    changed = encoded[:position] + data.draw(st.sampled_from("./+=$0Aaz,{} é\n")) + encoded[position + 1 :]

    try:
        check_hash_form(changed)
    except UnknownHash:
        return
    assert verify_hash(changed, PASSWORD) in (True, False)


@given(any_text)
def test_any_text_is_a_fast_hash_or_none(text: str) -> None:
    """Nothing raises."""
    assert fast_hash(text) is None or fast_hash("{SMD5}" + text) is None
