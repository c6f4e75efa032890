//! Certificates for engines with mutual TLS, made by openssl.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::network::does;

/// Makes in `directory` an authority (`ca.pem`), a server's certificate for `address` (`server.pem`, `server-key.pem`), a
/// client's (`cert.pem`, `key.pem`), and the same of another authority that the server does not know (`other-ca.pem`,
/// `other-cert.pem`, `other-key.pem`).
pub(crate) fn make(directory: &Path, address: &str) {
    fs::create_dir(directory).expect("a directory for certificates");
    authority(directory, "ca");
    authority(directory, "other-ca");
    let server = format!("subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth\n");
    signed(directory, "ca", "server", "server-key", &server);
    signed(directory, "ca", "cert", "key", "extendedKeyUsage=clientAuth\n");
    signed(directory, "other-ca", "other-cert", "other-key", "extendedKeyUsage=clientAuth\n");
}

fn authority(directory: &Path, name: &str) {
    let mut command = openssl(directory);
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}-key.pem")]);
    does(command.args(["-out", &format!("{name}.pem")]));
}

fn signed(directory: &Path, authority: &str, name: &str, key: &str, extensions: &str) {
    let (request, wanted) = (format!("{name}.csr"), format!("{name}.ext"));
    fs::write(directory.join(&wanted), extensions).expect("extensions of a certificate");
    let mut command = openssl(directory);
    command.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{key}.pem"), "-out", &request]);
    does(&mut command);
    let mut command = openssl(directory);
    command.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in", &request, "-extfile", &wanted]);
    command.args(["-CA", &format!("{authority}.pem"), "-CAkey", &format!("{authority}-key.pem")]);
    does(command.args(["-out", &format!("{name}.pem")]));
}

fn openssl(directory: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(directory);
    command
}
