"""Random rules and random headers that know a little of each other, so that about half of the leaves are true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from engine.dicom.paths import TagPath
from engine.model import Association
from engine.rules.model import Rule, Schedule
from engine.rules.ops import ASSOCIATION_FIELDS

TEXTS = [
    "", "CT", "ct", "MR", "CT\\MR", "Ct ", " CT", "\\", "CT\\", "a'b", 'a"b', "%", "_", "Ärger", "ärger", "ÄRGER", "straße",
    "STRASSE", "İ", "i", "K", "k", "日本", "a\nb", "$.x", "a.b", "x" * 70, "\U0001f600", "ſ", "S", "CT1", "001", "1", "1.0",
]  # fmt: skip
NAMES = [
    "", "Doe^John", "doe^john", "Doe^John^^^", "Doe", "Doe^John=ド^ジ=ど", "=ド^ジ", "Doe^John==", "=", "^", "Doe^John\\Roe^Jane",
    "Müller^Ä", "MÜLLER^ä", "a'b^c", "Doe^John =X ",
]  # fmt: skip
NUMBERS = [
    "", "0", "-0", "0.0", "1", "1.0", "+1", "01", "1e0", "10e-1", "0.1", "0.10", ".1", "1.", "-1", "-1.5", "1E2", "100", "abc",
    "1\\2", "1\\x", "-2\\0.30000000000000004", "0.3", "9007199254740993", "9007199254740992", "1e400", "1e-400", "-1e9999",
    "1e99999", "12345678901234567890.5", ".", "1_0", "0x1", " 7 ", "--1", "1e", "NaN", "inf", "9" * 70,
]  # fmt: skip
DATES = [
    "", "20240131", "2024.01.31", "20240229", "20230228", "2024", "202402", "202313", "20240230", "00000101", "0000", "000002",
    "19991231\\20240131", "2024013", "x", "20240131 ", "99991231", "19000228", "190002",
]  # fmt: skip
TIMES = [
    "", "10", "1030", "103000", "10:30:00", "103000.5", "103000.500000", "103000.000001", "235960", "24", "235959.999999",
    "1060", "00", "000000", "10\\11", "1030 ", "x", "103000.", "103000.1234567",
]  # fmt: skip
STAMPS = [
    "",
    "2024",
    "202402",
    "20240229",
    "2024022910",
    "202402291030",
    "20240229103000",
    "20240229103000.25",
    "20240229103000+0100",
    "20240229093000+0000",
    "20240229093000.000001-0000",
    "2024022910+0530",
    "2024-0500",
    "202402-1200",
    "20240301+1400",
    "20240229235960+0000",
    "20240229\\2025",
    "20240230103000+0100",
    "0000+0100",
    "9999+0100",
    "99991231235959-1459",
    "x",
    "00010101+1400",
    "20240229103000+1500",
]
AGES = ["", "045Y", "540M", "001D", "012M", "001Y", "52W", "052W", "365D", "x", "045y", "001Y\\002Y"]
UIDS = ["", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.3", "1.2.3\\1.2.4", "CTImageStorage"]
FLOATS = [
    0.0,
    -0.0,
    0.1,
    1.0,
    -1.5,
    1e30,
    1e-30,
    float("nan"),
    float("inf"),
    float("-inf"),
    0.30000000000000004,
    3.4e38,
]

POOLS: dict[str, list[str]] = {
    "CS": TEXTS, "LO": TEXTS, "SH": TEXTS, "UT": TEXTS, "LT": TEXTS, "PN": NAMES, "DS": NUMBERS, "IS": NUMBERS, "DA": DATES,
    "TM": TIMES, "DT": STAMPS, "AS": AGES, "UI": UIDS,
}  # fmt: skip
INTEGERS = {
    "US": (0, 65535),
    "SS": (-32768, 32767),
    "UL": (0, 2**32 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "UV": (0, 2**64 - 1),
    "SV": (-(2**63), 2**63 - 1),
}
BINARY = ["OB", "UN", "OW"]

TAGS: dict[int, str] = {
    0x00080060: "CS", 0x00100020: "LO", 0x00100010: "PN", 0x00080050: "SH", 0x00080020: "DA", 0x0008103E: "LO",  # columns
    0x00080008: "CS", 0x00080016: "UI", 0x00080030: "TM", 0x0008002A: "DT", 0x00101010: "AS", 0x00180050: "DS", 0x00200013: "IS",
    0x00280010: "US", 0x00280106: "US", 0x00189087: "FD", 0x00189067: "FL", 0x00081060: "PN", 0x00104000: "LT", 0x00081160: "IS",
    0x00280009: "AT", 0x00186020: "SL", 0x00080301: "US", 0x00281201: "OW", 0x00420011: "OB",
}  # fmt: skip
SEQUENCE, INNER = 0x00400275, 0x00081115
PATHS = [
    "Modality",
    "PatientID",
    "PatientName",
    "AccessionNumber",
    "StudyDate",
    "SeriesDescription",
    "ImageType",
    "SOPClassUID",
    "StudyTime",
    "AcquisitionDateTime",
    "PatientAge",
    "SliceThickness",
    "InstanceNumber",
    "Rows",
    "SmallestImagePixelValue",
    "DiffusionBValue",
    "(0018,9067)",
    "NameOfPhysiciansReadingStudy",
    "PatientComments",
    "ReferencedFrameNumber",
    "FrameIncrementPointer",
    "(0018,6020)",
    "TransferSyntaxUID",
    "(0002,0016)",
    "(0008,0301)",
    "PixelData",
    "RequestAttributesSequence",
    "RequestAttributesSequence[0]",
    "RequestAttributesSequence[*]",
    "RequestAttributesSequence[1].ScheduledProcedureStepID",
    "RequestAttributesSequence[0].StudyDate",
    "RequestAttributesSequence[*].StudyDate",
    "RequestAttributesSequence[*].ScheduledProcedureStepID",
    "RequestAttributesSequence[*].ReferencedSeriesSequence[*].Modality",
    "RequestAttributesSequence[0].ReferencedSeriesSequence[1].Modality",
    "RequestAttributesSequence[*].ReferencedSeriesSequence[0].SliceThickness",
    'RequestAttributesSequence[*].(0029,"ACME 1",10)',
    'RequestAttributesSequence[0].(0029,"ACME 1",10)',
    '(0029,"ACME 1",10)',
    '(0029,"ACME 1",11)',
    '(0029,"O\'ACME",10)',
    '(0029,"ACME 1",12)[*].Modality',
    '(0029,"ACME 1",12)[0].PatientName',
    '(0029,"SIEMENS CSA HEADER",10)',
    '(0029,"ACME 1",12)[1]',
]
OPERATORS = [
    "eq",
    "ne",
    "gt",
    "ge",
    "lt",
    "le",
    "exists",
    "not_exists",
    "contains",
    "not_contains",
    "startswith",
    "endswith",
    "regex",
    "not_regex",
    "in",
    "not_in",
]
PATTERNS = [
    "^CT$",
    "T",
    "(?i)ct",
    "^$",
    "[[:alpha:]]+",
    r"\d+",
    "a.b",
    "Doe|Roe",
    r"\pL",
    "x{2,5}",
    r"^(\d+)\.?$",
    r"\Qa.b\E",
    "(?s)a.b",
    r"\z",
]
RANGES = [
    "20240101-20240630",
    "-2024",
    "20240131-",
    "10-1030",
    "2024010100-202402+0000",
    "20240229103000+0100-20240229110000+0100",
    "-2024+0100",
]
ADDRESSES = [
    "",
    "10.1.2.3",
    "10.1.255.255",
    "10.2.0.0",
    "::ffff:10.1.2.3",
    "2001:db8::1",
    "2001:0DB8:0::1",
    "fe80::1%eth0",
    "host",
    "1.2.3",
]
SUBNETS = ["10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:10.1.0.0/112", "fe80::/10"]
SENDERS = ["", "CT01", "ct01", "MR", "CT", "a'b", "x" * 16]


def _value_of(vr: str) -> st.SearchStrategy[Any]:
    if vr in POOLS:
        return st.sampled_from(POOLS[vr])
    if vr in INTEGERS:
        low, high = INTEGERS[vr]
        one = st.sampled_from([max(low, -1), 0, 1, 2, high, low, 100])
        return st.lists(one, max_size=3)
    if vr in ("FL", "FD"):
        return st.lists(st.sampled_from(FLOATS), max_size=3)
    if vr == "AT":
        return st.lists(st.sampled_from([0x00100010, 0x00200013, 0x0018106A]), max_size=2)
    return st.sampled_from([b"", b"CT", b"\0\1"])


ANY_VR = [*POOLS, *INTEGERS, "FL", "FD", "AT", *BINARY]


def _element(usual: str) -> st.SearchStrategy[tuple[str, Any]]:
    """Mostly with the dictionary's VR, sometimes with whatever a broken writer put there."""
    return st.sampled_from([usual] * len(ANY_VR) * 3 + ANY_VR).flatmap(lambda v: st.tuples(st.just(v), _value_of(v)))


