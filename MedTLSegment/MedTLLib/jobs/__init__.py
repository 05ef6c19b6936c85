"""Jobs in the engine's process, without a widget."""
