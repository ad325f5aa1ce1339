"""Events on their way to those who subscribed: signed, tried again, and never lost."""
