"""The node agent against a kernel: real network namespaces and processes, a real agent, a fake API server."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from remora.install.parts.node_agent import CAPABILITIES
from tests.netns import control_groups
from tests.netns.captured_mesh import CapturedMesh, Port, Sidecar, request
from tests.netns.injected import InjectedPod
from tests.netns.namespaces import Namespace, Network
from tests.netns.node import CGROUPFS, PYTHON, Node

T = TypeVar("T")
PORTS = {"traffic.sidecar.istio.io/excludeOutboundPorts": "3306"}


def until(condition: Callable[[], T], node: Node, within: float = 10.0) -> T:
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {node.said()}"
        time.sleep(0.02)
    return result


@pytest.fixture
def node(net: Network) -> Iterator[Node]:
    made = Node(net.hub)
    try:
        yield made
    finally:
        made.close()


def injected(
    name: str, there: Namespace, annotations: dict[str, str] | None = None, *, cni: bool = True
) -> InjectedPod:
    return InjectedPod(name, there.ipv4, "10.77.1.1", annotations or {}, [("http", 8080)], cni=cni)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, err = process.communicate(timeout=20)
    return process.returncode, out + err


def as_by_remora_init(net: Network, annotations: dict[str, str]) -> list[str]:
    """Both tables of a pod that has an init container of its own."""
    there = net.pod(f"like{len(net.pods)}")
    there.run(*PYTHON, *injected("like", there, annotations, cni=False).init)
    return [there.saved(4), there.saved(6)]


def test_pods_are_captured_as_remora_init_would_and_validation_waits_for_it(net: Network, node: Node) -> None:
    one, two = net.pod("one"), net.pod("two")
    before = net.hub.saved(4)
    pods = [
        node.schedule(one, injected("one", one, PORTS)),
        node.schedule(two, injected("two", two, {"traffic.sidecar.istio.io/includeOutboundIPRanges": ""})),
    ]
    node.start_agent()
    validations = [pod.validation() for pod in pods]
    pods[0].run(containers=2)
    # A process of the runtime's, in the pod's group and the node's network.
    stray = node.schedule(net.hub, injected("two", two))
    stray.document["metadata"]["uid"] = pods[1].document["metadata"]["uid"]
    stray.run(CGROUPFS)
    pods[1].run(CGROUPFS)
    for validation, direction, port in zip(validations, ("outbound", "inbound"), (15001, 15006), strict=True):
        status, said = ended(validation)
        assert status == 0, f"{said}\n{node.said()}"
        assert f"IPv4 {direction}: a connection to " in said
        assert f"arrives at port {port}" in said
        assert f"IPv6 {direction}: a connection to " in said

    assert [one.saved(4), one.saved(6)] == as_by_remora_init(net, PORTS)
    assert "::6/128" in one.run("ip", "-6", "address", "show", "dev", "lo").stdout
    assert net.hub.saved(4) == before, "the node's own network is never touched"
    assert node.metrics()['remora_node_captures_total{outcome="applied"}'] == 2
    assert node.metrics()['remora_node_pods{state="captured"}'] == 2
    assert node.events() == []


def test_an_agent_that_is_started_anew_finds_old_pods_and_new_ones_and_forgets_those_that_went(
    net: Network, node: Node
) -> None:
    old, new, gone = net.pod("old"), net.pod("new"), net.pod("gone")
    first, last = node.schedule(old, injected("old", old)), node.schedule(gone, injected("gone", gone))
    for pod in (first, last):
        pod.run()
    node.start_agent()
    assert ended(first.validation())[0] == 0, node.said()
    node.stop_agent(signal.SIGKILL)
    rules = old.run("iptables-save").stdout

    later = node.schedule(new, injected("new", new))
    later.run()
    last.end()
    waiting = later.validation()
    assert old.run("iptables-save").stdout.count("REMORA") == rules.count("REMORA"), "rules stay without it"
    node.start_agent()
    assert ended(waiting)[0] == 0, node.said()
    until(lambda: node.metrics()['remora_node_pods{state="captured"}'] == 2, node)
    assert node.metrics()['remora_node_captures_total{outcome="unchanged"}'] == 1, "those of the old one"
    assert node.metrics()['remora_node_captures_total{outcome="applied"}'] == 1
    assert node.stop_agent() == 0


def test_what_is_not_its_business_is_left_alone(net: Network, node: Node) -> None:
    """A pod with its own remora-init, one of the node's network, one of another UID, one that says what it may not."""
    own, host, other, bad = (net.pod(name) for name in ("own", "host", "other", "bad"))
    node.schedule(own, injected("own", own, cni=False)).run()
    node.schedule(host, injected("host", host), hostNetwork=True).run()
    stranger = node.schedule(other, injected("other", other))
    stranger.document["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    stranger.run()
    pod = injected("bad", bad)
    pod.pod["spec"]["initContainers"][0]["args"].append("--proxy-uid=1000")
    node.schedule(bad, pod).run()
    node.start_agent()
    event = until(lambda: node.events(), node)[0]
    assert event["involvedObject"]["name"] == "bad"
    assert (event["reason"], event["type"]) == ("CaptureRefused", "Warning")
    assert "the argument '--proxy-uid=1000', which no pod may have" in event["message"]
    seen = node.metrics()
    assert seen['remora_node_pods{state="refused"}'] == 1
    assert seen['remora_node_pods{state="waiting"}'] == 1, "no process has the other one's UID"
    for each in (own, host, other, bad):
        assert "REMORA" not in each.saved(4)


def test_without_the_agent_no_application_starts(net: Network, node: Node) -> None:
    there = net.pod("one")
    pod = node.schedule(there, injected("one", there))
    deleted = pod.validation()
    assert deleted.stdout is not None
    assert deleted.stdout.readline() == "waiting for the node agent to capture this pod's connections\n"
    deleted.terminate()
    assert ended(deleted)[0] == 128 + signal.SIGTERM, "asked to end it does, as a container's first process, too"
    status, said = ended(pod.validation(seconds=1))
    assert status == 1
    assert "nothing has captured this pod's connections within 1 s: IPv4 outbound: a connection to 192.0.2.1:80" in said
    assert "the node agent has to on node node-1: is it there" in said


def test_what_leaves_by_an_excluded_interface_is_not_waited_for(net: Network, node: Node) -> None:
    there = net.pod("one")
    excluded = {"traffic.sidecar.istio.io/excludeInterfaces": "eth0"}
    status, said = ended(node.schedule(there, injected("one", there, excluded)).validation(seconds=1))
    assert (status, "nothing is to be captured that can be seen from here" in said) == (0, True), said


def test_what_a_child_cannot_do_is_told_once_as_an_event_and_tried_again(net: Network, node: Node) -> None:
    there = net.pod("one")
    pod = injected("one", there)
    pod.pod["spec"]["initContainers"][0]["args"].append("--exclude-outbound-ports=99999")
    made = node.schedule(there, pod)
    made.run()
    node.start_agent()
    event = until(lambda: node.events(), node)[0]
    assert event["reason"] == "CaptureFailed"
    assert "'99999' is no port" in event["message"]
    assert "it is tried again" in event["message"]
    until(lambda: node.metrics()['remora_node_captures_total{outcome="failed"}'] >= 2, node)
    assert len(node.events()) == 1, "the same trouble is told once"


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.96.0.10
  selector: {app: reviews}
  ports:
  - {name: http, port: 80, targetPort: 9080}
"""


def test_applications_of_pods_without_privileges_talk_by_way_of_their_sidecars(net: Network, node: Node) -> None:
    """Each step of a pod's start as the kubelet takes it: remora-validation, the sidecar, the application."""
    web, reviews = net.pod("web"), net.pod("reviews")
    mesh = CapturedMesh(net)
    try:
        mesh.start()
        mesh.apply(SERVICE)
        node.start_agent()
        sidecars = [
            mesh.register(web, "web", cni=True),
            mesh.register(reviews, "reviews", [Port("http", 9080)], cni=True),
        ]
        pods = [node.schedule(sidecar.pod, sidecar.injected) for sidecar in sidecars]
        validations = [pod.validation() for pod in pods]
        for pod in pods:
            pod.run(containers=2)
        assert [ended(each)[0] for each in validations] == [0, 0], node.said()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Sidecar.start, sidecars))
        mesh.http_server(reviews, 9080, "reviews")

        def answered() -> bool:
            found = request(web, "10.96.0.10", 80, "/of-a-service", authority="reviews")
            return found.status == 200 and "spiffe://" in found.seen["headers"].get("x-forwarded-client-cert", "")

        until(answered, node)
    finally:
        mesh.close()


