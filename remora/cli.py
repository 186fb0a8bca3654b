"""The command `remora`: its subcommands, and the one place where failures become text and an exit status."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from remora.failure import Failure
from remora.output import print_error, print_line

if TYPE_CHECKING:
    from typer import Typer

DONE, NO, WRONG_USE = 0, 1, 2
"""Exit status: done; the answer is no; wrong use."""

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

COMPONENTS = (
    "proxy", "init-iptables", "wait", "node-agent", "control", "collect", "query", "console", "custom-metrics",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    # Started without them (`>&-`): what is printed then goes nowhere.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one subcommand; returns its exit status, having said on standard error what went wrong."""
    try:
        if argv and argv[0] in COMPONENTS:
            # Before typer is imported: a sidecar starts sooner, and stays smaller, without it.
            from remora.commands import components

            return components.run(argv[0], argv[1:])
        status = _subcommand(argv)
        sys.stdout.flush()  # here, where a reader that is gone is no trouble
        return status
    except Failure as failure:
        for line in failure.lines:
            print_error(line)
        return NO
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, `head` say, has seen enough. Python would complain once more when it flushes at exit.
        _write_nowhere()
        return DONE
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _write_nowhere()
        print_error(f"remora: cannot write to standard output: {error.strerror}")
        return NO


def _write_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _subcommand(argv: Sequence[str]) -> int:
    import typer

    try:
        result = _application()(list(argv) or ["--help"], prog_name="remora", standalone_mode=False)
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        # The command that the trouble is in: of an unknown one there is no help.
        command = context.command_path if (context := getattr(error, "ctx", None)) is not None else "remora"
        # How the library that reads the values begins what it says: its own word, and no user's.
        said = " ".join(error.format_message().split()).replace(": Value error, ", ": ")
        print_error(f"{command}: {said} (see {command} --help)")
        return WRONG_USE
    return result if isinstance(result, int) else DONE


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_line(f"remora {version('remora')}")
        raise SystemExit(DONE)


def _application() -> "Typer":
    import typer

    from remora.commands import (
        analyze,
        apply,
        check,
        components,
        config,
        dashboards,
        delete,
        diff,
        errors,
        get,
        graph,
        inject,
        inspect,
        install,
        logs,
        metrics,
        multicluster,
        prometheus,
        run,
        status,
        tap,
        traces,
        uninstall,
        up,
    )

    def _root(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        """Options of the command itself."""

    from remora.commands.shape import Command, DefaultGroup, Group

    app = typer.Typer(
        cls=Group,
        help="Remora: a service mesh and its observability, in Python.",
        epilog="Start with `remora up`, then look at the console that it prints.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    mesh, rules, look, parts = "The mesh", "Traffic rules", "Looking", "Components"
    cluster = "Kubernetes"
    app.command("up", cls=Command, epilog=up.EPILOG, rich_help_panel=mesh)(up.up)
    app.command("run", cls=Command, epilog=run.EPILOG, rich_help_panel=mesh, context_settings=run.CONTEXT)(run.run)
    app.command("status", cls=Command, epilog=status.EPILOG, rich_help_panel=mesh)(status.status)
    app.command("inject", cls=Command, epilog=inject.EPILOG, rich_help_panel=cluster)(inject.inject)
    app.command("install", cls=Command, epilog=install.EPILOG, rich_help_panel=cluster)(install.install)
    app.command("uninstall", cls=Command, epilog=uninstall.EPILOG, rich_help_panel=cluster)(uninstall.uninstall)
    app.command("check", cls=Command, epilog=check.EPILOG, rich_help_panel=cluster)(check.check)
    clusters = typer.Typer(
        cls=Group, help=multicluster.HELP, epilog=multicluster.ADD_EPILOG, rich_markup_mode="rich", add_completion=False
    )
    clusters.command("add", cls=Command, epilog=multicluster.ADD_EPILOG)(multicluster.add)
    clusters.command("remove", cls=Command, epilog=multicluster.REMOVE_EPILOG)(multicluster.remove)
    app.add_typer(clusters, name="multicluster", rich_help_panel=cluster)
    app.command("apply", cls=Command, epilog=apply.EPILOG, rich_help_panel=rules)(apply.apply)
    app.command("get", cls=Command, epilog=get.EPILOG, rich_help_panel=rules)(get.get)
    app.command("delete", cls=Command, epilog=delete.EPILOG, rich_help_panel=rules)(delete.delete)
    app.command("diff", cls=Command, epilog=diff.EPILOG, rich_help_panel=rules)(diff.diff)
    app.command("analyze", cls=Command, epilog=analyze.EPILOG, rich_help_panel=rules)(analyze.analyze)
    app.command("config", cls=Command, epilog=config.EPILOG, rich_help_panel=rules)(config.config)
    app.command("logs", cls=Command, epilog=logs.EPILOG, rich_help_panel=look)(logs.logs)
    app.command("traces", cls=Command, epilog=traces.EPILOG, rich_help_panel=look)(traces.traces)
    app.command("errors", cls=Command, epilog=errors.EPILOG, rich_help_panel=look)(errors.errors)
    numbers = typer.Typer(
        cls=DefaultGroup, help=metrics.HELP, epilog=metrics.EPILOG, rich_markup_mode="rich", add_completion=False
    )
    numbers.command("show", cls=Command, epilog=metrics.EPILOG)(metrics.metrics)
    numbers.command("cardinality", cls=Command, epilog=prometheus.CARDINALITY_EPILOG)(prometheus.cardinality)
    numbers.command("prometheus-config", cls=Command, epilog=prometheus.CONFIG_EPILOG)(prometheus.prometheus_config)
    app.add_typer(numbers, name="metrics", rich_help_panel=look)
    app.command("graph", cls=Command, epilog=graph.EPILOG, rich_help_panel=look)(graph.graph)
    grafana = typer.Typer(
        cls=Group, help=dashboards.HELP, epilog=dashboards.PUSH_EPILOG, rich_markup_mode="rich", add_completion=False
    )
    grafana.command("push", cls=Command, epilog=dashboards.PUSH_EPILOG)(dashboards.push)
    grafana.command("build", cls=Command, epilog=dashboards.BUILD_EPILOG)(dashboards.build)
    grafana.command("check", cls=Command, epilog=dashboards.CHECK_EPILOG)(dashboards.check)
    app.add_typer(grafana, name="dashboards", rich_help_panel=look)
    app.command("tap", cls=Command, epilog=tap.EPILOG, rich_help_panel=look)(tap.tap)
    app.command("inspect", cls=Command, epilog=inspect.EPILOG, rich_help_panel=look)(inspect.inspect)
    for name in COMPONENTS:
        app.command(name, cls=Command, rich_help_panel=parts)(components.listed(name))
    return app
