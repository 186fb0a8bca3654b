"""Ordinary mitmproxy addons, as its documentation has them."""

REWRITE = '''
"""Headers, path and body."""
from mitmproxy import http

def request(flow: http.HTTPFlow) -> None:
    flow.request.headers["x-added"] = "by the addon"
    flow.request.headers.pop("x-removed", None)
    flow.request.path = flow.request.path.replace("/old", "/new")
    if flow.request.content:
        flow.request.text = flow.request.text.upper()

def response(flow: http.HTTPFlow) -> None:
    flow.response.headers["x-answered"] = flow.request.headers["x-added"]
    flow.response.text = flow.response.text + " and more"
'''

MOCK = """
from mitmproxy import http

def request(flow: http.HTTPFlow) -> None:
    if flow.request.pretty_url.endswith("/mocked"):
        flow.response = http.Response.make(418, b"mocked", {"Content-Type": "text/plain"})
"""

LOG = '''
"""An addon class with options, state, logging and an async hook."""
import asyncio
import logging
from mitmproxy import ctx, http

class Counter:
    def __init__(self):
        self.num = 0

    def load(self, loader):
        loader.add_option(name="greeting", typespec=str, default="hello", help="A word")

    async def request(self, flow: http.HTTPFlow):
        await asyncio.sleep(0)
        self.num += 1
        logging.info("We've seen %d flows: %s %s", self.num, flow.request.method, flow.request.pretty_url)
        flow.metadata["number"] = self.num

    def response(self, flow: http.HTTPFlow):
        flow.response.headers["count"] = f"{ctx.options.greeting} {flow.metadata['number']}"

addons = [Counter()]
'''

CRASH = """
import os

def request(flow):
    if "die" in flow.request.path:
        os._exit(3)
    if "raise" in flow.request.path:
        raise ValueError("on purpose")

def response(flow):
    if "later" in flow.request.path:
        raise ValueError("with the answer")
"""

SLOW = """
import asyncio
import time

async def request(flow):
    if "async" in flow.request.path:
        await asyncio.sleep(60)
    if "block" in flow.request.path:
        time.sleep(60)
"""

KILL = """
def request(flow):
    flow.kill()
"""
