//! Partitions, and the hosts of sso-oidc and the portal in each.