def _level(tags: dict[int, str], *, private: bool = True) -> st.SearchStrategy[dict[int, Any]]:
    optional: dict[int, st.SearchStrategy[Any]] = {tag: _element(vr) for tag, vr in tags.items()}
    if private:
        creator = st.sampled_from(["ACME 1", "O'ACME", "SIEMENS CSA HEADER", "", "ACME 1\\X"]).map(lambda c: ("LO", c))
        any_vr = st.sampled_from([*POOLS, *INTEGERS, "FL", "FD", *BINARY]).flatmap(
            lambda v: st.tuples(st.just(v), _value_of(v))
        )
        item = _level({0x00080060: "CS", 0x00100010: "PN"}, private=False)
        optional |= {0x00290010: creator, 0x00290011: creator, 0x002900FF: creator}
        optional |= {0x00291010: any_vr, 0x00291110: any_vr, 0x0029FF10: any_vr, 0x00291011: any_vr}
        optional |= {0x00291112: st.lists(item, max_size=2).map(lambda items: ("SQ", items))}
    return st.fixed_dictionaries({}, optional=optional)


def _headers() -> st.SearchStrategy[dict[int, Any]]:
    inner = _level({0x00080060: "CS", 0x00180050: "DS"}, private=False)
    item = _level({0x00080020: "DA", 0x00400009: "SH"})
    series = st.lists(inner, max_size=2).map(lambda items: ("SQ", items))
    item = st.tuples(item, st.none() | series).map(lambda t: t[0] if t[1] is None else t[0] | {INNER: t[1]})
    sequence = st.lists(item, max_size=3).map(lambda items: ("SQ", items))
    return st.tuples(_level(TAGS), st.none() | sequence).map(
        lambda t: t[0] if t[1] is None else t[0] | {SEQUENCE: t[1]}
    )


