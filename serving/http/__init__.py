"""What every call of the API shares: who asks, for what, and how answers and errors look."""
