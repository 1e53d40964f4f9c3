"""Open one PKCS#12 container: a program of its own, run as a file by ``pkcs12``.

Seconds of processor time as the only argument, the container on standard input; certificates and
key in PEM on standard output, as JSON. Nothing of this package is imported, and nothing is told of
a container that cannot be opened but the exit code: the library's texts are not known to be fit for
an event.
"""

import json
import resource
import sys

CANNOT_OPEN, NO_LIBRARY = 3, 4


def main(cpu_limit_s: int) -> int:
    """Return the exit code."""
    # A container names its own number of hash rounds, up to 2^31 for each of its parts.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit_s, cpu_limit_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ModuleNotFoundError:
        return NO_LIBRARY
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(sys.stdin.buffer.read(), None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        return CANNOT_OPEN
    pem, forms = serialization.Encoding.PEM, serialization.PrivateFormat
    encoded = b""
    if key is not None:
        # As upstream: RSA and EC in the form of their own, everything else as PKCS#8.
        own = isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        encoded = key.private_bytes(
            pem, forms.TraditionalOpenSSL if own else forms.PKCS8, serialization.NoEncryption()
        )
    certificates = [leaf, *others] if leaf is not None else others
    chain = b"".join(certificate.public_bytes(pem) for certificate in certificates)
    json.dump({"certificates": chain.decode(), "key": encoded.decode()}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
