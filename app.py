"""Starts Guppy Lab. Reads the environment, finds a port, opens the lab; everything else is in `lab/`.

GUPPY_CHECKPOINTS names the folder of your own runs, PORT or GRADIO_SERVER_PORT the port, GRADIO_SERVER_NAME the
address to listen on, GUPPY_SHARE=1 (or --share) asks Gradio for a public link.
"""

from __future__ import annotations

import argparse
import contextlib
import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

with contextlib.suppress(ImportError):
    # On a ZeroGPU Space `spaces` has to see torch being imported.
    import spaces  # noqa: F401

from guppy.errors import GuppyError
from lab.app import build_lab, launch_options
from lab.jobs import jobs

FIRST_PORT, PORTS = 7860, 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Open Guppy Lab in the browser.")
    parser.add_argument("--share", action="store_true", help="ask Gradio for a public link, as Colab needs")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or os.environ.get("GRADIO_SERVER_PORT") or None,
        help=f"the port; without it the first free one from {FIRST_PORT}",
    )
    arguments = parser.parse_args()
    port = arguments.port
    try:
        jobs()  # goes on with what an earlier lab left waiting, and lets no worker outlive this one by accident
        demo = build_lab()
        _, local, public = demo.launch(
            server_name=os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1",
            server_port=port,
            share=arguments.share or os.environ.get("GUPPY_SHARE", "").lower() in ("1", "true", "yes"),
            quiet=True,
            prevent_thread_lock=True,
            **launch_options(),
        )
    except GuppyError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:
        wanted = f"Port {port}" if port else f"Every port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
        raise SystemExit(f"{wanted} cannot be opened ({error}); name a free one with --port.") from None
    print(f"Guppy Lab is open at {public or local}", flush=True)
    demo.block_thread()


if __name__ == "__main__":
    main()
