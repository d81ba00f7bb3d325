"""`shoal prepare`: what a Shoal needs in a cloud, before its first start there."""

import click

from shoal import aws, settings


@click.command()
def command() -> None:
    """Make the buckets, the queues and the workers' role on AWS, where they are missing."""
    chosen = settings.load_with_env_file()
    aws.prepare(chosen)
    click.echo(f"{chosen.in_bucket}, {chosen.out_bucket}, {chosen.req_queue}, {chosen.resp_queue}, {chosen.dead_queue}")
    click.echo(f"and the role {chosen.role} are there.")
