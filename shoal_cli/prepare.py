"""`shoal prepare`: create what Shoal needs in a cloud, before the first start there."""

import json

import click

from runs.run import split_address
from shoal import aws, prices, settings
from shoal.settings import Settings


@click.command(short_help="Make the buckets, the queues and the role on AWS.")
@click.option(
    "--venue",
    type=click.Choice(["pool", "lambda", "split"]),
    default="pool",
    help="Where photos are labelled: by the workers, or also by a Lambda function; split: one that runs tails.",
)
@click.option("--read", multiple=True, metavar="S3", help="Let bulk runs read this: s3://bucket/prefix.")
@click.option(
    "--write", multiple=True, metavar="S3", help="Let bulk runs write their results here: s3://bucket/prefix."
)
@click.option("--remove", is_flag=True, help="Delete the Lambda function and what belongs to it.")
def command(venue: str, read: tuple[str, ...], write: tuple[str, ...], remove: bool) -> None:
    """Create the buckets, the queues, the table and the workers' role on AWS, if they are missing.

    With `--venue lambda` also a Lambda function, its role, its trigger and its tables. With `--venue split` also one
    that runs the tails in SHOAL_TAILS, its role and its address. With `--read` or `--write` alone what `shoal label`
    needs besides: prints and sets the workers' permissions.
    """
    chosen = settings.load_with_env_file()
    if read or write:
        places = [["/".join(split_address(one)) for one in given] for given in (read, write)]
        click.echo(json.dumps(aws.prepare_runs(chosen, *places), indent=2))
        return
    if remove:
        if venue == "pool":
            raise click.UsageError("--remove needs --venue lambda or split: the pool's buckets hold photos and results")
        (_remove_tails if venue == "split" else _remove)(chosen)
        return
    aws.prepare(chosen)
    click.echo(f"buckets  {chosen.in_bucket}, {chosen.out_bucket}")
    queues = (chosen.req_queue, chosen.resp_queue, chosen.dead_queue, chosen.term_queue, chosen.bulk_queue)
    click.echo(f"queues   {', '.join(queues)}")
    click.echo(f"table    {chosen.pool_table}")
    click.echo(f"role     {chosen.role}")
    if venue == "lambda":
        aws.prepare_function(chosen)
        click.echo(
            f"function {chosen.function}: labels what is stored under {chosen.lambda_prefix} in {chosen.in_bucket}"
        )
        click.echo(f"tables   {chosen.images_table}, {chosen.labels_table}")
        click.echo(f"failed   {chosen.function_failed_queue}")
        click.echo(f"price    {prices.function_price_in_words(chosen)}")
    if venue == "split":
        made = aws.prepare_tail_function(chosen)
        click.echo(f"function {made.name}: runs {', '.join(made.tails)}")
        click.echo(f"address  {made.address}, for signed calls (ami/tail-caller-policy.json)")
        click.echo(f"price    {prices.function_price_in_words(chosen)}")


def _remove_tails(chosen: Settings) -> None:
    aws.remove_tail_function(chosen)
    click.echo(f"removed function {chosen.tail_function}, its role and its address")


def _remove(chosen: Settings) -> None:
    waiting = aws.remove_function(chosen)
    click.echo(
        f"removed function {chosen.function}, its role and trigger, {chosen.images_table}, {chosen.labels_table}"
    )
    if waiting:
        click.echo(f"{chosen.function_failed_queue} stays: it holds {waiting} events that were not handled")
