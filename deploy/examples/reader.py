#!/usr/bin/env python3
"""Prints the addresses of a service, and again after each change: reader.py <service> [<realm>]

Needs Python 3 alone: it speaks JSON to etcd's own gateway. The environment names the cluster as for etcdctl:
ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_USER (name:password).
"""
import base64
import json
import os
import ssl
import sys
import time
import urllib.request

ENDPOINTS = os.environ.get("ETCDCTL_ENDPOINTS", "http://127.0.0.1:2379").split(",")
TLS = ssl.create_default_context(cafile=os.environ["ETCDCTL_CACERT"]) if "ETCDCTL_CACERT" in os.environ else None
# A watch that is silent for this long is opened again, from the same revision: its connection may be dead.
SILENCE = 60


def encode(text):
    return base64.b64encode(text.encode()).decode()


def decode(text):
    return base64.b64decode(text).decode()


def call(endpoint, path, body, token=None, timeout=10):
    request = urllib.request.Request(endpoint + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", token)
    return urllib.request.urlopen(request, timeout=timeout, context=TLS)


def login(endpoint):
    user = os.environ.get("ETCDCTL_USER")
    if not user:
        return None
    name, _, password = user.partition(":")
    with call(endpoint, "/v3/auth/authenticate", {"name": name, "password": password}) as answer:
        return json.load(answer)["token"]


def follow(endpoint, prefix):
    """Yields the instances as a dictionary from key to URL, again after each change; ends when the watch does."""
    token = login(endpoint)
    span = {"key": encode(prefix), "range_end": encode(prefix[:-1] + chr(ord(prefix[-1]) + 1))}
    with call(endpoint, "/v3/kv/range", span, token) as answer:
        read = json.load(answer)
    instances = {decode(kv["key"]): decode(kv["value"]) for kv in read.get("kvs", [])}
    yield instances
    revision = int(read["header"]["revision"])
    while True:
        watch = {"create_request": {**span, "start_revision": revision + 1}}
        try:
            # The gateway sends one line of JSON for each answer.
            for line in call(endpoint, "/v3/watch", watch, token, timeout=SILENCE):
                result = json.loads(line)["result"]
                if result.get("canceled"):
                    return  # compacted, or the token is old: read again
                for event in result.get("events", []):
                    key = decode(event["kv"]["key"])
                    if event.get("type") == "DELETE":
                        instances.pop(key, None)
                    else:
                        instances[key] = decode(event["kv"]["value"])
                    revision = int(event["kv"]["mod_revision"])
                if "events" in result:
                    yield instances
            return
        except TimeoutError:
            continue


def main(service, realm="default"):
    shown = None
    while True:
        for endpoint in ENDPOINTS:
            try:
                for instances in follow(endpoint, f"/discover/service/{service}/{realm}/"):
                    text = " ".join(sorted(url.split("://", 1)[1] for url in instances.values()))
                    if text != shown:
                        print(text, flush=True)
                        shown = text
            except (OSError, KeyError, ValueError) as error:
                # The last answer stays: etcd is away, and the containers run on.
                print(f"{endpoint}: {error}", file=sys.stderr, flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
