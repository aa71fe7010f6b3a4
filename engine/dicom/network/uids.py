"""UIDs on the wire: which are well-formed, which name a service that is not storage, what people call them."""

from __future__ import annotations

import re

__all__ = [
    "APPLICATION_CONTEXT", "EXPLICIT_LITTLE_ENDIAN", "IMPLICIT_LITTLE_ENDIAN", "STORAGE_COMMITMENT", "VERIFICATION",
    "is_storage", "is_uid", "uid_name",
]

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""DICOM Application Context Name (PS3.7 A.2.1)."""
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 J)."""

_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)

# SOP classes of PS3.6 Table A-1 that are not stored with C-STORE. Everything else that may be proposed is taken for
# storage: the standard's storage classes, retired, private and future ones. tests/dimse hold this to the dictionary.
_OTHER_SERVICE = re.compile(
    r"""1\.2\.840\.10008\.(
        1\.(1|9|40|42|20\.\d+|3\.10)                          # Verification, logging, Storage Commitment, DICOMDIR
      | 3\.1\.2\.[\d.]+                                       # patient, visit, study, results management, MPPS
      | 4\.2                                                  # Storage Service Class itself
      | 5\.1\.1\.(?!27$|29$|30$)[\d.]+                        # print, media creation (27, 29, 30 are storage classes)
      | 5\.1\.4\.1\.1\.(200\.[456]|201\.[2-6])                # protocol approval and inventory queries
      | 5\.1\.4\.1\.2\.[\d.]+                                 # Query/Retrieve
      | 5\.1\.4\.20\.\d+                                      # defined procedure protocol query/retrieve
      | 5\.1\.4\.(31|32|33|41|42)(\.\d+)*                     # worklists, availability, product, substance queries
      | 5\.1\.4\.34\.(2|3|8|9|[46](\.\d+)?)                   # machine verification, unified procedure step
      | 5\.1\.4\.37\.\d+                                      # relevant patient information
      | 5\.1\.4\.(38|39|43|44|45)\.[234]                      # hanging protocol, palette, implant query/retrieve
      | 10\.\d+                                               # real-time communication
    )""",
    re.VERBOSE | re.ASCII,
)


def is_uid(text: str) -> bool:
    """Whether `text` can stand as a UID: 1 to 64 digits and dots (PS3.5 9). Leading zeros, which happen, may pass."""
    return _UID.fullmatch(text) is not None


def is_storage(abstract_syntax: str) -> bool:
    """Whether a proposed abstract syntax is accepted for storage: any that does not name another known service."""
    return is_uid(abstract_syntax) and _OTHER_SERVICE.fullmatch(abstract_syntax) is None


def uid_name(uid: str) -> str:
    """The name of a SOP class or transfer syntax with its UID behind it; an unknown UID as it is."""
    from pydicom.uid import UID

    name = str(UID(uid).name)
    return uid if name == uid or not name else f"{name} ({uid})"
