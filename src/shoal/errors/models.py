"""Errors of models and their tools."""

from __future__ import annotations

from shoal.errors.root import ShoalError

__all__ = [
    "ApprovalNotFoundError",
    "ApprovalRequiredError",
    "CassetteError",
    "CassetteMissError",
    "ContentFilteredError",
    "ContextTooLongError",
    "ModelAuthError",
    "ModelError",
    "ModelRateLimitError",
    "ModelRejectedError",
    "ModelTimeoutError",
    "ModelUnavailableError",
    "OutputInvalidError",
    "ScriptExhaustedError",
    "ToolError",
    "ToolTimeoutError",
    "UnpricedModelError",
]


class ModelError(ShoalError, RuntimeError):
    """A call of a model that failed. ``model`` names it."""

    def __init__(self, text: str, *, model: str = "", note: str | None = None) -> None:
        self.model = model
        super().__init__(text, note=note)


class ModelAuthError(ModelError):
    """The provider refused the key: it is wrong, or may not use this model."""


class ModelRejectedError(ModelError):
    """The provider refused the request for good; ``status`` is its HTTP status, None if there was none."""

    def __init__(self, text: str, *, model: str = "", status: int | None = None) -> None:
        self.status = status
        super().__init__(text, model=model, note="Trying it again changes nothing; change the request or the model.")


class ModelRateLimitError(ModelError):
    """Too many calls; ``retry_after`` is what the provider asks to wait, in seconds, None if it did not say."""

    def __init__(self, text: str, *, model: str = "", retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(text, model=model)


class ModelUnavailableError(ModelError):
    """The provider failed or could not be reached; another attempt may succeed."""


class ModelTimeoutError(ModelError, TimeoutError):
    """The model did not answer in time."""

    def __new__(cls, *_: object, **__: object) -> ModelTimeoutError:
        """RuntimeError comes first in the order of its bases, and cannot make what is a TimeoutError, too."""
        return OSError.__new__(cls)


class ContextTooLongError(ModelError):
    """The conversation is longer than the model's window."""


class ContentFilteredError(ModelError):
    """The provider's filter refused the request or the reply."""


class OutputInvalidError(ModelError):
    """The model did not give valid output within its repairs. ``text`` is what it gave last, ``reason`` what is wrong."""

    def __init__(self, text: str, reason: str, *, model: str = "") -> None:
        self.text = text
        self.reason = reason
        super().__init__(f"the output is not valid: {reason}", model=model, note=f"The last output was: {text[:2000]}")


class UnpricedModelError(ModelError):
    """A limit in USD cannot be held for a model whose price nobody knows. Nothing was called."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"the price of {model!r:.200} is not known, so max_cost cannot be held: "
            "give Agent(price=(in, out)) or Budget(unpriced='allow'); "
            "in a team file price = [in, out], or unpriced = 'allow'",
            model=model,
        )


class ScriptExhaustedError(ModelError):
    """A scripted model was called more often than its script has replies. ``agent_name``, ``ordinal``: by whom."""

    def __init__(self, agent_name: str, ordinal: int, length: int) -> None:
        self.agent_name = agent_name
        self.ordinal = ordinal
        super().__init__(
            f"the script has {length or 'no'} {'reply' if length == 1 else 'replies'} of {agent_name!r:.200}, "
            f"and number {ordinal + 1} was asked for",
            note="Add a reply to the script, or look why the agent calls more often than you expected.",
        )


class CassetteError(ModelError):
    """A cassette cannot be read or written. ``path`` is its file, ``line`` the damaged line, from 1."""

    def __init__(self, text: str, *, path: str = "", line: int | None = None) -> None:
        self.path = path
        self.line = line
        super().__init__(text)


class CassetteMissError(CassetteError):
    """The cassette holds no reply to this request. The text shows the first difference to the nearest one."""


class ToolError(ShoalError, RuntimeError):
    """A tool could not be run, or failed. ``tool`` names it."""

    def __init__(self, text: str, *, tool: str = "", note: str | None = None) -> None:
        self.tool = tool
        super().__init__(text, note=note)


class ToolTimeoutError(ToolError, TimeoutError):
    """A tool did not end within its time-out."""

    def __new__(cls, *_: object, **__: object) -> ToolTimeoutError:
        """RuntimeError comes first in the order of its bases, and cannot make what is a TimeoutError, too."""
        return OSError.__new__(cls)


class ApprovalRequiredError(ToolError):
    """A person has to decide first, and there is no way to ask one. The tool was not run."""


class ApprovalNotFoundError(ToolError, LookupError):
    """No approval has this id."""
