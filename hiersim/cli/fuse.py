"""`hiersim fuse`: a policy's kernels, written back into the trace."""

from __future__ import annotations

import click

from hiersim.cli import options


@click.command()
@click.argument("trace")
@click.option("-p", "--policy", required=True, metavar="P", help="Fusion policy, or what the trace carries.")
@click.option("-d", "--design", metavar="D", help="Bundled design or YAML file, for policies that look at one.")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=options.SET_HELP)
@click.option("--name", default="fused", show_default=True, metavar="NAME", help="What the trace calls the grouping.")
@click.option("-o", "--output", required=True, metavar="TRACE2", help="The trace to write (.npz, .jsonl, .jsonl.gz).")
@options.keep_peak
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def fuse(
    trace: str,
    policy: str,
    design: str | None,
    sets: tuple[str, ...],
    name: str,
    output: str,
    keep_peak: bool,
    quiet: bool,
) -> None:
    """Group the operators of TRACE into kernels as policy P does, and write that into TRACE2.

    In the readable form (.jsonl) each kernel is a row with the numbers of its operators: move them about by hand and
    replay with --fusion NAME. What is no partition, or makes kernels wait for each other, is refused.

    \b
    Example:
      hiersim fuse bert-large-prefill --policy pointwise -o mine.jsonl
      hiersim compare mine.jsonl --design h100-sxm --fusion eager --fusion fused
    """
    from hiersim.frontends.load import load_trace
    from hiersim.frontends.save import write_trace
    from hiersim.run import fuse as fused

    loaded = load_trace(trace)
    machine = options.changed_design(design, options.changes_of(sets)) if design else None
    made = fused(loaded, policy, machine, name=name, readable=not output.endswith(".npz"), keep_peak=keep_peak)
    write_trace(made, output)
    kind = "grouping" if name in made.groupings else "schedule"
    held = made.groupings.get(name) or made.schedules[name]
    options.say(f"{output}: {kind} '{name}' of {len(held):,} kernels, replayed by --fusion {name}", quiet)
