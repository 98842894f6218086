"""Where the admin API is and which credential opens it: settings that the commands and the fleet page share."""

from dataclasses import dataclass, field
from pathlib import Path

from airflow.configuration import conf

_SECTION = "edge"


class SettingsError(Exception):
    """A setting is missing or invalid; the message says how to fix it."""


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The admin API of one edge API."""

    url: str
    token: str = field(repr=False)


def admin_settings() -> AdminSettings:
    """Return the settings of Airflow's configuration.

    Raises:
        SettingsError: The URL or the token is missing or invalid.

    """
    url = base_url(conf.get(_SECTION, "admin_api_url", fallback=None))
    if not url:
        raise SettingsError(
            "no edge API is set; set [edge] admin_api_url (AIRFLOW__EDGE__ADMIN_API_URL), for example "
            "https://airflow.example.com"
        )
    if not url.startswith(("http://", "https://")):
        raise SettingsError("[edge] admin_api_url is not an http:// or https:// URL")
    token = admin_token()
    if token is None:
        raise SettingsError(
            "no admin credential is set; set [edge] admin_token, admin_token_cmd or admin_token_file, and make one "
            "with edge-api credential create --role admin"
        )
    return AdminSettings(url, token)


def admin_token() -> str | None:
    """Return the admin credential: `[edge] admin_token`, its `_cmd` and `_secret` forms, or `admin_token_file`.

    Raises:
        SettingsError: The file can't be read, or its content can't be a credential.

    """
    token: str | None = conf.get(_SECTION, "admin_token", fallback=None)
    file = conf.get(_SECTION, "admin_token_file", fallback=None)
    if not token and file:
        try:
            token = Path(file).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"[edge] admin_token_file {file} cannot be read; name a readable file") from error
    token = (token or "").strip()
    if not token.isascii() or not token.isprintable():
        raise SettingsError("[edge] admin_token is not a credential; make one with edge-api credential create")
    return token or None


def sites_url() -> str | None:
    """Return the URL of the edge API that sites call, `[edge] api_url`."""
    return base_url(conf.get(_SECTION, "api_url", fallback=None))


def base_url(url: str | None) -> str | None:
    """Return the base URL of the edge API. Settings of Airflow's own edge provider include a path, which is removed."""
    return url.partition("/edge_worker")[0].rstrip("/") if url else None
