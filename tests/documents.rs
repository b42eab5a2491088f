//! The documents say what the program does, where a program can check it.
