"""Whose certificates are believed: the system's, the operator's, and those of one class."""

import ssl

from provider_kms import errors


def context(trusted: str, ca_pem: str) -> ssl.SSLContext:
    """Make a TLS context; blocking.

    Args:
        trusted: PEM text from the operator; "" for none.
        ca_pem: PEM text from the class; "" for none. Both are added to the system's.

    Raises: errors.InvalidRequest: no certificate can be read from `ca_pem`.
    """
    made = _base(None)
    try:
        if trusted:
            made.load_verify_locations(cadata=_ascii(trusted))
    except (ssl.SSLError, ValueError):
        raise errors.InvalidRequest("-ca-file", "holds no readable PEM certificate") from None
    try:
        if ca_pem:
            made.load_verify_locations(cadata=_ascii(ca_pem))
    except (ssl.SSLError, ValueError):
        raise errors.InvalidRequest("caCertificate", "holds no readable PEM certificate") from None
    return made


def only(ca_pem: str) -> ssl.SSLContext:
    """Make a TLS context that believes these certificates and no others; blocking.

    Raises: ssl.SSLError, ValueError: they cannot be read.
    """
    if not ca_pem:
        # Of nothing the TLS library would make everything: the system's certificates.
        raise ValueError("no certificate")
    return _base(_ascii(ca_pem))


def _ascii(pem: str) -> str:
    # Bundles carry names of authorities as comments, in any script; Python takes ASCII only. A
    # certificate itself does not survive the change, and is refused.
    return pem.encode("ascii", "replace").decode()


def _base(ca_pem: str | None) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=ca_pem)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 verifies more strictly than 3.12 and Go do, and would refuse private CAs that
    # work today; and like Go, take any given certificate as an anchor, an intermediate too.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Like Go too: a name counts where it stands in subjectAltName, and not in the subject.
    made.hostname_checks_common_name = False
    made.set_alpn_protocols(["http/1.1"])
    return made
