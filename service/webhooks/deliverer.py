"""Delivers what is due: one thread looks, and each attempt has a thread of its own, of which there are few."""

import logging
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

from service.clock import since_1970
from service.database import AWAY, reason_of
from service.webhooks.outbox import Claimed, Outbox
from service.webhooks.retries import Answer
from service.webhooks.sender import Sender
from service.webhooks.signatures import digest, secret_of, sign

__all__ = ["LOOK_S", "Deliverer"]

LOOK_S = 0.5  # what another control plane wrote, and this one too, is seen as late as that
PRUNE_S = 600.0
GIVE_UP_S = 10.0
SETTLES_AGAIN_S = 2.0
SETTLES_TIMES = 10
OTHER_SECRET = (
    "the service's webhooks.key is another one than when the secret was made, so that nothing can be signed: rotate "
    "the webhook's secret"
)

log = logging.getLogger("chainrule")


class Deliverer:
    """Sends the deliveries of an outbox. `master` gives what the secrets follow from; `clock` is that of `time.time`,
    which receivers compare with theirs; `start` starts the thread of an attempt."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        master: Callable[[], bytes],
        clock: Callable[[], float] = time.time,
        start: Callable[[threading.Thread], None] = threading.Thread.start,
    ) -> None:
        self._outbox, self._sender, self._master, self._clock = outbox, sender, master, clock
        self._start = start
        self._lock = threading.Lock()
        self._flying: dict[tuple[int, int], Claimed] = {}
        self._threads: set[threading.Thread] = set()
        self._changed, self._stopping = threading.Event(), threading.Event()
        self._pruned_at = self._gave_up_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Begins with nothing more, and waits so long at most for what is under way. What is cut off then is sent again
        by whoever finds its lease over."""
        self._stopping.set()
        self._changed.set()
        deadline = time.monotonic() + within_s
        if self._thread.is_alive():
            self._thread.join(within_s)
        self.settled(deadline - time.monotonic())

    def settled(self, within_s: float) -> None:
        """Waits so long at most for what is under way."""
        deadline = time.monotonic() + within_s
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            try:
                self.step()
                if time.monotonic() - self._gave_up_at >= GIVE_UP_S:
                    self._gave_up_at = time.monotonic()
                    self._outbox.give_up()
                if time.monotonic() - self._pruned_at >= PRUNE_S:
                    self._pruned_at = time.monotonic()
                    self._outbox.prune()
            except AWAY:  # which the heartbeat tells
                self._stopping.wait(SETTLES_AGAIN_S)
            except Exception:
                log.exception("looking for webhooks to deliver failed; it is tried again")
                self._stopping.wait(SETTLES_AGAIN_S)
            self._changed.wait(LOOK_S)

    def step(self) -> None:
        """Begins to send all that is due and has a place. Raises one of AWAY, or RuntimeError where there can be no
        further thread: what is left then is sent once its lease is over."""
        with self._lock:
            flying = list(self._flying.values())
        for claimed in self._outbox.claim(flying):
            thread = threading.Thread(target=self._send, args=(claimed,), name=claimed.id, daemon=True)
            with self._lock:  # which it takes at its end: by then it is among them
                self._start(thread)
                self._flying[claimed.number, claimed.attempt] = claimed
                self._threads.add(thread)

    def _send(self, claimed: Claimed) -> None:
        try:
            self._settle(claimed, self.attempt(claimed))
        except Exception:
            log.exception("%s: an attempt failed in our own code; it is made again", claimed.id, extra=_of(claimed))
        finally:
            with self._lock:
                del self._flying[claimed.number, claimed.attempt]
                self._threads.discard(threading.current_thread())
            self._changed.set()

    def attempt(self, claimed: Claimed) -> Answer:
        """Signs it and sends it, once."""
        master, moment = self._master(), int(self._clock())
        secret = secret_of(master, claimed.webhook_id, claimed.generation)
        if digest(secret) != claimed.secret_sha256:
            log.error("%s: %s", claimed.webhook_id, OTHER_SECRET, extra=_of(claimed))
            return Answer(0.0, error=OTHER_SECRET)
        secrets = [secret]
        if claimed.old_secret_until is not None and since_1970(moment) < claimed.old_secret_until:
            secrets.append(secret_of(master, claimed.webhook_id, claimed.generation - 1))
        body = claimed.payload.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Chainrule/{version('chainrule-service')}",
            "webhook-id": claimed.id,
            "webhook-timestamp": str(moment),
            "webhook-signature": " ".join(sign(each, claimed.id, moment, body) for each in secrets),
        }
        return self._sender.post(claimed.url, headers, body)

    def _settle(self, claimed: Claimed, answer: Answer) -> None:
        """Writes down how it ended. Where the database stays away, the delivery is sent again, as if we had died."""
        for _ in range(SETTLES_TIMES):
            try:
                follows = self._outbox.settle(claimed, answer)
            except AWAY as error:
                why = reason_of(error)
                log.warning("%s: how it went cannot be written down: %s", claimed.id, why, extra=_of(claimed))
                if self._stopping.wait(SETTLES_AGAIN_S):
                    return
            else:
                level = logging.INFO if answer.is_success else logging.WARNING
                told = claimed.id, claimed.host, answer.problem or answer.status, follows
                log.log(level, "%s to %s: %s → %s", *told, extra=_of(claimed))
                return


def _of(claimed: Claimed) -> dict[str, str]:
    """What log lines say of a delivery, besides their message."""
    return {"tenant": claimed.tenant, "webhook_id": claimed.webhook_id, "delivery_id": claimed.id}
