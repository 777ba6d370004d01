"""Publishes the events of events.json with the CloudEvents SDK for Python, in every HTTP mode that it has.

Called with a URL; prints what came of each as JSON: mode, id, status, and whether the call raised.
"""

import base64
import json
import pathlib
import sys
import warnings

import requests
from cloudevents.core.bindings import http as core
from cloudevents.core.v1.event import CloudEvent as CoreEvent
from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent

warnings.simplefilter("ignore")


def parts(event, mode):
    """The attributes of an event, its id made one of this mode, and its data."""
    attributes = {k: v for k, v in event.items() if k not in ("data", "text", "base64")}
    attributes["id"] = f"python-{mode}-{event['id']}"
    if "base64" in event:
        return attributes, base64.b64decode(event["base64"])
    return attributes, event.get("data", event.get("text"))


def core_parts(event, mode):
    from datetime import datetime

    attributes, data = parts(event, mode)
    if "time" in attributes:
        attributes["time"] = datetime.fromisoformat(attributes["time"].replace("Z", "+00:00"))
    return CoreEvent(attributes, data)


def v1(convert, mode):
    return lambda event: convert(CloudEvent(*parts(event, mode)))


def of_core(convert, mode):
    def message(event):
        made = convert(core_parts(event, mode))
        return made.headers, made.body

    return message


MODES = {
    "v1-binary": v1(to_binary, "v1-binary"),
    "v1-structured": v1(to_structured, "v1-structured"),
    "core-binary": of_core(core.to_binary_event, "core-binary"),
    "core-structured": of_core(core.to_structured_event, "core-structured"),
}

results = []
for mode, message in MODES.items():
    for event in json.loads((pathlib.Path(__file__).parent / "events.json").read_text()):
        headers, body = message(event)
        result = {"id": f"python-{mode}-{event['id']}", "status": None, "raised": False}
        try:
            answer = requests.post(sys.argv[1], headers=headers, data=body, timeout=10)
            result["status"] = answer.status_code
            answer.raise_for_status()
        except (requests.HTTPError, UnicodeEncodeError):
            result["raised"] = True
        results.append(result)
print(json.dumps(results))
