"""`shoal prepare`: create what Shoal needs in a cloud, before the first start there."""

import click

from shoal import aws, settings


@click.command()
def command() -> None:
    """Create the buckets, the queues, the table and the workers' role on AWS, if they are missing."""
    chosen = settings.load_with_env_file()
    aws.prepare(chosen)
    click.echo(f"buckets  {chosen.in_bucket}, {chosen.out_bucket}")
    click.echo(f"queues   {chosen.req_queue}, {chosen.resp_queue}, {chosen.dead_queue}, {chosen.term_queue}")
    click.echo(f"table    {chosen.pool_table}")
    click.echo(f"role     {chosen.role}")
