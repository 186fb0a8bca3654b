"""Put the planned rules into the kernel, or take them out: both IP versions, each in one transaction, or neither."""

from collections.abc import Callable
from dataclasses import dataclass

from remora.init import loopback
from remora.init.back_end import BackEnd, CaptureError, Kind, installed
from remora.init.plan import Rules, Table
from remora.init.table import Present, read, same, transition

ATTEMPTS = 3
"""At a transaction: it fails as a whole where another program has changed our rules since we read them."""

NOTHING = Rules(Table(), Table())

Say = Callable[[str], None]


@dataclass
class _Change:
    """What was done in one family, so that it can be undone."""

    version: int
    before: Table


@dataclass
class Application:
    """One run of the command against this network namespace."""

    back_ends: tuple[BackEnd, ...]
    say: Say
    """Takes lines for the operator."""

    def install(self, rules: Rules) -> None:
        """Have just these rules of ours. Raises CaptureError; then everything is as it was."""
        had_address = loopback.has_address()
        self._set_address(wanted=True)
        failures: list[CaptureError] = []
        for back_end in self._by_preference():
            try:
                self._set(back_end, rules)
            except CaptureError as error:
                failures.append(error)
                continue
            if failures:
                self.say(f"{back_end} is used: {failures[0].lines[0]}")
            # The other kind's rules of an earlier version would capture everything a second time.
            for other in self.back_ends:
                if other is not back_end:
                    self._clear(other)
            return
        self._set_address(wanted=had_address)
        raise _joined(failures)

    def remove(self) -> None:
        """Have no rule of ours, of whichever version and kind. Raises CaptureError."""
        failures: list[CaptureError] = []
        for back_end in self.back_ends:
            try:
                self._set(back_end, NOTHING)
            except CaptureError as error:
                failures.append(error)
        if len(failures) == len(self.back_ends):
            raise _joined(failures)
        self._set_address(wanted=False)

    def _by_preference(self) -> list[BackEnd]:
        """Where our own rules are; else where those of others are; else the machine's choice."""

        def rank(back_end: BackEnd) -> tuple[bool, bool]:
            try:
                present = [read(back_end.save(version)) for version in _versions()]
            except CaptureError:
                return (True, True)
            ours = any(each.ours != Table() for each in present)
            return (not ours, not any(each.foreign_rules for each in present))

        if len(self.back_ends) == 1:
            return list(self.back_ends)
        return sorted(self.back_ends, key=rank)

    def _set(self, back_end: BackEnd, rules: Rules) -> None:
        changes: list[_Change] = []
        try:
            for version in _versions():
                self._set_version(back_end, version, rules.of(version), changes)
        except CaptureError:
            # Half of the pod captured is worse than nothing: it would be found out late.
            for change in changes:
                self._transact(back_end, change.version, change.before)
            raise
        if 6 not in _versions():
            self.say("IPv6: skipped, this kernel has none")

    def _set_version(self, back_end: BackEnd, version: int, wanted: Table, changes: list[_Change]) -> None:
        try:
            before = self._transact(back_end, version, wanted)
        except CaptureError as error:
            if version == 6 and not loopback.has_ipv6_address():
                # No packet could come or go by it. With an address it would be a way around the sidecar.
                self.say(f"IPv6: skipped, there is no IPv6 address here and {error.lines[0]}")
                return
            raise
        if same(before.ours, wanted):
            self.say(f"IPv{version}: nothing to do" + ("" if wanted != Table() else ", there are no rules of ours"))
            return
        changes.append(_Change(version, before.ours))
        what = "removed" if wanted == Table() else "replaced" if before.ours != Table() else "applied"
        self.say(f"IPv{version}: rules {what} ({back_end})")

    def _transact(self, back_end: BackEnd, version: int, wanted: Table) -> Present:
        """Returns what was there before. Raises CaptureError."""
        for left in reversed(range(ATTEMPTS)):
            before = read(back_end.save(version))
            text = transition(before.ours, wanted)
            if not text:
                return before
            try:
                back_end.restore(version, text)
            except CaptureError:
                if left and not same(read(back_end.save(version)).ours, before.ours):
                    continue
                raise
            return before
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _clear(self, back_end: BackEnd) -> None:
        try:
            for version in _versions():
                before = self._transact(back_end, version, Table())
                if before.ours != Table():
                    self.say(f"IPv{version}: rules of an earlier run removed ({back_end})")
        except CaptureError:
            # This kind does not work here, so that it holds nothing either.
            return

    def _set_address(self, wanted: bool) -> None:
        if not loopback.kernel_has_ipv6() or loopback.has_address() == wanted:
            return
        try:
            loopback.add_address() if wanted else loopback.remove_address()
        except CaptureError as error:
            if loopback.has_ipv6_address():
                raise
            self.say(f"IPv6: {error.lines[0]} (there is no IPv6 address here)")


def _joined(failures: list[CaptureError]) -> CaptureError:
    return CaptureError(*dict.fromkeys(line for failure in failures for line in failure.lines))


def _versions() -> tuple[int, ...]:
    return (4, 6) if loopback.kernel_has_ipv6() else (4,)


def application(kind: Kind | None, wait_s: int, say: Say) -> Application:
    """On this machine, with programs of `kind` only where it is given. Raises CaptureError."""
    found = installed(wait_s)
    chosen = tuple(each for each in found if kind in (None, each.kind))
    if not chosen:
        there = " and ".join(str(each) for each in found)
        raise CaptureError(f"iptables-{kind}-restore is not installed, only {there}: leave --back-end away")
    return Application(chosen, say)
