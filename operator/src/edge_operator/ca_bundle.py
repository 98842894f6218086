"""The file of CA certificates to trust for the edge API, checked before it is passed on to worker pods."""

import ssl
from pathlib import Path

CA_BYTES_MAX = 128 << 10
"""Worker pods get the certificates as an annotation; Kubernetes allows 256 KiB of annotations in total."""


class CaBundleError(Exception):
    """The certificates are unusable; the message says how to fix it."""


def read_ca_bundle(path: Path) -> str:
    """Return the PEM text of a file with CA certificates.

    Raises:
        CaBundleError: the file can't be read, is too large, or holds no CA certificate.

    """
    fix = "set EDGE_OPERATOR_CA_BUNDLE to a PEM file with the certificates of your CA"
    try:
        text = path.read_text("ascii")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=text)
    except (OSError, UnicodeError, ssl.SSLError, ValueError) as error:
        raise CaBundleError(f"CA bundle {path} can't be read ({error}); {fix}") from error
    if not context.get_ca_certs():
        raise CaBundleError(f"CA bundle {path} holds no CA certificate; {fix}")
    if len(text) > CA_BYTES_MAX:
        raise CaBundleError(f"CA bundle {path} has {len(text)} bytes, {CA_BYTES_MAX} at most; {fix} only")
    return text
