"""Addresses: one space for v4 and v6, the same in Python and in SQL for whatever text there is."""

from __future__ import annotations

import ipaddress
import random

import duckdb
import pyarrow as pa
import pytest

from engine.rules.addresses import address_key, parse_subnet, sql_address_key, sql_in_range

ODD = [
    "10.1.2.3",
    "010.1.1.1",
    "256.1.1.1",
    "::",
    "::1",
    "1::",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8",
    "1::2::3",
    ":::",
    "1:2:3:4::5:6:7:8",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "1:2:3:4:5:6:1.2.3.4",
    "1:2:3:4:5:6:7:1.2.3.4",
    "fe80::1%eth0",
    "",
    "%",
    "1.2.3.4%x",
    ":",
    "1:",
    ":1",
    "1.2.3.4:",
    "12345::",
    "g::",
    "::ffff:1.2.3.4.5",
    "::1.2.3",
    "FE80::A",
    " 1.2.3.4",
    "1:2:3:4:5:6:7:8:9",
    "::1\n",
    "1.2.3.4\n",
    "1::2:",
    " ::",
    "fe80::1%a%b",
    "::1.2.3.4:1",
    "١.2.3.4",
    "%::1",
    "a%::",
    "172.20.1.1",
    "2001:db8:7fff::1",
]
SUBNETS = [
    "10.1.0.0/16",
    "10.0.0.0/7",
    "10.1.2.3/32",
    "0.0.0.0/0",
    "172.16.0.0/12",
    "::/0",
    "::/64",
    "2001:db8::/33",
    "::ffff:a01:0/112",
    "fe80::/10",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    chance = random.Random(5)
    alphabet = "0123456789abcfF:::::..%g"
    out = list(ODD)
    out += ["".join(chance.choice(alphabet) for _ in range(chance.randint(1, 14))) for _ in range(3000)]
    for _ in range(1500):
        bits = chance.getrandbits(128) & chance.getrandbits(128) & chance.getrandbits(128)
        text = str(ipaddress.IPv6Address(bits))
        cut = chance.randint(0, len(text))
        out += [text, text[:cut] + chance.choice(alphabet) + text[cut + chance.randint(0, 2) :]]
        out.append(str(ipaddress.IPv4Address(chance.getrandbits(32) & 0x1FFFFFFF)))
        out.append("::ffff:" + out[-1])
    return out


def _ask(texts: list[str], sql: str) -> list[object]:
    addresses = pa.table({"n": range(len(texts)), "ip": texts})
    return (
        [found for (found,) in duckdb.execute(f"SELECT {sql} FROM addresses ORDER BY n").fetchall()]
        if addresses
        else []
    )


def test_python_and_sql_read_every_text_alike(texts: list[str]) -> None:
    expected = [address_key(text) for text in texts]
    assert _ask(texts, sql_address_key("ip")) == expected
    assert sum(key is not None for key in expected) > 4000


@pytest.mark.parametrize("subnet", SUBNETS)
def test_python_and_sql_agree_on_subnets(texts: list[str], subnet: str) -> None:
    first, last = parse_subnet(subnet)
    expected = [(key := address_key(text)) is not None and first <= key <= last for text in texts]
    assert _ask(texts, sql_in_range("ip", first, last)) == expected
    assert any(expected)


@pytest.mark.parametrize(
    ("subnet", "inside", "outside"),
    [
        (
            "10.1.0.0/16",
            ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "0:0::ffff:0a01:0203"],
            ["10.2.0.0", "10.0.255.255", "::1"],
        ),
        ("::ffff:10.1.0.0/112", ["10.1.2.3"], ["10.2.2.3"]),
        ("2001:db8::/32", ["2001:0DB8::1", "2001:db8:ffff::"], ["2001:db9::", "10.1.2.3"]),
        ("0.0.0.0/0", ["255.255.255.255"], ["::1", "2001::"]),
        ("fe80::/10", ["fe80::1%eth0"], ["fec0::"]),
    ],
)
def test_what_lies_in_a_subnet(subnet: str, inside: list[str], outside: list[str]) -> None:
    first, last = parse_subnet(subnet)
    assert all(first <= (address_key(text) or "") <= last for text in inside)
    assert not any(first <= (address_key(text) or "") <= last for text in outside)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.1.0.1/16", "the subnet is 10.1.0.0/16"),
        ("10.1/16", "is not a subnet"),
        ("10.1.0.0/33", "is not a subnet"),
        ("x", "is not a subnet"),
    ],
)
def test_a_wrong_subnet_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_subnet(text)
