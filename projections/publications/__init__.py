"""Publications: followers of the log that tell other systems of each change.

A publication is to its projector what a view is: it has a checkpoint, applies batches of events, and holds users in
quarantine. `changes.py` makes the state before and after each event, `messages.py` what is published of it, and
`kafka.py` publishes it in Kafka.
"""

KAFKA = "kafka"
"""Name of the publication in Kafka, as in the status."""
USERS = "users"
DATA = "data"
"""Names of the kinds of streams."""
