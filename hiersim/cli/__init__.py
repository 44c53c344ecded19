"""Commands: they read words, call the library and print. One file per group."""
