"""`shoal serve`: label photos in one process, without a cloud."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from shoal import settings
from shoal.state_folder import page_address
from web_tier import serve


@click.command(short_help="Serve the page and the API from one process, no cloud.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; SHOAL_PORT (8000) by default, 0 for a free one.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that keeps results and photos; `served` in SHOAL_STATE_DIR by default.",
)
def command(port: int | None, results: Path | None) -> None:
    """Serve the page and the API from one process that labels photos itself: no cloud, no queue, no workers.

    `shoal models prepare` prepares the model once. Ctrl-C ends it.
    """
    chosen = settings.load()
    if port is not None:
        chosen = replace(chosen, port=port)
    folder = (results or chosen.state_dir / "served").absolute()

    def ready(own_port: int) -> None:
        host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
        address = f"http://{host}:{own_port}"
        page_address.tell(chosen.state_dir, address)
        models = ", ".join(chosen.served_models)
        click.echo(f"Serving {models} ({chosen.engine}) at {address}, results in {folder}. Ctrl-C ends it.")
        click.echo(f"Try it: curl --data-binary @photo.jpg {address}/v1/label")

    serve.serve(chosen, folder, ready)
