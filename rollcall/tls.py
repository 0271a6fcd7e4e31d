"""TLS to the databases, as the settings say. Files are read here, at the start, so that an error names the variable."""

import ssl
from pathlib import Path

from projections.mongo.transport import MongoTls
from rollcall.settings import BadSettings, Settings


def mysql_tls(settings: Settings) -> ssl.SSLContext | None:
    """What encrypts connections to MySQL; None if they are not.

    Raises:
        BadSettings: a file is missing or is not what its variable expects.
    """
    if settings.mysql_tls == "off":
        return None
    context = _context("MYSQL", settings.mysql_tls_ca, settings.mysql_tls_cert, settings.mysql_tls_key)
    context.check_hostname = settings.mysql_tls_check_host
    return context


def smtp_tls(settings: Settings) -> ssl.SSLContext:
    """What encrypts connections to the SMTP server.

    Raises:
        BadSettings: the file of authorities cannot be used.
    """
    return _context("SMTP", settings.smtp_tls_ca, None, None)


def mongo_tls(settings: Settings) -> MongoTls | None:
    """What encrypts connections to MongoDB; None if the URL decides.

    Raises:
        BadSettings: a file is missing or is not what its variable expects.
    """
    if settings.mongo_tls == "off":
        return None
    # The driver reads the files itself, and its errors name no variable.
    _context("MONGO", settings.mongo_tls_ca, settings.mongo_tls_cert, None)
    return MongoTls(settings.mongo_tls_ca, settings.mongo_tls_cert, settings.mongo_tls_check_host)


def _context(database: str, ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    prefix = f"ROLLCALL_{database}_TLS"
    for name, path in (("CA", ca), ("CERT", certificate), ("KEY", key)):
        try:
            if path is not None:
                path.read_bytes()
        except OSError as error:
            raise BadSettings(f"{prefix}_{name}: {path} cannot be read: {error.strerror}") from error
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise BadSettings(f"{prefix}_CA: {ca}: expected certificates in PEM") from error
    if certificate is not None:
        try:
            # An empty password, so that an encrypted key is an error and no prompt.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            where = f"{prefix}_KEY: {key}" if key else f"{prefix}_CERT: {certificate}"
            raise BadSettings(
                f"{where}: expected a certificate and its own key, in PEM and not encrypted ({error.reason})"
            ) from error
    return context
