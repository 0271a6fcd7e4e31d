"""Access tokens: issued tokens are verified, everything else is refused."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.tokens import LEEWAY, MAXIMUM_TOKEN_LENGTH, AccessTokens, InvalidToken, SigningKey, TokenClaims
from events.event_types import Role

KEY = SigningKey.from_seed(b"0123456789abcdef0123456789abcdef")
OTHER_KEY = SigningKey.from_seed(b"fedcba9876543210fedcba9876543210")
ISSUER = "https://users.example.com"
AUDIENCE = "rollcall"
LIFETIME = timedelta(minutes=15)
NOON = datetime(2001, 2, 3, 12, tzinfo=UTC)  # long ago: a comparison with the wall clock would show
MICROSECOND = timedelta(microseconds=1)

USER, SESSION, TOKEN = UUID(int=1), UUID(int=2), UUID(int=3)

HEADER: dict[str, Any] = {"alg": "EdDSA", "typ": "at+jwt", "kid": KEY.kid}
PAYLOAD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": str(USER),
    "sid": str(SESSION),
    "role": "ADMIN",
    "iat": int(NOON.timestamp()),
    "nbf": int(NOON.timestamp()),
    "exp": int((NOON + LIFETIME).timestamp()),
    "jti": str(TOKEN),
}


class Clock:
    """A clock that tests set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def rotated(key: SigningKey, *others: SigningKey) -> AccessTokens:
    return AccessTokens(key, ISSUER, AUDIENCE, LIFETIME, Clock(), others=others)


def access_tokens(clock: Clock | None = None, key: SigningKey = KEY, remembered: int = 100) -> AccessTokens:
    return AccessTokens(key, ISSUER, AUDIENCE, LIFETIME, clock or Clock(), remembered=remembered)


def issued(tokens: AccessTokens, token_id: UUID = TOKEN) -> str:
    return tokens.issue(USER, Role.ADMIN, SESSION, token_id).token


def unpadded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def parts(header: dict[str, Any], payload: bytes) -> str:
    return f"{unpadded(json.dumps(header).encode())}.{unpadded(payload)}"


def signed(header: dict[str, Any] = HEADER, payload: Any = PAYLOAD, key: SigningKey = KEY) -> str:
    """A token made by hand, so that it may be wrong in any way and still be signed by the right key."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = parts(header, raw)
    return f"{signing_input}.{unpadded(key.private.sign(signing_input.encode()))}"


def refusal(token: str, tokens: AccessTokens | None = None) -> str:
    """Why a token is refused: short enough for a log line, and without a secret for one."""
    with pytest.raises(InvalidToken) as caught:
        (tokens or access_tokens()).verify(token)
    reason = caught.value.reason
    assert len(reason) < 200
    assert len(token) < 20 or token not in reason
    return reason


def test_a_verified_token_says_what_was_issued() -> None:
    """Verifying an issued token gives back its user, role, session, id and times."""
    tokens = access_tokens(Clock(NOON + 250_000 * MICROSECOND))

    token = tokens.issue(USER, Role.ADMIN, SESSION, TOKEN)

    assert token.expires_at == NOON + LIFETIME
    assert tokens.verify(token.token) == TokenClaims(
        user_id=USER,
        role=Role.ADMIN,
        session_id=SESSION,
        token_id=TOKEN,
        issued_at=NOON,
        not_before=NOON,
        expires_at=NOON + LIFETIME,
    )


def test_a_handmade_token_is_accepted() -> None:
    """The base of the refusals below: without its one fault, each of those tokens would be valid."""
    assert access_tokens().verify(signed()).user_id == USER


def test_a_standard_verifier_accepts_the_token() -> None:
    """Other services can verify our tokens with a JWT library and the public key, given `typ` and `kid`."""
    token = issued(access_tokens())

    claims = jwt.decode(
        token,
        KEY.public,
        algorithms=["EdDSA"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"verify_exp": False, "require": ["exp", "iat", "nbf", "sub", "jti"]},
    )

    assert claims == PAYLOAD
    assert jwt.get_unverified_header(token) == HEADER


def test_the_kid_is_the_thumbprint_of_the_standard() -> None:
    """The key of RFC 8037, appendix A, has the thumbprint that is printed there."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")

    assert SigningKey.from_seed(seed).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    """A seed of another length makes no key."""
    with pytest.raises(ValueError, match="32"):
        SigningKey.from_seed(bytes(length))


