"""`shoal find`: the photos with a label, of those that the Lambda function has labelled."""

import itertools

import click

from shoal import aws, settings

SPELLING = "it is written as the model writes it, such as Egyptian_cat"


@click.command(short_help="Print the photos with a label (venue lambda).")
@click.argument("label")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The most photos to print.")
def command(label: str, limit: int) -> None:
    """Print the photos with LABEL, the surest first: the confidence and the address of each.

    The photos are those that the venue lambda has labelled. A blank in LABEL also stands for an underscore.
    """
    tables = aws.running_label_tables(settings.load_with_env_file())
    names = dict.fromkeys((label, label.replace(" ", "_")))
    found = itertools.chain.from_iterable(tables.find(name, limit) for name in names)
    lines = [f"{one.confidence:.4f}  {one.url}" for one in itertools.islice(found, limit)]
    click.echo("\n".join(lines) if lines else f"no photo has the label {label}: {SPELLING}")
