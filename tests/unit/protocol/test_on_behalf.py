"""The header that names the person behind a call."""

import pytest

from edge_protocol.admin import NAME_MAX, InvalidNameError, decode_name, encode_name


@pytest.mark.parametrize(
    "name", ["anna", "anna@example.org", "Änna Müller", "a,b", "100%", "a/b:c", "名", "<script>", "x" * NAME_MAX]
)
def test_any_printable_name_fits_into_a_header(name: str) -> None:
    value = encode_name(name)
    assert value.isascii()
    assert decode_name(value) == name


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "a\u2028b", "\ud800", "x" * (NAME_MAX + 1)])
def test_other_names_are_refused_by_client_and_server(name: str) -> None:
    with pytest.raises(InvalidNameError):
        encode_name(name)
    with pytest.raises(InvalidNameError):
        decode_name("".join(f"%{byte:02x}" for byte in name.encode(errors="surrogatepass")))


@pytest.mark.parametrize("value", ["%zz", "%", "%ff", "änna", "anna,bob", "a\tb"])
def test_a_header_that_is_not_encoded_is_refused(value: str) -> None:
    with pytest.raises(InvalidNameError, match="percent-encoded"):
        decode_name(value)
