"""The reflector's answers, each asked for once: stored before anything is made of it, and given again from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from localgif.endpoint.clients import Reply
from localgif.runs.files import content_hash, now
from localgif.runs.store import RunStore
from localgif.runs.work import Answer
from localgif.search.progress import Progress


def asked_once(
    store: RunStore, progress: Progress, seed: int, request: Sequence[str | bytes], ask: Callable[[], Reply]
) -> Reply:
    """The answer to a request.

    Args:
        store: Of the run.
        progress: Who is told that the stored work ends here.
        seed: The model's seed.
        request: Text and pictures.
        ask: Asks the model.

    Raises:
        EndpointError: the endpoint failed.
        RunMismatch: the stored run did something else at this place.
    """
    name = content_hash("\n".join(content_hash(part) for part in request))
    answer = store.known_answer(seed, name)
    if answer is None:
        store.journal.new_work("a question to the reflector")
        progress.replay(False)
        started = now()
        reply = ask()
        answer = Answer(
            seed=seed,
            request=name,
            text=reply.text,
            done_reason=reply.done_reason,
            prompt_tokens=reply.prompt_tokens,
            output_tokens=reply.output_tokens,
            seconds=round(reply.seconds, 3),
            started=started,
            at=store.elapsed(),
        )
        store.append_answer(answer)
    return Reply(answer.text, answer.done_reason, answer.prompt_tokens, answer.output_tokens, answer.seconds)
