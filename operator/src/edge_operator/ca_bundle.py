"""Whom the operator trusts as the edge API: a file of certificates, checked before it is handed on to worker pods."""

import ssl
from pathlib import Path

CA_BYTES_MAX = 128 << 10
"""Worker pods get the certificates as an annotation, of which Kubernetes takes 256 KiB in all."""


class TrustError(Exception):
    """The certificates can't be used; the message says what mends it."""


def read_authorities(path: Path) -> str:
    """Return the PEM text of a file with certificates of authorities.

    Raises:
        TrustError: it can't be read, is too large, or holds no certificate.

    """
    mend = "set EDGE_OPERATOR_CA_BUNDLE to a PEM file with the certificates of your authority"
    try:
        text = path.read_text("ascii")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=text)
    except (OSError, UnicodeError, ssl.SSLError, ValueError) as error:
        raise TrustError(f"CA bundle {path} can't be read ({error}); {mend}") from error
    if not context.get_ca_certs():
        raise TrustError(f"CA bundle {path} holds no certificate of an authority; {mend}")
    if len(text) > CA_BYTES_MAX:
        raise TrustError(f"CA bundle {path} has {len(text)} bytes, {CA_BYTES_MAX} at most; {mend} alone")
    return text
