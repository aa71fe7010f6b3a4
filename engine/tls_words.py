"""A failure of TLS as a sentence for the person who has to put it right: OpenSSL's own words name no remedy."""

from __future__ import annotations

import ssl

__all__ = ["NO_TLS", "tls_words"]

NO_TLS = "it speaks no TLS on this port: switch TLS off here, or name its TLS port"

_OUR_CERTIFICATE = "it does not accept our certificate"
_VERIFY = {
    9: "its certificate is not valid yet: look at the clocks of both machines",
    10: "its certificate has expired: it needs a new one",
    18: "its certificate is signed by itself and is not in our CA file: give that certificate as `ca`",
    23: "its certificate has been revoked",
    26: "its certificate is not made for this purpose (its extended key usage says so)",
    62: "its certificate is made out to another host name",
    64: "its certificate is made out to another address",
}
"""OpenSSL's X509_V_ERR codes; all others say that no authority of ours has signed it."""

_WRONG_CA = "its certificate is of an authority that is not among ours: give the CA that signed it as `ca`"

_REASONS = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "UNKNOWN_PROTOCOL": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
    "HTTPS_PROXY_REQUEST": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "UNSUPPORTED_PROTOCOL": "it offers no TLS version from 1.2 on",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it takes no TLS version that we offer (1.2 and 1.3)",
    "NO_SHARED_CIPHER": "it offers none of the cipher suites of BCP 195",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it broke off the handshake: it wants a client certificate, or takes none of the "
    "cipher suites of BCP 195",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "it asks for stronger cipher suites than we have in common",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate: give one (`certificate` and `private_key`)",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no client certificate, which is required here",
    "TLSV1_ALERT_UNKNOWN_CA": f"{_OUR_CERTIFICATE}: it does not know the authority that signed it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_OUR_CERTIFICATE}: it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_OUR_CERTIFICATE}: it has been revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"{_OUR_CERTIFICATE}: to it, it is a bad one (of another authority, or for another purpose)",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_OUR_CERTIFICATE}, and does not say why",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"{_OUR_CERTIFICATE}: it is not made for this purpose",
    "TLSV1_ALERT_ACCESS_DENIED": f"{_OUR_CERTIFICATE}: with it we may not come in",
    "TLSV1_UNRECOGNIZED_NAME": "it does not know the host name that we call it by",
}


def tls_words(error: BaseException) -> str:
    """What went wrong, as the end of a sentence about the peer ("it ..."), "" when the error is none of TLS.

    Causes are looked at too: HTTP clients wrap what they meet.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return _words(seen)
        seen = seen.__cause__ or seen.__context__
    return ""


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY.get(error.verify_code, _WRONG_CA)
        detail = f" ({error.verify_message.rstrip('.')})" if error.verify_message else ""
        return known + detail
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection without saying why"
    reason = error.reason or ""
    return _REASONS.get(reason) or f"TLS failed ({reason.replace('_', ' ').lower() or error.strerror or error})"
