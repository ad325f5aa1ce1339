"""What keeps dependencies from telling others about a workspace; set by entry points and given to what they start."""

OFF_SWITCHES = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "FEAST_USAGE": "False",
}
