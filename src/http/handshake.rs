//! TLS over a dialled connection, for ureq: our own `rustls` configuration, and words for what goes
//! wrong with certificates.

use super::dial::{ConnectFailure, Plain};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// A TLS connection as ureq sees it.
pub(super) struct Secured {
    stream: StreamOwned<ClientConnection, TransportAdapter<Plain>>,
    buffers: LazyBuffers,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secured").field(&self.stream.sock.inner()).finish()
    }
}

/// Shakes hands over `plain`, within what is left of the time of `details` after dialling took
/// `spent` of it.
pub(super) fn over(
    plain: Plain,
    config: Arc<ClientConfig>,
    details: &ConnectionDetails<'_>,
    spent: Duration,
) -> Result<Secured, Error> {
    let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host)
        .map_err(|_| ConnectFailure::Tls("the host is neither a name nor an address".to_owned()))?;
    let mut connection = ClientConnection::new(config, name)
        .map_err(|error| ConnectFailure::Tls(format!("no handshake can be made: {error}")))?;
    let mut sock = TransportAdapter::new(plain, details.current_time.clone());
    let mut timeout = details.timeout;
    if !timeout.after.is_not_happening() {
        timeout.after = timeout.after.saturating_sub(spent).into();
    }
    sock.set_timeout(timeout);
    while connection.is_handshaking() {
        connection.complete_io(&mut sock).map_err(|error| ConnectFailure::Tls(explain(&error)))?;
    }
    let config = details.config;
    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
    Ok(Secured { stream: StreamOwned::new(connection, sock), buffers })
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| {
            // A TLS 1.3 server looks at our certificate after our handshake is over: it sends an
            // alert and hangs up while we write. The alert tells more than the broken pipe.
            let alert = self.stream.read(&mut [0]).err();
            match alert.filter(|alert| tls_error(alert).is_some()) {
                Some(alert) => alert.into(),
                None => error.into(),
            }
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// The words for a refusal of our certificate that arrives after the handshake, when the request
/// may be on its way but nobody read it; `None` for any other error.
pub(super) fn refusal(error: &io::Error) -> Option<String> {
    use rustls::AlertDescription as Alert;
    match tls_error(error)? {
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => Some(explain(error)),
        _ => None,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What went wrong, and what to check.
fn explain(error: &io::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
    let Some(cause) = tls_error(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the peer hung up during the handshake; check that it speaks TLS on this port".to_owned()
            }
            _ => format!("{error}; check that the peer speaks TLS on this port"),
        };
    };
    let advice = match cause {
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            "its certificate is not signed by a CA we trust; check the configured CA file"
        }
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired; renew it, or check the clock"
        }
        Tls::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; check the clock"
        }
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate was issued to another name; use that name, or turn the host name check off",
        Tls::InvalidMessage(_) => "it does not speak TLS on this port; check http or https in its address",
        Tls::AlertReceived(Alert::CertificateRequired | Alert::NoCertificate) => {
            "it wants a client certificate; configure one with its key"
        }
        Tls::AlertReceived(Alert::HandshakeFailure | Alert::ProtocolVersion) => {
            "it agrees to no protocol version or cipher of ours, or wants a client certificate"
        }
        Tls::AlertReceived(_) => "it refused us; check that our certificate is signed by a CA it trusts",
        _ => "check certificates and keys on both sides",
    };
    format!("{cause}: {advice}")
}
