"""The calls of the API, and what one worker holds open to answer them."""
