"""The watch over the sources: what no notice told is asked for, and what a source needs to go on telling is renewed."""