def test_the_daemon_sets_capabilities_are_what_it_takes_for_another_users_process_in_a_real_control_group(
    net: Network, node: Node
) -> None:
    """A pod's first process is its sandbox's, of a user of its own. NET_RAW is for the older kind of iptables alone."""
    there = net.pod("one")
    pod = node.schedule(there, injected("one", there))
    with contextlib.ExitStack() as stack:
        try:
            group = stack.enter_context(control_groups.of_pod(pod.document["metadata"]["uid"]))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}; run the tests as root with a writable cgroupfs")
        sandbox = there.start(["sleep", "600"], uid=65_535)
        stack.callback(lambda: (sandbox.kill(), sandbox.wait()))
        control_groups.put(group, sandbox.pid)
        node.show_as_it_is(sandbox.pid)
        for lacking in ("SYS_ADMIN", "NET_ADMIN"):
            assert lacking in entered(there, lacking)
        node.start_agent(without("SYS_PTRACE"))
        until(lambda: any("SYS_PTRACE" in each["message"] for each in node.events()), node)
        node.stop_agent()
        assert "REMORA" not in there.saved(4)
        node.start_agent(without())
        assert ended(pod.validation())[0] == 0, node.said()
        node.stop_agent()


def without(lacking: str = "") -> list[str]:
    """What goes before a command of root's so that it has what the DaemonSet has, but for that."""
    kept = ",".join(f"+{each.lower()}" for each in CAPABILITIES if each != lacking)
    return ["setpriv", f"--bounding-set=-all,{kept}"]


def entered(there: Namespace, lacking: str) -> str:
    """What the agent's child complains of."""
    with open(there.path) as handle:
        argv = [*without(lacking), *PYTHON[:-1], "remora.node.entered", str(handle.fileno())]
        made = subprocess.run(argv, pass_fds=[handle.fileno()], capture_output=True, text=True, timeout=20)
    assert made.returncode == 1
    return made.stderr
