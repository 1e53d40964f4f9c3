import secrets

from secrets_store import log
from secrets_store.kube import access


def test_config_shows_no_secret() -> None:
    secret = secrets.token_hex(8)
    config = access.Config(
        "https://x",
        token=log.Sealed(secret),
        password=log.Sealed(secret),
        client_key=log.Sealed(secret.encode()),
        proxy=f"http://me:{secret}@127.0.0.1:1",
    )
    assert secret not in repr(config)
