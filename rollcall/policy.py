"""How clients are served, from the settings."""

from pathlib import Path

from graph.cors import origins_of
from graph.documents import Documents
from graph.policy import Policy
from graph.schema import make_schema
from graph.trusted import BadManifest, Trusted, check_manifest, read_manifest
from rollcall.settings import BadSettings, Settings


def policy_of(settings: Settings) -> Policy:
    """What the operator has decided.

    Raises:
        BadSettings: the manifest of trusted documents cannot be used; names the entry.
    """
    return Policy(
        introspection=settings.introspection,
        origins=origins_of(settings.allowed_origins or ""),
        trusted=_trusted(settings) if settings.trusted_documents else Trusted(),
        deadline_seconds=settings.deadline_seconds,
    )


def _trusted(settings: Settings) -> Trusted:
    path = settings.trusted_documents or Path()
    try:
        documents = read_manifest(path.read_bytes())
        check_manifest(documents, Documents(introspection=settings.introspection), make_schema().graphql)
    except OSError as error:
        raise BadSettings(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {error.strerror}") from error
    except BadManifest as error:
        raise BadSettings(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {error}") from error
    return Trusted(documents, only=settings.trusted_documents_mode == "only")
