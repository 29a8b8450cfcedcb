"""Every parser of files that come from outside, as a function of bytes that must not fail in any other way."""
