"""From what a developer writes to a model, and what is wrong with what they wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import ConfigError, MissingExtraError
from shoal.kernel.usage import Usage
from shoal.llm import Model, echo, open_model, scripted
from shoal.llm.defaults import DEFAULT_MODELS
from shoal.llm.pricing import ListedPrice

KEY = "sk-test-51d0"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "DEEPSEEK_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("module", ["shoal", "shoal.llm", "shoal.orchestration", "shoal.testing"])
def test_no_import_loads_what_speaks_to_providers(module: str) -> None:
    code = (
        f"import sys, {module}; from shoal.llm import open_model, echo, scripted\n"
        "open_model('echo'); open_model(scripted(['a']))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not {"pydantic_ai", "pydantic", "openai", "anthropic", "genai_prices", "httpx2"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("model", "options", "name"),
    [
        ("openai:gpt-6-luna", {}, "openai:gpt-6-luna"),
        ("gpt-6-luna", {"provider": "openai"}, "openai:gpt-6-luna"),
        ("openai:gpt-6-luna", {"provider": "openai"}, "openai:gpt-6-luna"),
        (None, {"provider": "anthropic"}, f"anthropic:{DEFAULT_MODELS['anthropic']}"),
        ("llama3:8b", {"base_url": "http://127.0.0.1:1/v1"}, "openai:llama3:8b"),
        ("openai:gpt-6-luna", {"base_url": "http://127.0.0.1:1/v1"}, "openai:gpt-6-luna"),
        ("qwen", {"base_url": "http://127.0.0.1:1/v1", "provider": "vllm"}, "vllm:qwen"),
    ],
)
def test_names(model: str | None, options: dict[str, Any], name: str) -> None:
    made = open_model(model, api_key=KEY, **options)
    assert made.name == name and isinstance(made, Model)
    assert KEY not in repr(made) + str(vars(made).get("place"))


def test_a_model_is_itself() -> None:
    double = echo()
    assert open_model(double) is double
    repriced = open_model(double, price=(1, 2))
    assert repriced.name == "echo" and repriced.price(Usage(input_tokens=1, output_tokens=1)) == 3_000_000


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        ("opnai:gpt-6-luna", {}, "unknown provider 'opnai'; did you mean 'openai'?"),
        ("gpt-6-luna", {"provider": "antropic"}, "did you mean 'anthropic'?"),
        ("gpt-6-luna", {}, "names no provider: write 'provider:name', or give provider="),
        (None, {}, "no model: give model='provider:name', or provider="),
        (None, {"provider": "cohere"}, "has no default model: give model= (these have one: anthropic, deepseek, "),
        (None, {"base_url": "http://127.0.0.1:1"}, "base_url needs model="),
        ("m", {"base_url": "127.0.0.1:1"}, "it must be an URL such as"),
        ("openai:gpt-6-luna", {}, "has no key: set the environment variable OPENAI_API_KEY, or give api_key="),
        ("anthropic:claude-haiku-4-5", {}, "has no key: set the environment variable ANTHROPIC_API_KEY"),
        ("deepseek:deepseek-flash", {}, "has no key: set the environment variable DEEPSEEK_API_KEY"),
        ("ollama:llama3", {}, "is not set up: set the environment variable OLLAMA_BASE_URL"),
        ("openai:gpt-6-luna", {"api_key": ""}, "api_key is empty"),
        ("groq:x", {"api_key": KEY}, "needs a package that is not installed"),
        (echo(), {"api_key": KEY}, "api_key= belong to a model's name; Scripted is a model already"),
        ("scripted:nowhere.json", {}, "the script 'nowhere.json' cannot be read"),
    ],
)
@pytest.mark.spec("O50")
def test_what_does_not_go(model: object, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_model(model, **options)
    assert text in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_empty_key_in_the_environment_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with pytest.raises(ConfigError, match="set the environment variable OPENAI_API_KEY"):
        open_model("openai:gpt-6-luna")


@pytest.mark.parametrize("model", [7, {"a": 1}, object()])
def test_what_is_no_model_at_all(model: object) -> None:
    with pytest.raises(TypeError, match="it must be a name, a Model or a pydantic-ai model"):
        open_model(model)


@pytest.mark.parametrize("price", [(1,), (1, -2), (1, "2"), 3, (float("nan"), 1), (True, 1)])
def test_what_is_no_price(price: Any) -> None:
    with pytest.raises(ValueError, match="USD per million tokens"):
        open_model("m", base_url="http://127.0.0.1:1/v1", price=price)
    with pytest.raises(ValueError, match="USD per million tokens"):
        open_model(scripted(["a"]), price=price)


@pytest.mark.parametrize("options", [{}, {"base_url": "http://127.0.0.1:1/v1"}])
@pytest.mark.parametrize("missing", ["pydantic_ai", "openai"])
def test_without_the_extra_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], missing: str
) -> None:
    for name in [name for name in sys.modules if name.startswith(("pydantic_ai", "openai"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("opening", "live", "translate", "faults"):
        monkeypatch.delitem(sys.modules, f"shoal.llm.{name}", raising=False)
    monkeypatch.delattr("shoal.llm.opening", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match="needs the extra 'llm'") as caught:
        open_model("openai:gpt-6-luna", api_key=KEY, **options)
    assert caught.value.__notes__ == ["Install it with: pip install 'shoal[llm]'"]


@pytest.mark.parametrize("provider", DEFAULT_MODELS)
def test_each_default_is_known_and_priced(provider: str) -> None:
    from pydantic_ai.models import known_model_names

    name = DEFAULT_MODELS[provider]
    assert f"{provider}:{name}" in known_model_names()
    price = ListedPrice(name, None, provider).of(Usage(calls=1, input_tokens=1000, output_tokens=1000))
    assert price is not None and price > 0


def test_files_by_name(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('["one", {"text": "two"}, {"tool_calls": [{"name": "add", "arguments": {"a": 1}}]}]')
    assert open_model(f"scripted:{script}").name == "scripted:script.json"
    assert open_model(f"scripted:{script}", price=(1, 1)).price(Usage(input_tokens=1)) == 1_000_000
