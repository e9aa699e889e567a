"""
The URL of the application database: which ones can work, and how what is secret in one stays out of every text.

An error never quotes the URL, nor a part of one that cannot be read: what stands where a host should be is a password as often
as not.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from urllib.parse import quote, quote_plus

import sqlalchemy
from sqlalchemy import URL

from provider import settings
from provider.exceptions import ConfigurationError

_SETTING = "[accelerator] sql_alchemy_conn"
_EXAMPLE = "postgresql://user:password@host/database"

#: The first one that is there is used. It is Airflow's own too, and imported in a tenth of the time: each task process does that.
_POSTGRESQL_DRIVERS = ("psycopg2", "psycopg")
_PACKAGES = {"psycopg2": "'airflow-provider-cloud-accelerator[postgres]'", "psycopg": "'psycopg[binary]'"}
_HOST = re.compile(r"[\w.:%-]*")
#: Parameters of an SQLite URL that a file can need.
_SQLITE_PARAMETERS = frozenset({"mode", "uri", "cache", "immutable"})
#: Parameters of a PostgreSQL URL whose values tell people where a database is.
_OPEN_PARAMETERS = frozenset({"host", "port"})
#: What no path of a file begins with.
_USER_AND_PASSWORD = re.compile(r"[^/]*:.*@", re.DOTALL)
_PARAMETER = re.compile(r"[a-z_]+")


def parse_database_url(text: str) -> URL:
    """
    Return the parts of a URL that can work, with its driver.

    :raises ConfigurationError: it cannot. Neither the message nor its causes hold any part of the URL.
    """
    try:
        url = sqlalchemy.make_url(text)
    except sqlalchemy.exc.ArgumentError:
        raise ConfigurationError(f"{_SETTING} is not a SQLAlchemy URL; it looks like {_EXAMPLE}.") from None
    except ValueError:
        raise _unreadable() from None
    backend, _, driver = url.drivername.partition("+")
    if backend == "sqlite" and driver in ("", "pysqlite"):
        names_user = _USER_AND_PASSWORD.match("?".join([url.database or "", text.partition("?")[2]]))
        if names_user or url.username or url.password or url.host or url.port or not set(url.query) <= _SQLITE_PARAMETERS:
            raise ConfigurationError(
                f"{_SETTING} is an SQLite URL that names more than a file; it looks like sqlite:////folder/file.db."
            )
        return url
    if backend not in ("postgres", "postgresql"):
        raise ConfigurationError(f"{_SETTING} names another database; supported are postgresql and, on one machine, sqlite.")
    if driver and driver not in _POSTGRESQL_DRIVERS:
        raise ConfigurationError(f"{_SETTING} names another driver; leave it out, or use {' or '.join(_POSTGRESQL_DRIVERS)}.")
    if not driver:
        # The bare name means another driver in each SQLAlchemy generation.
        driver = _installed_driver() or _POSTGRESQL_DRIVERS[0]
    if importlib.util.find_spec(driver) is None:
        raise ConfigurationError(f"{_SETTING} needs the driver {driver}: pip install {_PACKAGES[driver]}.")
    url = url.set(drivername=f"postgresql+{driver}")
    _refuse_misread(url, text)
    return url


def import_driver() -> None:
    """Import the driver that a URL gets by itself, for processes that are forked off this one."""
    if driver := _installed_driver():
        importlib.import_module(driver)


def _installed_driver() -> str | None:
    return next((name for name in _POSTGRESQL_DRIVERS if importlib.util.find_spec(name)), None)


def _refuse_misread(url: URL, text: str) -> None:
    """Refuse a URL of PostgreSQL of which a part is probably not what it was taken for."""
    separators = text.count("@") - (1 if url.username is not None else 0)
    parameters = all(_PARAMETER.fullmatch(name) and isinstance(value, str) for name, value in url.query.items())
    database = url.database or "dbname" in url.query
    if separators or not database or not _HOST.fullmatch(url.host or "") or not parameters:
        raise _unreadable()
    try:
        url.get_dialect()().create_connect_args(url)
    except (sqlalchemy.exc.SQLAlchemyError, ValueError, TypeError):
        raise _unreadable() from None


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        f"{_SETTING} cannot be read: its password, host, port, database or a parameter is not what it should be. It looks like "
        f"{_EXAMPLE}, with one host; write characters such as @ : / ? # of a password as %40 %3A %2F %3F %23."
    )


class UrlMask:
    """
    Takes the secrets of a URL out of texts.

    :param url: a URL that :func:`parse_database_url` accepts.
    """

    def __init__(self, url: URL) -> None:
        found = [url.password] if url.password else []
        # libpq takes secrets from the query, too: ?password=…, ?sslpassword=…, and tomorrow others.
        found += [str(value) for name, value in url.query.items() if name not in _OPEN_PARAMETERS]
        if url.username is None and url.get_backend_name() != "sqlite":
            # Without a user and an @ the "port" may be a password of digits, the "host" its user, or all of it the password.
            found += [str(part) for part in (url.host, url.port, url.database) if part]
        forms = {form for secret in found for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1])}
        self._secrets = sorted((form for form in forms if form), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text with ``***`` for each secret."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def without_passwords(text: str) -> str:
    """Take the secrets of the configured database's URL out of a text, of which the whole goes where that cannot be read."""
    try:
        return UrlMask(parse_database_url(settings.get("sql_alchemy_conn")))(text)
    except ConfigurationError as error:
        return str(error)


def address(url: URL) -> str:
    """Return what tells a person which database it is; user, password and query, which may hold secrets, stay out."""
    host = f"{url.host}:{url.port}" if url.host and url.port else url.host or ""
    return UrlMask(url)(f"{url.get_backend_name()}://{host}/{url.database or ''}")
