"""One file per page: `build(view)` lays it out and wires it. `view` brings what the browser looks at to Python."""
