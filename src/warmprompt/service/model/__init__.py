"""The model as the service holds it: a catalogue with room, and states that company does not change."""
