//! The checks and how they are told, in homes of their own.