def test_secrets_do_not_show() -> None:
    """Neither a private key nor a token appears in what a log or a debugger prints."""
    token = access_tokens().issue(USER, Role.ADMIN, SESSION, TOKEN)

    assert token.token not in repr(token)
    assert "private" not in repr(KEY).lower()
    assert KEY.private.private_bytes_raw().hex() not in repr(KEY)


class TestTampering:
    """No text but a token that was issued is accepted."""

    token = issued(access_tokens())

    @given(position=st.integers(0, len(token) - 1), byte=st.characters(codec="latin-1"))
    @settings(deadline=None)
    def test_any_changed_byte_is_refused(self, position: int, byte: str) -> None:
        """A token with one byte changed is refused, even right after the genuine one was accepted."""
        tokens = access_tokens()
        tokens.verify(self.token)
        changed = self.token[:position] + byte + self.token[position + 1 :]

        if changed != self.token:
            refusal(changed, tokens)

    @pytest.mark.parametrize("bit", range(8))
    def test_each_flipped_bit_is_refused(self, bit: int) -> None:
        """Every bit of a token matters."""
        for position, byte in enumerate(self.token):
            refusal(self.token[:position] + chr(ord(byte) ^ 1 << bit) + self.token[position + 1 :])

    @pytest.mark.parametrize("position", [token.index(".") - 1, token.rindex(".") - 1, len(token) - 1])
    def test_no_part_has_a_second_spelling(self, position: int) -> None:
        """The last character of each part, with bits to spare in base64, can be no other one."""
        for byte in map(chr, range(256)):
            if byte != self.token[position]:
                refusal(self.token[:position] + byte + self.token[position + 1 :])

    @given(cut=st.integers(0, len(token) - 1))
    @settings(deadline=None)
    def test_any_shortened_token_is_refused(self, cut: int) -> None:
        """A token that lacks some of its end or of its beginning is refused."""
        refusal(self.token[:cut])
        refusal(self.token[len(self.token) - cut :])

    @pytest.mark.parametrize("addition", ["=", "==", " ", "\n", ".", "A", "\0"])
    def test_any_addition_is_refused(self, addition: str) -> None:
        """A token with something before or after it is refused, base64 padding included."""
        refusal(self.token + addition)
        refusal(addition + self.token)

    @given(st.text(st.characters() | st.sampled_from("\ud800\0.=")))
    @settings(deadline=None)
    def test_any_text_is_refused_as_an_invalid_token(self, text: str) -> None:
        """Arbitrary text raises InvalidToken and nothing else, half surrogate pairs included."""
        refusal(text)
        refusal(f"{text}.{text}.{text}")
        refusal(self.token[: self.token.rindex(".")] + f".{text}")

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
    names = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "zip", "cty"])

    @given(st.dictionaries(names, json_values))
    @settings(deadline=None)
    def test_any_header_over_a_wrong_signature_is_refused(self, header: dict[str, Any]) -> None:
        """With a signature by another key any header raises InvalidToken, and nothing else."""
        refusal(signed(HEADER | header, key=OTHER_KEY))

    @given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
    @settings(deadline=None)
    def test_any_other_payload_is_refused(self, payload: bytes) -> None:
        """A payload that is not our claims raises InvalidToken even if the right key has signed it."""
        refusal(signed(payload=payload))

    def test_broken_utf_8_is_refused(self) -> None:
        """Claims that are JSON, but not in UTF-8, are refused like any others."""
        assert "wrong claims" in refusal(signed(payload=json.dumps(PAYLOAD).encode().replace(b"ADMIN", b"\xff")))

    def test_nesting_is_refused(self) -> None:
        """Deeply nested JSON, in a header or a payload, is refused like everything else."""
        deep = b'{"x":' + b"[" * 1400 + b"]" * 1400 + b"}"

        assert "wrong claims" in refusal(signed(payload=deep))
        assert "not signed" in refusal(f"{unpadded(deep)}.e30.{'A' * 86}")

    def test_a_long_token_is_refused_unread(self) -> None:
        """A token of more than 4 KiB is refused, even one that is signed; the longest allowed one is read."""
        room = MAXIMUM_TOKEN_LENGTH - len(signed())
        padded = next(
            token
            for size in range(room // 2, room)
            if len(token := signed(payload=PAYLOAD | {"more": "x" * size})) == MAXIMUM_TOKEN_LENGTH
        )

        assert access_tokens().verify(padded).user_id == USER
        assert "too long" in refusal(signed(payload=PAYLOAD | {"more": "x" * room}))


class TestKeysAndAlgorithms:
    """Only the one key signs, and only with Ed25519."""

    def test_another_key_is_refused(self) -> None:
        """A token signed by another key is refused, under its own kid as well as under ours."""
        assert "wrong kid" in refusal(signed(HEADER | {"kid": OTHER_KEY.kid}, key=OTHER_KEY))
        assert "not signed" in refusal(signed(key=OTHER_KEY))

    def test_the_algorithm_none_is_refused(self) -> None:
        """An unsigned token is refused, with an empty signature or with something in its place."""
        unsigned = parts(HEADER | {"alg": "none"}, json.dumps(PAYLOAD).encode())

        assert "malformed" in refusal(f"{unsigned}.")
        assert "wrong alg" in refusal(f"{unsigned}.{'A' * 86}")

    @pytest.mark.parametrize(
        "secret",
        [
            KEY.public.public_bytes_raw(),
            unpadded(KEY.public.public_bytes_raw()).encode(),
            KEY.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            KEY.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            KEY.kid.encode(),
        ],
    )
    @pytest.mark.parametrize(("algorithm", "digest"), [("HS256", hashlib.sha256), ("HS512", hashlib.sha512)])
    def test_an_hmac_with_the_public_key_is_refused(self, secret: bytes, algorithm: str, digest: Any) -> None:
        """The public key, which is public knowledge, does not serve as an HMAC secret."""
        signing_input = parts(HEADER | {"alg": algorithm}, json.dumps(PAYLOAD).encode())
        signature = hmac.digest(secret, signing_input.encode(), digest)

        assert refusal(f"{signing_input}.{unpadded(signature)}").startswith(("malformed", "wrong alg"))

    @pytest.mark.parametrize("algorithm", ["none", "HS512", "ES256", "Ed25519", "eddsa", "", None, 1, ["EdDSA"]])
    def test_no_other_algorithm_is_named(self, algorithm: object) -> None:
        """A header that names another algorithm is refused even over a good Ed25519 signature."""
        assert "wrong alg" in refusal(signed(HEADER | {"alg": algorithm}))

    @pytest.mark.parametrize("kind", ["JWT", "at+JWT", "application/at+jwt", "", None, ["at+jwt"]])
    def test_another_kind_of_token_is_refused(self, kind: object) -> None:
        """A token of another typ, such as an id token signed with the same key, is no access token."""
        assert "wrong typ" in refusal(signed(HEADER | {"typ": kind}))

    @pytest.mark.parametrize("name", ["alg", "typ", "kid"])
    def test_each_header_is_required(self, name: str) -> None:
        """A token that lacks a header is refused."""
        assert f"wrong {name}" in refusal(signed({key: value for key, value in HEADER.items() if key != name}))

    @pytest.mark.parametrize("kid", ["", None, 1, ["kid"], "x" * 500])
    def test_no_other_kid_is_known(self, kid: object) -> None:
        """A token of an unknown key is refused, whatever the form and length of its kid."""
        refusal(signed(HEADER | {"kid": kid}))

    def test_a_critical_extension_is_refused(self) -> None:
        """A header marked critical that this program does not know refuses the token (RFC 7515, 4.1.11)."""
        refusal(signed(HEADER | {"crit": ["exp"], "exp": 0}))


class TestClaims:
    """Each claim is there, of the right type, and right."""

    @pytest.mark.parametrize("name", PAYLOAD)
    def test_each_claim_is_required(self, name: str) -> None:
        """A token that lacks a claim is refused."""
        payload = {key: value for key, value in PAYLOAD.items() if key != name}

        assert f"`{name}`" in refusal(signed(payload=payload))

    @pytest.mark.parametrize("value", [None, True, -1, 1.5, 10**12, 10**30, "", "1", "admin", [], ["rollcall"], {}])
    @pytest.mark.parametrize("name", PAYLOAD)
    def test_each_claim_has_its_type(self, name: str, value: object) -> None:
        """A claim of another type, or out of its range, refuses the token."""
        reason = refusal(signed(payload=PAYLOAD | {name: value}))

        assert f"`$.{name}`" in reason or f"wrong {name}" in reason

    @pytest.mark.parametrize("name", ["sub", "sid", "jti"])
    @pytest.mark.parametrize("value", ["1", f"{USER}0", f"{{{USER}}}", f"urn:uuid:{USER}", "g" * 32])
    def test_ids_are_uuids(self, name: str, value: str) -> None:
        """A user, session or token id that is no UUID refuses the token."""
        assert f"`$.{name}`" in refusal(signed(payload=PAYLOAD | {name: value}))

    @pytest.mark.parametrize("value", [f"{ISSUER}/", ISSUER.upper(), ISSUER[:-1], [ISSUER]])
    def test_the_issuer_is_exact(self, value: object) -> None:
        """A token of another issuer is refused, however alike the name."""
        refusal(signed(payload=PAYLOAD | {"iss": value}))

    @pytest.mark.parametrize("value", [f"{AUDIENCE} ", AUDIENCE.upper(), AUDIENCE[:-1], [AUDIENCE]])
    def test_the_audience_is_exact(self, value: object) -> None:
        """A token for another audience is refused, and so is one for several."""
        refusal(signed(payload=PAYLOAD | {"aud": value}))

    def test_more_claims_do_no_harm(self) -> None:
        """A claim that a later version adds does not lock users out of nodes that do not know it yet."""
        assert access_tokens().verify(signed(payload=PAYLOAD | {"scope": "all"})).user_id == USER


class TestTime:
    """A token is valid from its issue to its expiry, by the caller's clock, give or take the leeway."""

    def test_a_token_expires_at_the_boundary(self) -> None:
        """It is valid until a microsecond before expiry plus leeway, and no longer at that moment."""
        clock = Clock()
        tokens = access_tokens(clock)
        token = issued(tokens)

        clock.now = NOON + LIFETIME + LEEWAY - MICROSECOND
        tokens.verify(token)

        clock.now = NOON + LIFETIME + LEEWAY
        assert "expired at 2001-02-03T12:15:00+00:00" in refusal(token, tokens)

    def test_a_remembered_token_expires_all_the_same(self) -> None:
        """A token that was accepted a moment ago, and is cached, is refused from its expiry on."""
        clock = Clock()
        tokens = access_tokens(clock)
        token = issued(tokens)
        tokens.verify(token)

        clock.now = NOON + LIFETIME + LEEWAY

        for _ in range(2):
            assert "expired" in refusal(token, tokens)

    def test_a_token_starts_at_the_boundary(self) -> None:
        """A node whose clock is behind by the leeway accepts a fresh token; one that is further behind does not."""
        token = issued(access_tokens())

        access_tokens(Clock(NOON - LEEWAY)).verify(token)
        assert "not valid before" in refusal(token, access_tokens(Clock(NOON - LEEWAY - MICROSECOND)))

    def test_time_zones_do_not_matter(self) -> None:
        """A clock that shows another zone's time issues and verifies the same tokens."""
        elsewhere = Clock(NOON.astimezone(timezone(timedelta(hours=5, minutes=45))))

        assert issued(access_tokens(elsewhere)) == issued(access_tokens())
        assert access_tokens(elsewhere).verify(issued(access_tokens())).expires_at == NOON + LIFETIME

    @pytest.mark.parametrize("year", [1971, 2001, 2101, 9999])
    def test_only_the_given_clock_counts(self, year: int) -> None:
        """Tokens are valid in their own time, whatever the computer's clock shows, up to the last second there is."""
        last = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
        tokens = access_tokens(Clock(last - LIFETIME))

        assert tokens.verify(issued(tokens)).expires_at == last


class TestRemembering:
    """A signature is checked once per token, and memory is bounded."""

    def test_a_token_is_read_once(self) -> None:
        """The second verification of a token does not check its signature again."""
        tokens = access_tokens()
        token = issued(tokens)

        first, second = tokens.verify(token), tokens.verify(token)

        assert second is first
        assert tokens._read.cache_info().misses == 1

    def test_what_is_remembered_is_bounded(self) -> None:
        """With room for three tokens, the one that was used longest ago is read again, and all stay valid."""
        tokens = access_tokens(remembered=3)
        first, *others = (issued(tokens, UUID(int=number)) for number in range(4))

        for token in (first, *others, first):
            tokens.verify(token)

        assert tokens._read.cache_info().currsize == 3
        assert tokens._read.cache_info().misses == 5

    def test_refused_tokens_are_not_remembered(self) -> None:
        """Junk neither fills the cache nor evicts valid tokens."""
        tokens = access_tokens(remembered=3)
        token = issued(tokens)
        tokens.verify(token)

        for number in range(10):
            refusal(signed(payload=PAYLOAD | {"iss": str(number)}), tokens)

        tokens.verify(token)
        assert tokens._read.cache_info().currsize == 1
        assert tokens._read.cache_info().hits == 1


class TestRotation:
    """The signing key is replaced without downtime."""

    def test_no_token_is_refused_while_keys_change_places(self) -> None:
        """Old only, old with the new one accepted, new with the old one: neighbours accept all tokens."""
        first, second, third = rotated(KEY), rotated(KEY, OTHER_KEY), rotated(OTHER_KEY, KEY)

        for issuer, verifier in ((first, second), (second, first), (second, third), (third, second), (first, third)):
            assert verifier.verify(issued(issuer)).user_id == USER

    def test_a_key_that_is_dropped_verifies_nothing(self) -> None:
        """Its tokens have expired by then; a token made with it since is refused."""
        assert "wrong kid" in refusal(issued(rotated(KEY, OTHER_KEY)), rotated(OTHER_KEY))

    def test_one_key_does_not_verify_in_the_other_s_name(self) -> None:
        """The kid selects the key, and the signature must be by that key."""
        for key, other in ((KEY, OTHER_KEY), (OTHER_KEY, KEY)):
            token = signed(HEADER | {"kid": other.kid}, key=key)
            assert refusal(token, rotated(KEY, OTHER_KEY)) == "not signed by this issuer"

    def test_the_key_set_verifies_every_token(self) -> None:
        """A library that has only the published keys accepts the tokens of both."""
        tokens = rotated(KEY, OTHER_KEY)
        published = jwt.PyJWKSet.from_dict(tokens.jwks())

        assert [key.key_id for key in published.keys] == [KEY.kid, OTHER_KEY.kid]
        for issuer in (tokens, rotated(OTHER_KEY)):
            token = issued(issuer)
            key = published[jwt.get_unverified_header(token)["kid"]]
            assert jwt.decode(
                token,
                key.key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"verify_exp": False},
            )

    def test_the_key_set_holds_no_secret(self) -> None:
        """Of each key the public half."""
        for jwk in rotated(KEY, OTHER_KEY).jwks()["keys"]:
            assert jwk.keys() == {"kty", "crv", "x", "kid", "alg", "use"}

    def test_a_token_may_have_to_end_sooner(self) -> None:
        """With its session."""
        end = NOON + timedelta(minutes=3)
        assert access_tokens().issue(USER, Role.ADMIN, SESSION, TOKEN, until=end).expires_at == end
        later = NOON + timedelta(days=3)
        assert access_tokens().issue(USER, Role.ADMIN, SESSION, TOKEN, until=later).expires_at == NOON + LIFETIME
