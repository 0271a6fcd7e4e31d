"""Wiring of the API process: the services behind the GraphQL schema, and the serving policy."""

import random
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from auth.activity import Activity
from auth.authentication import Authenticator
from auth.budgets import HOUR, AddressBudgets, Budgets, Purpose
from auth.known_devices import KnownDevices
from auth.mail_requests import MailRequests
from auth.mailed_links import MailedLinks
from auth.password_hashing import Passwords
from auth.pending_registrations import PendingRegistrations
from auth.recovery import Recovery
from auth.registration import CHALLENGE, INVITATION, PACE_SECONDS, Registration
from auth.session_watch import SessionWatch
from auth.sessions import Lifetimes, Sessions
from auth.sign_in import SignIn
from auth.single_use import SingleUseTokens
from auth.throttle import Throttle
from auth.tokens import AccessTokens, SigningKey
from auth.turns import Pace
from auth.write_quota import WriteQuota
from events.feed import Feed
from events.ids import new_id
from graph.app import ServingPolicy
from graph.context import Services, Webhooks
from graph.cors import origins_of
from graph.documents import DocumentCache
from graph.freshness import ViewPosition, ViewPositions
from graph.persisted import BadManifest, TrustedDocuments, check_manifest, read_manifest
from graph.replicas import ReplicaReads
from graph.schema import make_schema
from projections.mongo.data_search import MongoData
from projections.mongo.search import MongoUsers
from projections.mongo.view import MongoView
from projections.mysql.data_queries import MySQLData
from projections.mysql.queries import MySQLUsers
from projections.mysql.view import MySQLView
from projections.rebuild_requests import RebuildRequests
from projections.status import StatusFeed
from projections.webhooks.deliveries import Deliveries
from projections.webhooks.endpoints import Endpoints
from rollcall.api_import import import_users_with
from rollcall.keys import KeyRing
from rollcall.settings import BadSettings, Settings, networks
from rollcall.wiring import Installation, Writer, now

TOKEN_ISSUER: Final = "rollcall"  # noqa: S105
TOKEN_AUDIENCE: Final = "rollcall"  # noqa: S105


