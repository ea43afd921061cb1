"""Says which signed statements hold for wheels of an Armwheels index."""
