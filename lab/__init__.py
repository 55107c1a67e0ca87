"""The lab: a Gradio app that asks guppy and draws the answers."""
