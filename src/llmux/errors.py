"""The family of errors that llmux raises and shows.

Each knows its HTTP status, its machine-readable code and whether asking again could help, so
that neither the relay nor a library user has to translate. It refuses to know HTTP framing and
dialects: `llmux.http.dialects` turns an error into bytes.
"""

from __future__ import annotations


class LlmuxError(Exception):
    """Something llmux itself has to say to a client or a caller.

    `status` is the HTTP status, `code` the value of `error.code` in the answer. `retryable` says
    whether the same request may succeed later (clients are told by `x-should-retry`), and
    `retry_after` is an estimate in seconds, None where there is none.
    """

    status: int = 500
    code: str = "internal_error"
    retryable: bool | None = None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class NotRegisteredError(LlmuxError):
    """The named model is not in the config (or the request names none)."""

    status = 404
    code = "model_not_found"
    retryable = False


class QueueTimeoutError(LlmuxError):
    """The model did not become ready within `request_timeout_secs` of the request's arrival."""

    status = 504
    code = "queue_timeout"
    retryable = False


class HookFailedError(LlmuxError):
    """A wake hook failed, so those who waited for its model fail with it."""

    status = 500
    code = "hook_failed"
    retryable = False


class NotReadyError(LlmuxError):
    """The model cannot serve now: its breaker is open, or a forced switch did not get there."""

    status = 503
    code = "model_unavailable"


class DrainingError(LlmuxError):
    """The gateway is shutting down and admits nothing new."""

    status = 503
    code = "draining"


class QueueFullError(LlmuxError):
    """Too many requests wait already."""

    status = 429
    code = "queue_full"


class DrainTimeoutError(LlmuxError):
    """The answer was still running when the bound of a drain was reached, so it was cut."""

    status = 503
    code = "drain_timeout"
    retryable = True


class BackendUnreachableError(LlmuxError):
    """The backend refused the connection or broke it before it answered."""

    status = 502
    code = "backend_unreachable"


class BackendTimeoutError(LlmuxError):
    """The backend took longer than its bound allows."""

    status = 504
    code = "backend_timeout"


class BadRequestError(LlmuxError):
    """The request cannot be read as HTTP."""

    status = 400
    code = "bad_request"
    retryable = False


class RequestTimeoutError(LlmuxError):
    """The client was too slow in sending its request."""

    status = 408
    code = "request_timeout"
    retryable = False


class BodyTooLargeError(LlmuxError):
    """The body is larger than `bounds.max_body_bytes`."""

    status = 413
    code = "body_too_large"
    retryable = False


class HeadersTooLargeError(LlmuxError):
    """The head is larger than `bounds.max_header_bytes`."""

    status = 431
    code = "headers_too_large"
    retryable = False


class UnauthorizedError(LlmuxError):
    """The request carries no key that is known here."""

    status = 401
    code = "invalid_api_key"
    retryable = False


class ForbiddenError(LlmuxError):
    """The key does not open what was asked for."""

    status = 403
    code = "not_allowed"
    retryable = False


class OriginError(LlmuxError):
    """A page that is not allowed to sent the request through somebody's browser."""

    status = 403
    code = "origin_not_allowed"
    retryable = False


class MethodNotAllowedError(LlmuxError):
    """One of the gateway's own paths was asked with a method that it does not have."""

    status = 405
    code = "method_not_allowed"
    retryable = False


class ConfigError(LlmuxError):
    """The config cannot be used; the message holds every problem found, one a line."""


class PolicyError(LlmuxError):
    """A policy cannot be loaded or its options are wrong."""
