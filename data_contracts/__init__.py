"""What the data must be: canonical tables, wire events, contracts, domain types and errors."""

__version__ = "0.1.0"
