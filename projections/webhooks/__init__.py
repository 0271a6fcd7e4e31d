"""Webhooks: changes of users, sent to endpoints of other services as signed HTTP requests.

Each endpoint follows the log by itself, from a checkpoint of its own. `worker.py` moves it: what the endpoint wants
becomes a row of `webhook_deliveries` in the transaction that moves the checkpoint, so each event is queued exactly
once; a delivery is sent until the endpoint accepts it, so it arrives at least once. Its id is that of the event and the
same in each attempt, by which receivers tell repeats.

    signatures.py   secrets, and the signatures that receivers verify
    targets.py      which URLs and addresses requests may go to
    endpoints.py    the table of endpoints
    deliveries.py   the table of deliveries
    schedule.py     which delivery is next, and when a failed one is repeated
    messages.py     the body of a request
    sender.py       the request
    worker.py       one endpoint: queue, send, record
    publisher.py    all endpoints, under one lease
"""

from typing import Final

NAME: Final = "webhooks"
"""Name of the publication in the status and the metrics."""