def services_of(
    installation: Installation, writer: Writer, signing: KeyRing, passwords: Passwords, throttle: Throttle
) -> Services:
    """The services that resolvers use."""
    database, store = installation.database, installation.store
    settings, mongo, commands = installation.settings, installation.mongo.documents, writer.commands
    signing_key, *others = map(SigningKey.from_seed, (signing.current, *signing.others))
    lifetime = timedelta(seconds=settings.access_token_seconds)
    tokens = AccessTokens(signing_key, TOKEN_ISSUER, TOKEN_AUDIENCE, lifetime, now, others=others)
    lifetimes = Lifetimes(
        idle=timedelta(days=settings.session_idle_days),
        absolute=timedelta(days=settings.session_days),
        grace=timedelta(seconds=settings.refresh_grace_seconds),
    )
    mailing = settings.public_url is not None
    devices = KnownDevices(writer.keys.sessions, writer.keys.mail, secrets.token_bytes) if mailing else None
    sessions = Sessions(
        database, writer.keys.sessions, lifetimes, now, new_id, per_user=settings.sessions_per_user, devices=devices
    )
    secret = writer.keys.throttle
    budgets = Budgets(database, secret, now)
    by_address = AddressBudgets(
        budgets,
        {
            Purpose.REGISTER: settings.registrations_per_hour,
            Purpose.SIGN_IN: settings.sign_ins_per_hour,
            Purpose.REFRESH: settings.refreshes_per_hour,
            Purpose.CHANGE_PASSWORD: settings.password_changes_per_hour,
            Purpose.MAIL: settings.mails_per_hour,
        },
    )
    mysql_view, mongo_view = MySQLView(database), MongoView(mongo)
    chance = random.Random()  # noqa: S311 - which replica answers
    mysql_replicas = installation.replicas.of_mysql(writer.keys.log_id, chance)
    mongo_replicas = installation.replicas.of_mongo(installation.mongo, writer.keys.log_id, chance)
    mysql_reads = ReplicaReads(mysql_replicas) if mysql_replicas else database
    activity = Activity(database, now, random.SystemRandom().randrange)
    mails = MailRequests(
        database=database,
        claims_key=writer.keys.claims,
        mail_key=writer.keys.mail,
        budgets=budgets,
        by_address=by_address,
        new_id=new_id,
        clock=now,
        enabled=mailing,
    )
    unverified = mails.verification_of if settings.require_verified_email else None
    sign_in = SignIn(
        commands, passwords, tokens, sessions, throttle, by_address, activity, new_id, unverified=unverified
    )
    links = MailedLinks(database, writer.keys.mail, now)
    pending = PendingRegistrations(
        database,
        commands,
        passwords,
        links,
        budgets,
        claims_key=writer.keys.claims,
        mail_key=writer.keys.mail,
        clock=now,
        new_id=new_id,
        random=secrets.token_bytes,
    )
    return Services(
        database=database,
        commands=commands,
        store=store,
        feed=Feed(store, writer.wakeup),
        positions=ViewPositions(
            mysql_users=mysql_replicas or ViewPosition(mysql_view),
            mongo_users=mongo_replicas or ViewPosition(mongo_view),
        ),
        replicas=[one for one in (mysql_replicas, mongo_replicas) if one],
        status=StatusFeed(database),
        quarantines={view.name: view.quarantine for view in (mysql_view, mongo_view)},
        rebuilds=RebuildRequests(database),
        mysql_users=MySQLUsers(mysql_reads),
        mongo_users=MongoUsers(mongo, mongo_replicas),
        data=writer.data,
        mysql_data=MySQLData(mysql_reads),
        mongo_data=MongoData(mongo, mongo_replicas),
        sign_in=sign_in,
        registration=Registration(
            settings.registration,
            settings.registration_proof_of_work_bits,
            budgets,
            by_address,
            invitations=SingleUseTokens(database, secret, INVITATION, now, secrets.token_bytes),
            challenges=SingleUseTokens(database, secret, CHALLENGE, now, secrets.token_bytes),
            pace=_pace(settings.registrations_per_hour),
        ),
        activity=activity,
        import_users=import_users_with(commands),
        tokens=tokens,
        sessions=sessions,
        watch=SessionWatch(sessions, commands, store, now),
        write_quota=WriteQuota(
            budgets,
            per_user=settings.writes_per_hour,
            per_address=settings.address_writes_per_hour,
            at_once=settings.writes_at_once,
        ),
        authenticator=Authenticator(tokens, sessions, commands, now),
        webhooks=Webhooks(
            Endpoints(database, writer.keys.webhooks, now, new_id, secrets.token_bytes),
            Deliveries(database),
            private_addresses=settings.webhook_private_addresses,
            clock=now,
        ),
        mails=mails,
        recovery=Recovery(commands, passwords, sign_in, links, by_address, pending),
        links=links,
        pending=pending,
        require_verified_email=settings.require_verified_email,
        proxies=networks(settings.trusted_proxies or ""),
    )


def _pace(registrations_per_hour: int) -> Pace | None:
    """The pace of registrations, which leaves room for as many as an hour may have; None for no limit."""
    if not registrations_per_hour:
        return None
    return Pace(min(PACE_SECONDS, HOUR.total_seconds() / registrations_per_hour), time.monotonic)


def serving_policy(settings: Settings) -> ServingPolicy:
    """The serving policy of the settings.

    Raises:
        BadSettings: an origin or the manifest of trusted documents is invalid; the message names the entry.
    """
    try:
        origins = origins_of(settings.allowed_origins or "")
    except ValueError as error:
        raise BadSettings(f"ROLLCALL_ALLOWED_ORIGINS: {error}") from error
    return ServingPolicy(
        introspection=settings.introspection,
        origins=origins,
        trusted=_trusted(settings, settings.trusted_documents) if settings.trusted_documents else TrustedDocuments(),
        deadline_seconds=settings.deadline_seconds,
        federation=settings.federation,
        pages=settings.pages,
        caught_mail=settings.caught_mail,
    )


def _trusted(settings: Settings, path: Path) -> TrustedDocuments:
    try:
        documents = read_manifest(path.read_bytes())
        schema = make_schema(federation=settings.federation)
        check_manifest(documents, DocumentCache(introspection=settings.introspection), schema.graphql)
    except OSError as error:
        raise BadSettings(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {error.strerror}") from error
    except BadManifest as error:
        raise BadSettings(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {error}") from error
    return TrustedDocuments(documents, only=settings.trusted_documents_mode == "only")