header_elements = _headers()


EVERYTHING = sorted(
    {text for pool in POOLS.values() for text in pool}
    | set(RANGES)
    | {"PatientName", "00200013", "3.4e38", str(2**64 - 1)}
)
DATED = {"DA", "TM", "DT"}


def _rule_value(operator: str, vr: str) -> st.SearchStrategy[Any]:
    """Mostly what an element of that VR may hold."""
    usual = POOLS.get(vr) or (NUMBERS if vr in INTEGERS or vr in ("FL", "FD", "US or SS") else EVERYTHING)
    value = (
        st.sampled_from(usual + RANGES if vr in DATED else usual) | st.sampled_from(EVERYTHING) | st.text(max_size=5)
    )
    if operator in ("in", "not_in"):
        return st.lists(value, min_size=1, max_size=4)
    if operator.endswith("regex"):
        return st.sampled_from(PATTERNS) | value
    if operator.endswith(("contains", "with")):
        return value.flatmap(lambda text: st.integers(0, 3).map(lambda n: text[n : n + 2] or text))
    return value


def _valid(model: Any) -> Any:
    def build(data: Any) -> Any:
        try:
            return model.model_validate({"name": "r", "priority": 1, **data} if model is Rule else data)
        except ValidationError:
            return None

    return build


def _checked(kind: str) -> Any:
    """Whether a leaf may be saved."""
    return lambda data: _valid(Rule)({kind: data}) is not None


