"""The two sub-problems of a layered drawing: who stands above whom, and how far apart. Pure and deterministic."""

from collections.abc import Mapping, Sequence

SWEEPS = 12
"""Barycentre passes; drawings of the size of a screen settle in fewer."""


def acyclic(nodes: Sequence[str], successors: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    """The edges that, turned around, leave no cycle: those that a depth-first walk finds leading back.

    The walk starts where nobody calls, so that a cycle is cut at the edge against the main flow of traffic.
    """
    called = {target for targets in successors.values() for target in targets}
    roots = [node for node in nodes if node not in called] + [node for node in nodes if node in called]
    back: set[tuple[str, str]] = set()
    done: set[str] = set()
    for root in roots:
        if root in done:
            continue
        open_nodes = {root}
        # Explicit stack: recursion would end at about a thousand services in a row.
        stack = [(root, iter(successors.get(root, ())))]
        while stack:
            node, targets = stack[-1]
            for target in targets:
                if target in open_nodes:
                    back.add((node, target))
                elif target not in done:
                    open_nodes.add(target)
                    stack.append((target, iter(successors.get(target, ()))))
                    break
            else:
                stack.pop()
                open_nodes.discard(node)
                done.add(node)
    return back


def longest_path_layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The layer of each node: one more than the deepest of its callers. `edges` has no cycle."""
    waiting = dict.fromkeys(nodes, 0)
    targets: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        waiting[target] += 1
        targets[source].append(target)
    layers = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not waiting[node]]
    for node in ready:
        for target in targets[node]:
            layers[target] = max(layers[target], layers[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return layers


def order_layers(layers: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Reorder every layer so that few edges cross; each edge joins neighbouring layers. Barycentre heuristic."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
        before.setdefault(target, []).append(source)
    current = [list(layer) for layer in layers]
    best, best_crossings = [list(layer) for layer in current], crossings(current, edges)
    for sweep in range(SWEEPS):
        if not best_crossings:
            break
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        for index in range(1, len(current)) if forward else range(len(current) - 2, -1, -1):
            fixed = {node: place for place, node in enumerate(current[index - 1 if forward else index + 1])}
            current[index] = _by_barycentre(current[index], neighbours, fixed)
        found = crossings(current, edges)
        if found < best_crossings:
            best, best_crossings = [list(layer) for layer in current], found
    return best


def _by_barycentre(layer: list[str], neighbours: Mapping[str, list[str]], fixed: Mapping[str, int]) -> list[str]:
    def key(item: tuple[int, str]) -> tuple[float, int]:
        place, node = item
        places = [fixed[other] for other in neighbours.get(node, ()) if other in fixed]
        return (sum(places) / len(places) if places else place, place)

    return [node for _, node in sorted(enumerate(layer), key=key)]


def crossings(layers: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]]) -> int:
    """How many pairs of edges cross, given the order of every layer."""
    place = {node: (depth, index) for depth, layer in enumerate(layers) for index, node in enumerate(layer)}
    gaps: dict[int, list[tuple[int, int]]] = {}
    for source, target in edges:
        gaps.setdefault(place[source][0], []).append((place[source][1], place[target][1]))
    total = 0
    for pairs in gaps.values():
        pairs.sort()
        total += sum(later[1] < earlier[1] for i, earlier in enumerate(pairs) for later in pairs[i + 1 :])
    return total


def spread(desired: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Positions closest to `desired` (least squares) that keep the order, at least `gaps[i]` between i and i+1.

    Pool adjacent violators: shifted by the summed gaps, the problem is isotonic regression.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, int]] = []  # mean, size
    for wish, offset in zip(desired, offsets, strict=True):
        mean, size = wish - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, other_size = blocks.pop()
            mean = (mean * size + other * other_size) / (size + other_size)
            size += other_size
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    return [value + offset for value, offset in zip(flat, offsets, strict=True)]
