"""What MongoDB says when it goes away in the middle of a write."""

import pytest
from pymongo.errors import BulkWriteError, OperationFailure

from projections.errors import ViewUnavailable
from projections.mongo.client import DUPLICATE_KEY, is_in_the_way, translated

SHUTTING_DOWN = {"code": 91, "codeName": "ShutdownInProgress", "errmsg": "Replication is being shut down"}
TOO_LONG = {"index": 0, "code": 10334, "errmsg": "BSONObjectTooLarge"}


@pytest.mark.parametrize("where", ["writeErrors", "writeConcernErrors"])
def test_a_bulk_write_that_a_server_on_its_way_out_leaves_open_is_tried_again(where: str) -> None:
    """As a server said it that was restarted under a deletion: written, and nobody knows by how many."""
    details = {"writeErrors": [], "writeConcernErrors": [], "nUpserted": 1, where: [SHUTTING_DOWN]}
    with pytest.raises(ViewUnavailable), translated():
        raise BulkWriteError(details)


def test_a_write_that_no_waiting_mends_is_not_taken_for_one() -> None:
    """By itself or in bulk."""
    with pytest.raises(BulkWriteError), translated():
        raise BulkWriteError({"writeErrors": [TOO_LONG], "writeConcernErrors": []})
    with pytest.raises(OperationFailure), translated():
        raise OperationFailure("no such command", 59)


def test_what_is_in_the_way_is_told_from_what_nobody_has_confirmed() -> None:
    """Who passes over documents that are there already must not pass over a server that is on its way out."""
    there = {"index": 0, "code": DUPLICATE_KEY, "errmsg": "E11000"}
    assert is_in_the_way(BulkWriteError({"writeErrors": [there, there], "writeConcernErrors": []}))
    assert not is_in_the_way(BulkWriteError({"writeErrors": [there, TOO_LONG], "writeConcernErrors": []}))
    assert not is_in_the_way(BulkWriteError({"writeErrors": [there], "writeConcernErrors": [SHUTTING_DOWN]}))
    assert not is_in_the_way(BulkWriteError({"writeErrors": [], "writeConcernErrors": [SHUTTING_DOWN]}))
