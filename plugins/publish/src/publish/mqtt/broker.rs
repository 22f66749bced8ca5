//! Where the broker is and how to be let in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::publish::settings::MqttSettings;

/// The environment's user, where the property `user` is not set.
pub const USER_VARIABLE: &str = "GST_CANDLE_MQTT_USER";
/// The environment's password, where the property `password-file` is not set.
pub const PASSWORD_VARIABLE: &str = "GST_CANDLE_MQTT_PASSWORD";

/// A broker. What is secret in it is not shown.
pub struct Broker {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How to speak TLS with it, if so.
    pub tls: Option<Arc<ClientConfig>>,
    /// User and password; the password may be empty.
    pub login: Option<(String, String)>,
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Broker {
    /// Reads the address, the files and the environment that `settings` name.
    pub fn new(uri: &str, settings: &MqttSettings) -> Result<Self, gst::ErrorMessage> {
        let wrong = |text: String| gst::error_msg!(gst::ResourceError::Settings, ("The property `broker`: {text}"));
        let (is_secure, host, port) = address(uri).map_err(wrong)?;
        let tls_files = [&settings.ca_file, &settings.cert_file, &settings.key_file];
        if !is_secure && tls_files.iter().any(|file| file.is_some()) {
            return Err(wrong(
                "files for TLS are set, but mqtt:// does not use TLS; write mqtts://".into(),
            ));
        }
        Ok(Self {
            host,
            port,
            tls: is_secure.then(|| tls(settings)).transpose()?,
            login: login(settings)?,
        })
    }
}

/// Whether it uses TLS, the host and the port. The error never repeats what may be a password.
fn address(uri: &str) -> Result<(bool, String, u16), String> {
    let form = "it must look like mqtt://HOST[:PORT] or mqtts://HOST[:PORT]";
    if uri.contains('@') {
        return Err(format!(
            "it must not contain a user or password, which would be shown; set `user` and `password-file`, or \
             {USER_VARIABLE} and {PASSWORD_VARIABLE} in the environment"
        ));
    }
    let wrong = |reason: &str| format!("{uri}: {reason}; {form}");
    let (scheme, rest) = uri.split_once("://").ok_or_else(|| wrong("there is no scheme"))?;
    let is_secure = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(wrong("the scheme is not known")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(|c: char| "/?#".contains(c) || c.is_whitespace() || c.is_control()) {
        return Err(wrong("there is more than host and port"));
    }
    // An address of IPv6 stands in brackets.
    let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, port))) => (host, port),
        Some(None) => return Err(wrong("a bracket is not closed")),
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    if host.is_empty() {
        return Err(wrong("there is no host"));
    }
    let port = match port.strip_prefix(':').map(str::parse::<u16>) {
        None if port.is_empty() => {
            if is_secure {
                8883
            } else {
                1883
            }
        }
        Some(Ok(port @ 1..)) => port,
        _ => return Err(wrong("the port must be from 1 to 65535")),
    };
    Ok((is_secure, host.into(), port))
}

fn login(settings: &MqttSettings) -> Result<Option<(String, String)>, gst::ErrorMessage> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let password = match &settings.password_file {
        None => variable(PASSWORD_VARIABLE),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                gst::error_msg!(
                    gst::ResourceError::OpenRead,
                    ("The property `password-file`: {path}: {error}")
                )
            })?;
            // The file's first line; editors end it with a newline.
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    match (settings.user.clone().or_else(|| variable(USER_VARIABLE)), password) {
        (None, None) => Ok(None),
        (Some(user), password) => Ok(Some((user, password.unwrap_or_default()))),
        (None, Some(_)) => Err(gst::error_msg!(
            gst::ResourceError::Settings,
            ("There is a password for the broker but no user: set `user`, or {USER_VARIABLE} in the environment")
        )),
    }
}

fn tls(settings: &MqttSettings) -> Result<Arc<ClientConfig>, gst::ErrorMessage> {
    let wrong = |name: &str, path: &str, reason: &dyn fmt::Display| {
        gst::error_msg!(
            gst::ResourceError::OpenRead,
            ("The property `{name}`: {path}: {reason}")
        )
    };
    let failed = |reason: &dyn fmt::Display| gst::error_msg!(gst::ResourceError::Settings, ("TLS: {reason}"));
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            let certificates = certificates(path).map_err(|error| wrong("tls-ca-file", path, &error))?;
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|error| wrong("tls-ca-file", path, &error))?;
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                return Err(failed(
                    &"this system has no certificates of authorities (Debian: ca-certificates); set `tls-ca-file`",
                ));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots);
    let config = match (&settings.cert_file, &settings.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert).map_err(|error| wrong("tls-cert-file", cert, &error))?;
            let secret =
                PrivateKeyDer::from_pem_file(Path::new(key)).map_err(|error| wrong("tls-key-file", key, &error))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| wrong("tls-key-file", key, &error))?
        }
        _ => return Err(failed(&"`tls-cert-file` and `tls-key-file` must be set together")),
    };
    Ok(Arc::new(config))
}

/// The certificates in a PEM file: one at least.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| error.to_string())?;
    match certificates.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_and_perhaps_a_port() {
        for (uri, expected) in [
            ("mqtt://broker", (false, "broker", 1883)),
            ("mqtts://broker.example/", (true, "broker.example", 8883)),
            ("mqtt://10.0.0.7:2883", (false, "10.0.0.7", 2883)),
            ("mqtt://[::1]:1884", (false, "::1", 1884)),
        ] {
            let (is_secure, host, port) = address(uri).unwrap();
            assert_eq!((is_secure, host.as_str(), port), expected, "{uri}");
        }
        for uri in [
            "",
            "broker",
            "broker:1883",
            "http://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://broker:0",
            "mqtt://broker:99999",
            "mqtt://broker/topic",
            "mqtt://broker?x",
            "mqtt://bro ker",
        ] {
            assert!(address(uri).is_err(), "{uri}");
        }
        let error = address("mqtt://me:hunter2@broker").unwrap_err();
        assert!(error.contains("password-file") && !error.contains("hunter2"), "{error}");
    }
}
