//! The INI dialect of the AWS SDKs.
