//! TLS on rustls with ring: what the configuration names becomes a client or a server config.