@st.composite
def tag_leaves(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from(OPERATORS))
    leaf: dict[str, Any] = {"tag": draw(st.sampled_from(PATHS)), "op": operator}
    if not operator.endswith("exists"):
        leaf["value"] = draw(_rule_value(operator, TagPath.parse(leaf["tag"]).vr))
    if draw(st.integers(0, 3)) == 0 and operator not in ("gt", "ge", "lt", "le", "exists", "not_exists"):
        leaf["ignore_case"] = True
    return leaf


@st.composite
def sender_leaves(draw: st.DrawFn) -> dict[str, Any]:
    field = draw(st.sampled_from(ASSOCIATION_FIELDS))
    operator = draw(
        st.sampled_from([*OPERATORS, *(["ip_eq", "ip_startswith", "ip_in_subnet"] * 3 if field == "source_ip" else [])])
    )
    pool = st.sampled_from(SENDERS + ADDRESSES + SUBNETS + PATTERNS)
    test: dict[str, Any] = {"op": operator}
    if operator in ("in", "not_in"):
        test["value"] = draw(st.lists(pool, min_size=1, max_size=3))
    elif not operator.endswith("exists"):
        test["value"] = draw(st.sampled_from(SUBNETS) if operator == "ip_in_subnet" else pool)
    return {field: test}


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda nodes: {"all": nodes}),
            st.lists(inner, min_size=1, max_size=3).map(lambda nodes: {"any": nodes}),
            inner.map(lambda node: {"not": node}),
        ),
        max_leaves=5,
    )


clocks = st.integers(0, 1440).map(lambda m: f"{m // 60:02d}:{m % 60:02d}")
ranges = st.fixed_dictionaries(
    {
        "start": clocks,
        "end": clocks,
        "days": st.lists(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1, max_size=7),
    }
)
moments = st.integers(0, 31_000_000).map(lambda minutes: datetime(2001, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))
schedules = st.fixed_dictionaries(
    {
        "name": st.just("s"),
        "time_zone": st.sampled_from(
            [
                "UTC",
                "Europe/Berlin",
                "America/New_York",
                "Australia/Lord_Howe",
                "Asia/Kathmandu",
                "America/Asuncion",
                "Pacific/Apia",
            ]
        ),
        "ranges": st.lists(ranges, max_size=3),
        "exceptions": st.lists(
            st.dates(min_value=datetime(2020, 1, 1).date(), max_value=datetime(2020, 2, 1).date()), max_size=3
        ),
    }
).map(Schedule.model_validate)
associations = st.builds(
    Association,
    source=st.sampled_from(["modalities", "web", "o'x"]),
    source_kind=st.sampled_from(["dimse_listener", "stow_rs"]),
    calling_ae=st.sampled_from(SENDERS),
    called_ae=st.sampled_from(SENDERS),
    source_ip=st.sampled_from(ADDRESSES),
    user=st.sampled_from(SENDERS),
    tls_subject=st.sampled_from(["", "CN=ct01,O=Hospital", "CN=x"]),
)
rules = st.fixed_dictionaries(
    {"when": trees(tag_leaves().filter(_checked("when")))},
    optional={
        "association": trees(sender_leaves().filter(_checked("association"))),
        "sources": st.lists(st.sampled_from(["modalities", "stow_rs", "o'x"]), max_size=2, unique=True),
        "schedule": st.just("s"),
    },
).map(_valid(Rule))
