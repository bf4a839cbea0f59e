"""Everything the service can refuse or fail at. No error here knows HTTP; one table maps them.

ServiceError
├── Malformed            bytes that are not the message they claim to be
├── UnsupportedMedia     a body of a kind that is not read here
├── CallerGone           the caller left before its request was whole
├── InvalidField         a value that cannot stand where it was put; says where
├── TooLarge             more than a stated limit
├── UnknownTask          names that no live task has
├── UnknownVersion       a version of a task that does not score
├── NotAuthenticated     no known token
├── NotAllowed           a known token without the scope
├── NotReady             the service is still starting
├── Overloaded           no room now; says when to come back
│   └── TooManyFailures  one address presents too many tokens that are none
├── DeadlineExceeded     the caller's time is over
├── TaskRejected         a prompt that failed a check; says which; nothing changed
├── TaskConflict         a name that is taken, or a version that is not there
├── UncoveredTasks       live tasks that a new backbone would not serve; nothing changed
├── BundleMissing        a bundle that this host does not hold
├── BundleUnfit          a bundle that cannot take over from the live one; says why
├── NotConverged         a worker that cannot serve a change; says who and why; it was taken back
├── PromptMissing        a prompt file that the task store does not hold
├── StoreUnavailable     a store that does not answer: try again
├── CorruptStore         a store whose content is damaged: somebody must look
├── WorkerFailed         a worker process that cannot start
└── ConfigError          a setting that cannot work
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ServiceError(Exception):
    """A failure the caller or the operator can mend; the message says how."""


class Malformed(ServiceError):
    """The bytes are not the message they claim to be."""


class UnsupportedMedia(ServiceError):
    """A body of a kind that is not read here."""


class CallerGone(ServiceError):
    """The caller left before its request was whole; nobody hears the answer."""


class InvalidField(ServiceError):
    """A value that cannot stand where it was put.

    Attributes:
        where: the path to the value in the message, like `events[3].item_id`.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where


class TooLarge(ServiceError):
    """More than a stated limit."""


class UnknownTask(ServiceError):
    """Names that no live task has.

    Attributes:
        names: the unknown names, as the caller gave them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no such task: {', '.join(names)}; GET /v1/tasks lists the live ones")
        self.names = tuple(names)


class UnknownVersion(ServiceError):
    """A version of a task that does not score."""


class NotAuthenticated(ServiceError):
    """The caller presents no known token."""


class NotAllowed(ServiceError):
    """The caller's token lacks the scope."""


class NotReady(ServiceError):
    """The service is still starting."""


class Overloaded(ServiceError):
    """No room for this request now.

    Attributes:
        retry_after_s: when it is worth coming back.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyFailures(Overloaded):
    """One address presents too many tokens that are none."""


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before there was an answer."""


class TaskRejected(ServiceError):
    """A prompt that failed a check; nothing changed anywhere.

    Attributes:
        reason: the machine-readable cause.
        details: what was found and expected, small JSON values only.
    """

    def __init__(
        self, reason: str, message: str, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.details = dict(details or {})


class TaskConflict(ServiceError):
    """A name that is taken, or a version that is not there."""


class UncoveredTasks(ServiceError):
    """Live tasks that a new backbone would not serve.

    Attributes:
        names: of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"the new backbone would not serve {', '.join(names)}, which "
            f"{'is' if len(names) == 1 else 'are'} live: tune prompts on it (taskgraft tune "
            "--all-tasks) and name them too, or drop those tasks by name"
        )
        self.names = tuple(names)


class BundleMissing(ServiceError):
    """This host does not hold a bundle, or another one of the same backbone."""


class BundleUnfit(ServiceError):
    """A bundle that cannot take over from the live one while requests go on."""


class NotConverged(ServiceError):
    """Not every worker alive can serve a change, so none does.

    Attributes:
        workers: id, state, generation and reason of each.
    """

    def __init__(self, message: str, workers: Sequence[Mapping[str, object]]) -> None:
        super().__init__(message)
        self.workers = tuple(workers)


class PromptMissing(ServiceError):
    """The task store holds no prompt of this digest."""


class StoreUnavailable(ServiceError):
    """A store does not answer; the same call may succeed in a moment."""


class CorruptStore(ServiceError):
    """A store's content is damaged or of an unknown form; waiting will not mend it."""


class WorkerFailed(ServiceError):
    """A worker process cannot start; its own sentence, as it told it."""


class ConfigError(ServiceError):
    """A setting that cannot work."""
