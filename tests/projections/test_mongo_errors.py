"""How errors of the MongoDB driver are translated."""

import pytest
from pymongo.errors import BulkWriteError, OperationFailure

from projections.errors import ViewUnavailable
from projections.mongo.client import DUPLICATE_KEY, only_duplicates, translated

SHUTTING_DOWN = {"code": 91, "codeName": "ShutdownInProgress", "errmsg": "Replication is being shut down"}
TOO_LONG = {"index": 0, "code": 10334, "errmsg": "BSONObjectTooLarge"}


@pytest.mark.parametrize("where", ["writeErrors", "writeConcernErrors"])
def test_a_bulk_write_that_a_stopping_server_does_not_confirm_is_retried(where: str) -> None:
    """Recorded from a server that was restarted during a deletion: written, but not confirmed."""
    details = {"writeErrors": [], "writeConcernErrors": [], "nUpserted": 1, where: [SHUTTING_DOWN]}
    with pytest.raises(ViewUnavailable), translated():
        raise BulkWriteError(details)


def test_a_permanent_failure_is_not_retried() -> None:
    """Of a single write or of a bulk write."""
    with pytest.raises(BulkWriteError), translated():
        raise BulkWriteError({"writeErrors": [TOO_LONG], "writeConcernErrors": []})
    with pytest.raises(OperationFailure), translated():
        raise OperationFailure("no such command", 59)


def test_duplicates_are_told_apart_from_unconfirmed_writes() -> None:
    """Code that ignores existing documents must not ignore a server that is shutting down."""
    duplicate = {"index": 0, "code": DUPLICATE_KEY, "errmsg": "E11000"}
    assert only_duplicates(BulkWriteError({"writeErrors": [duplicate, duplicate], "writeConcernErrors": []}))
    assert not only_duplicates(BulkWriteError({"writeErrors": [duplicate, TOO_LONG], "writeConcernErrors": []}))
    assert not only_duplicates(BulkWriteError({"writeErrors": [duplicate], "writeConcernErrors": [SHUTTING_DOWN]}))
    assert not only_duplicates(BulkWriteError({"writeErrors": [], "writeConcernErrors": [SHUTTING_DOWN]}))
