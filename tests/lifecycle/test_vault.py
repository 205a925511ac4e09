"""The vault: what is sealed opens for its owner with any of the keys, and for nobody else."""

import re
import time

import pytest
from redis import Redis

from lifecycle.errors import Refused
from lifecycle.vault import Vault, _derived
from tests.conftest import MakeConfig
from tests.seed import SALT

SECRET = "whsec_c2VjcmV0IG9mIHNvbWVib2R5IGluIHRoZSB0ZXN0cw=="


@pytest.fixture
def salted(redis: Redis) -> Redis:
    """Give a Redis whose salt is always the same, so that each key of the tests is made once."""
    redis.set("gatepost:vault-salt", SALT)
    return redis


def test_what_is_sealed_comes_back(salted: Redis) -> None:
    """Any text survives, also from another process's vault; each time it looks different, and never like itself."""
    vault = Vault(salted, ["one"])
    texts = ["", SECRET, "é 李 😀", "x" * 10_000]

    sealed = [vault.seal(text, "siem") for text in texts]

    assert [Vault(salted, ["one"]).open(each, "siem") for each in sealed] == texts
    assert vault.seal(SECRET, "siem") != vault.seal(SECRET, "siem")
    assert SECRET not in sealed[1]


def test_any_key_opens_and_the_first_seals(salted: Redis) -> None:
    """A new key comes first and the old one stays until everything is sealed anew, which can be told."""
    old = Vault(salted, ["old"]).seal(SECRET, "siem")
    both = Vault(salted, ["new", "old"])

    new = both.seal(SECRET, "siem")

    assert both.open(old, "siem") == both.open(new, "siem") == SECRET
    assert (both.is_current(old), both.is_current(new)) == (False, True)
    assert Vault(salted, ["new"]).open(new, "siem") == SECRET
    with pytest.raises(Refused, match=f"sealed by key {old.split('.')[2]}") as refused:
        Vault(salted, ["new"]).open(old, "siem")
    assert refused.value.reason == "key_unknown"


def test_sealed_text_is_its_owners_alone(salted: Redis) -> None:
    """Whoever can write into Redis cannot give one subscriber's secret to another."""
    vault = Vault(salted, ["one"])
    sealed = vault.seal(SECRET, "siem")

    with pytest.raises(Refused, match="for another owner"):
        vault.open(sealed, "mallory")


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_changed_text_does_not_open(salted: Redis, place: int) -> None:
    """One letter of any part is enough; the fault says nothing of what was inside."""
    vault = Vault(salted, ["one"])
    parts = vault.seal(SECRET, "siem").split(".")
    parts[place] = ("2" if parts[place][0] != "2" else "3") + parts[place][1:]

    with pytest.raises(Refused) as refused:
        vault.open(".".join(parts), "siem")

    assert refused.value.reason in {"seal_broken", "key_unknown"}
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1..a.", "1.zz.a.b", f"1.{'00' * 16}.a.=", "é.é.é.é", "1.00.a.AAAA"]
)
def test_what_is_no_sealed_text_is_told(salted: Redis, text: str) -> None:
    """A record that was spoilt is a refusal in our words, not a fault."""
    with pytest.raises(Refused):
        Vault(salted, ["one"]).open(text, "siem")


def test_nothing_is_sealed_without_a_key(salted: Redis) -> None:
    """No key at all is told as what to configure."""
    with pytest.raises(Refused, match=r"signals\.encryption_keys"):
        Vault(salted, []).seal(SECRET, "siem")


def test_every_redis_has_its_own_salt(redis: Redis) -> None:
    """What one guesses of a token for one house helps with no other; within a house all share it."""
    salts = set()
    for _ in range(2):
        redis.flushall()
        salts |= {Vault(redis, ["one"]).seal("x", "siem").split(".")[1] for _ in range(2)}

    assert len(salts) == 2


def test_key_is_made_slowly_and_once(redis: Redis) -> None:
    """Who guesses a token pays for each guess; we pay once a process."""
    vault = Vault(redis, ["one"])

    times = []
    for _ in range(2):
        began = time.process_time()
        vault.seal("x", "siem")
        times.append(time.process_time() - began)

    assert times[0] > 0.05
    assert times[1] < times[0] / 4


def test_key_prints_no_secret() -> None:
    """Not even what is printed by mistake."""
    assert re.fullmatch(r"Key\(name='[0-9a-f]{8}'\)", repr(_derived("one", SALT)))


def test_keys_of_a_configuration(salted: Redis, config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Admins' tokens seal until there are keys for that, and open ever after: nothing is lost by adding a key."""
    monkeypatch.setenv("SEALING_KEY", "one")
    before = Vault.of(salted, config())
    after = Vault.of(salted, config(signals={"encryption_keys": ["env:SEALING_KEY"]}))

    sealed = before.seal(SECRET, "siem")

    assert after.open(sealed, "siem") == SECRET
    assert (before.is_current(sealed), after.is_current(sealed)) == (True, False)
    assert Vault(salted, ["one"]).open(after.seal(SECRET, "siem"), "siem") == SECRET
