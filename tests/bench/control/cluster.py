"""A cluster in a process of its own: the fake API server with services, slices and pods, which replaces pods when told.

`python -m tests.bench.control.cluster SERVICES PODS` writes its URL, and for every line that it reads replaces one pod
and writes when it did (the monotonic clock, which all processes of a machine share).
"""

import asyncio
import json
import sys
import time

from tests.bench.control.world import SERVICES_A_NAMESPACE, place
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.objects import Object, endpoint, endpoint_slice, namespace, node, our_crds, pod, service


class Cluster:
    """What is in it, by services."""

    def __init__(self, server: FakeApiServer, services: int, pods: int) -> None:
        self._server = server
        self._services = services
        self._instances = pods // services
        self._generation = 0

    def seed(self) -> None:
        for each in our_crds():
            self._server.seed(each)
        self._server.seed(node("node-1", "region", "zone"))
        for number in range(0, self._services, SERVICES_A_NAMESPACE):
            self._server.seed(namespace(place(number)[0]))
        for number in range(self._services):
            where, name = place(number)
            address = f"10.96.{number // 250}.{number % 250 + 1}"
            self._server.seed(service(name, namespace=where, selector={"app": name}, addresses=(address,)))
            for each in range(self._instances):
                self._server.seed(self._pod(number, each, 0))
            self._server.seed(self._slice(number, 0))

    def replace(self) -> None:
        """The first pod of the last service, which is another each time."""
        self._generation += 1
        number = self._services - 1
        self._server.seed(self._pod(number, 0, self._generation))
        self._server.seed(self._slice(number, self._generation))
        self._server.remove("v1", "Pod", _name(number, 0, self._generation - 1), place(number)[0])

    def _pod(self, number: int, instance: int, generation: int) -> Object:
        where, name = place(number)
        labels = {"app": name, "version": f"v{instance % 2 + 1}"}
        address = _address(number, instance, generation)
        return pod(_name(number, instance, generation), address, namespace=where, labels=labels, account=name)

    def _slice(self, number: int, generation: int) -> Object:
        where, name = place(number)
        ends = [
            endpoint(_address(number, each, at), _name(number, each, at), namespace=where)
            for each in range(self._instances)
            for at in (generation if each == 0 else 0,)
        ]
        return endpoint_slice(f"{name}-1", name, *ends, namespace=where)


def _name(number: int, instance: int, generation: int) -> str:
    return f"{place(number)[1]}-{generation}-{instance}"


def _address(number: int, instance: int, generation: int) -> str:
    at = number * 8 + instance
    return f"10.{8 + generation % 64}.{at // 250}.{at % 250 + 1}"


async def _main(services: int, pods: int) -> None:
    async with FakeApiServer() as server:
        cluster = Cluster(server, services, pods)
        cluster.seed()
        print(json.dumps({"url": server.url}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            at = time.monotonic()
            cluster.replace()
            print(json.dumps({"at": at}), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
