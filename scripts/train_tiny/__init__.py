"""The recipe of coda-tiny: synthetic speech in, a small Moshi that talks out."""
