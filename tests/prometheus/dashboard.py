"""Reads a dashboard with Grafana's own types, writes it again, and prints what these did not take."""

import json
import sys

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def differences(given, taken, path):
    if isinstance(given, dict) and isinstance(taken, dict):
        for key, value in given.items():
            yield from differences(value, taken.get(key), f"{path}/{key}")
    elif isinstance(given, list) and isinstance(taken, list) and len(given) == len(taken):
        for index, value in enumerate(given):
            yield from differences(value, taken[index], f"{path}/{index}")
    elif given != taken:
        yield f"{path}: {json.dumps(given)} became {json.dumps(taken)}"


plugins.register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    dashboard = json.load(file)
typed = Dashboard.from_json(dashboard)
written = json.loads(encoder.JSONEncoder(sort_keys=True).encode(typed))
found = list(differences(dashboard, written, ""))
print("\n".join(found))
sys.exit(1 if found else 0)
