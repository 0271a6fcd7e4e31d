"""Mail: a follower of the log that tells users what concerns them.

It reads the log from a checkpoint and makes rows of the outbox (`events/outbox.py`) of events that call for a mail. Of
each row that is due it makes the mail and hands it to an SMTP server; then the row is removed. A crash between the two
sends the mail again, with the same Message-ID and the same link, so a reader that compares them has one mail.

    causes.py       which mails an event calls for
    recipients.py   who gets a mail, and what is in it
    messages.py     the mail itself, from templates in English and Malay
    smtp.py         the server that mails are handed to
    publisher.py    the follower, under a lease
"""

from typing import Final

NAME: Final = "mail"
"""Name of the follower in the status and the metrics."""
