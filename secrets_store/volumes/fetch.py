"""Asking a provider: patiently for a pod that cannot start without it, once for a refresh."""

from secrets_store import errors, tasks
from secrets_store.model import backoff
from secrets_store.providers import client, registry
from secrets_store.volumes import patience

ATTEMPTS = 3
RETRY_BASE_S = 0.5
LOOK_S = 0.25


class Fetcher:
    """Asks providers and outlives their absence."""

    def __init__(self, providers: registry.Registry, background: tasks.Background) -> None:
        self._providers, self._background = providers, background

    async def once(self, question: client.Question, *, timeout_s: float) -> client.Answer:
        """Ask one time.

        Raises: errors.ProviderMissing, errors.ProviderFailed.
        """
        channel = await self._providers.connect(question.provider)
        try:
            return await channel.mount(question, timeout_s)
        except errors.ProviderFailed as error:
            if _unavailable(error):
                await self._providers.drop(question.provider, channel)
            raise

    def answers(self, provider: str) -> bool:
        """Tell whether somebody listens on a provider's socket."""
        try:
            return self._providers.alive(provider)
        except errors.ProviderMissing:
            # No provider can have that name.
            return False

    async def patiently(self, question: client.Question, wait: patience.Patience) -> client.Answer:
        """Ask until there is an answer, waiting for a provider that is missing, dead or hanging.

        A call that the provider refuses with UNAVAILABLE is made up to three times. Nothing else
        is repeated: kubelet does that.

        Raises: errors.ProviderMissing, errors.ProviderFailed, errors.VolumeBusy (abandoned).
        """
        name, attempts = question.provider, 0
        while True:
            try:
                channel = await self._providers.connect(name)
            except errors.ProviderMissing as error:
                if not error.allowed or not await wait.pause(LOOK_S, str(error)):
                    raise
                continue
            try:
                return await self._ask(channel, question, wait)
            except _ProviderReplaced:
                continue
            except errors.ProviderFailed as error:
                if not _unavailable(error):
                    raise
                await self._providers.drop(name, channel)
                attempts += 1
                if attempts >= ATTEMPTS:
                    raise
                if not self._providers.alive(name):
                    # It went in the middle of the call, and its return is waited for.
                    continue
                pause_s = backoff.full_jitter(attempts, base_s=RETRY_BASE_S, cap_s=1.0)
                if not await wait.pause(pause_s, str(error)):
                    raise

    async def _ask(
        self, channel: client.Client, question: client.Question, wait: patience.Patience
    ) -> client.Answer:
        """Await one call for as long as somebody wants it and nobody has taken its place.

        The call itself is left to run out: its late answer reaches nobody.
        """
        call = self._background.spawn(
            "provider mount", channel.mount(question, max(wait.left_s(), 0.05))
        )
        while not await wait.watch(call, LOOK_S):
            wait.notify(f'provider "{question.provider}" has not answered yet ({channel.path})')
            if self._providers.replaced(question.provider, channel):
                # The process that hangs has been replaced by another one on a new socket.
                raise _ProviderReplaced
        return call.result()


class _ProviderReplaced(Exception):
    pass


def _unavailable(error: errors.ProviderFailed) -> bool:
    return error.status_code is errors.Code.UNAVAILABLE and not error.error_code
