"""The live side: log, engine, promises, alerts and the HTTP service."""
