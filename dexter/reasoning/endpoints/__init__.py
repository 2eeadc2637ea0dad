"""The parts of `dexter.reasoning.chat` that know the wire: dialects and transport."""
